use crate::{Error, Result};
use jiff::{Timestamp, ToSpan};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use std::{fmt, net::IpAddr};
use time::OffsetDateTime;

const AUTHORITY_DAYS: i64 = 3650;
const LEAF_DAYS: i64 = 365;

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// To show who a client is.
    Client,
    /// To show who a server is.
    Server,
    /// Both.
    Both,
}

/// A certificate to be issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    common_name: String,
    organization: Option<String>,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    usage: Usage,
}

impl Request {
    /// A certificate of this common name (a client's user name).
    #[must_use]
    pub fn new(common_name: impl Into<String>, usage: Usage) -> Self {
        Self {
            common_name: common_name.into(),
            organization: None,
            names: Vec::new(),
            addresses: Vec::new(),
            usage,
        }
    }

    /// The organization (a client's group).
    #[must_use]
    pub fn organization(mut self, organization: impl Into<String>) -> Self {
        self.organization = Some(organization.into());
        self
    }

    /// DNS names a server answers to.
    #[must_use]
    pub fn names(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.names.extend(names.into_iter().map(Into::into));
        self
    }

    /// Addresses a server answers at.
    #[must_use]
    pub fn addresses(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.addresses.extend(addresses);
        self
    }

    /// The common name asked for.
    #[must_use]
    pub fn common_name(&self) -> &str {
        &self.common_name
    }

    /// The organization asked for.
    #[must_use]
    pub fn organization_name(&self) -> Option<&str> {
        self.organization.as_deref()
    }

    /// The DNS names asked for.
    #[must_use]
    pub fn dns_names(&self) -> &[String] {
        &self.names
    }

    /// The addresses asked for.
    #[must_use]
    pub fn ip_addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    pub(crate) fn params(&self, now: Timestamp) -> Result<CertificateParams> {
        let mut params = CertificateParams::default();
        for name in &self.names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        params.subject_alt_names.extend(self.addresses.iter().copied().map(SanType::IpAddress));
        if let Some(organization) = &self.organization {
            params.distinguished_name.push(DnType::OrganizationName, organization.as_str());
        }
        params.distinguished_name.push(DnType::CommonName, self.common_name.as_str());
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = match self.usage {
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::Both => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
        };
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, LEAF_DAYS)?;
        Ok(params)
    }
}

/// A certificate and its key, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// A certificate authority with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// A new authority, valid for ten years from `now`, with an ECDSA P-256 key.
    ///
    /// # Errors
    /// When the key or certificate cannot be made.
    pub fn generate(common_name: &str, now: Timestamp) -> Result<Self> {
        Self::with_key(common_name, KeyPair::generate()?, now)
    }

    /// An authority with a new certificate, valid for ten years from `now`, for a PEM key that is there
    /// already. What the key signed before is believed by those who trust the new certificate.
    ///
    /// # Errors
    /// When the key is malformed or the certificate cannot be made.
    pub fn from_key(common_name: &str, key: &str, now: Timestamp) -> Result<Self> {
        Self::with_key(common_name, KeyPair::from_pem(key)?, now)
    }

    fn with_key(common_name: &str, key: KeyPair, now: Timestamp) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names.push(SanType::DnsName(common_name.try_into()?));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        set_validity(&mut params, now, AUTHORITY_DAYS)?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// An authority from its PEM certificate and key.
    ///
    /// # Errors
    /// When either is malformed.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self> {
        let issuer = Issuer::from_ca_cert_pem(certificate, KeyPair::from_pem(key)?)?;
        Ok(Self { issuer, certificate: certificate.to_owned() })
    }

    /// The certificate, PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The private key, PEM.
    #[must_use]
    pub fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Whether a certificate (PEM) bears this authority's signature; not when it is malformed.
    #[must_use]
    pub fn has_signed(&self, certificate: &str) -> bool {
        use x509_parser::pem::parse_x509_pem;
        let (Ok((_, leaf)), Ok((_, root))) =
            (parse_x509_pem(certificate.as_bytes()), parse_x509_pem(self.certificate.as_bytes()))
        else {
            return false;
        };
        match (leaf.parse_x509(), root.parse_x509()) {
            (Ok(leaf), Ok(root)) => leaf.verify_signature(Some(root.public_key())).is_ok(),
            _ => false,
        }
    }

    pub(crate) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// Issues a certificate with a new key, valid for a year from `now`.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn issue(&self, request: &Request, now: Timestamp) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let certificate = request.params(now)?.signed_by(&key, &self.issuer)?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

/// A new ECDSA P-256 private key, PEM (PKCS#8): for signing service account tokens.
///
/// # Errors
/// When the machine gives no randomness.
pub fn generate_key() -> Result<String> {
    Ok(KeyPair::generate()?.serialize_pem())
}

/// The public half of a private key, both PEM.
///
/// # Errors
/// When the key is malformed.
pub fn public_key(private: &str) -> Result<String> {
    Ok(KeyPair::from_pem(private)?.public_key_pem())
}

fn set_validity(params: &mut CertificateParams, now: Timestamp, days: i64) -> Result<()> {
    // A little in the past, for peers whose clocks are behind.
    params.not_before = offset(now.saturating_sub(5.minutes()).unwrap_or(now))?;
    params.not_after = offset(now.saturating_add((days * 24).hours()).unwrap_or(now))?;
    Ok(())
}

pub(crate) fn offset(at: Timestamp) -> Result<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(at.as_second())
        .map_err(|error| Error::Malformed { what: "validity", why: error.to_string() })
}
