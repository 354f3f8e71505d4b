//! Pods as they are kept here: thousands of them, and only what their stages go by. Whole ones take several times as much.

use k8s_openapi::{
    api::core::v1::ContainerState,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::core::NamespaceResourceScope;
use serde::Deserialize;
use std::borrow::Cow;

#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Pod {
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: Option<PodSpec>,
    pub(crate) status: Option<PodStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodSpec {
    pub(crate) node_name: Option<String>,
    pub(crate) restart_policy: Option<String>,
    #[serde(default)]
    pub(crate) containers: Vec<Container>,
    pub(crate) init_containers: Option<Vec<Container>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) image: Option<String>,
    pub(crate) restart_policy: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodStatus {
    pub(crate) phase: Option<String>,
    #[serde(rename = "podIP")]
    pub(crate) pod_ip: Option<String>,
    pub(crate) start_time: Option<Time>,
    pub(crate) container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContainerStatus {
    #[serde(default)]
    pub(crate) ready: bool,
    #[serde(default)]
    pub(crate) restart_count: i32,
    pub(crate) state: Option<ContainerState>,
    pub(crate) last_state: Option<ContainerState>,
}

impl kube::Resource for Pod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::Resource;
    use serde_json::json;

    #[test]
    fn what_is_kept_of_a_pod_says_what_the_whole_pod_says() {
        type Whole = k8s_openapi::api::core::v1::Pod;
        let text = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "a", "namespace": "b", "uid": "u", "labels": {"c": "d"}},
            "spec": {
                "nodeName": "n", "restartPolicy": "Never", "volumes": [{"name": "v", "emptyDir": {}}],
                "containers": [{"name": "main", "image": "i", "resources": {}}],
                "initContainers": [{"name": "side", "restartPolicy": "Always"}],
            },
            "status": {
                "phase": "Running", "podIP": "10.64.0.1", "startTime": "2026-01-01T00:00:00Z",
                "containerStatuses": [{
                    "name": "main", "image": "i", "imageID": "", "ready": true, "restartCount": 2,
                    "state": {"running": {"startedAt": "2026-01-01T00:00:01Z"}}, "lastState": {},
                }],
            },
        });
        let whole: Whole = serde_json::from_value(text.clone()).unwrap();
        let kept: Pod = serde_json::from_value(text).unwrap();
        assert_eq!(Pod::url_path(&(), Some("b")), Whole::url_path(&(), Some("b")));
        assert_eq!(kept.metadata, whole.metadata);
        let (spec, other) = (kept.spec.unwrap(), whole.spec.unwrap());
        assert_eq!((spec.node_name, spec.restart_policy), (other.node_name, other.restart_policy));
        let (own, other) = (&spec.containers[0], &other.containers[0]);
        assert_eq!((&own.name, &own.image), (&other.name, &other.image));
        assert_eq!(spec.init_containers.unwrap()[0].restart_policy.as_deref(), Some("Always"));
        let (status, other) = (kept.status.unwrap(), whole.status.unwrap());
        assert_eq!((status.phase, status.pod_ip), (other.phase, other.pod_ip));
        assert_eq!(status.start_time, other.start_time);
        let own = status.container_statuses.unwrap().remove(0);
        let other = other.container_statuses.unwrap().remove(0);
        assert_eq!((own.ready, own.restart_count), (other.ready, other.restart_count));
        assert_eq!((own.state, own.last_state), (other.state, other.last_state));
    }
}
