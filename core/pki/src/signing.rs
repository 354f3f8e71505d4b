use crate::{Authority, Error, Request, Result, pem};
use jiff::Timestamp;
use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
    SerialNumber, SigningKey, SubjectPublicKeyInfo,
};
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    pem::Pem,
    prelude::{FromDer as _, X509Certificate},
};

/// A request for a certificate (PKCS#10), as someone sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningRequest {
    /// The common name; empty without one.
    pub common_name: String,
    /// Every organization.
    pub organizations: Vec<String>,
    /// The DNS names.
    pub names: Vec<String>,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// The e-mail addresses.
    pub emails: Vec<String>,
    /// The URIs.
    pub uris: Vec<String>,
    der: Vec<u8>,
}

/// How a requested certificate is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms<'a> {
    /// What the certificate is for, in the words of CertificateSigningRequests, as in `client auth`.
    pub usages: Vec<&'a str>,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until; at most as long as the authority.
    pub not_after: Timestamp,
}

fn malformed(why: impl ToString) -> Error {
    Error::Malformed { what: "certificate request", why: why.to_string() }
}

impl SigningRequest {
    /// Reads the first PEM block, which must be a request.
    ///
    /// # Errors
    /// When it is none, or malformed.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let block = Pem::iter_from_buffer(text).find_map(std::result::Result::ok);
        let Some(block) = block.filter(|block| block.label == "CERTIFICATE REQUEST") else {
            return Err(malformed("PEM block type must be CERTIFICATE REQUEST"));
        };
        let (rest, request) =
            X509CertificationRequest::from_der(&block.contents).map_err(malformed)?;
        if !rest.is_empty() {
            return Err(malformed("trailing data"));
        }
        let subject = &request.certification_request_info.subject;
        let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            attribute.as_str().map(str::to_owned).ok()
        };
        // Who shows the certificate is the last name: what is approved must be that one.
        let common_name = subject.iter_common_name().filter_map(text).last();
        let mut parsed = Self {
            common_name: common_name.unwrap_or_default(),
            organizations: subject.iter_organization().filter_map(text).collect(),
            names: Vec::new(),
            addresses: Vec::new(),
            emails: Vec::new(),
            uris: Vec::new(),
            der: block.contents.clone(),
        };
        for extension in request.requested_extensions().into_iter().flatten() {
            let ParsedExtension::SubjectAlternativeName(alternatives) = extension else { continue };
            for name in &alternatives.general_names {
                match name {
                    GeneralName::DNSName(name) => parsed.names.push((*name).to_owned()),
                    GeneralName::RFC822Name(name) => parsed.emails.push((*name).to_owned()),
                    GeneralName::URI(uri) => parsed.uris.push((*uri).to_owned()),
                    GeneralName::IPAddress(bytes) => {
                        parsed.addresses.extend(crate::inspect::address(bytes));
                    }
                    _ => {}
                }
            }
        }
        Ok(parsed)
    }

    /// A request for `request` with a private key (PEM) of the asker's own; the usage is not part of it.
    ///
    /// # Errors
    /// When the key is malformed or a name cannot stand in a certificate.
    pub fn create(request: &Request, key: &str) -> Result<String> {
        let key = KeyPair::from_pem(key)?;
        let mut params = request.params(Timestamp::UNIX_EPOCH)?;
        // Who signs decides about these.
        params.use_authority_key_identifier_extension = false;
        params.key_usages.clear();
        params.extended_key_usages.clear();
        Ok(params.serialize_request(&key)?.pem()?)
    }

    fn alternatives(&self) -> Result<Vec<SanType>> {
        let mut all = Vec::new();
        for name in &self.names {
            all.push(SanType::DnsName(name.as_str().try_into()?));
        }
        for email in &self.emails {
            all.push(SanType::Rfc822Name(email.as_str().try_into()?));
        }
        all.extend(self.addresses.iter().copied().map(SanType::IpAddress));
        for uri in &self.uris {
            all.push(SanType::URI(uri.as_str().try_into()?));
        }
        Ok(all)
    }
}

impl Authority {
    /// Signs what someone asked for: his key, subject and names as they are, and nothing else of the request.
    /// Returns the certificate, PEM.
    ///
    /// The serial number follows from the authority, the request and the terms: the same on the same terms is the same
    /// certificate, byte by byte where the authority's key is Ed25519, whose signatures know no chance.
    ///
    /// # Errors
    /// When the request's own signature is wrong, a usage is unknown, or the authority has expired.
    pub fn sign(&self, request: &SigningRequest, terms: &Terms<'_>) -> Result<String> {
        let (_, parsed) = X509CertificationRequest::from_der(&request.der).map_err(malformed)?;
        let wrong =
            |error| malformed(format!("unable to verify certificate request signature: {error}"));
        parsed.verify_signature().map_err(wrong)?;
        let info = &parsed.certification_request_info;
        let mut params = CertificateParams::default();
        (params.key_usages, params.extended_key_usages) = usages(&terms.usages)?;
        params.subject_alt_names = request.alternatives()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(self.serial(request, terms));
        let own = crate::inspect(self.certificate())?;
        let not_after = terms.not_after.min(own.not_after);
        if terms.not_before >= own.not_after {
            return Err(malformed(format!("the signer has expired: NotAfter={}", own.not_after)));
        }
        params.not_before = crate::authority::offset(terms.not_before)?;
        params.not_after = crate::authority::offset(not_after)?;
        let key = SubjectPublicKeyInfo::from_der(info.subject_pki.raw)?;
        let draft = params.signed_by(&key, self.issuer())?;
        let der = with_subject(draft.der(), info.subject.as_raw(), self.issuer().key())?;
        Ok(pem("CERTIFICATE", &der))
    }

