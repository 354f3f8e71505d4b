use crate::v1;
use std::path::{Component, Path, PathBuf};

/// The files a container sees: those below its mounts.
#[derive(Debug, Clone, Default)]
pub(super) struct Files {
    mounts: Vec<Mount>,
}

#[derive(Debug, Clone)]
struct Mount {
    inside: PathBuf,
    outside: PathBuf,
    readonly: bool,
}

impl Files {
    pub(super) fn new(mounts: &[v1::Mount]) -> Self {
        let mounts = mounts
            .iter()
            .filter(|mount| !mount.host_path.is_empty())
            .map(|mount| Mount {
                inside: normal(Path::new(&mount.container_path)),
                outside: PathBuf::from(&mount.host_path),
                readonly: mount.readonly,
            })
            .collect();
        Self { mounts }
    }

    /// Where a file to be read lies outside; `None` when no mount has it.
    pub(super) fn to_read(&self, path: &str) -> Option<PathBuf> {
        self.find(path).map(|(outside, _)| outside)
    }

    /// Where a file to be written lies outside; the message of the shell when it may not be.
    pub(super) fn to_write(&self, path: &str) -> Result<PathBuf, &'static str> {
        match self.find(path) {
            None => Err("nonexistent directory"),
            Some((_, true)) => Err("Read-only file system"),
            Some((outside, false)) => Ok(outside),
        }
    }

    /// The innermost mount that holds `path`; among equals the last one, which hides the others.
    fn find(&self, path: &str) -> Option<(PathBuf, bool)> {
        let path = normal(Path::new(path));
        let depth = |mount: &&Mount| mount.inside.components().count();
        let mount =
            self.mounts.iter().filter(|mount| path.starts_with(&mount.inside)).max_by_key(depth)?;
        let rest = path.strip_prefix(&mount.inside).ok()?;
        let outside = match rest.as_os_str().is_empty() {
            true => mount.outside.clone(),
            false => mount.outside.join(rest),
        };
        Some((outside, mount.readonly))
    }
}

/// An absolute path without `.` and `..`, so that nothing outside of a mount is reached.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => {
                normal.pop();
            }
            _ => {}
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_mounted_is_seen() {
        let mount = |inside: &str, outside: &str, readonly| v1::Mount {
            container_path: inside.to_owned(),
            host_path: outside.to_owned(),
            readonly,
            ..Default::default()
        };
        let files = Files::new(&[
            mount("/etc", "/host/etc", true),
            mount("/etc/config/", "/host/config", false),
            mount("/dev/termination-log", "/host/log", false),
        ]);
        assert_eq!(files.to_read("/etc/config/key").unwrap(), Path::new("/host/config/key"));
        assert_eq!(files.to_read("/etc/hosts").unwrap(), Path::new("/host/etc/hosts"));
        assert_eq!(files.to_read("/etc/config/../../root/x"), None);
        assert_eq!(files.to_write("/dev/termination-log").unwrap(), Path::new("/host/log"));
        assert!(files.to_write("/etc/hosts").is_err());
        assert!(files.to_write("/tmp/x").is_err());
    }
}
