use crate::{Authority, Error, Identity, Request, Result, generate_key, inspect};
use jiff::{Timestamp, ToSpan};
use std::{
    fs,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Leaves are renewed when they have less than this left.
const RENEW_DAYS: i64 = 30;

/// A directory of keys and certificates, named as kubeadm names them.
#[derive(Debug, Clone)]
pub struct PkiDir {
    path: PathBuf,
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
        Ok(Self { path })
    }

    /// The file of this name.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The authority `name`, made at first use and kept.
    ///
    /// # Errors
    /// When its files cannot be read, written or parsed. A key without its certificate, or the other
    /// way round, is an error: making a new authority would cut off every holder of the old one.
    pub fn authority(&self, name: &str, common_name: &str, now: Timestamp) -> Result<Authority> {
        let (certificate, key) = self.pair(name);
        if !certificate.exists() && !key.exists() {
            let authority = Authority::generate(common_name, now)?;
            write_private(&key, &authority.key())?;
            write_public(&certificate, authority.certificate())?;
            return Ok(authority);
        }
        Authority::from_pem(&read(&certificate)?, &read(&key)?)
    }

    /// The leaf, made at first use, kept, and made anew when it is near its end, was issued by another
    /// authority, or lacks a name or address now asked for.
    ///
    /// # Errors
    /// When files cannot be read or written, or the certificate cannot be made.
    pub fn leaf(&self, authority: &Authority, leaf: &Leaf<'_>, now: Timestamp) -> Result<Identity> {
        let (certificate_file, key_file) = self.pair(leaf.name);
        if let (Ok(certificate), Ok(key)) = (read(&certificate_file), read(&key_file))
            && is_good(&certificate, authority, &leaf.request, now)
        {
            return Ok(Identity { certificate, key });
        }
        let identity = authority.issue(&leaf.request, now)?;
        write_private(&key_file, &identity.key)?;
        write_public(&certificate_file, &identity.certificate)?;
        Ok(identity)
    }

    /// The private key `name`.key, made at first use and kept.
    ///
    /// # Errors
    /// When its file cannot be read or written.
    pub fn key(&self, name: &str) -> Result<String> {
        let file = self.file(&format!("{name}.key"));
        if file.exists() {
            return read(&file);
        }
        let key = generate_key()?;
        write_private(&file, &key)?;
        Ok(key)
    }

    fn pair(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.file(&format!("{name}.crt")), self.file(&format!("{name}.key")))
    }
}

fn is_good(certificate: &str, authority: &Authority, request: &Request, now: Timestamp) -> bool {
    let Ok(info) = inspect(certificate) else { return false };
    let renew_from =
        info.not_after.saturating_sub((RENEW_DAYS * 24).hours()).unwrap_or(info.not_after);
    now < renew_from
        && info.common_name == request.common_name()
        && info.organizations.first().map(String::as_str) == request.organization_name()
        && request.dns_names().iter().all(|name| info.names.contains(name))
        && request.ip_addresses().iter().all(|address| info.addresses.contains(address))
        && is_signed_by(certificate, authority)
}

fn is_signed_by(certificate: &str, authority: &Authority) -> bool {
    use x509_parser::pem::parse_x509_pem;
    let (Ok((_, leaf)), Ok((_, root))) = (
        parse_x509_pem(certificate.as_bytes()),
        parse_x509_pem(authority.certificate().as_bytes()),
    ) else {
        return false;
    };
    match (leaf.parse_x509(), root.parse_x509()) {
        (Ok(leaf), Ok(root)) => leaf.verify_signature(Some(root.public_key())).is_ok(),
        _ => false,
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(Error::file(path))
}

/// Writes a file only its owner may read (mode 0600), whole or not at all.
///
/// # Errors
/// When the file cannot be written.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    write(path, text, 0o600)
}

/// Writes a file everyone may read (mode 0644), whole or not at all.
///
/// # Errors
/// When the file cannot be written.
pub fn write_public(path: &Path, text: &str) -> Result<()> {
    write(path, text, 0o644)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let draft = path.with_file_name(name);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&draft)
        .map_err(Error::file(&draft))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(Error::file(&draft))?;
    fs::rename(&draft, path).map_err(Error::file(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Usage;

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
        fs::remove_file(pki.file("ca.crt")).unwrap();
        assert!(pki.authority("ca", "kubernetes", now).is_err());
    }
}
