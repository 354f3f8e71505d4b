//! Flags of what controllers sign with, work as and are seen by, with the original's names.

use super::{ignored::IgnoredArgs, signers::SignerArgs};
use clap::{ArgAction, Args};
use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

/// What the manager of the controllers needs to know.
#[derive(Debug, Clone, Args)]
pub(crate) struct ManagerArgs {
    /// Whether each controller works as a service account of its own; otherwise all work as the kubeconfig's user, who needs
    /// the rights for it.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true")]
    pub(crate) use_service_account_credentials: bool,
    /// The address of --listen.
    #[arg(long, value_name = "ADDRESS")]
    bind_address: Option<IpAddr>,
    /// The port of --listen; with 0 neither health nor metrics are served.
    #[arg(long, value_name = "PORT")]
    secure_port: Option<u16>,
    /// The authority (PEM) that certificates are signed with which are asked for through the API; by default that of the data
    /// directory, if its key is there.
    #[arg(long, value_name = "FILE", requires = "cluster_signing_key_file")]
    pub(crate) cluster_signing_cert_file: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, value_name = "FILE", requires = "cluster_signing_cert_file")]
    pub(crate) cluster_signing_key_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) signers: SignerArgs,
    /// The authorities (PEM) that pods believe the API server by; by default those that the kubeconfig trusts.
    #[arg(long, value_name = "FILE")]
    pub(crate) root_ca_file: Option<PathBuf>,
    /// The key (PEM) that tokens in Secrets are signed with; by default that of the data directory, if it is there.
    #[arg(long, value_name = "FILE")]
    pub(crate) service_account_private_key_file: Option<PathBuf>,
    /// Tokens of those who ask for metrics are reviewed as the user of --kubeconfig: the same file.
    #[arg(long, value_name = "FILE")]
    authentication_kubeconfig: Option<PathBuf>,
    /// What they may is asked for as that user, too: the same file.
    #[arg(long, value_name = "FILE")]
    authorization_kubeconfig: Option<PathBuf>,
    /// Who looks after the cloud: nobody, or somebody else (external).
    #[arg(long, value_name = "NAME", default_value = "")]
    cloud_provider: String,
    /// There is none: false is all that may be said.
    #[arg(long, value_name = "BOOL", default_value_t = false, action = ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true")]
    enable_hostpath_provisioner: bool,
    #[command(flatten)]
    ignored: IgnoredArgs,
}

impl ManagerArgs {
    /// Where health and metrics are served, if they are.
    pub(crate) fn listen(&self, usual: SocketAddr) -> Option<SocketAddr> {
        let port = self.secure_port.unwrap_or(usual.port());
        let address = self.bind_address.unwrap_or(usual.ip());
        (self.secure_port != Some(0)).then(|| SocketAddr::new(address, port))
    }

