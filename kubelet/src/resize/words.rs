use crate::spec;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use serde::Serialize;

#[derive(Debug, Serialize)]
struct Own<'a> {
    name: &'a str,
    resources: ResourceRequirements,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    init_containers: Vec<Own<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    containers: Vec<Own<'a>>,
    generation: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
}

/// What events say of a resize: the resources of the pod's containers, and what went wrong if anything did.
pub(crate) fn summary(prefix: &str, pod: &Pod, generation: Option<i64>, error: &str) -> String {
    let summary = Summary {
        init_containers: all(spec::init_containers(pod)),
        containers: all(spec::containers(pod)),
        generation: generation.unwrap_or_default(),
        error,
    };
    match serde_json::to_string(&summary) {
        Ok(text) => format!("{prefix}: {text}"),
        Err(_) => prefix.to_owned(),
    }
}

fn all(containers: &[Container]) -> Vec<Own<'_>> {
    let own = containers.iter().map(|container| Own {
        name: &container.name,
        resources: container.resources.clone().unwrap_or_default(),
    });
    own.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_summary_is_as_the_original_writes_it() {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "initContainers": [{"name": "i", "resources": {"limits": {"cpu": "200m"}, "requests": {"cpu": "100m"}}}],
            "containers": [{"name": "a"}]}}))
        .unwrap();
        assert_eq!(
            summary("Pod resize error", &pod, Some(2), "why"),
            r#"Pod resize error: {"initContainers":[{"name":"i","resources":{"limits":{"cpu":"200m"},"requests":{"cpu":"100m"}}}],"containers":[{"name":"a","resources":{}}],"generation":2,"error":"why"}"#
        );
    }
}
