use super::{Scheduler, others};
use crate::{Cache, Error, PodInfo, Trace, groups::PodGroupObject, objects::ClusterObjects};
use k8s_openapi::api::core::v1::{Node, Pod};
use kubeplane_client::Informers;
use kubeplane_workload::is_terminal;
use std::sync::Arc;

impl Scheduler {
    /// What the profile of a pod, and the extenders, make of every node as the cluster is now. A pod that has a node is looked at as
    /// if it had none. Nothing is changed, and the scheduler is not run.
    ///
    /// # Errors
    /// When there is no such pod, it is another scheduler's, or a plugin fails.
    ///
    /// # Cancellation
    /// Without effect.
    pub async fn explain(self, namespace: &str, name: &str) -> Result<Trace, Error> {
        let informers = self
            .informers
            .unwrap_or_else(|| Informers::new(self.client.clone(), self.clock.clone()));
        let mut objects = ClusterObjects::from_informers(&informers);
        if self.device_rules {
            objects = objects.with_device_rules(&informers);
        }
        let groups = self.frameworks.values().any(|own| own.is_for_groups());
        if groups {
            objects.pod_groups = Arc::new(informers.of::<PodGroupObject>().lister());
        }
        let objects = Arc::new(objects);
        let optional = others::Optional { groups, device_rules: self.device_rules };
        others::synced(&informers, optional).await;
        let (pods, nodes) = (informers.of::<Pod>().lister(), informers.of::<Node>().lister());
        let missing = || Error::NoSuchPod { namespace: namespace.into(), name: name.into() };
        let pod = pods.get(namespace, name).ok_or_else(missing)?;
        let mut cache = Cache::with_objects(objects);
        nodes.list().into_iter().for_each(|node| cache.set_node(node));
        let others = pods.list().into_iter().filter(|own| own.metadata.uid != pod.metadata.uid);
        for other in others.filter(|own| !is_terminal(own)) {
            let info = Arc::new(PodInfo::counting(other, self.counting));
            match info.spec().node_name.clone().filter(|node| !node.is_empty()) {
                Some(node) => cache.set_pod(&node, info),
                None => {
                    if let Some(node) = info.nominated_node().map(str::to_owned) {
                        cache.nominate(&node, info);
                    }
                }
            }
        }
        let mut free = (*pod).clone();
        if let Some(spec) = &mut free.spec {
            spec.node_name = None;
        }
        let info = PodInfo::counting(Arc::new(free), self.counting);
        let profile = info.spec().scheduler_name.as_deref().unwrap_or("default-scheduler");
        let framework = self.frameworks.get(profile);
        let framework = framework.ok_or_else(|| Error::NoSuchProfile(profile.to_owned()))?;
        let traced = framework.trace_asking_extenders(&info, &cache.snapshot()).await;
        traced.map_err(Error::Plugin)
    }
}
