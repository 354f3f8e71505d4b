//! The keys of a test cluster that must be the same again: those of a seed, and those of a snapshot.

use super::ClusterSnapshot;
use jiff::Timestamp;
use kubeplane_clock::Seed;
use kubeplane_pki::{Authority, Error, PkiDir, pem};
use std::{fs, io, path::Path};

/// What others rely on beyond the life of one server: the authorities, and the key of service accounts.
const KEPT: [&str; 5] = ["ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.key"];

/// How a private Ed25519 key of 32 bytes begins in PKCS#8 (RFC 8410).
const ED25519: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Files and their text.
pub(super) type Keys = Vec<(&'static str, String)>;

pub(super) fn read(directory: &Path) -> io::Result<Keys> {
    let there = KEPT.into_iter().filter(|name| directory.join(name).exists());
    there.map(|name| Ok((name, fs::read_to_string(directory.join(name))?))).collect()
}

/// The key and the certificate. Signatures of such a key depend on nothing but what is signed.
fn authority(name: &str, seed: &Seed, now: Timestamp) -> Result<(String, String), Error> {
    let key = pem("PRIVATE KEY", &[&ED25519[..], &seed.bytes::<32>()].concat());
    let authority = Authority::from_key(name, &key, now)?;
    Ok((key, authority.certificate().to_owned()))
}

/// The directory, with the keys that are not to be made by chance; it goes with the cluster, so nobody waits for the disk.
pub(super) fn prepare(
    directory: &Path,
    seed: Option<u64>,
    snapshot: Option<&ClusterSnapshot>,
    now: Timestamp,
) -> Result<PkiDir, Error> {
    let pki = PkiDir::open(directory)?.volatile();
    let files: Keys = match (snapshot, seed) {
        (Some(snapshot), _) => snapshot.keys.clone(),
        (None, Some(seed)) => {
            let seed = Seed::new(seed);
            let (key, certificate) = authority("kubernetes", &seed, now)?;
            let (front_key, front) = authority("front-proxy-ca", &seed, now)?;
            vec![
                ("ca.key", key),
                ("ca.crt", certificate),
                ("front-proxy-ca.key", front_key),
                ("front-proxy-ca.crt", front),
            ]
        }
        (None, None) => Vec::new(),
    };
    for (name, text) in files {
        if name.ends_with(".key") {
            pki.write_private(name, &text)?;
        } else {
            pki.write_public(name, &text)?;
        }
    }
    Ok(pki)
}