    /// Positive, of 16 bytes, and another for whatever else is signed: it is a digest of all that goes into the
    /// certificate.
    fn serial(&self, request: &SigningRequest, terms: &Terms<'_>) -> SerialNumber {
        let mut digest = Sha256::new();
        let times = [terms.not_before, terms.not_after].map(Timestamp::as_nanosecond);
        let times = times.map(i128::to_be_bytes);
        let usages = terms.usages.iter().map(|usage| usage.as_bytes());
        let parts = [self.certificate().as_bytes(), &request.der, &times[0], &times[1]];
        for part in parts.into_iter().chain(usages) {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        let mut bytes = [0_u8; 16];
        bytes.copy_from_slice(&digest.finalize()[..16]);
        bytes[0] = (bytes[0] & 0x7f) | 0x40;
        SerialNumber::from_slice(&bytes)
    }
}

/// The draft with this subject, signed again: the draft's maker cannot repeat an attribute, and users are in
/// several groups.
fn with_subject(draft: &[u8], subject: &[u8], key: &KeyPair) -> Result<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(draft).map_err(malformed)?;
    let tbs: &[u8] = certificate.tbs_certificate.as_ref();
    let start = tbs.as_ptr() as usize - draft.as_ptr() as usize;
    let old = certificate.tbs_certificate.subject.as_raw();
    let at = old.as_ptr() as usize - tbs.as_ptr() as usize;
    let content = [&tbs[header(tbs)?..at], subject, &tbs[at + old.len()..]].concat();
    let tbs_now = sequence(&content);
    let algorithm = &draft[start + tbs.len()..];
    let length = header(algorithm)? + length(algorithm)?;
    let mut signature = vec![0];
    signature.extend(key.sign(&tbs_now)?);
    let signature = tagged(0x03, &signature);
    Ok(sequence(&[&tbs_now, &algorithm[..length], &signature].concat()))
}

/// The length of the tag and length in front of a DER value.
fn header(der: &[u8]) -> Result<usize> {
    match der.get(1) {
        Some(short) if *short < 0x80 => Ok(2),
        Some(long) => Ok(2 + usize::from(long & 0x7f)),
        None => Err(malformed("cut short")),
    }
}

/// The length of a DER value without what is in front of it.
fn length(der: &[u8]) -> Result<usize> {
    let bytes = der.get(1..header(der)?).ok_or_else(|| malformed("cut short"))?;
    Ok(match bytes {
        [short] => usize::from(*short),
        [_, long @ ..] => long.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)),
        [] => 0,
    })
}

fn sequence(content: &[u8]) -> Vec<u8> {
    tagged(0x30, content)
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => der.push(short),
        _ => {
            let bytes = content.len().to_be_bytes();
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let bytes = &bytes[zeros..];
            der.push(0x80 | u8::try_from(bytes.len()).unwrap_or(8));
            der.extend(bytes);
        }
    }
    der.extend(content);
    der
}

