use crate::{
    Authority, Error, Identity, Request, Result, generate_key,
    inspect::{self, inspect},
    public_key,
};
use jiff::Timestamp;
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// A directory of keys and certificates, named as kubeadm names them.
#[derive(Debug, Clone)]
pub struct PkiDir {
    path: PathBuf,
    durability: Durability,
}

/// Whether what is written outlives a loss of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durability {
    Flushed,
    Volatile,
}

/// A leaf certificate kept in a [`PkiDir`].
#[derive(Debug, Clone)]
pub struct Leaf<'a> {
    /// The file name without its ending, as in `apiserver`.
    pub name: &'a str,
    /// What the certificate says.
    pub request: Request,
}

impl PkiDir {
    /// The directory at `path`, made with mode 0700 if missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        fs::create_dir_all(&path).map_err(Error::file(&path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))
            .map_err(Error::file(&path))?;
        Ok(Self { path, durability: Durability::Flushed })
    }

    /// Does not wait for the disk: for keys that nobody needs after this process.
    #[must_use]
    pub fn volatile(mut self) -> Self {
        self.durability = Durability::Volatile;
        self
    }

    /// Writes a file of this directory as [`write_private`] does.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_private(&self, name: &str, text: &str) -> Result<()> {
        self.write(&self.file(name), text, 0o600)
    }

    /// Writes a file of this directory as [`write_public`] does.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_public(&self, name: &str, text: &str) -> Result<()> {
        self.write(&self.file(name), text, 0o644)
    }

    /// The file of this name.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The authority `name`, made at first use and kept.
    ///
    /// Its key is written first: where a crash left only that, a certificate is made for it.
    ///
    /// # Errors
    /// When its files cannot be read, written or parsed. A certificate without its key is an error: making
    /// a new authority would cut off every holder of the old one.
    pub fn authority(&self, name: &str, common_name: &str, now: Timestamp) -> Result<Authority> {
        let (certificate_file, key_file) = self.pair(name);
        let certificate = read_if_there(&certificate_file)?;
        let Some(key) = read_if_there(&key_file)? else {
            if certificate.is_some() {
                let why = "there is no key beside this certificate of an authority";
                return Err(Error::unusable(&certificate_file, why));
            }
            let authority = Authority::generate(common_name, now)?;
            self.write(&key_file, &authority.key(), 0o600)?;
            self.write(&certificate_file, authority.certificate(), 0o644)?;
            return Ok(authority);
        };
        let bad_key = |error| Error::unusable(&key_file, error);
        let Some(certificate) = certificate else {
            let authority = Authority::from_key(common_name, &key, now).map_err(bad_key)?;
            self.write(&certificate_file, authority.certificate(), 0o644)?;
            return Ok(authority);
        };
        public_key(&key).map_err(bad_key)?;
        if !inspect::belong_together(&certificate, &key) {
            let why = format!("not a certificate of the key in {}", key_file.display());
            return Err(Error::unusable(&certificate_file, why));
        }
        Authority::from_pem(&certificate, &key)
            .map_err(|error| Error::unusable(&certificate_file, error))
    }

    /// The leaf, made at first use, kept, and made anew when it is near its end, was issued by another
    /// authority, lacks a name or address now asked for, or is not of the key beside it, as a crash
    /// between the two writes leaves it.
    ///
    /// # Errors
    /// When files cannot be read or written, or the certificate cannot be made.
    pub fn leaf(&self, authority: &Authority, leaf: &Leaf<'_>, now: Timestamp) -> Result<Identity> {
        let (certificate_file, key_file) = self.pair(leaf.name);
        if let (Ok(certificate), Ok(key)) = (read(&certificate_file), read(&key_file))
            && is_good(&certificate, authority, &leaf.request, now)
            && inspect::belong_together(&certificate, &key)
        {
            return Ok(Identity { certificate, key });
        }
        let identity = authority.issue(&leaf.request, now)?;
        self.write(&key_file, &identity.key, 0o600)?;
        self.write(&certificate_file, &identity.certificate, 0o644)?;
        Ok(identity)
    }

    /// Whether the leaf of this name is to be replaced: it is near its end, or cannot be read. False when there
    /// is none.
    #[must_use]
    pub fn is_due(&self, name: &str, now: Timestamp) -> bool {
        let (certificate_file, _) = self.pair(name);
        match read_if_there(&certificate_file) {
            Ok(None) => false,
            Ok(Some(certificate)) => inspect(&certificate).map_or(true, |info| now >= info.due()),
            Err(_) => true,
        }
    }

    /// The private key `name`.key, made at first use and kept.
    ///
    /// # Errors
    /// When its file cannot be read or written.
    pub fn key(&self, name: &str) -> Result<String> {
        let file = self.file(&format!("{name}.key"));
        if let Some(key) = read_if_there(&file)? {
            return Ok(key);
        }
        let key = generate_key()?;
        self.write(&file, &key, 0o600)?;
        Ok(key)
    }

    fn write(&self, file: &Path, text: &str, mode: u32) -> Result<()> {
        write(file, text, mode, self.durability)
    }

    fn pair(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.file(&format!("{name}.crt")), self.file(&format!("{name}.key")))
    }
}

