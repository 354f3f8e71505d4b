//! Lists as long as they are. What is read from text has room for four items, or for twice as many as there are, and a
//! cache keeps it: of a pod that would be a fifth.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec, PodStatus};
use std::any::Any;

/// Gives back room that is not used in the kind of which there are most.
pub(super) fn tighten(object: &mut dyn Any) {
    let Some(pod) = object.downcast_mut::<Pod>() else { return };
    fit(&mut pod.metadata.owner_references);
    fit(&mut pod.metadata.finalizers);
    pod.spec.iter_mut().for_each(of_spec);
    pod.status.iter_mut().for_each(of_status);
}

fn fit<T>(list: &mut Option<Vec<T>>) {
    if let Some(list) = list {
        list.shrink_to_fit();
    }
}

fn of_spec(spec: &mut PodSpec) {
    spec.containers.shrink_to_fit();
    fit(&mut spec.init_containers);
    fit(&mut spec.volumes);
    fit(&mut spec.tolerations);
    let more = spec.init_containers.iter_mut().flatten();
    spec.containers.iter_mut().chain(more).for_each(of_container);
}

fn of_container(container: &mut Container) {
    fit(&mut container.args);
    fit(&mut container.command);
    fit(&mut container.env);
    fit(&mut container.env_from);
    fit(&mut container.ports);
    fit(&mut container.volume_mounts);
}

fn of_status(status: &mut PodStatus) {
    fit(&mut status.conditions);
    fit(&mut status.host_ips);
    fit(&mut status.pod_ips);
    let lists: [&mut Option<Vec<ContainerStatus>>; 3] = [
        &mut status.container_statuses,
        &mut status.init_container_statuses,
        &mut status.ephemeral_container_statuses,
    ];
    lists.into_iter().for_each(fit);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_that_was_read_holds_no_more_than_it_is() {
        let text = json!({
            "metadata": {"finalizers": ["a.dev/b"]},
            "spec": {"containers": [{"name": "c", "env": [{"name": "A", "value": "1"}]}]},
            "status": {"containerStatuses": [{"name": "c", "ready": true, "restartCount": 0, "image": "i", "imageID": ""}],
                "conditions": [{"type": "Ready", "status": "True"}]},
        });
        let mut pod: Pod = serde_json::from_str(&text.to_string()).unwrap();
        let before = pod.clone();
        tighten(&mut pod);
        assert_eq!(pod, before);
        let (spec, status) = (pod.spec.unwrap(), pod.status.unwrap());
        let room = [
            pod.metadata.finalizers.unwrap().capacity(),
            spec.containers[0].env.as_ref().unwrap().capacity(),
            status.container_statuses.unwrap().capacity(),
            status.conditions.unwrap().capacity(),
        ];
        assert_eq!(room, [1; 4]);
    }
}
