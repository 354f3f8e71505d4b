//! Which objects of the API a pod refers to.

use crate::admission::items;
use kubeplane_core::Object;
use serde_json::Value;

/// Volumes that need nothing of the API but, some of them, a Secret.
const LOCAL: [&str; 22] = [
    "awsElasticBlockStore",
    "azureDisk",
    "cephfs",
    "cinder",
    "downwardAPI",
    "emptyDir",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "hostPath",
    "image",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];
const WITH_SECRETS: [&str; 7] =
    ["cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"];

/// The first kind of objects that a pod refers to, if any.
///
/// # Errors
/// Which volume is of a sort that nobody knows.
pub(super) fn refers_to(pod: &Object) -> Result<Option<&'static str>, String> {
    if !pod.text(&["spec", "serviceAccountName"]).is_empty() {
        return Ok(Some("serviceaccounts"));
    }
    let volumes = items(pod, &["spec", "volumes"]);
    let has_name = |one: &Value| one["name"].as_str().is_some_and(|name| !name.is_empty());
    if items(pod, &["spec", "imagePullSecrets"]).iter().any(has_name)
        || environment(pod, "secretRef", "secretKeyRef")
        || volumes.iter().any(has_secret)
    {
        return Ok(Some("secrets"));
    }
    let has_map = |volume: &Value| is(volume, "configMap") || projected(volume, "configMap");
    if environment(pod, "configMapRef", "configMapKeyRef") || volumes.iter().any(has_map) {
        return Ok(Some("configmaps"));
    }
    if !items(pod, &["spec", "resourceClaims"]).is_empty() {
        return Ok(Some("resourceclaims"));
    }
    for volume in volumes {
        if let Some(what) = of_volume(volume)? {
            return Ok(Some(what));
        }
    }
    Ok(None)
}

fn is(value: &Value, field: &str) -> bool {
    !value[field].is_null()
}

/// Whether the environment of a container is taken from such an object, as a whole or by a key.
fn environment(pod: &Object, whole: &str, key: &str) -> bool {
    let lists = ["initContainers", "containers", "ephemeralContainers"].into_iter();
    let mut containers = lists.flat_map(|list| items(pod, &["spec", list]));
    let each = |value: &Value| value.as_array().cloned().unwrap_or_default();
    containers.any(|container| {
        each(&container["envFrom"]).iter().any(|one| is(one, whole))
            || each(&container["env"]).iter().any(|one| is(&one["valueFrom"], key))
    })
}

fn sources(volume: &Value) -> impl Iterator<Item = &Value> {
    volume["projected"]["sources"].as_array().into_iter().flatten()
}

fn projected(volume: &Value, source: &str) -> bool {
    sources(volume).any(|one| is(one, source))
}

fn has_secret(volume: &Value) -> bool {
    let azure = volume["azureFile"]["secretName"].as_str();
    azure.is_some_and(|name| !name.is_empty())
        || WITH_SECRETS.iter().any(|kind| is(&volume[*kind], "secretRef"))
        || is(volume, "secret")
        || projected(volume, "secret")
        || is(&volume["csi"], "nodePublishSecretRef")
}

fn of_volume(volume: &Value) -> Result<Option<&'static str>, String> {
    if LOCAL.iter().any(|kind| is(volume, kind)) {
        return Ok(None);
    }
    let name = volume["name"].as_str().unwrap_or_default();
    for (kind, what) in [
        ("csi", "csidrivers (via CSI volumes)"),
        ("glusterfs", "endpoints (via glusterFS volumes)"),
        ("persistentVolumeClaim", "persistentvolumeclaims"),
        ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
        ("azureFile", "secrets (via azureFile volumes)"),
    ] {
        if is(volume, kind) {
            return Ok(Some(what));
        }
    }
    if !is(volume, "projected") {
        return Err(format!("unknown volume type for volume  {name:?}"));
    }
    for source in sources(volume) {
        for (kind, what) in [
            ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
            ("clusterTrustBundle", "clustertrustbundles"),
            ("podCertificate", "podcertificates"),
        ] {
            if is(source, kind) {
                return Ok(Some(what));
            }
        }
        if !is(source, "downwardAPI") {
            return Err(format!("unknown source for projected volume {name:?}"));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(spec: Value) -> Result<Option<&'static str>, String> {
        refers_to(&Object::from_value(json!({"spec": spec})).unwrap())
    }

    #[test]
    fn what_a_pod_refers_to_is_found_wherever_it_stands() {
        let volume = |source: Value| {
            let mut volume = json!({"name": "v"});
            volume.as_object_mut().unwrap().extend(source.as_object().cloned().unwrap());
            json!({"volumes": [volume]})
        };
        let source = |source: Value| volume(json!({"projected": {"sources": [source]}}));
        let env = |list: &str, env: Value| json!({list: [{"name": "c", "env": [env]}]});
        let key = |kind: &str| json!({"name": "E", "valueFrom": {kind: {"name": "n", "key": "k"}}});
        for (spec, what) in [
            (json!({"serviceAccountName": "a"}), "serviceaccounts"),
            (json!({"imagePullSecrets": [{"name": "s"}]}), "secrets"),
            (env("initContainers", key("secretKeyRef")), "secrets"),
            (env("ephemeralContainers", key("configMapKeyRef")), "configmaps"),
            (json!({"containers": [{"envFrom": [{"secretRef": {"name": "s"}}]}]}), "secrets"),
            (json!({"containers": [{"envFrom": [{"configMapRef": {"name": "s"}}]}]}), "configmaps"),
            (volume(json!({"secret": {"secretName": "s"}})), "secrets"),
            (volume(json!({"rbd": {"secretRef": {"name": "s"}}})), "secrets"),
            (volume(json!({"configMap": {"name": "m"}})), "configmaps"),
            (source(json!({"secret": {"name": "s"}})), "secrets"),
            (source(json!({"configMap": {"name": "s"}})), "configmaps"),
            (
                source(json!({"serviceAccountToken": {"path": "p"}})),
                "serviceaccounts (via projected volumes)",
            ),
            (source(json!({"clusterTrustBundle": {"path": "p"}})), "clustertrustbundles"),
            (json!({"resourceClaims": [{"name": "c"}]}), "resourceclaims"),
            (
                volume(json!({"persistentVolumeClaim": {"claimName": "c"}})),
                "persistentvolumeclaims",
            ),
            (volume(json!({"csi": {"driver": "d"}})), "csidrivers (via CSI volumes)"),
        ] {
            assert_eq!(told(spec.clone()), Ok(Some(what)), "{spec}");
        }
        for fine in [
            json!({"containers": [{"name": "c", "env": [{"name": "E", "value": "secretKeyRef"}]}]}),
            json!({"imagePullSecrets": [{}]}),
            volume(json!({"hostPath": {"path": "/"}})),
            volume(json!({"nfs": {"server": "s", "path": "/"}})),
            source(json!({"downwardAPI": {"items": []}})),
        ] {
            assert_eq!(told(fine.clone()), Ok(None), "{fine}");
        }
        assert_eq!(
            told(volume(json!({"later": {}}))),
            Err("unknown volume type for volume  \"v\"".to_owned())
        );
        assert_eq!(
            told(source(json!({"later": {}}))),
            Err("unknown source for projected volume \"v\"".to_owned())
        );
    }
}
