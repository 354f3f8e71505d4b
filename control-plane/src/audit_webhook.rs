//! Audit events to a server elsewhere, in batches.

use kube::{
    Client, Config,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use kubeplane_apiserver::audit::{AuditSink, Event, Mode};
use kubeplane_clock::SharedClock;
use serde_json::value::RawValue;
use std::{io, path::Path, sync::mpsc::sync_channel, thread::JoinHandle, time::Duration};
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

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

/// How fast batches may follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Throttle {
    /// Batches a second in the long run.
    pub per_second: f64,
    /// How many may come at once.
    pub burst: u32,
}

/// How events are sent. The default is the original's.
#[derive(Debug, Clone)]
pub struct AuditWebhookOptions {
    /// Whether events are gathered, or each is sent while its request waits.
    pub mode: Mode,
    /// How many events wait to be sent; more are lost.
    pub buffer: usize,
    /// The most events sent at once.
    pub batch: usize,
    /// The most bytes sent at once, if several events are.
    pub batch_bytes: usize,
    /// How long a batch that is not full waits for more.
    pub wait: Duration,
    /// How fast batches follow each other.
    pub throttle: Option<Throttle>,
    /// How long the first try again waits; each later one waits half as long again.
    pub pause: Duration,
}

impl Default for AuditWebhookOptions {
    fn default() -> Self {
        Self {
            mode: Mode::Batch,
            buffer: 10_000,
            batch: 400,
            batch_bytes: usize::MAX,
            wait: Duration::from_secs(30),
            throttle: Some(Throttle { per_second: 10.0, burst: 15 }),
            pause: Duration::from_secs(10),
        }
    }
}

/// An event on its way, and who waits for it.
struct Job {
    event: Event,
    done: Option<oneshot::Sender<Result<(), String>>>,
}

/// Posts `audit.k8s.io/v1` EventLists to the server of a kubeconfig. In the mode [`Batch`](Mode::Batch) nobody waits
/// for it: events are lost when it does not keep up. Dropping it sends what is left.
#[derive(Debug)]
pub struct AuditWebhook {
    mode: Mode,
    sender: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl AuditWebhook {
    /// Sends to the server of this kubeconfig, with its credentials.
    ///
    /// # Errors
    /// When the file cannot be used, or there can be no more threads.
    pub fn open(
        kubeconfig: &Path,
        clock: SharedClock,
        options: AuditWebhookOptions,
    ) -> Result<Self, AuditWebhookError> {
        let file = Kubeconfig::read_from(kubeconfig)?;
        let (sender, receiver) = mpsc::channel(options.buffer.max(1));
        let (tell, told) = sync_channel(1);
        let mode = options.mode;
        // All of it in the thread: a runtime cannot be entered from within another.
        let work = move || {
            let made = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let made = made.map_err(AuditWebhookError::from);
            match made.and_then(|runtime| Ok((runtime.block_on(Target::of(file))?, runtime))) {
                Ok((target, runtime)) => {
                    let _ = tell.send(Ok(()));
                    let tokens = options.throttle.map_or(0.0, |throttle| throttle.burst.into());
                    let last = clock.elapsed();
                    let sending = Sending { target, clock, options, tokens, last };
                    runtime.block_on(sending.drain(receiver));
                }
                Err(error) => drop(tell.send(Err(error))),
            }
        };
        let thread = std::thread::Builder::new().name("audit-webhook".to_owned()).spawn(work)?;
        told.recv().map_err(io::Error::other)??;
        Ok(Self { mode, sender: Some(sender), thread: Some(thread) })
    }
}

impl AuditSink for AuditWebhook {
    fn write(&mut self, event: &Event) -> io::Result<()> {
        let Some(sender) = &self.sender else { return Ok(()) };
        let ended = || io::Error::other("the audit webhook has ended");
        if self.mode == Mode::Batch {
            let job = Job { event: event.clone(), done: None };
            return sender.try_send(job).map_err(|error| match error {
                TrySendError::Full(_) => io::Error::other("the audit webhook does not keep up"),
                TrySendError::Closed(_) => ended(),
            });
        }
        let (done, told) = oneshot::channel();
        let job = Job { event: event.clone(), done: Some(done) };
        sender.blocking_send(job).map_err(|_| ended())?;
        told.blocking_recv().map_err(|_| ended())?.map_err(io::Error::other)
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

    async fn post(&self, events: &[Box<RawValue>]) -> Result<(), String> {
        let events: Vec<_> = events.iter().map(|event| event.get()).collect();
        let list = format!(
            r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{{}},"items":[{}]}}"#,
            events.join(",")
        );
        let request = http::Request::post(&self.path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Body::from(list.into_bytes()))
            .map_err(|error| error.to_string())?;
        let response = self.client.send(request).await.map_err(|error| error.to_string())?;
        let code = response.status();
        if code.is_success() { Ok(()) } else { Err(format!("it answers {code}")) }
    }
}

/// What the thread has.
struct Sending {
    target: Target,
    clock: SharedClock,
    options: AuditWebhookOptions,
    /// How many batches may go at once, and since when.
    tokens: f64,
    last: Duration,
}

impl Sending {
    async fn drain(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.recv().await {
            if let Some(done) = first.done {
                let sent = self.send(vec![first.event]).await;
                let _ = done.send(sent);
                continue;
            }
            let mut batch = vec![first.event];
            let full = self.clock.sleep(self.options.wait);
            tokio::pin!(full);
            while batch.len() < self.options.batch {
                let next = tokio::select! {
                    next = jobs.recv() => next,
                    () = &mut full => break,
                };
                let Some(next) = next else { break };
                batch.push(next.event);
            }
            self.turn().await;
            let events = batch.len();
            if let Err(error) = self.send(batch).await {
                tracing::error!(%error, events, "audit events are lost");
            }
        }
    }

    /// Waits until a batch may go.
    async fn turn(&mut self) {
        let Some(throttle) = self.options.throttle else { return };
        loop {
            let now = self.clock.elapsed();
            let gained = now.saturating_sub(self.last).as_secs_f64() * throttle.per_second;
            self.tokens = (self.tokens + gained).min(throttle.burst.into());
            self.last = now;
            if self.tokens >= 1.0 || throttle.per_second <= 0.0 {
                self.tokens -= 1.0;
                return;
            }
            let missing = (1.0 - self.tokens) / throttle.per_second;
            self.clock.sleep(Duration::from_secs_f64(missing)).await;
        }
    }

    /// Sends events, in as many pieces as their size asks for.
    async fn send(&self, events: Vec<Event>) -> Result<(), String> {
        let (mut piece, mut bytes) = (Vec::new(), 0);
        for event in events {
            let event = serde_json::value::to_raw_value(&event).map_err(|e| e.to_string())?;
            let length = event.get().len();
            if !piece.is_empty() && bytes + length > self.options.batch_bytes {
                self.deliver(&std::mem::take(&mut piece)).await?;
                bytes = 0;
            }
            bytes += length;
            piece.push(event);
        }
        self.deliver(&piece).await
    }

    async fn deliver(&self, events: &[Box<RawValue>]) -> Result<(), String> {
        let mut pause = self.options.pause;
        for _ in 1..TRIES {
            match self.target.post(events).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::warn!(%error, "audit events were not taken; trying again");
                    self.clock.sleep(pause).await;
                    pause = pause.mul_f64(1.5);
                }
            }
        }
        self.target.post(events).await
    }
}
