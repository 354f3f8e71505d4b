//! How certificates lie in their directory: each in a file of its own, and a link to the one that counts.

use jiff::{Timestamp, tz::TimeZone};
use kubeplane_pki::write_private;
use std::{
    io,
    path::{Path, PathBuf},
};

/// Keeps a certificate with its key, and lets `current` be a link to it, as the original's kubelet has it: it takes
/// directories of this one up, and this one takes up its.
pub(super) fn keep(
    current: &Path,
    text: &str,
    now: Timestamp,
) -> Result<(), Box<dyn std::error::Error>> {
    let directory = current.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let time = now.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d-%H-%M-%S");
    let file = std::path::absolute(directory.join(format!("kubelet-client-{time}.pem")))?;
    write_private(&file, text)?;
    link(&file, current)?;
    tidy(directory, &file);
    Ok(())
}

/// Whole or not at all: a link that is ready takes the place of the old one.
fn link(file: &Path, current: &Path) -> io::Result<()> {
    let updated = current.with_file_name("kubelet-client-updated.pem");
    match std::fs::remove_file(&updated) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::os::unix::fs::symlink(file, &updated)?;
    std::fs::rename(&updated, current)
}

/// How many certificates are left beside the one that counts.
const OLD: usize = 2;

/// Removes the oldest of those that do not count any more; what stays does no harm.
fn tidy(directory: &Path, current: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let is_old = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let time = name.strip_prefix("kubelet-client-").and_then(|own| own.strip_suffix(".pem"));
        path != current
            && time.is_some_and(|time| time.starts_with(|first: char| first.is_ascii_digit()))
    };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut old: Vec<_> = paths.filter(is_old).collect();
    old.sort();
    for path in old.iter().rev().skip(OLD) {
        let _ = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    #[test]
    fn the_current_one_is_a_link_and_the_last_ones_stay() {
        let home = tempfile::tempdir().unwrap();
        let current = home.path().join("pki/kubelet-client-current.pem");
        fs::create_dir(home.path().join("pki")).unwrap();
        // As it was before there were links.
        fs::write(&current, "plain").unwrap();
        for minute in 0..5 {
            let now = Timestamp::from_second(1_767_225_600 + minute * 60).unwrap();
            keep(&current, &format!("text {minute}"), now).unwrap();
            assert_eq!(fs::read_to_string(&current).unwrap(), format!("text {minute}"));
        }
        let target = fs::read_link(&current).unwrap();
        assert!(target.is_absolute() && target.ends_with("kubelet-client-2026-01-01-00-04-00.pem"));
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
        let mut names: Vec<_> = fs::read_dir(home.path().join("pki"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let expected = ["02-00", "03-00", "04-00"]
            .map(|time| format!("kubelet-client-2026-01-01-00-{time}.pem"));
        assert_eq!(names[..3], expected);
        assert_eq!(names[3..], ["kubelet-client-current.pem"]);
    }
}
