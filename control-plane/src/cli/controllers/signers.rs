//! Flags of the authorities of single signers, with the original's names.

use clap::Args;
use std::path::{Path, PathBuf};

/// The files of one signer: certificate and key.
type Files<'a> = (Option<&'a Path>, Option<&'a Path>);

/// What signs for one signer each; when any is said, the others sign nothing.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SignerArgs {
    /// The authority (PEM) of kubernetes.io/kube-apiserver-client.
    #[arg(long, value_name = "FILE")]
    cluster_signing_kube_apiserver_client_cert_file: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, value_name = "FILE")]
    cluster_signing_kube_apiserver_client_key_file: Option<PathBuf>,
    /// The authority (PEM) of kubernetes.io/kube-apiserver-client-kubelet.
    #[arg(long, value_name = "FILE")]
    cluster_signing_kubelet_client_cert_file: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, value_name = "FILE")]
    cluster_signing_kubelet_client_key_file: Option<PathBuf>,
    /// The authority (PEM) of kubernetes.io/kubelet-serving.
    #[arg(long, value_name = "FILE")]
    cluster_signing_kubelet_serving_cert_file: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, value_name = "FILE")]
    cluster_signing_kubelet_serving_key_file: Option<PathBuf>,
    /// The authority (PEM) of kubernetes.io/legacy-unknown.
    #[arg(long, value_name = "FILE")]
    cluster_signing_legacy_unknown_cert_file: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, value_name = "FILE")]
    cluster_signing_legacy_unknown_key_file: Option<PathBuf>,
}

impl SignerArgs {
    /// The files of each signer, with what the original's errors call it.
    fn all(&self) -> [(&'static str, &'static str, Files<'_>); 4] {
        [
            (
                "kubernetes.io/kubelet-serving",
                "cluster-signing-kubelet-serving",
                (
                    self.cluster_signing_kubelet_serving_cert_file.as_deref(),
                    self.cluster_signing_kubelet_serving_key_file.as_deref(),
                ),
            ),
            (
                "kubernetes.io/kube-apiserver-client-kubelet",
                "cluster-signing-kube-apiserver-client",
                (
                    self.cluster_signing_kubelet_client_cert_file.as_deref(),
                    self.cluster_signing_kubelet_client_key_file.as_deref(),
                ),
            ),
            (
                "kubernetes.io/kube-apiserver-client",
                "cluster-signing-kube-apiserver",
                (
                    self.cluster_signing_kube_apiserver_client_cert_file.as_deref(),
                    self.cluster_signing_kube_apiserver_client_key_file.as_deref(),
                ),
            ),
            (
                "kubernetes.io/legacy-unknown",
                "cluster-signing-legacy-unknown",
                (
                    self.cluster_signing_legacy_unknown_cert_file.as_deref(),
                    self.cluster_signing_legacy_unknown_key_file.as_deref(),
                ),
            ),
        ]
    }

    /// Signers with the files of their certificates and keys.
    pub(crate) fn files(&self) -> Vec<(&'static str, &Path, &Path)> {
        let both = self.all().into_iter().filter_map(|(signer, _, files)| match files {
            (Some(certificate), Some(key)) => Some((signer, certificate, key)),
            _ => None,
        });
        both.collect()
    }

    /// Tells what is wrong, also with files for `all` signers.
    pub(super) fn check(&self, all: bool) -> Result<(), String> {
        let own = self.all();
        let mut wrong: Vec<_> = own
            .iter()
            .filter_map(|(_, name, files)| match files {
                (None, Some(_)) => Some(format!("{name:?}: cannot specify key without cert")),
                (Some(_), None) => Some(format!("{name:?}: cannot specify cert without key")),
                _ => None,
            })
            .collect();
        let any = own.iter().any(|(_, _, files)| files.0.is_some() || files.1.is_some());
        if all && any {
            let text = "cannot specify --cluster-signing-{cert,key}-file and other \
                        --cluster-signing-*-file flags at the same time";
            wrong.push(text.to_owned());
        }
        super::checks::joined(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signer_has_both_files_or_none() {
        let file = || Some(PathBuf::from("file"));
        let mut signers = SignerArgs::default();
        signers.check(true).unwrap();
        signers.cluster_signing_kubelet_serving_key_file = file();
        let error = signers.check(false).unwrap_err();
        assert_eq!(error, "\"cluster-signing-kubelet-serving\": cannot specify key without cert");
        assert!(signers.files().is_empty());
        signers.cluster_signing_kubelet_serving_cert_file = file();
        signers.check(false).unwrap();
        let [(signer, ..)] = signers.files()[..] else { panic!("one signer") };
        assert_eq!(signer, "kubernetes.io/kubelet-serving");
        let error = signers.check(true).unwrap_err();
        assert!(error.starts_with("cannot specify --cluster-signing-{cert,key}-file"), "{error}");
    }
}