    /// What was said in vain.
    pub(crate) fn ignored(&self) -> Vec<&'static str> {
        self.ignored.said()
    }

    /// Tells what cannot be done.
    pub(crate) fn check(&self, kubeconfig: &Path) -> Result<(), String> {
        for (flag, file) in [
            ("authentication-kubeconfig", &self.authentication_kubeconfig),
            ("authorization-kubeconfig", &self.authorization_kubeconfig),
        ] {
            if file.as_deref().is_some_and(|file| file != kubeconfig) {
                return Err(format!("--{flag} must be the same as --kubeconfig"));
            }
        }
        self.signers.check(self.cluster_signing_cert_file.is_some())?;
        let provider = self.cloud_provider.as_str();
        if !matches!(provider, "" | "external") {
            return Err(format!(
                "cloud provider {provider:?} was specified, but built-in cloud providers are disabled. \
                 Please set --cloud-provider=external and migrate to an external cloud provider"
            ));
        }
        if self.enable_hostpath_provisioner {
            return Err(
                "--enable-hostpath-provisioner is not offered; local-path-provisioner makes \
                volumes of directories"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::{Cli, Command, ControllersArgs};
    use clap::Parser as _;

    /// What the static pod says that kubeadm makes.
    const KUBEADM: [&str; 17] = [
        "--allocate-node-cidrs=true",
        "--authentication-kubeconfig=/etc/kubernetes/controller-manager.conf",
        "--authorization-kubeconfig=/etc/kubernetes/controller-manager.conf",
        "--bind-address=127.0.0.1",
        "--client-ca-file=/etc/kubernetes/pki/ca.crt",
        "--cluster-cidr=10.244.0.0/16",
        "--cluster-name=kubernetes",
        "--cluster-signing-cert-file=/etc/kubernetes/pki/ca.crt",
        "--cluster-signing-key-file=/etc/kubernetes/pki/ca.key",
        "--controllers=*,bootstrapsigner,tokencleaner",
        "--kubeconfig=/etc/kubernetes/controller-manager.conf",
        "--leader-elect=true",
        "--requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca.crt",
        "--root-ca-file=/etc/kubernetes/pki/ca.crt",
        "--service-account-private-key-file=/etc/kubernetes/pki/sa.key",
        "--service-cluster-ip-range=10.96.0.0/12",
        "--use-service-account-credentials=true",
    ];

    fn line(flags: &[&str]) -> Result<ControllersArgs, String> {
        let line = ["kubeplane", "controllers"].iter().chain(flags);
        match Cli::try_parse_from(line).map_err(|error| error.to_string())?.command {
            Some(Command::Controllers(args)) => Ok(*args),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn what_kubeadm_says_is_taken() {
        let args = line(&KUBEADM).unwrap();
        args.manager.check(&args.component.kubeconfig).unwrap();
        let settings = args.settings.settings().unwrap();
        assert_eq!(settings.service_cluster_ip_ranges.len(), 1);
        assert_eq!(args.settings.cluster_cidrs().len(), 1);
        assert_eq!(args.manager.ignored(), ["cluster-name", "requestheader-client-ca-file"]);
        let listen = args.manager.listen(args.listen).unwrap();
        assert_eq!(listen.to_string(), "127.0.0.1:10257");
        assert_eq!(args.controllers, ["*", "bootstrapsigner", "tokencleaner"]);
    }

    #[test]
    fn where_it_is_served_is_for_either_flag_to_say() {
        let listen = |flags: &[&str]| {
            let all = [&["--kubeconfig=k"][..], flags].concat();
            let args = line(&all).unwrap();
            args.manager.listen(args.listen).map(|address| address.to_string())
        };
        assert_eq!(listen(&[]).as_deref(), Some("127.0.0.1:10257"));
        let said = listen(&["--bind-address=0.0.0.0", "--secure-port=10300", "--leader-elect"]);
        assert_eq!(said.as_deref(), Some("0.0.0.0:10300"));
        assert_eq!(listen(&["--secure-port=0"]), None);
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for (flag, error) in [
            (
                "--authorization-kubeconfig=other",
                "--authorization-kubeconfig must be the same as --kubeconfig",
            ),
            (
                "--cloud-provider=aws",
                "cloud provider \"aws\" was specified, but built-in cloud providers are disabled. Please set --cloud-provider=external and migrate to an external cloud provider",
            ),
            (
                "--enable-hostpath-provisioner",
                "--enable-hostpath-provisioner is not offered; local-path-provisioner makes volumes of directories",
            ),
        ] {
            let args = line(&["--kubeconfig=k", flag]).unwrap();
            assert_eq!(args.manager.check(&args.component.kubeconfig).unwrap_err(), error);
        }
        let wrong =
            ["--leader-elect-resource-lock=endpoints", "--cluster-signing-cert-file=ca.crt"];
        for wrong in wrong {
            assert!(line(&["--kubeconfig=k", wrong]).is_err(), "{wrong}");
        }
        let external = line(&["--kubeconfig=k", "--cloud-provider=external", "-v=2"]).unwrap();
        external.manager.check(&external.component.kubeconfig).unwrap();
        assert_eq!(external.manager.ignored(), ["v"]);
    }
}
