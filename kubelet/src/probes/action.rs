//! Asking a container how it is.

use super::grpc;
use crate::{
    env::expand::expand,
    http_get::{self, Target},
};
use k8s_openapi::api::core::v1::{Container, Probe};
use kubeplane_clock::{SharedClock, timeout};
use kubeplane_runtime_cri::{ContainerId, ContainerRuntime, Error};
use std::time::Duration;
use tokio::net::TcpStream;

/// Every tenth of a megabyte of output is enough to tell what is wrong.
const MAX_OUTPUT: usize = 10 << 10;

/// What a container answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Success,
    /// Well, but worth telling.
    Warning(String),
    Failure(String),
}

/// Asks once.
///
/// # Errors
/// When the container could not be asked, which says nothing about it.
pub(crate) async fn ask(
    runtime: &dyn ContainerRuntime,
    clock: &SharedClock,
    probe: &Probe,
    container: &Container,
    id: &ContainerId,
    pod_ip: &str,
) -> Result<Answer, String> {
    let seconds = probe.timeout_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(1).max(1);
    let limit = Duration::from_secs(seconds);
    if let Some(exec) = &probe.exec {
        let command = exec.command.clone().unwrap_or_default();
        let command: Vec<String> =
            command.iter().map(|word| expand(word, |name| literal(container, name))).collect();
        return run(runtime, id, &command, limit).await;
    }
    if !runtime.network_is_real() {
        // Nothing can be reached; that the container runs is all there is to know.
        return Ok(Answer::Success);
    }
    let expired = || Ok(Answer::Failure(format!("probe timed out after {seconds}s")));
    if let Some(action) = &probe.http_get {
        let target = Target::of(action, container, pod_ip)?;
        let headers = http_get::headers(action, "kube-probe/1.36");
        return match timeout(clock.as_ref(), limit, http_get::get(&target, &headers)).await {
            Some(answer) => Ok(judge(answer)),
            None => Ok(Answer::Failure(format!(
                "Get \"{}://{}:{}{}\": context deadline exceeded (Client.Timeout exceeded while \
                 awaiting headers)",
                if target.https { "https" } else { "http" },
                target.host,
                target.port,
                target.path
            ))),
        };
    }
    if let Some(action) = &probe.tcp_socket {
        let port = http_get::port(&action.port, container)?;
        let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(pod_ip);
        return match timeout(clock.as_ref(), limit, TcpStream::connect((host, port))).await {
            Some(Ok(_)) => Ok(Answer::Success),
            Some(Err(error)) => Ok(Answer::Failure(tcp_words(host, port, &error))),
            None => Ok(Answer::Failure(format!("dial tcp {host}:{port}: i/o timeout"))),
        };
    }
    if let Some(action) = &probe.grpc {
        let port = u16::try_from(action.port).map_err(|_| "invalid port number".to_owned())?;
        let service = action.service.as_deref().unwrap_or_default();
        return match timeout(clock.as_ref(), limit, grpc::check(pod_ip, port, service)).await {
            Some(Ok(())) => Ok(Answer::Success),
            Some(Err(message)) => Ok(Answer::Failure(message)),
            None => expired(),
        };
    }
    Err(format!("missing probe handler for {}", container.name))
}

fn literal(container: &Container, name: &str) -> Option<String> {
    let variable = container.env.iter().flatten().find(|variable| variable.name == name)?;
    variable.value.clone()
}

fn tcp_words(host: &str, port: u16, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => {
            format!("dial tcp {host}:{port}: connect: connection refused")
        }
        _ => format!("dial tcp {host}:{port}: {error}"),
    }
}

fn judge(answer: Result<http_get::Answer, String>) -> Answer {
    match answer {
        Ok(answer) if (200..300).contains(&answer.status) => Answer::Success,
        Ok(answer) if (300..400).contains(&answer.status) => {
            Answer::Warning(format!("Probe terminated redirects, Response body: {}", answer.body))
        }
        Ok(answer) => {
            Answer::Failure(format!("HTTP probe failed with statuscode: {}", answer.status))
        }
        Err(message) => Answer::Failure(message),
    }
}

async fn run(
    runtime: &dyn ContainerRuntime,
    id: &ContainerId,
    command: &[String],
    limit: Duration,
) -> Result<Answer, String> {
    match runtime.exec_sync(id, command, Some(limit)).await {
        Ok(done) if done.exit_code == 0 => Ok(Answer::Success),
        Ok(done) => {
            let mut output = done.stdout.to_vec();
            output.extend_from_slice(&done.stderr);
            output.truncate(MAX_OUTPUT);
            Ok(Answer::Failure(String::from_utf8_lossy(&output).into_owned()))
        }
        Err(Error::DeadlineExceeded { .. }) => Ok(Answer::Failure(format!(
            "command timed out: {:?} timed out after {}s",
            command.join(" "),
            limit.as_secs()
        ))),
        Err(error) => Err(error.to_string()),
    }
}
