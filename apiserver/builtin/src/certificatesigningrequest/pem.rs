//! PEM blocks of requests and certificates.

use base64::Engine as _;
use x509_parser::{
    certification_request::X509CertificationRequest,
    pem::Pem,
    prelude::{FromDer as _, X509Certificate},
};

/// The bytes of a field of bytes.
fn bytes(field: &str) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(field).unwrap_or_default()
}

/// What is wrong with a request, a PEM block in base64.
pub(super) fn request_problem(field: &str) -> Option<String> {
    let text = bytes(field);
    let block = Pem::iter_from_buffer(&text).find_map(Result::ok);
    let Some(block) = block.filter(|block| block.label == "CERTIFICATE REQUEST") else {
        return Some("PEM block type must be CERTIFICATE REQUEST".to_owned());
    };
    match X509CertificationRequest::from_der(&block.contents) {
        Err(error) => Some(format!("asn1: structure error: {error}")),
        Ok((rest, _)) if !rest.is_empty() => Some("asn1: syntax error: trailing data".to_owned()),
        Ok((_, request)) => request
            .verify_signature()
            .is_err()
            .then(|| "x509: signature verification failure".to_owned()),
    }
}

/// What is wrong with issued certificates, PEM blocks in base64; nothing at all is right.
pub(super) fn certificate_problem(field: &str) -> Option<String> {
    let text = bytes(field);
    if text.is_empty() {
        return None;
    }
    let mut blocks = 0;
    for block in Pem::iter_from_buffer(&text).map_while(Result::ok) {
        if block.label != "CERTIFICATE" {
            let label = block.label;
            return Some(format!("only CERTIFICATE PEM blocks are allowed, found {label:?}"));
        }
        if has_headers(&text, blocks) {
            return Some("no PEM block headers are permitted".to_owned());
        }
        blocks += 1;
        if block.contents.is_empty() {
            return Some("found CERTIFICATE PEM block containing 0 certificates".to_owned());
        }
        let mut rest = &*block.contents;
        while !rest.is_empty() {
            match X509Certificate::from_der(rest) {
                Ok((after, _)) => rest = after,
                Err(error) => return Some(format!("x509: malformed certificate: {error}")),
            }
        }
    }
    (blocks == 0).then(|| "must contain at least one CERTIFICATE PEM block".to_owned())
}

/// Whether the block of this number has headers: lines with a colon before its content.
fn has_headers(text: &[u8], block: usize) -> bool {
    let text = String::from_utf8_lossy(text);
    let after = text.match_indices("-----BEGIN ").nth(block).map(|(at, _)| &text[at..]);
    after.and_then(|text| text.lines().nth(1)).is_some_and(|line| line.contains(':'))
}
