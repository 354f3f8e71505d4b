//! The keys and certificates of a cluster, kept in a directory.

mod kubeconfigs;

pub use kubeconfigs::Kubeconfigs;

use jiff::Timestamp;
use kubeplane_core::auth::{GROUP_AUTHENTICATED, GROUP_MASTERS, UserInfo};
use kubeplane_pki::{
    Authority, Error, Identity, Kubeconfig, KubeconfigUser, Leaf, LiveIdentity, PkiDir, Request,
    Usage, inspect,
};
use parking_lot::Mutex;
use std::{net::IpAddr, path::Path, sync::Arc};

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

/// The name of the API server's serving certificate in the directory.
const SERVING: &str = "apiserver";
/// The name of the API server's certificate for kubelets there.
const KUBELET_CLIENT_LEAF: &str = "apiserver-kubelet-client";
/// The name of the administrator's certificate there.
const ADMIN: &str = "admin";

/// Made at first start and kept; certificates are made anew when they near their end: when they are opened, and
/// while a [`Renewal`](crate::renewal::Renewal) calls [`renew`](Self::renew). The API server's certificate is
/// good for the names and addresses given here, a kubelet's for its node's.
#[derive(Debug)]
pub struct Credentials {
    authority: Authority,
    front_proxy_authority: Authority,
    directory: PkiDir,
    /// The API server's serving certificate, as it was when this was opened.
    pub serving: Identity,
    /// The API server's client certificate for kubelets, as it was when this was opened.
    pub kubelet_client: Identity,
    /// The API server's client certificate for extension API servers, as it was when this was opened.
    pub front_proxy: Identity,
    /// The administrator's client certificate, as it was when this was opened.
    pub admin: Identity,
    /// The key that signs service account tokens, PEM.
    pub service_account_key: String,
    serving_request: Request,
    state: Mutex<State>,
}

/// What changes while certificates are renewed.
#[derive(Debug)]
struct State {
    now: Timestamp,
    live: Vec<Live>,
    /// The administrator's certificate, once it was renewed.
    admin: Option<Identity>,
}

