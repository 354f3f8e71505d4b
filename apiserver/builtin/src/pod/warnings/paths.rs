//! Files of one volume that come to lie over one another.

use crate::look::At;
use kubeplane_core::admission::Warnings;

/// A file and where it comes from.
struct File<'a> {
    path: &'a str,
    source: String,
}

impl File<'_> {
    fn text(&self) -> String {
        if self.source.is_empty() {
            format!("{:?}", self.path)
        } else {
            format!("{:?} ({})", self.path, self.source)
        }
    }

    /// The same file, or one inside the other.
    fn collides(&self, other: &Self) -> bool {
        let inside = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
        };
        !self.path.is_empty()
            && (self.path == other.path
                || inside(self.path, other.path)
                || inside(other.path, self.path))
    }
}

pub(super) fn overlapping(warnings: &Warnings, volume: &At<'_>) {
    let name = volume.get("name").str();
    for (kind, printed, named) in [
        ("configMap", "ConfigMap", "name"),
        ("secret", "Secret", "secretName"),
        ("downwardAPI", "DownwardAPI", ""),
    ] {
        let source = volume.get(kind);
        if !source.is_set() {
            continue;
        }
        let what = match named {
            "" => printed.to_owned(),
            field => format!("{printed} {:?}", source.get(field).str()),
        };
        report(warnings, name, &what, &files(&source, ""));
    }
    let projected = volume.get("projected");
    let mut all = Vec::new();
    for source in projected.get("sources").items() {
        let kinds = ["configMap", "secret", "downwardAPI", "serviceAccountToken"]
            .map(|kind| source.get(kind));
        let [config_map, secret, downward, token] = &kinds;
        if kinds.iter().all(|kind| !kind.is_set()) {
            warnings.add(format!("volume {name:?} (Projected) has no sources provided"));
        }
        let named = |what: &str, at: &At<'_>| format!("{what} {:?}", at.get("name").str());
        all.extend(files(config_map, &named("ConfigMap", config_map)));
        all.extend(files(secret, &named("Secret", secret)));
        all.extend(files(downward, "DownwardAPI"));
        if token.is_set() {
            let path = token.get("path").str().trim_end_matches('/');
            all.push(File { path, source: "ServiceAccountToken".to_owned() });
        }
    }
    report(warnings, name, "Projected", &all);
}

fn files<'a>(source: &At<'a>, what: &str) -> Vec<File<'a>> {
    let items = source.get("items").items();
    items
        .map(|item| File {
            path: item.get("path").str().trim_end_matches('/'),
            source: what.to_owned(),
        })
        .collect()
}

fn report(warnings: &Warnings, volume: &str, what: &str, files: &[File<'_>]) {
    for (index, file) in files.iter().enumerate() {
        for other in files[..index].iter().filter(|other| file.collides(other)) {
            let (file, other) = (file.text(), other.text());
            warnings
                .add(format!("volume {volume:?} ({what}): overlapping paths: {file} with {other}"));
        }
    }
}
