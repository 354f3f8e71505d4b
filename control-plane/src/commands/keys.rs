//! What controllers sign with and publish: of files that flags name, else of the data directory and the kubeconfig.

use crate::cli::ControllersArgs;
use anyhow::Context as _;
use kubeplane::{auth::X509, clock, pki::Authority, signing::SecretTokens};
use std::{fs, path::Path};

/// Keys and certificates, PEM.
pub(super) struct Keys {
    /// What pods believe the API server by.
    pub(super) root_ca: String,
    /// The authority that signs; empty when there is none.
    pub(super) certificate: String,
    /// Its key; without it no certificate is signed.
    pub(super) key: Option<String>,
    /// What single signers sign with instead.
    pub(super) signers: Vec<(&'static str, Authority)>,
    /// What tokens are signed with; without it none is.
    pub(super) account_key: Option<String>,
}

fn text(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| file.display().to_string())
}

impl Keys {
    /// What there is; `trusted` is what the kubeconfig trusts, PEM.
    pub(super) fn read(args: &ControllersArgs, trusted: &str) -> anyhow::Result<Self> {
        let own = &args.manager;
        let pki = args.component.data_dir.join("pki");
        let kept = |file: &str| fs::read_to_string(pki.join(file)).ok();
        let root_ca = match &own.root_ca_file {
            Some(file) => {
                let root = text(file).context("error reading root-ca-file")?;
                let place = || format!("error parsing root-ca-file at {}", file.display());
                X509::from_pem(&root, clock::real()).with_context(place)?;
                root
            }
            None => trusted.to_owned(),
        };
        let mut signers = Vec::new();
        for (signer, certificate, key) in own.signers.files() {
            let authority = Authority::from_pem(&text(certificate)?, &text(key)?);
            signers.push((signer, authority.with_context(|| certificate.display().to_string())?));
        }
        let named = (&own.cluster_signing_cert_file, &own.cluster_signing_key_file);
        let (certificate, key) = match named {
            (Some(certificate), Some(key)) => {
                let (certificate, key) = (text(certificate)?, text(key)?);
                Authority::from_pem(&certificate, &key).context("--cluster-signing-cert-file")?;
                (certificate, Some(key))
            }
            _ if !signers.is_empty() => (String::new(), None),
            _ => (kept("ca.crt").unwrap_or_default(), kept("ca.key")),
        };
        let account_key = match &own.service_account_private_key_file {
            Some(file) => {
                let key = text(file)?;
                let what = "error reading key for service account token controller";
                SecretTokens::new(&key, clock::real()).context(what)?;
                Some(key)
            }
            None => kept("sa.key"),
        };
        Ok(Self { root_ca, certificate, key, signers, account_key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;
    use kubeplane::pki;

    fn keys(flags: &[String]) -> anyhow::Result<Keys> {
        let line = ["kubeplane", "controllers", "--kubeconfig=k"].map(str::to_owned);
        let Some(Command::Controllers(args)) =
            Cli::try_parse_from(line.iter().chain(flags))?.command
        else {
            anyhow::bail!("another command");
        };
        Keys::read(&args, "trusted")
    }

    #[test]
    fn files_that_are_named_come_before_those_that_are_kept() {
        let home = tempfile::tempdir().unwrap();
        let authority = |name: &str| Authority::generate(name, clock::real().now()).unwrap();
        let (kept, named) = (authority("kept"), authority("named"));
        let write = |name: &str, text: &str| {
            let file = home.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, text).unwrap();
            file.display().to_string()
        };
        write("pki/ca.crt", kept.certificate());
        write("pki/ca.key", &kept.key());
        let data = format!("--data-dir={}", home.path().display());
        let found = keys(std::slice::from_ref(&data)).unwrap();
        assert_eq!(
            (found.certificate.as_str(), found.root_ca.as_str()),
            (kept.certificate(), "trusted")
        );
        assert_eq!((found.key, found.account_key), (Some(kept.key()), None));

        let account = pki::generate_key().unwrap();
        let certificate = write("ca.crt", named.certificate());
        let all = [
            data.clone(),
            format!("--cluster-signing-cert-file={certificate}"),
            format!("--cluster-signing-key-file={}", write("ca.key", &named.key())),
            format!("--root-ca-file={certificate}"),
            format!("--service-account-private-key-file={}", write("sa.key", &account)),
        ];
        let found = keys(&all).unwrap();
        assert_eq!(found.certificate, named.certificate());
        assert_eq!(found.root_ca, named.certificate());
        assert_eq!((found.key, found.account_key), (Some(named.key()), Some(account)));

        let own = [
            data.clone(),
            format!("--cluster-signing-kubelet-serving-cert-file={certificate}"),
            format!("--cluster-signing-kubelet-serving-key-file={}", write("ca.key", &named.key())),
        ];
        let found = keys(&own).unwrap();
        let [(signer, authority)] = found.signers.as_slice() else { panic!("one signer") };
        assert_eq!(*signer, "kubernetes.io/kubelet-serving");
        assert_eq!(authority.certificate(), named.certificate());
        assert_eq!(found.key, None, "the others sign nothing");

        for flag in ["root-ca-file", "service-account-private-key-file"] {
            for file in [write("nonsense", "nonsense"), "/nowhere/at/all".to_owned()] {
                assert!(
                    keys(&[data.clone(), format!("--{flag}={file}")]).is_err(),
                    "{flag} {file}"
                );
            }
        }
    }
}
