//! The changes that workloads go through.

use super::{
    player::{Play, TRIES},
    storage::claim_templates,
};
use kube::api::{DynamicObject, ListParams, PostParams, PropagationPolicy};
use serde_json::{Value, json};
use std::time::Duration;

/// How many kinds of changes there are.
pub(super) const KINDS: usize = 11;

fn template(app: &str, image: u64) -> Value {
    json!({"metadata": {"labels": {"app": app}},
        "spec": {"containers": [{"name": "c", "image": format!("image-{image}")}]}})
}

impl Play {
    pub(super) async fn begin(&self) {
        let set = |app: &str, more: Value| {
            let mut spec = json!({"replicas": 3, "selector": {"matchLabels": {"app": app}}, "template": template(app, 0)});
            for (key, value) in more.as_object().unwrap() {
                spec[key] = value.clone();
            }
            json!({"metadata": {"name": app}, "spec": spec})
        };
        self.make("Deployment", "default", set("web", json!({}))).await;
        let recreate = json!({"strategy": {"type": "Recreate"}});
        self.make("Deployment", "default", set("once", recreate)).await;
        self.begin_storage().await;
        let kept = json!({"serviceName": "db", "volumeClaimTemplates": claim_templates()});
        self.make("StatefulSet", "default", set("db", kept)).await;
        let parallel = json!({"serviceName": "shards", "podManagementPolicy": "Parallel",
            "volumeClaimTemplates": claim_templates(),
            "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete"}});
        self.make("StatefulSet", "default", set("shards", parallel)).await;
        self.begin_limits().await;
        let spec =
            json!({"selector": {"matchLabels": {"app": "each"}}, "template": template("each", 0)});
        self.make("DaemonSet", "default", json!({"metadata": {"name": "each"}, "spec": spec}))
            .await;
        let pod = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]});
        let spec = json!({"schedule": "* * * * *", "concurrencyPolicy": "Forbid", "successfulJobsHistoryLimit": 2,
            "jobTemplate": {"spec": {"backoffLimit": 100, "template": {"spec": pod}}}});
        self.make("CronJob", "default", json!({"metadata": {"name": "tick"}, "spec": spec})).await;
    }

    /// The kind of the next change: all come in turn, in an order by chance.
    fn draw(&mut self) -> usize {
        if self.deck.is_empty() {
            self.deck = (0..KINDS).collect();
        }
        let any = usize::try_from(self.seed.below(self.deck.len() as u64)).unwrap();
        self.deck.swap_remove(any)
    }

    /// One change of something.
    pub(super) async fn change(&mut self) {
        let sizes = ["web", "once", "db", "shards"];
        let index = usize::try_from(self.seed.below(4)).unwrap();
        let (name, kind) = (sizes[index], if index < 2 { "Deployment" } else { "StatefulSet" });
        match self.draw() {
            0 | 1 => {
                let replicas = self.seed.below(7);
                self.patch(kind, name, json!({"spec": {"replicas": replicas}})).await;
            }
            2 | 3 => {
                let image = self.seed.below(4);
                let to_image = |name: &str| json!({"spec": {"template": template(name, image)}});
                self.patch(kind, name, to_image(name)).await;
                if kind == "Deployment" {
                    self.patch("DaemonSet", "each", to_image("each")).await;
                }
            }
            4 => self.start_job().await,
            5 => self.make_namespace().await,
            6 => self.own_and_delete().await,
            7 => self.store_and_delete().await,
            8 => self.work_much_or_little().await,
            9 => self.drain().await,
            _ => {
                let pods = self.api("Pod", "default");
                // Those that only evictions may take.
                let others = ListParams::default().labels("app!=kept");
                let Ok(list) = pods.list(&others).await else { return };
                if list.items.is_empty() {
                    return;
                }
                let any = usize::try_from(self.seed.below(list.items.len() as u64)).unwrap();
                let name = list.items[any].metadata.name.clone().unwrap();
                self.delete(&pods, &name, PropagationPolicy::Background).await;
            }
        }
    }

    async fn start_job(&mut self) {
        self.jobs += 1;
        let pod = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]});
        let mode = if self.jobs.is_multiple_of(3) { "NonIndexed" } else { "Indexed" };
        let spec = json!({"completions": 6, "parallelism": 3, "completionMode": mode, "backoffLimit": 100,
            "template": {"spec": pod}});
        let name = format!("batch-{}", self.jobs);
        self.make("Job", "default", json!({"metadata": {"name": name}, "spec": spec})).await;
    }

    /// Makes a namespace with something in it, and deletes the one before.
    async fn make_namespace(&mut self) {
        self.namespaces += 1;
        let name = format!("temp-{}", self.namespaces);
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let api = self.namespace_api();
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        for attempt in 0.. {
            let Err(error) = api.create(&PostParams::default(), &object).await else { break };
            if api.get_opt(&name).await.is_ok_and(|found| found.is_some()) {
                break;
            }
            assert!(attempt < TRIES, "{name} cannot be made: {error}");
            self.cluster.advance(Duration::from_millis(500)).await;
        }
        for index in 0..5 {
            let map = json!({"metadata": {"name": format!("map-{index}")}});
            self.make("ConfigMap", &name, map).await;
        }
        let spec = json!({"replicas": 2, "selector": {"matchLabels": {"app": "a"}}, "template": template("a", 0)});
        let web = json!({"metadata": {"name": "web"}, "spec": spec});
        self.make("Deployment", &name, web).await;
        if self.namespaces > 1 {
            let before = format!("temp-{}", self.namespaces - 1);
            self.delete(&self.namespace_api(), &before, PropagationPolicy::Background).await;
        }
    }

    /// Makes an owner with dependents, and deletes the one before.
    async fn own_and_delete(&mut self) {
        self.owners += 1;
        let name = format!("owner-{}", self.owners);
        let owner = self.make("ConfigMap", "default", json!({"metadata": {"name": name}})).await;
        for index in 0..8 {
            let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name,
                "uid": owner.metadata.uid, "blockOwnerDeletion": true});
            let map = json!({"metadata": {"name": format!("{name}-{index}"), "ownerReferences": [reference]}});
            self.make("ConfigMap", "default", map).await;
        }
        if self.owners > 1 {
            let before = format!("owner-{}", self.owners - 1);
            let policy = match self.seed.below(2) {
                0 => PropagationPolicy::Foreground,
                _ => PropagationPolicy::Background,
            };
            self.delete(&self.api("ConfigMap", "default"), &before, policy).await;
        }
    }
}
