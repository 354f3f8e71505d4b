//! Devices, classes of them, and claims.

use super::super::{
    objects::devices::{self, Resources},
    rows,
};
use super::{Counter, Measured, PATIENCE, Run, create, failed, many};
use k8s_openapi::api::{
    core::v1::Pod,
    resource::v1::{DeviceClass, ResourceClaim, ResourceSlice},
};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PropagationPolicy};
use serde_json::json;
use std::time::{Duration, Instant};

/// Claims that have devices before are spread over all devices by this step; it divides no number of devices.
const STRIDE: usize = 7919;
/// The claim by which is seen that the scheduler knows all devices.
const PROBE: &str = "probe";

impl Run {
    /// So many devices on each of the nodes that there are, and a class of them all.
    pub(super) async fn devices(&mut self, each: usize) -> Result<(), String> {
        create(&self.all::<DeviceClass>(), devices::class()).await?;
        self.slices(self.nodes, each).await?;
        self.devices = self.nodes * each;
        Ok(())
    }

    /// The devices of the first so many nodes.
    async fn slices(&self, nodes: usize, each: usize) -> Result<(), String> {
        let slices = self.all::<ResourceSlice>();
        many(nodes, async |index| {
            create(&slices, devices::slice(&format!("node-{index}"), each)).await
        })
        .await
    }

    /// Classes that pods ask for by resources; never fewer, as pods count on their numbers.
    pub(super) async fn classes(&self, kind: Resources, count: usize) -> Result<(), String> {
        let classes = self.all::<DeviceClass>();
        many(count, async |index| create(&classes, kind.class(index)).await).await
    }

    /// Claims that have devices, but for as many as pods want at once.
    pub(super) async fn claims(&self, namespace: &str, count: usize) -> Result<(), String> {
        let all = self.devices;
        let count = self.scaled(count).min(all.saturating_sub(rows::AT_ONCE));
        let (claims, nodes) = (self.within::<ResourceClaim>(namespace), self.nodes);
        many(count, async |index| {
            let name = format!("claim-{index}");
            create(&claims, devices::claim(&name)).await?;
            let place = index * STRIDE % all;
            let own = devices::allocation(&format!("node-{}", place % nodes), place / nodes);
            let own = Patch::Merge(json!({"status": {"allocation": own}}));
            let parameters = PatchParams::default();
            let done = claims.patch_subresource("status", &name, &parameters, &own).await;
            done.map(drop).map_err(failed(&name))
        })
        .await
    }

    /// Pods with a claim each, so many at once, for so long.
    pub(super) async fn steadily(
        &mut self,
        namespace: &str,
        at_once: usize,
        lasting: Duration,
    ) -> Result<Measured, String> {
        let lasting = lasting / u32::try_from(self.divisor).unwrap_or(u32::MAX);
        let own = rows::pods(namespace, at_once, devices::with_claim());
        let pods = self.within::<Pod>(namespace);
        let gone = DeleteParams {
            grace_period_seconds: Some(0),
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        let mut counter = Counter::start(&self.client, namespace);
        let (began, mut made) = (Instant::now(), 0);
        let placed = loop {
            self.make(&own, at_once).await?;
            made += at_once;
            if let Err(seen) = counter.wait_for(made, PATIENCE).await {
                return Err(self.stuck(namespace, made - seen.min(made)).await);
            }
            let since = began.elapsed();
            if since >= lasting {
                break since;
            }
            let all = ListParams::default();
            pods.delete_collection(&gone, &all).await.map(drop).map_err(failed("delete"))?;
        };
        Ok(Measured { nodes: self.nodes, pods: made, made: placed, placed, rates: counter.stop() })
    }

    /// Publishes the devices of all nodes; each node counts as a pod does elsewhere. That the scheduler knows them is seen
    /// by a pod that it can place only by the last, which is published after the others.
    pub(super) async fn published(&mut self, each: usize) -> Result<Measured, String> {
        let namespace = "sched-0";
        create(&self.all::<DeviceClass>(), devices::class()).await?;
        create(&self.within::<ResourceClaim>(namespace), devices::claim(PROBE)).await?;
        let last = format!("node-{}", self.nodes.saturating_sub(1));
        let probe = rows::pods(namespace, 1, devices::with_the_claim(PROBE, &last));
        let mut placed = Counter::start(&self.client, namespace);
        let mut counter = Counter::slices(&self.client);
        let began = Instant::now();
        self.slices(self.nodes.saturating_sub(1), each).await?;
        create(&self.all::<ResourceSlice>(), devices::slice(&last, each)).await?;
        let made = began.elapsed();
        let seen = counter.wait_for(self.nodes, PATIENCE).await;
        seen.map_err(|seen| format!("only {seen} slices were told of"))?;
        self.make(&probe, 1).await?;
        if placed.wait_for(1, PATIENCE).await.is_err() {
            return Err(self.stuck(namespace, 1).await);
        }
        let (placed, rates) = (began.elapsed(), counter.stop());
        Ok(Measured { nodes: self.nodes, pods: self.nodes, made, placed, rates })
    }
}
