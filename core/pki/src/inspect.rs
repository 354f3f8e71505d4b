use crate::{Error, Result};
use jiff::{SignedDuration, Timestamp};
use std::net::IpAddr;
use x509_parser::{extensions::GeneralName, pem::parse_x509_pem};

/// Certificates are renewed when they have less than this left.
const RENEWAL: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// The common name.
    pub common_name: String,
    /// Every organization.
    pub organizations: Vec<String>,
    /// The DNS names.
    pub names: Vec<String>,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
}

impl CertificateInfo {
    /// From when on it should be replaced: thirty days before its end, or the last third of its time where
    /// that is shorter.
    #[must_use]
    pub fn due(&self) -> Timestamp {
        let third = self.not_after.duration_since(self.not_before) / 3;
        self.not_after.saturating_sub(third.min(RENEWAL)).unwrap_or(self.not_after)
    }
}

/// Reads the first certificate of a PEM text.
///
/// # Errors
/// When there is none, or it is malformed.
pub fn inspect(pem: &str) -> Result<CertificateInfo> {
    let malformed = |why: String| Error::Malformed { what: "certificate", why };
    let (_, block) =
        parse_x509_pem(pem.as_bytes()).map_err(|error| malformed(error.to_string()))?;
    let certificate = block.parse_x509().map_err(|error| malformed(error.to_string()))?;
    let subject = certificate.subject();
    let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        attribute.as_str().map(str::to_owned).unwrap_or_default()
    };
    let time = |seconds: i64| {
        Timestamp::from_second(seconds).map_err(|error| malformed(error.to_string()))
    };
    let mut info = CertificateInfo {
        common_name: subject.iter_common_name().last().map(text).unwrap_or_default(),
        organizations: subject.iter_organization().map(text).collect(),
        names: Vec::new(),
        addresses: Vec::new(),
        not_before: time(certificate.validity().not_before.timestamp())?,
        not_after: time(certificate.validity().not_after.timestamp())?,
    };
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    for name in alternatives.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(name) => info.names.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => info.addresses.extend(address(bytes)),
            _ => {}
        }
    }
    Ok(info)
}

/// Whether a certificate is of this private key, both PEM; not when either is malformed.
pub(crate) fn belong_together(certificate: &str, key: &str) -> bool {
    let Ok(key) = crate::public_key(key) else { return false };
    let (Ok((_, key)), Ok((_, block))) =
        (parse_x509_pem(key.as_bytes()), parse_x509_pem(certificate.as_bytes()))
    else {
        return false;
    };
    block.parse_x509().is_ok_and(|certificate| certificate.public_key().raw == key.contents)
}

/// A PEM block of these bytes.
#[must_use]
pub fn pem(label: &str, der: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let encoded = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

pub(crate) fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}
