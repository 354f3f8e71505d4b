//! The ways from the API server to nodes, which are cut with those from the nodes to it.

use super::faults::Faults;
use crate::credentials::node_user;
use async_trait::async_trait;
use kubeplane_apiserver::CutOff;
use kubeplane_handlers::{Connection, Dial, Tcp};
use std::io;

/// Reaches the nodes that are not cut off; connections to those that are end.
#[derive(Debug)]
pub(super) struct Ways(pub(super) Faults);

#[async_trait]
impl Dial for Ways {
    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Connection>> {
        Tcp.connect(host, port).await
    }

    async fn connect_node(
        &self,
        node: &str,
        host: &str,
        port: u16,
    ) -> io::Result<Box<dyn Connection>> {
        let user = node_user(node).name;
        // From here on no cut is missed.
        let cut = CutOff::when(self.0.cut_of(user.clone()));
        if self.0.is_cut(&user) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "connection timed out"));
        }
        Ok(Box::new(cut.guard(Tcp.connect(host, port).await?)))
    }
}