fn usages(names: &[&str]) -> Result<(Vec<KeyUsagePurpose>, Vec<ExtendedKeyUsagePurpose>)> {
    use ExtendedKeyUsagePurpose as Extended;
    use KeyUsagePurpose as Plain;
    let microsoft = |last| Extended::Other(vec![1, 3, 6, 1, 4, 1, 311, 10, 3, last]);
    let netscape = || Extended::Other(vec![2, 16, 840, 1, 113_730, 4, 1]);
    let pkix = |last| Extended::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, last]);
    let (mut plain, mut extended, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for name in names {
        match *name {
            "signing" | "digital signature" => plain.push(Plain::DigitalSignature),
            "content commitment" => plain.push(Plain::ContentCommitment),
            "key encipherment" => plain.push(Plain::KeyEncipherment),
            "key agreement" => plain.push(Plain::KeyAgreement),
            "data encipherment" => plain.push(Plain::DataEncipherment),
            "cert sign" => plain.push(Plain::KeyCertSign),
            "crl sign" => plain.push(Plain::CrlSign),
            "encipher only" => plain.push(Plain::EncipherOnly),
            "decipher only" => plain.push(Plain::DecipherOnly),
            "any" => extended.push(Extended::Any),
            "server auth" => extended.push(Extended::ServerAuth),
            "client auth" => extended.push(Extended::ClientAuth),
            "code signing" => extended.push(Extended::CodeSigning),
            "email protection" | "s/mime" => extended.push(Extended::EmailProtection),
            "ipsec end system" => extended.push(pkix(5)),
            "ipsec tunnel" => extended.push(pkix(6)),
            "ipsec user" => extended.push(pkix(7)),
            "timestamping" => extended.push(Extended::TimeStamping),
            "ocsp signing" => extended.push(Extended::OcspSigning),
            "microsoft sgc" => extended.push(microsoft(3)),
            "netscape sgc" => extended.push(netscape()),
            other => unknown.push(format!("{other:?}")),
        }
    }
    if !unknown.is_empty() {
        return Err(malformed(format!("unrecognized usage values: [{}]", unknown.join(" "))));
    }
    let mut seen = Vec::new();
    extended.retain(|usage| {
        let new = !seen.contains(usage);
        seen.push(usage.clone());
        new
    });
    plain.dedup();
    Ok((plain, extended))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Usage, generate_key, inspect};

    fn terms(usages: &[&'static str]) -> Terms<'static> {
        Terms {
            usages: usages.to_vec(),
            not_before: "2026-01-01T00:00:00Z".parse().unwrap(),
            not_after: "2027-01-01T00:00:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn a_request_is_signed_with_its_own_key_subject_and_names() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let authority = Authority::generate("kubernetes", now).unwrap();
        let key = generate_key().unwrap();
        let wanted = Request::new("system:node:a", Usage::Server)
            .organization("system:nodes")
            .names(["a"])
            .addresses(["10.0.0.1".parse().unwrap()]);
        let text = SigningRequest::create(&wanted, &key).unwrap();
        let request = SigningRequest::parse(text.as_bytes()).unwrap();
        assert_eq!(request.common_name, "system:node:a");
        assert_eq!(request.organizations, ["system:nodes"]);
        let signed =
            authority.sign(&request, &terms(&["digital signature", "server auth"])).unwrap();
        let info = inspect(&signed).unwrap();
        assert_eq!(
            (info.common_name.as_str(), info.names),
            ("system:node:a", vec!["a".to_owned()])
        );
        assert_eq!(info.organizations, ["system:nodes"]);
        assert_eq!(info.not_after, "2027-01-01T00:00:00Z".parse().unwrap());
        assert!(crate::inspect::belong_together(&signed, &key));
        let blocks: Vec<_> = [&signed, authority.certificate()]
            .iter()
            .map(|text| x509_parser::pem::parse_x509_pem(text.as_bytes()).unwrap().1)
            .collect();
        let (leaf, root) = (blocks[0].parse_x509().unwrap(), blocks[1].parse_x509().unwrap());
        leaf.verify_signature(Some(root.public_key())).unwrap();
    }

    /// An authority whose key is 32 bytes of this.
    fn authority(byte: u8) -> Authority {
        let mut key = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        key.extend([byte; 32]);
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        Authority::from_key("kubernetes", &pem("PRIVATE KEY", &key), now).unwrap()
    }

    fn serial_of(certificate: &str) -> Vec<u8> {
        let block = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).unwrap().1;
        block.parse_x509().unwrap().raw_serial().to_vec()
    }

    #[test]
    fn the_same_on_the_same_terms_is_the_same_certificate() {
        let wanted = Request::new("jane", Usage::Client);
        let text = SigningRequest::create(&wanted, &generate_key().unwrap()).unwrap();
        let request = SigningRequest::parse(text.as_bytes()).unwrap();
        let terms = terms(&["client auth"]);
        let one = authority(1).sign(&request, &terms).unwrap();
        assert_eq!(authority(1).sign(&request, &terms).unwrap(), one);
        let later = Terms { not_before: "2026-01-01T00:00:01Z".parse().unwrap(), ..terms.clone() };
        let more = Terms { usages: vec!["client auth", "signing"], ..terms.clone() };
        let mut serials = vec![
            serial_of(&one),
            serial_of(&authority(2).sign(&request, &terms).unwrap()),
            serial_of(&authority(1).sign(&request, &later).unwrap()),
            serial_of(&authority(1).sign(&request, &more).unwrap()),
        ];
        assert!(serials.iter().all(|serial| serial.len() == 16), "{serials:?}");
        serials.sort();
        serials.dedup();
        assert_eq!(serials.len(), 4, "another for whatever differs");
    }

    #[test]
    fn what_cannot_be_signed_is_refused() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let authority = Authority::generate("kubernetes", now).unwrap();
        let text =
            SigningRequest::create(&Request::new("a", Usage::Client), &generate_key().unwrap());
        let text = text.unwrap();
        let request = SigningRequest::parse(text.as_bytes()).unwrap();
        let error = authority.sign(&request, &terms(&["nonsense"])).unwrap_err().to_string();
        assert!(error.ends_with("unrecognized usage values: [\"nonsense\"]"), "{error}");
        assert!(SigningRequest::parse(authority.certificate().as_bytes()).is_err());
    }
}