/// A certificate that is in use and renewed there.
#[derive(Debug)]
struct Live {
    name: &'static str,
    request: Request,
    front_proxy: bool,
    shown: Arc<LiveIdentity>,
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
        let leaf =
            |name: &str, request: Request| directory.leaf(&authority, &Leaf { name, request }, now);
        Ok(Self {
            serving: leaf(SERVING, serving.clone())?,
            kubelet_client: leaf(KUBELET_CLIENT_LEAF, Request::new(KUBELET_CLIENT, Usage::Client))?,
            front_proxy: directory.leaf(&front_proxy_authority, &front_proxy, now)?,
            admin: leaf(ADMIN, administrator())?,
            service_account_key: directory.key("sa")?,
            authority,
            front_proxy_authority,
            directory,
            serving_request: serving,
            state: Mutex::new(State { now, live: Vec::new(), admin: None }),
        })
    }

    /// The API server's serving certificate for its listener, which [`renew`](Self::renew) replaces. One that
    /// somebody put in [`serving`](Self::serving) stays as it is.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn live_serving(&self) -> Result<Arc<LiveIdentity>, Error> {
        self.live(SERVING, self.serving_request.clone(), &self.serving, false)
    }

    /// The API server's client certificate for kubelets, which [`renew`](Self::renew) replaces.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn live_kubelet_client(&self) -> Result<Arc<LiveIdentity>, Error> {
        let request = Request::new(KUBELET_CLIENT, Usage::Client);
        self.live(KUBELET_CLIENT_LEAF, request, &self.kubelet_client, false)
    }

    /// The API server's client certificate for extension API servers, which [`renew`](Self::renew) replaces.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn live_front_proxy(&self) -> Result<Arc<LiveIdentity>, Error> {
        let request = Request::new(FRONT_PROXY, Usage::Client);
        self.live(FRONT_PROXY, request, &self.front_proxy, true)
    }

    /// As [`kubelet_serving`](Self::kubelet_serving), of a kubelet in this process: [`renew`](Self::renew)
    /// replaces it.
    ///
    /// # Errors
    /// When files cannot be read or written.
    pub fn live_kubelet_serving(
        &self,
        node: &str,
        addresses: &[IpAddr],
    ) -> Result<Arc<LiveIdentity>, Error> {
        let identity = self.kubelet_serving(node, addresses)?;
        self.live("kubelet", kubelet(node, addresses), &identity, false)
    }

    fn live(
        &self,
        name: &'static str,
        request: Request,
        identity: &Identity,
        front_proxy: bool,
    ) -> Result<Arc<LiveIdentity>, Error> {
        let mut state = self.state.lock();
        let same = |live: &&Live| live.name == name && live.request == request;
        if let Some(live) = state.live.iter().find(same) {
            return Ok(live.shown.clone());
        }
        let shown = Arc::new(LiveIdentity::new(identity.clone())?);
        // What another authority signed is renewed by whoever brought it.
        if self.authority_of(front_proxy).has_signed(&identity.certificate) {
            let live = Live { name, request, front_proxy, shown: shown.clone() };
            state.live.push(live);
        }
        Ok(shown)
    }

    fn authority_of(&self, front_proxy: bool) -> &Authority {
        if front_proxy { &self.front_proxy_authority } else { &self.authority }
    }

    /// Makes those certificates anew that are in use here (`live_...`) and near their end at `now`, in the
    /// directory and where they are shown. Returns their names. For clients' see [`Kubeconfigs::renew`].
    ///
    /// # Errors
    /// When one cannot be made or written; the others were looked after.
    pub fn renew(&self, now: Timestamp) -> Result<Vec<String>, Error> {
        let mut state = self.state.lock();
        state.now = now;
        let mut renewed = Vec::new();
        let mut outcome = Ok(());
        for live in state.live.iter().filter(|live| live.shown.is_due(now)) {
            let authority = self.authority_of(live.front_proxy);
            let leaf = Leaf { name: live.name, request: live.request.clone() };
            let next = self.directory.leaf(authority, &leaf, now);
            match next.and_then(|identity| live.shown.set(identity)) {
                Ok(()) => renewed.push(live.name.to_owned()),
                Err(error) => outcome = Err(error),
            }
        }
        outcome.map(|()| renewed)
    }

    /// The administrator's certificate, renewed if it nears its end.
    fn renew_admin(&self) -> Result<(), Error> {
        let mut state = self.state.lock();
        let leaf = Leaf { name: ADMIN, request: administrator() };
        state.admin = Some(self.directory.leaf(&self.authority, &leaf, state.now)?);
        Ok(())
    }

    /// Which authorities end within `within` of `now`, and when: everything they signed ends with them, and new
    /// ones are for people to bring.
    #[must_use]
    pub fn authorities_ending(
        &self,
        now: Timestamp,
        within: jiff::SignedDuration,
    ) -> Vec<(&'static str, Timestamp)> {
        let all = [("ca", &self.authority), ("front-proxy-ca", &self.front_proxy_authority)];
        let ends = all.into_iter().filter_map(|(name, authority)| {
            Some((name, inspect(authority.certificate()).ok()?.not_after))
        });
        ends.filter(|(_, end)| end.duration_since(now) < within).collect()
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
        let leaf = Leaf { name: "kubelet", request: kubelet(node, addresses) };
        self.directory.leaf(&self.authority, &leaf, self.now())
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
            self.directory.leaf(&self.authority, &Leaf { name: file, request }, self.now())?;
        Ok(self.kubeconfig(&user.name, identity, server))
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn admin_kubeconfig(&self, server: &str) -> Kubeconfig {
        let renewed = self.state.lock().admin.clone();
        self.kubeconfig("kubernetes-admin", renewed.unwrap_or_else(|| self.admin.clone()), server)
    }

    /// The time of the last look at the certificates.
    fn now(&self) -> Timestamp {
        self.state.lock().now
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

fn administrator() -> Request {
    Request::new("kubernetes-admin", Usage::Client).organization(GROUP_MASTERS)
}

fn kubelet(node: &str, addresses: &[IpAddr]) -> Request {
    Request::new(format!("system:node:{node}"), Usage::Server)
        .names([node])
        .addresses(addresses.iter().copied())
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