fn is_good(certificate: &str, authority: &Authority, request: &Request, now: Timestamp) -> bool {
    let Ok(info) = inspect(certificate) else { return false };
    now < info.due()
        && info.common_name == request.common_name()
        && info.organizations.first().map(String::as_str) == request.organization_name()
        && request.dns_names().iter().all(|name| info.names.contains(name))
        && request.ip_addresses().iter().all(|address| info.addresses.contains(address))
        && authority.has_signed(certificate)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(Error::file(path))
}

fn read_if_there(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file(path)(error)),
    }
}

/// Writes a file only its owner may read (mode 0600), whole or not at all. Only one writer of a file at a
/// time.
///
/// # Errors
/// When the file cannot be written.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    write(path, text, 0o600, Durability::Flushed)
}

/// Writes a file everyone may read (mode 0644), whole or not at all. Only one writer of a file at a time.
///
/// # Errors
/// When the file cannot be written.
pub fn write_public(path: &Path, text: &str) -> Result<()> {
    write(path, text, 0o644, Durability::Flushed)
}

fn write(path: &Path, text: &str, mode: u32, durability: Durability) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let draft = path.with_file_name(name);
    // What a crash left may have another mode.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::file(&draft)(error));
        }
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&draft)
        .map_err(Error::file(&draft))?;
    file.write_all(text.as_bytes()).map_err(Error::file(&draft))?;
    if durability == Durability::Volatile {
        return fs::rename(&draft, path).map_err(Error::file(path));
    }
    file.sync_all().map_err(Error::file(&draft))?;
    fs::rename(&draft, path).map_err(Error::file(path))?;
    // Files must appear in the order they were written, also after a loss of power.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    fs::File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(Error::file(directory))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Usage;
    use jiff::ToSpan;

    fn leaf(names: &[&str]) -> Leaf<'static> {
        Leaf {
            name: "apiserver",
            request: Request::new("kube-apiserver", Usage::Server).names(names.to_vec()),
        }
    }

    #[test]
    fn leaves_are_kept_until_they_near_their_end_or_lack_a_name() {
        let home = tempfile::tempdir().unwrap();
        let pki = PkiDir::open(home.path().join("pki")).unwrap();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let authority = pki.authority("ca", "kubernetes", now).unwrap();
        let first = pki.leaf(&authority, &leaf(&["a"]), now).unwrap();
        assert_eq!(first, pki.leaf(&authority, &leaf(&["a"]), now).unwrap());
        let wider = pki.leaf(&authority, &leaf(&["a", "b"]), now).unwrap();
        assert_ne!(first, wider);
        assert_eq!(inspect(&wider.certificate).unwrap().names, ["a", "b"]);
        let mut other = leaf(&["a", "b"]);
        other.request = Request::new("somebody-else", Usage::Server).names(["a", "b"]);
        assert_ne!(wider, pki.leaf(&authority, &other, now).unwrap(), "another subject");
        let wider = pki.leaf(&authority, &leaf(&["a", "b"]), now).unwrap();
        let late = now.saturating_add((340 * 24).hours()).unwrap();
        assert_ne!(wider, pki.leaf(&authority, &leaf(&["a", "b"]), late).unwrap());
    }

    /// A year on a clock that a process lives through.
    #[test]
    fn a_leaf_is_due_thirty_days_before_its_end_and_not_after_it_was_renewed() {
        let home = tempfile::tempdir().unwrap();
        let pki = PkiDir::open(home.path()).unwrap();
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let day = |days: i64| start.saturating_add((days * 24).hours()).unwrap();
        let authority = pki.authority("ca", "kubernetes", start).unwrap();
        assert!(!pki.is_due("apiserver", start), "there is none");
        let first = pki.leaf(&authority, &leaf(&["a"]), start).unwrap();
        let due: Vec<_> = (0..365).filter(|days| pki.is_due("apiserver", day(*days))).collect();
        assert_eq!((due.first(), due.len()), (Some(&335), 30));
        let second = pki.leaf(&authority, &leaf(&["a"]), day(335)).unwrap();
        assert_ne!(first, second);
        assert!(!pki.is_due("apiserver", day(365)));
        assert!(inspect(&second.certificate).unwrap().not_after > day(699));
        fs::write(pki.file("apiserver.crt"), "nonsense").unwrap();
        assert!(pki.is_due("apiserver", start), "what cannot be read is of no use");
    }

    #[test]
    fn the_authority_is_kept_and_its_key_is_private() {
        let home = tempfile::tempdir().unwrap();
        let pki = PkiDir::open(home.path()).unwrap();
        let now = Timestamp::now();
        let first = pki.authority("ca", "kubernetes", now).unwrap();
        let again = pki.authority("ca", "kubernetes", now).unwrap();
        assert_eq!(first.certificate(), again.certificate());
        let mode = fs::metadata(pki.file("ca.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_file(pki.file("ca.key")).unwrap();
        let error = pki.authority("ca", "kubernetes", now).unwrap_err().to_string();
        assert!(error.contains("ca.crt") && error.contains("there is no key"), "{error}");
    }

    /// What stands in the directory, by name.
    fn files(pki: &PkiDir) -> Vec<String> {
        let entries = fs::read_dir(&pki.path).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Everything a crash can leave of the first start, from the first byte to the last.
    #[test]
    fn a_crash_while_the_authority_is_made_needs_no_cleaning() {
        let now = Timestamp::now();
        let made = Authority::generate("kubernetes", now).unwrap();
        let key = made.key();
        let half = |text: &str| text[..text.len() / 2].to_owned();
        let steps: [&[(&str, String)]; 5] = [
            &[("ca.key.new", String::new())],
            &[("ca.key.new", half(&key))],
            &[("ca.key", key.clone())],
            &[("ca.key", key.clone()), ("ca.crt.new", half(made.certificate()))],
            &[("ca.key", key.clone()), ("ca.crt", made.certificate().to_owned())],
        ];
        for step in steps {
            let home = tempfile::tempdir().unwrap();
            let pki = PkiDir::open(home.path()).unwrap();
            for (name, text) in step {
                // The worst mode a draft can have.
                fs::write(pki.file(name), text).unwrap();
            }
            let names: Vec<_> = step.iter().map(|(name, _)| *name).collect();
            let authority = pki.authority("ca", "kubernetes", now).unwrap();
            if names.contains(&"ca.key") {
                assert_eq!(authority.key(), key, "after {names:?}");
            } else {
                let mode = fs::metadata(pki.file("ca.key")).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600, "after {names:?}");
            }
            let identity = pki.leaf(&authority, &leaf(&["a"]), now).unwrap();
            assert!(made.has_signed(&identity.certificate) == names.contains(&"ca.key"));
            let again = pki.authority("ca", "kubernetes", now).unwrap();
            assert_eq!(authority.certificate(), again.certificate(), "after {names:?}");
            let left: Vec<_> =
                files(&pki).into_iter().filter(|name| name.contains(".key.new")).collect();
            assert!(left.is_empty(), "after {names:?}: {left:?}");
        }
    }

    /// A certificate that is good but of another key is what a crash leaves of a renewal.
    #[test]
    fn a_crash_while_a_leaf_is_renewed_leaves_no_certificate_of_another_key() {
        let home = tempfile::tempdir().unwrap();
        let pki = PkiDir::open(home.path()).unwrap();
        let now = Timestamp::now();
        let authority = pki.authority("ca", "kubernetes", now).unwrap();
        let old = pki.leaf(&authority, &leaf(&["a"]), now).unwrap();
        let next = authority.issue(&leaf(&["a", "b"]).request, now).unwrap();
        for (file, text) in [("apiserver.key.new", ""), ("apiserver.key", next.key.as_str())] {
            fs::write(pki.file(file), text).unwrap();
            let after = pki.leaf(&authority, &leaf(&["a"]), now).unwrap();
            assert!(inspect::belong_together(&after.certificate, &after.key), "after {file}");
            assert_eq!(after == old, file == "apiserver.key.new", "after {file}");
        }
        fs::remove_file(pki.file("apiserver.crt")).unwrap();
        let after = pki.leaf(&authority, &leaf(&["a"]), now).unwrap();
        assert!(inspect::belong_together(&after.certificate, &after.key));
    }

    #[test]
    fn a_key_or_certificate_that_is_none_is_named() {
        let home = tempfile::tempdir().unwrap();
        let pki = PkiDir::open(home.path()).unwrap();
        let now = Timestamp::now();
        pki.authority("ca", "kubernetes", now).unwrap();
        let key = fs::read_to_string(pki.file("ca.key")).unwrap();
        fs::write(pki.file("ca.key"), "").unwrap();
        let error = pki.authority("ca", "kubernetes", now).unwrap_err().to_string();
        assert!(error.contains("ca.key"), "{error}");
        fs::write(pki.file("ca.key"), generate_key().unwrap()).unwrap();
        let error = pki.authority("ca", "kubernetes", now).unwrap_err().to_string();
        assert!(
            error.contains("ca.crt") && error.contains("not a certificate of the key"),
            "{error}"
        );
        fs::write(pki.file("ca.key"), key).unwrap();
        assert!(pki.authority("ca", "kubernetes", now).is_ok());
    }
}
