//! What the settings of the built-in controllers, and so the flags of `kubeplane controllers`, lead to.

use crate::cluster::{Cluster, eventually};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::ConfigMap;
use kubeplane_client::ObjectKey;
use kubeplane_controllers::{
    Action, BoxController, BuiltinOptions, Context, Controller, Error, Manager, Settings, Sources,
    builtin_with,
};
use kubeplane_core::{
    component::{Component, lifecycle},
    features::Features,
};
use parking_lot::Mutex;
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::Semaphore;

/// Works on each request until it is let go on.
#[derive(Clone)]
struct Slow {
    gate: Arc<Semaphore>,
    /// On how many it works, on how many it did at most, and with how many it is done.
    counts: Arc<Mutex<[usize; 3]>>,
}

#[async_trait]
impl Controller for Slow {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "slow"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        sources.objects::<ConfigMap>();
    }

    async fn reconcile(&self, _: &ObjectKey, _: &Context) -> Result<Action, Error> {
        {
            let mut counts = self.counts.lock();
            counts[0] += 1;
            counts[1] = counts[1].max(counts[0]);
        }
        self.gate.acquire().await.unwrap().forget();
        let mut counts = self.counts.lock();
        counts[0] -= 1;
        counts[2] += 1;
        Ok(Action::Done)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_are_worked_on_at_once_as_is_said() {
    let cluster = Cluster::bare().await;
    for number in 0..9 {
        cluster.create::<ConfigMap>(json!({"metadata": {"name": format!("map-{number}")}})).await;
    }
    let slow = Slow { gate: Arc::new(Semaphore::new(0)), counts: Arc::default() };
    let controller = BoxController::new(slow.clone());
    assert_eq!(controller.workers(), 5, "unless it is told otherwise");
    let manager = Manager::builder(cluster.client.clone())
        .add_all([controller.with_workers(7)])
        .build()
        .unwrap();
    let (life, supervision) = lifecycle();
    let running = tokio::spawn(Box::new(manager).run(life));
    let reach = async |index: usize, wanted: usize| {
        eventually(&format!("count {index} is {wanted}"), || async {
            let counts = *slow.counts.lock();
            if counts[index] == wanted { Ok(()) } else { Err(format!("{counts:?}")) }
        })
        .await;
    };
    reach(0, 7).await;
    slow.gate.add_permits(9);
    reach(2, 9).await;
    assert_eq!(slow.counts.lock()[1], 7);
    supervision.stop();
    running.await.unwrap().unwrap();
}

#[test]
fn every_controller_works_on_as_many_as_the_settings_say() {
    let features: Features = "DRADeviceTaints=true".parse().unwrap();
    let options = BuiltinOptions::new(kubeplane_clock::real(), "the root").with_features(features);
    let workers = |settings: &Settings| -> BTreeMap<&'static str, usize> {
        let all = builtin_with(&options, settings);
        all.iter().map(|own| (own.name(), own.workers())).collect()
    };
    let usual = workers(&Settings::default());
    for (name, count) in [
        ("daemonset-controller", 2),
        ("deployment-controller", 5),
        ("device-taint-eviction-controller", 8),
        ("garbage-collector-controller", 20),
        ("namespace-controller", 10),
        ("persistentvolume-binder-controller", 1),
        ("resourceclaim-controller", 50),
    ] {
        assert_eq!(usual.get(name), Some(&count), "{name}");
    }
    let mut settings = Settings::default();
    settings.concurrency.deployments = 11;
    settings.concurrency.mirrored_endpoints = 0;
    let said = workers(&settings);
    assert_eq!(said["deployment-controller"], 11);
    assert_eq!(said["endpointslice-mirroring-controller"], 0);
    let others = said.iter().filter(|(name, count)| usual[*name] != **count);
    assert_eq!(others.count(), 2, "the rest is as it was");
}
