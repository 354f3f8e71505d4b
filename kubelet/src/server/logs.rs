use super::{
    answer::{Answer, text},
    containers::At,
};
use crate::{
    host::Host,
    logs::{Bad, LogOptions, reader::LogReader},
    sandbox, spec,
};
use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};
use kubeplane_runtime_cri::ContainerId;
use std::{path::Path, sync::Arc};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};

/// How many blocks of a log wait for a slow reader.
const WAITING: usize = 4;

/// Answers with the log of a container.
pub(super) async fn answer(host: &Arc<Host>, at: &At<'_>, query: &[(String, String)]) -> Answer {
    let options = match LogOptions::parse(query, host.clock.now()) {
        Ok(options) => options,
        Err(Bad::Form) => {
            return text(StatusCode::BAD_REQUEST, r#"{"message": "Unable to decode query."}"#);
        }
        Err(Bad::Value) => {
            let message = r#"{"message": "Invalid request."}"#;
            return text(StatusCode::UNPROCESSABLE_ENTITY, message);
        }
    };
    let Some(record) = at.record(host) else {
        return text(StatusCode::NOT_FOUND, format!("pod {:?} does not exist", at.pod));
    };
    if spec::container_named(&record.pod, at.container).is_none() {
        let message = format!("container {:?} not found in pod {:?}", at.container, at.pod);
        return text(StatusCode::NOT_FOUND, message);
    }
    let status = record.status.as_deref().cloned();
    let status = status.unwrap_or_else(|| spec::status(&record.pod).into_owned());
    let id = match container_id(at, &status, options.previous) {
        Ok(id) => id,
        Err(message) => return text(StatusCode::BAD_REQUEST, message),
    };
    match open(host, &spec::PodId::of(&record.pod), id, options).await {
        Ok(reader) => stream(reader),
        Err(message) => text(StatusCode::BAD_REQUEST, message),
    }
}

async fn open(
    host: &Arc<Host>,
    pod: &spec::PodId,
    id: ContainerId,
    options: LogOptions,
) -> Result<LogReader, String> {
    let status = host.runtime.container_status(&id).await.map_err(|error| {
        format!("failed to try resolving symlinks in path of the log of {id}: {error}")
    })?;
    let given = Path::new(&status.log_path);
    let path = if given.is_absolute() {
        given.to_path_buf()
    } else {
        sandbox::log_dir(&host.config, pod).join(given)
    };
    LogReader::open(path, options, host.clock.clone(), host.runtime.clone(), id)
        .map_err(|error| format!("failed to open the log: {error}"))
}

fn stream(reader: LogReader) -> Answer {
    let (sender, receiver) = mpsc::channel(WAITING);
    let mut task = JoinSet::new();
    task.spawn(reader.run(sender));
    // The reader ends with the answer it belongs to.
    let blocks = ReceiverStream::new(receiver).map(move |block| {
        let _owner = &task;
        Ok::<_, std::convert::Infallible>(block)
    });
    let mut answer = Response::new(Body::from_stream(blocks));
    let plain = HeaderValue::from_static("text/plain");
    answer.headers_mut().insert(header::CONTENT_TYPE, plain);
    answer
}

/// The container whose log is meant.
fn container_id(at: &At<'_>, status: &PodStatus, previous: bool) -> Result<ContainerId, String> {
    let At { pod, container, .. } = at;
    let all = status
        .container_statuses
        .iter()
        .chain(&status.init_container_statuses)
        .chain(&status.ephemeral_container_statuses);
    let found = all.flatten().find(|status| status.name == *container);
    let found =
        found.ok_or_else(|| format!("container {container:?} in pod {pod:?} is not available"))?;
    let last = |status: &ContainerStatus| {
        let ended = status.last_state.as_ref()?.terminated.as_ref()?;
        ended.container_id.clone().filter(|id| !id.is_empty())
    };
    let state = found.state.clone().unwrap_or_default();
    let id = if previous {
        last(found).ok_or_else(|| {
            format!("previous terminated container {container:?} in pod {pod:?} not found")
        })?
    } else if state.running.is_some() {
        found.container_id.clone().unwrap_or_default()
    } else if let Some(ended) = state.terminated {
        let own = ended.container_id.filter(|id| !id.is_empty());
        own.or_else(|| last(found))
            .ok_or_else(|| format!("container {container:?} in pod {pod:?} is terminated"))?
    } else if let Some(id) = last(found) {
        id
    } else {
        let waiting = state.waiting.and_then(|waiting| waiting.reason);
        return Err(match waiting.as_deref() {
            Some("ErrImagePull") => format!(
                "container {container:?} in pod {pod:?} is waiting to start: image can't be pulled"
            ),
            Some("ImagePullBackOff") => format!(
                "container {container:?} in pod {pod:?} is waiting to start: trying and failing to \
                 pull image"
            ),
            Some(reason) => {
                format!("container {container:?} in pod {pod:?} is waiting to start: {reason}")
            }
            None => {
                format!("container {container:?} in pod {pod:?} is waiting to start - no logs yet")
            }
        });
    };
    Ok(ContainerId::new(id.split_once("://").map_or(id.as_str(), |(_, id)| id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn id(state: Value, last: Value, previous: bool) -> Result<String, String> {
        let status = serde_json::from_value(json!({"containerStatuses": [
            {"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
             "containerID": "containerd://now", "state": state, "lastState": last}
        ]}))
        .unwrap();
        container_id(&At::new("n", "p", None, "c"), &status, previous).map(ContainerId::into_string)
    }

    #[test]
    fn the_log_of_the_right_run_is_found() {
        let running = json!({"running": {}});
        let ended = |id: &str| json!({"terminated": {"exitCode": 1, "containerID": id}});
        let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
        assert_eq!(id(running.clone(), json!({}), false).unwrap(), "now");
        assert_eq!(id(running.clone(), ended("containerd://old"), true).unwrap(), "old");
        assert_eq!(id(waiting("CrashLoopBackOff"), ended("x://old"), false).unwrap(), "old");
        assert_eq!(
            id(running, json!({}), true).unwrap_err(),
            "previous terminated container \"c\" in pod \"p\" not found"
        );
        assert_eq!(
            id(waiting("ContainerCreating"), json!({}), false).unwrap_err(),
            "container \"c\" in pod \"p\" is waiting to start: ContainerCreating"
        );
    }
}
