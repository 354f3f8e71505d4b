//! Audit events to a server elsewhere, in batches.

use kube::{
    Client, Config,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use kubeplane_apiserver::audit::{AuditSink, Event};
use kubeplane_clock::SharedClock;
use serde_json::json;
use std::{
    io,
    path::Path,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread::JoinHandle,
    time::Duration,
};

/// How many events wait to be sent; more are lost.
const WAITING: usize = 10_000;
/// The most events sent at once.
const BATCH: usize = 400;
/// How long the first try again waits; each later one waits twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How often a batch is tried before it is lost.
const TRIES: u32 = 5;

/// Why the server cannot be reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditWebhookError {
    /// The kubeconfig is none.
    #[error(transparent)]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// No client can be made of it.
    #[error(transparent)]
    Client(#[from] kube::Error),
    /// No thread, or nothing that drives it.
    #[error(transparent)]
    Thread(#[from] io::Error),
}

/// Posts `audit.k8s.io/v1` EventLists to the server of a kubeconfig. Requests never wait for it: events are lost, and
/// that is logged, when it does not keep up. Dropping it sends what is left.
#[derive(Debug)]
pub struct AuditWebhook {
    sender: Option<SyncSender<Event>>,
    thread: Option<JoinHandle<()>>,
}

impl AuditWebhook {
    /// Sends to the server of this kubeconfig, with its credentials.
    ///
    /// # Errors
    /// When the file cannot be used, or there can be no more threads.
    pub fn open(kubeconfig: &Path, clock: SharedClock) -> Result<Self, AuditWebhookError> {
        let file = Kubeconfig::read_from(kubeconfig)?;
        let (sender, receiver) = sync_channel(WAITING);
        let (tell, told) = sync_channel(1);
        // All of it in the thread: a runtime cannot be entered from within another.
        let work = move || {
            let made = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let made = made.map_err(AuditWebhookError::from);
            match made.and_then(|runtime| Ok((runtime.block_on(Target::of(file))?, runtime))) {
                Ok((target, runtime)) => {
                    let _ = tell.send(Ok(()));
                    drain(&receiver, &runtime, &target, &clock);
                }
                Err(error) => drop(tell.send(Err(error))),
            }
        };
        let thread = std::thread::Builder::new().name("audit-webhook".to_owned()).spawn(work)?;
        told.recv().map_err(io::Error::other)??;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }
}

impl AuditSink for AuditWebhook {
    fn write(&mut self, event: &Event) -> io::Result<()> {
        let Some(sender) = &self.sender else { return Ok(()) };
        sender.try_send(event.clone()).map_err(|error| match error {
            TrySendError::Full(_) => io::Error::other("the audit webhook does not keep up"),
            TrySendError::Disconnected(_) => io::Error::other("the audit webhook has ended"),
        })
    }
}

impl Drop for AuditWebhook {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Where batches go.
struct Target {
    client: Client,
    path: String,
}

impl Target {
    async fn of(file: Kubeconfig) -> Result<Self, AuditWebhookError> {
        let mut config =
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        let path = config.cluster_url.path().to_owned();
        // The client puts its paths behind the URL's own.
        let mut parts = config.cluster_url.clone().into_parts();
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
        if let Ok(root) = http::Uri::from_parts(parts) {
            config.cluster_url = root;
        }
        Ok(Self { client: Client::try_from(config)?, path })
    }

    async fn post(&self, events: &[Event]) -> Result<(), String> {
        let list = json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {},
            "items": events});
        let request = http::Request::post(&self.path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Body::from(list.to_string().into_bytes()))
            .map_err(|error| error.to_string())?;
        let response = self.client.send(request).await.map_err(|error| error.to_string())?;
        let code = response.status();
        if code.is_success() { Ok(()) } else { Err(format!("it answers {code}")) }
    }
}

fn drain(
    events: &Receiver<Event>,
    runtime: &tokio::runtime::Runtime,
    target: &Target,
    clock: &SharedClock,
) {
    while let Ok(first) = events.recv() {
        let mut batch = vec![first];
        batch.extend(events.try_iter().take(BATCH - 1));
        runtime.block_on(send(target, &batch, clock));
    }
}

async fn send(target: &Target, batch: &[Event], clock: &SharedClock) {
    let mut pause = FIRST_PAUSE;
    for attempt in 1..=TRIES {
        match target.post(batch).await {
            Ok(()) => return,
            Err(error) if attempt == TRIES => {
                tracing::error!(%error, events = batch.len(), "audit events are lost");
            }
            Err(error) => {
                tracing::warn!(%error, "audit events were not taken; trying again");
                clock.sleep(pause).await;
                pause *= 2;
            }
        }
    }
}
