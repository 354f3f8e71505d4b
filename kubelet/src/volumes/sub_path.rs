use crate::{Error, Result};
use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

/// The path of a part of a volume; a directory is made when there is nothing.
///
/// # Errors
/// When the part would lie outside the volume, also by way of a symbolic link in it.
pub(crate) fn resolve(volume: &Path, sub_path: &str) -> Result<PathBuf> {
    let relative = Path::new(sub_path);
    if relative.is_absolute() {
        return Err(Error::pod(format!("error SubPath `{sub_path}` must not be an absolute path")));
    }
    if relative.components().any(|part| part == Component::ParentDir) {
        return Err(Error::pod(format!(
            "unable to provision SubPath `{sub_path}`: must not contain '..'"
        )));
    }
    let base = fs::canonicalize(volume).map_err(|error| Error::file(volume, error))?;
    let target = base.join(relative);
    match fs::canonicalize(&target) {
        Ok(found) => inside(&base, found, sub_path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = existing_parent(&target);
            let real = fs::canonicalize(&parent).map_err(|error| Error::file(&parent, error))?;
            inside(&base, real, sub_path)?;
            fs::create_dir_all(&target).map_err(|error| Error::file(&target, error))?;
            let made = fs::canonicalize(&target).map_err(|error| Error::file(&target, error))?;
            inside(&base, made, sub_path)
        }
        Err(error) => Err(Error::file(target, error)),
    }
}

fn inside(base: &Path, found: PathBuf, sub_path: &str) -> Result<PathBuf> {
    if found.starts_with(base) {
        Ok(found)
    } else {
        Err(Error::pod(format!("SubPath `{sub_path}` is outside of its volume")))
    }
}

fn existing_parent(path: &Path) -> PathBuf {
    let found = path.ancestors().skip(1).find(|parent| parent.symlink_metadata().is_ok());
    found.map_or_else(|| PathBuf::from("/"), Path::to_path_buf)
}
