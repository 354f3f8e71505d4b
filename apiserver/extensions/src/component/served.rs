use crate::{conditions, conversion::Conversions, custom::convertible, forms::Forms, kind};
use kubeplane_apiserver::Registry;
use kubeplane_core::{GroupVersion, Object};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// What of definitions is served.
#[derive(Debug)]
pub(super) struct Served {
    registry: Arc<Registry>,
    conversions: Conversions,
    installed: BTreeMap<String, Installed>,
}

#[derive(Debug)]
struct Installed {
    /// Everything of the definition that its kinds depend on.
    source: Source,
    plural: String,
    versions: Vec<GroupVersion>,
}

type Source = (Option<Value>, Option<Value>, bool);

fn source(crd: &Object) -> Source {
    let names = crd.at(&["status", "acceptedNames"]).cloned();
    (crd.at(&["spec"]).cloned(), names, conditions::is_true(crd, "Terminating"))
}

fn is_source((spec, names, terminating): &Source, crd: &Object) -> bool {
    spec.as_ref() == crd.at(&["spec"])
        && names.as_ref() == crd.at(&["status", "acceptedNames"])
        && *terminating == conditions::is_true(crd, "Terminating")
}

impl Served {
    pub(super) fn new(registry: Arc<Registry>, conversions: Conversions) -> Self {
        Self { registry, conversions, installed: BTreeMap::new() }
    }

    /// Serves the kinds of a definition as it now is, if it is established.
    pub(super) fn install(&mut self, crd: &Object) {
        let name = crd.name();
        if !conditions::is_true(crd, "Established") {
            return self.remove(name);
        }
        if self.installed.get(name).is_some_and(|installed| is_source(&installed.source, crd)) {
            return;
        }
        let source = source(crd);
        let before = self.installed.remove(name);
        let plural = crd.text(&["status", "acceptedNames", "plural"]).to_owned();
        let mut versions = Vec::new();
        let forms = Forms::of(crd);
        let converter = self.conversions.of(crd, &forms);
        for version in kind::versions(crd)
            .iter()
            .filter(|version| version.get("served") == Some(&Value::Bool(true)))
        {
            let version = version.get("name").and_then(Value::as_str).unwrap_or_default();
            let group_version =
                GroupVersion::new(crd.text(&["spec", "group"]).to_owned(), version.to_owned());
            let own =
                before.as_ref().is_some_and(|before| before.versions.contains(&group_version));
            if !own && self.registry.find(&group_version, &plural).is_some() {
                tracing::warn!(crd = name, %group_version, "a built-in kind is served under this name");
                continue;
            }
            match convertible(crd, version, &forms, converter.clone()) {
                Ok(definition) => {
                    self.registry.install(Arc::new(definition));
                    versions.push(group_version);
                }
                Err(errors) => {
                    tracing::warn!(crd = name, version, ?errors, "kind cannot be served")
                }
            }
        }
        for gone in before
            .iter()
            .flat_map(|before| &before.versions)
            .filter(|gone| !versions.contains(gone))
        {
            self.registry.remove(gone, &plural);
        }
        self.installed.insert(name.to_owned(), Installed { source, plural, versions });
    }

    /// Serves the kinds of a definition no more.
    pub(super) fn remove(&mut self, name: &str) {
        let Some(installed) = self.installed.remove(name) else { return };
        for version in &installed.versions {
            self.registry.remove(version, &installed.plural);
        }
    }

    /// Serves only the kinds of these definitions.
    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        let gone: Vec<_> = self.installed.keys().filter(|name| !keep(name)).cloned().collect();
        gone.iter().for_each(|name| self.remove(name));
    }

    /// Whether a built-in kind stores its objects where those of the definition would be.
    pub(super) fn overlaps(&self, crd: &Object) -> bool {
        let own = self
            .installed
            .get(crd.name())
            .map(|installed| installed.versions.as_slice())
            .unwrap_or_default();
        let (group, plural) =
            (crd.text(&["spec", "group"]), crd.text(&["spec", "names", "plural"]));
        self.registry.all().iter().any(|served| {
            let definition = served.definition();
            definition.kind.group == group
                && definition.plural == plural
                && !own.contains(&definition.group_version())
        })
    }
}
