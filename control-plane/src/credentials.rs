//! The keys and certificates of a cluster, kept in a directory.

use jiff::Timestamp;
use kubeplane_core::auth::{GROUP_AUTHENTICATED, GROUP_MASTERS, UserInfo};
use kubeplane_pki::{
    Authority, Error, Identity, Kubeconfig, KubeconfigUser, Leaf, PkiDir, Request, Usage,
};
use std::{net::IpAddr, path::Path};

/// The user name of the scheduler.
pub const SCHEDULER: &str = "system:kube-scheduler";
/// The user name of the controller manager.
pub const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
/// The user name of the service proxy.
pub const PROXY: &str = "system:kube-proxy";
/// The user name of the API server where it is a client of kubelets.
pub const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";
/// The name by which extension API servers know the API server in front of them.
pub const FRONT_PROXY: &str = "front-proxy-client";

/// Made at first start and kept; certificates are made anew when they near their end. The API server's
/// certificate is good for the names and addresses given here, a kubelet's for its node's.
#[derive(Debug)]
pub struct Credentials {
    authority: Authority,
    front_proxy_authority: Authority,
    directory: PkiDir,
    /// The API server's serving certificate.
    pub serving: Identity,
    /// The API server's client certificate for kubelets.
    pub kubelet_client: Identity,
    /// The API server's client certificate for extension API servers.
    pub front_proxy: Identity,
    /// The administrator's client certificate.
    pub admin: Identity,
    /// The key that signs service account tokens, PEM.
    pub service_account_key: String,
    now: Timestamp,
}

impl Credentials {
    /// Opens the directory, making what is missing.
    ///
    /// # Errors
    /// When files cannot be read, written or parsed.
    pub fn open(
        directory: &Path,
        names: &[String],
        addresses: &[IpAddr],
        now: Timestamp,
    ) -> Result<Self, Error> {
        Self::in_directory(PkiDir::open(directory)?, names, addresses, now)
    }

    /// As [`open`](Self::open), of a directory that is open.
    ///
    /// # Errors
    /// When files cannot be read, written or parsed.
    pub fn in_directory(
        directory: PkiDir,
        names: &[String],
        addresses: &[IpAddr],
        now: Timestamp,
    ) -> Result<Self, Error> {
        let authority = directory.authority("ca", "kubernetes", now)?;
        let front_proxy_authority = directory.authority("front-proxy-ca", "front-proxy-ca", now)?;
        let front_proxy = Request::new(FRONT_PROXY, Usage::Client);
        let front_proxy = Leaf { name: FRONT_PROXY, request: front_proxy };
        let inside = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ];
        let serving = Request::new("kube-apiserver", Usage::Server)
            .names(inside)
            .names(names.iter().cloned())
            .addresses(addresses.iter().copied());
        let admin =
            Request::new("kubernetes-admin", Usage::Client).organization(GROUP_MASTERS.to_owned());
        let leaf =
            |name: &str, request: Request| directory.leaf(&authority, &Leaf { name, request }, now);
        Ok(Self {
            serving: leaf("apiserver", serving)?,
            kubelet_client: leaf(
                "apiserver-kubelet-client",
                Request::new(KUBELET_CLIENT, Usage::Client),
            )?,
            front_proxy: directory.leaf(&front_proxy_authority, &front_proxy, now)?,
            admin: leaf("admin", admin)?,
            service_account_key: directory.key("sa")?,
            authority,
            front_proxy_authority,
            directory,
            now,
        })
    }

    /// The cluster's authority, PEM.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.authority.certificate()
    }

    /// The authority of the API server's certificate for extension API servers, PEM; nobody else has one of it.
    #[must_use]
    pub fn front_proxy_authority(&self) -> &str {
        self.front_proxy_authority.certificate()
    }

    /// The private key of the cluster's authority, PEM.
    #[must_use]
    pub fn authority_key(&self) -> String {
        self.authority.key()
    }

    /// The serving certificate of a node's kubelet.
    ///
    /// # Errors
    /// When files cannot be read or written.
    pub fn kubelet_serving(&self, node: &str, addresses: &[IpAddr]) -> Result<Identity, Error> {
        let request = Request::new(format!("system:node:{node}"), Usage::Server)
            .names([node])
            .addresses(addresses.iter().copied());
        self.directory.leaf(&self.authority, &Leaf { name: "kubelet", request }, self.now)
    }

    /// A kubeconfig of a component, with a client certificate of its own.
    ///
    /// # Errors
    /// When files cannot be read or written.
    pub fn component(
        &self,
        user: &UserInfo,
        file: &str,
        server: &str,
    ) -> Result<Kubeconfig, Error> {
        let mut request = Request::new(&user.name, Usage::Client);
        if let Some(group) = user.groups.iter().find(|group| *group != GROUP_AUTHENTICATED) {
            request = request.organization(group);
        }
        let identity =
            self.directory.leaf(&self.authority, &Leaf { name: file, request }, self.now)?;
        Ok(self.kubeconfig(&user.name, identity, server))
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn admin_kubeconfig(&self, server: &str) -> Kubeconfig {
        self.kubeconfig("kubernetes-admin", self.admin.clone(), server)
    }

    fn kubeconfig(&self, user: &str, identity: Identity, server: &str) -> Kubeconfig {
        Kubeconfig {
            cluster: "kubeplane".into(),
            server: server.to_owned(),
            authority: self.authority().to_owned(),
            user: user.to_owned(),
            credentials: KubeconfigUser::Certificate(identity),
        }
    }
}

/// A component as the API server sees it.
#[must_use]
pub fn component_user(name: &str) -> UserInfo {
    UserInfo::new(name, [GROUP_AUTHENTICATED])
}

/// A node's kubelet as the API server sees it.
#[must_use]
pub fn node_user(node: &str) -> UserInfo {
    UserInfo::new(format!("system:node:{node}"), ["system:nodes", GROUP_AUTHENTICATED])
}

/// A built-in controller as the API server sees it: a service account in `kube-system`.
#[must_use]
pub fn controller_user(controller: &str) -> UserInfo {
    UserInfo::new(
        format!("system:serviceaccount:kube-system:{controller}"),
        ["system:serviceaccounts", "system:serviceaccounts:kube-system", GROUP_AUTHENTICATED],
    )
}
