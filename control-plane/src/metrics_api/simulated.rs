use super::figures::Usage;
use kubeplane_core::{Object, quantity::Quantity};
use kubeplane_runtime_cri::{CPU_ANNOTATION, MEMORY_ANNOTATION};
use serde_json::Value;
use std::collections::BTreeMap;

/// What a container uses of which nothing is said, as on a simulated runtime.
const MEMORY: u64 = 1 << 20;

/// What the containers of a pod use that runs only in its status: what its annotations say.
pub(super) fn of_pod(pod: &Object) -> BTreeMap<String, Usage> {
    let containers = pod.at(&["spec", "containers"]).and_then(Value::as_array);
    let names = containers.into_iter().flatten().filter_map(|one| one["name"].as_str());
    let usage = |name: &str| {
        let said = |key: &str| {
            let own = pod.annotation(&format!("{key}-{name}")).or_else(|| pod.annotation(key));
            own.and_then(|text| Quantity::parse(text).ok())
        };
        let positive = |value: i64| u64::try_from(value).unwrap_or_default();
        let cpu = said(CPU_ANNOTATION).map(|cpu| positive(cpu.scaled_value(-9)));
        let memory = said(MEMORY_ANNOTATION).map(|memory| positive(memory.value()));
        Usage { nano_cores: Some(cpu.unwrap_or_default()), bytes: Some(memory.unwrap_or(MEMORY)) }
    };
    names.map(|name| (name.to_owned(), usage(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn annotations_are_about_all_containers_or_one() {
        let pod = json!({
            "metadata": {"name": "p", "annotations": {
                "kubeplane.dev/cpu": "250m", "kubeplane.dev/cpu-b": "1.5",
                "kubeplane.dev/memory-a": "64Mi"}},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        let used = of_pod(&Object::from_value(pod).unwrap());
        let usage = |nano_cores, bytes| Usage { nano_cores: Some(nano_cores), bytes: Some(bytes) };
        assert_eq!(used["a"], usage(250_000_000, 64 << 20));
        assert_eq!(used["b"], usage(1_500_000_000, MEMORY));
    }
}
