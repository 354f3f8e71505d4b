//! Commands in containers and connections to pods, over upgraded connections.

mod forward;
mod pump;

use super::{
    answer::{Answer, json, text},
    connection::Afterwards,
    containers::At,
};
use crate::host::Host;
use axum::body::Body;
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use kubeplane_clock::timeout;
use kubeplane_runtime_cri::v1;
use kubeplane_streaming::{
    Error as StreamError, Purpose, Upgrade, negotiate, port_forward as forwarding,
    rejection_headers,
    remote_command::{self, Options},
};
use std::{sync::Arc, time::Duration};

/// How long a client may take to open its streams.
const OPENING: Duration = Duration::from_secs(30);

/// Runs a command and answers with its output.
pub(super) async fn run(host: &Arc<Host>, at: &At<'_>, query: &[(String, String)]) -> Answer {
    let command: Vec<String> = query
        .iter()
        .filter(|(name, _)| name == "cmd")
        .flat_map(|(_, value)| value.split(' ').map(str::to_owned))
        .collect();
    let id = match at.running(host).await {
        Ok((id, _)) => id,
        Err((status, message)) => return text(status, message),
    };
    match host.runtime.exec_sync(&id, &command, None).await {
        Ok(done) if done.exit_code == 0 => {
            let mut output = done.stdout.to_vec();
            output.extend_from_slice(&done.stderr);
            json(&String::from_utf8_lossy(&output))
        }
        Ok(done) => {
            let message = format!("command exited with {}", done.exit_code);
            text(StatusCode::INTERNAL_SERVER_ERROR, message)
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn refused(error: &StreamError) -> Answer {
    let status = StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::BAD_REQUEST);
    let mut answer = text(status, error.to_string());
    let headers: HeaderMap = rejection_headers(error);
    answer.headers_mut().extend(headers);
    answer
}

fn switching(upgrade: &Upgrade) -> Answer {
    let response: Response<()> = upgrade.response();
    response.map(|()| Body::empty())
}

/// Runs a command in a container, or takes part in its main process.
pub(super) async fn command(
    host: &Arc<Host>,
    kind: &str,
    at: &At<'_>,
    query: &[(String, String)],
    mut request: Request<Incoming>,
    afterwards: &Afterwards,
) -> Answer {
    let options = match Options::from_query(request.uri().query().unwrap_or_default()) {
        Ok(options) => options,
        Err(error) => return refused(&error),
    };
    let (id, tty) = match at.running(host).await {
        Ok(found) => found,
        Err((status, message)) => return text(status, message),
    };
    let upgrade = match negotiate(request.headers(), Purpose::RemoteCommand) {
        Ok(upgrade) => upgrade,
        Err(error) => return refused(&error),
    };
    let started = start(host, kind, id.into_string(), tty, query, options).await;
    let (process, options) = match started {
        Ok(started) => started,
        Err(message) => return text(StatusCode::INTERNAL_SERVER_ERROR, message),
    };
    let answer = switching(&upgrade);
    let upgraded = hyper::upgrade::on(&mut request);
    let clock = host.clock.clone();
    afterwards.push(Box::pin(async move {
        let Ok(io) = upgraded.await else { return };
        let serving = remote_command::serve(TokioIo::new(io), &upgrade, options);
        match timeout(clock.as_ref(), OPENING, serving).await {
            Some(Ok(streams)) => pump::pump(process, streams).await,
            Some(Err(error)) => tracing::debug!(%error, "a client did not open its streams"),
            None => tracing::debug!("a client took too long to open its streams"),
        }
    }));
    answer
}

/// Starts a command, or joins the main process, whose terminal was settled at its start.
async fn start(
    host: &Arc<Host>,
    kind: &str,
    container_id: String,
    tty: bool,
    query: &[(String, String)],
    mut options: Options,
) -> Result<(pump::Process, Options), String> {
    let streaming = if kind == "exec" {
        let words = query.iter().filter(|(name, _)| name == "command");
        let asked = v1::ExecRequest {
            container_id,
            cmd: words.map(|(_, word)| word.clone()).collect(),
            tty: options.tty,
            stdin: options.stdin,
            stdout: options.stdout,
            stderr: options.stderr,
        };
        host.runtime.exec(asked).await
    } else {
        options.tty = tty;
        options.stderr &= !tty;
        let asked = v1::AttachRequest {
            container_id,
            stdin: options.stdin,
            tty,
            stdout: options.stdout,
            stderr: options.stderr,
        };
        host.runtime.attach(asked).await
    };
    let streaming = streaming.map_err(|error| error.to_string())?;
    Ok((pump::Process::new(streaming, options).await?, options))
}

/// Connects a client to ports of a pod.
pub(super) async fn port_forward(
    host: &Arc<Host>,
    at: &At<'_>,
    mut request: Request<Incoming>,
    afterwards: &Afterwards,
) -> Answer {
    let ports = match forwarding::ports_from_query(request.uri().query().unwrap_or_default()) {
        Ok(ports) => ports,
        Err(error) => return refused(&error),
    };
    let observed = match at.observed(host).await {
        Ok((_, observed)) => observed,
        Err((status, message)) => return text(status, message),
    };
    let Some(sandbox) = observed.sandboxes.iter().find(|sandbox| sandbox.ready) else {
        let message = format!("pod not found (\"{}_{}\")", at.pod, at.namespace);
        return text(StatusCode::INTERNAL_SERVER_ERROR, message);
    };
    let upgrade = match negotiate(request.headers(), Purpose::PortForward) {
        Ok(upgrade) => upgrade,
        Err(error) => return refused(&error),
    };
    let target = match host.runtime.port_forward(&sandbox.id, &ports).await {
        Ok(target) => target,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let answer = switching(&upgrade);
    let upgraded = hyper::upgrade::on(&mut request);
    afterwards.push(Box::pin(async move {
        let Ok(io) = upgraded.await else { return };
        if let Err(error) = forward::run(TokioIo::new(io), &upgrade, &ports, target).await {
            tracing::debug!(error, "a port-forward did not begin");
        }
    }));
    answer
}
