//! Making nodes, making them ready, and renewing their leases.

use super::{AT_ONCE, Shared, retry};
use crate::{NodeGroup, node};
use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use kubeplane_core::component::ComponentError;
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// How often a lease is renewed.
const RENEWAL: Duration = Duration::from_secs(10);
/// After how long without a renewal a node may have been given up, and says anew how it is.
const LAPSED: Duration = Duration::from_secs(30);
/// How long until a node is tried to be written again: doubled each time, at most the other.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// In how many parts of that time the leases take turns.
const TURNS: usize = 20;

impl Shared {
    /// All nodes with their leases, by several tasks that take turns.
    pub(super) async fn make_nodes(self: &Arc<Self>) -> Result<(), ComponentError> {
        let mut makers = JoinSet::new();
        for first in 0..AT_ONCE {
            let shared = self.clone();
            makers.spawn(async move {
                for (group, number) in shared.nodes().into_iter().skip(first).step_by(AT_ONCE) {
                    shared.again(|| shared.make_node(group, number)).await?;
                }
                Ok::<_, kube::Error>(())
            });
        }
        while let Some(made) = makers.join_next().await {
            made??;
        }
        Ok(())
    }

    /// Tries until it is done, or until another try would do no better.
    async fn again<F>(&self, attempt: impl Fn() -> F) -> kube::Result<()>
    where
        F: Future<Output = kube::Result<()>>,
    {
        let mut pause = FIRST_PAUSE;
        loop {
            match attempt().await {
                Err(error) if retry(&error) => {
                    tracing::debug!(%error, "a node is not written");
                    self.clock.sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                other => return other,
            }
        }
    }

    async fn make_node(&self, group: &NodeGroup, number: u32) -> kube::Result<()> {
        let name = node::name(group, number);
        let now = self.now(&name);
        let node = node::node(group, number, now).map_err(kube::Error::SerdeError)?;
        match self.writer.create_node(&name, &node).await {
            // It was there when this ran before.
            Err(error) if exists(&error) => {
                let status = json!({"status": node.status});
                self.writer.patch_node_status(&name, status).await?;
            }
            other => other?,
        }
        let lease = node::lease(&name, now).map_err(kube::Error::SerdeError)?;
        match self.writer.create_lease(&name, &lease).await {
            Err(error) if exists(&error) => self.renew_lease(&name).await,
            other => other,
        }
    }

    async fn renew_lease(&self, name: &str) -> kube::Result<()> {
        self.writer.patch_lease(name, node::renewal(self.now(name))).await
    }

    /// Renews the lease of a node; one that was not heard of for long says how it is, as a kubelet does.
    async fn keep(&self, node: &mut Renewed) -> kube::Result<()> {
        self.renew_lease(&node.name).await?;
        let now = self.clock.elapsed();
        if now.saturating_sub(node.last) > LAPSED {
            self.report(&node.name, now >= node.ready_from).await?;
        }
        node.last = now;
        Ok(())
    }

    /// Its turn to be kept; what fails is done at the next.
    async fn turn(&self, place: usize, mut node: Renewed) -> (usize, Renewed) {
        if let Err(error) = self.keep(&mut node).await {
            tracing::debug!(node = node.name, %error, "lease not renewed");
        }
        (place, node)
    }

    /// Makes the nodes of a group ready when their time has come. One that cannot be written holds up no other.
    async fn make_ready(&self, group: &NodeGroup) {
        self.clock.sleep(group.ready_delay).await;
        let mut left: Vec<_> = (1..=group.count).map(|number| node::name(group, number)).collect();
        let mut pause = FIRST_PAUSE;
        loop {
            let (mut again, mut under_way) = (Vec::new(), FuturesUnordered::new());
            for name in left {
                under_way.push(self.try_ready(name));
                if under_way.len() >= AT_ONCE {
                    again.extend(under_way.next().await.flatten());
                }
            }
            while let Some(name) = under_way.next().await {
                again.extend(name);
            }
            if again.is_empty() {
                return;
            }
            left = again;
            self.clock.sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The name of the node if that is to be tried again.
    async fn try_ready(&self, name: String) -> Option<String> {
        match self.report(&name, true).await {
            Ok(()) => None,
            Err(error) if retry(&error) => Some(name),
            Err(error) => {
                // One that somebody deleted meanwhile never is.
                tracing::warn!(node = name, %error, "not made ready");
                None
            }
        }
    }

    /// Writes the conditions of a node.
    async fn report(&self, name: &str, ready: bool) -> kube::Result<()> {
        let conditions = node::conditions(ready, self.now(name));
        self.writer.patch_node_status(name, json!({"status": {"conditions": conditions}})).await
    }
}

fn exists(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.reason == "AlreadyExists")
}

/// A node whose lease is renewed.
struct Renewed {
    name: String,
    ready_from: Duration,
    /// When that was last done.
    last: Duration,
}

/// Renews all leases again and again, a part at a time. One that takes its time holds up no other.
pub(super) async fn renew(shared: Arc<Shared>) {
    let start = shared.clock.elapsed();
    let renewed = |(group, number): (&NodeGroup, u32)| Renewed {
        name: node::name(group, number),
        ready_from: start.saturating_add(group.ready_delay),
        last: start,
    };
    let nodes = shared.nodes().into_iter().map(renewed);
    let mut nodes: Vec<Option<Renewed>> = nodes.map(Some).collect();
    if nodes.is_empty() {
        return;
    }
    let part = nodes.len().div_ceil(TURNS).max(1);
    let turns = u32::try_from(nodes.len().div_ceil(part)).unwrap_or(1).max(1);
    let mut under_way = FuturesUnordered::new();
    loop {
        for first in (0..nodes.len()).step_by(part) {
            let mut pause = shared.clock.sleep(RENEWAL / turns);
            loop {
                tokio::select! {
                    biased;
                    Some((place, node)) = under_way.next() => nodes[place] = Some(node),
                    () = &mut pause => break,
                }
            }
            for place in first..nodes.len().min(first + part) {
                // One whose last renewal is still under way has no turn.
                let Some(node) = nodes[place].take() else { continue };
                under_way.push(shared.turn(place, node));
                if under_way.len() >= AT_ONCE
                    && let Some((place, node)) = under_way.next().await
                {
                    nodes[place] = Some(node);
                }
            }
        }
    }
}

/// Makes nodes ready whose group says that it takes them a while.
pub(super) async fn ready_late(shared: Arc<Shared>) {
    let late: Vec<_> =
        shared.simulation.nodes.iter().filter(|group| !group.ready_delay.is_zero()).collect();
    join_all(late.into_iter().map(|group| shared.make_ready(group))).await;
}
