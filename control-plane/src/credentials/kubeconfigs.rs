use super::{ADMIN, CONTROLLER_MANAGER, Credentials, PROXY, SCHEDULER, component_user, node_user};
use kubeplane_core::auth::UserInfo;
use kubeplane_pki::Error;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

/// The kubeconfigs of a data directory: the administrator's, one of each component, and one of the kubelet of
/// each node that is named.
#[derive(Debug, Clone)]
pub struct Kubeconfigs {
    directory: PathBuf,
    nodes: Vec<String>,
}

impl Kubeconfigs {
    /// In this directory, as `admin.kubeconfig`, `scheduler.kubeconfig`, `controller-manager.kubeconfig`,
    /// `proxy.kubeconfig` and `kubelet-NODE.kubeconfig`.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, nodes: Vec<String>) -> Self {
        Self { directory: directory.into(), nodes }
    }

    /// The URL of a server that listens here, for those on the same machine.
    #[must_use]
    pub fn server(bound: SocketAddr) -> String {
        let host = match bound.ip() {
            ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            ip => ip,
        };
        format!("https://{}", SocketAddr::new(host, bound.port()))
    }

    /// Writes all, and says where the administrator's is.
    ///
    /// # Errors
    /// When files cannot be read or written.
    pub fn write(&self, credentials: &Credentials, server: &str) -> Result<PathBuf, Error> {
        let admin = self.path(ADMIN);
        credentials.admin_kubeconfig(server).write(&admin)?;
        for (file, user) in self.components() {
            credentials.component(&user, &file, server)?.write(&self.path(&file))?;
        }
        Ok(admin)
    }

    /// Writes those again whose certificates near their end at the time of the last [`Credentials::renew`], and
    /// those in `pending`; says which. The others stay as they are, also where somebody edited them. What fails
    /// is left in `pending`, to be given to the next call.
    ///
    /// # Errors
    /// When files cannot be read or written.
    pub fn renew(
        &self,
        credentials: &Credentials,
        pending: &mut Vec<String>,
        server: &str,
    ) -> Result<Vec<String>, Error> {
        let now = credentials.now();
        let mut files = vec![(ADMIN.to_owned(), None)];
        files.extend(self.components().into_iter().map(|(file, user)| (file, Some(user))));
        files.retain(|(file, _)| pending.contains(file) || credentials.directory.is_due(file, now));
        *pending = files.iter().map(|(file, _)| file.clone()).collect();
        let mut written = Vec::new();
        for (file, user) in files {
            let kubeconfig = match user {
                Some(user) => credentials.component(&user, &file, server)?,
                None => {
                    credentials.renew_admin()?;
                    credentials.admin_kubeconfig(server)
                }
            };
            kubeconfig.write(&self.path(&file))?;
            pending.retain(|other| *other != file);
            written.push(format!("{file}.kubeconfig"));
        }
        Ok(written)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.kubeconfig"))
    }

    /// The file's name without its ending, and whose it is.
    fn components(&self) -> Vec<(String, UserInfo)> {
        let mut components = vec![
            ("scheduler".to_owned(), component_user(SCHEDULER)),
            ("controller-manager".to_owned(), component_user(CONTROLLER_MANAGER)),
            ("proxy".to_owned(), component_user(PROXY)),
        ];
        for node in &self.nodes {
            components.push((format!("kubelet-{node}"), node_user(node)));
        }
        components
    }
}
