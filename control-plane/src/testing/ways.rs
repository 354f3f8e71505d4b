//! The ways from the API server to nodes, which are cut with those from the nodes to it.

use super::{assembly::simulated, faults::Faults};
use crate::{credentials::node_user, ways::Ways};
use async_trait::async_trait;
use futures::future::{BoxFuture, FutureExt};
use kubeplane_apiserver::CutOff;
use kubeplane_handlers::{Connection, Dial, Tcp};
use kubeplane_simulated::Simulation;
use std::io;

/// Reaches the nodes that are not cut off; connections to those that are end.
#[derive(Debug)]
pub(super) struct NodeWays {
    pub(super) faults: Faults,
    pub(super) simulation: Simulation,
}

impl NodeWays {
    /// The user that a node is, and as which it is cut off.
    fn user(&self, node: &str) -> String {
        match self.simulation.has_node(node) {
            true => simulated(node).name,
            false => node_user(node).name,
        }
    }
}

impl Ways for NodeWays {
    fn is_cut(&self, node: &str) -> bool {
        self.faults.is_cut(&self.user(node))
    }

    fn cut(&self, node: &str) -> BoxFuture<'static, ()> {
        self.faults.cut_of(self.user(node)).boxed()
    }
}

#[async_trait]
impl Dial for NodeWays {
    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Connection>> {
        Tcp.connect(host, port).await
    }

    async fn connect_node(
        &self,
        node: &str,
        host: &str,
        port: u16,
    ) -> io::Result<Box<dyn Connection>> {
        // From here on no cut is missed.
        let cut = CutOff::when(self.cut(node));
        if self.is_cut(node) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "connection timed out"));
        }
        if self.simulation.has_node(node) {
            // Whoever has its address outside of the test is somebody else.
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused"));
        }
        Ok(Box::new(cut.guard(Tcp.connect(host, port).await?)))
    }
}
