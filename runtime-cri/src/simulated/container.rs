use super::{Events, nanoseconds, output::Log};
use crate::{ContainerId, SandboxId, v1};
use bytes::Bytes;
use kubeplane_clock::{Clock, SharedClock};
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::{mpsc, watch};

/// The exit code of what was killed.
pub(super) const KILLED: i32 = 137;
/// The exit code of what was asked to end.
const TERMINATED: i32 = 143;
/// How many pieces of input wait for a process.
const INPUT: usize = 16;

/// One container in memory.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) id: ContainerId,
    pub(super) sandbox: SandboxId,
    pub(super) config: v1::ContainerConfig,
    pub(super) sandbox_config: v1::PodSandboxConfig,
    pub(super) image_id: String,
    pub(super) created_at: i64,
    pub(super) log: Log,
    status: Mutex<Status>,
    stop: watch::Sender<Stop>,
    ended: watch::Sender<bool>,
    input: Mutex<Option<mpsc::Sender<Bytes>>>,
}

#[derive(Debug, Clone)]
struct Status {
    state: v1::ContainerState,
    started_at: i64,
    finished_at: i64,
    exit_code: i32,
    resources: Option<v1::LinuxContainerResources>,
}

/// What a process has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stop {
    No,
    Term,
    Kill,
}

/// What a container is made of.
pub(super) struct Parts {
    pub(super) id: ContainerId,
    pub(super) sandbox: SandboxId,
    pub(super) config: v1::ContainerConfig,
    pub(super) sandbox_config: v1::PodSandboxConfig,
    pub(super) image_id: String,
    pub(super) created_at: i64,
    pub(super) log: Log,
}

impl Container {
    pub(super) fn new(parts: Parts) -> Self {
        let resources = parts.config.linux.as_ref().and_then(|linux| linux.resources.clone());
        let status = Status {
            state: v1::ContainerState::ContainerCreated,
            started_at: 0,
            finished_at: 0,
            exit_code: 0,
            resources,
        };
        Self {
            id: parts.id,
            sandbox: parts.sandbox,
            config: parts.config,
            sandbox_config: parts.sandbox_config,
            image_id: parts.image_id,
            created_at: parts.created_at,
            log: parts.log,
            status: Mutex::new(status),
            stop: watch::Sender::new(Stop::No),
            ended: watch::Sender::new(false),
            input: Mutex::default(),
        }
    }

    pub(super) fn state(&self) -> v1::ContainerState {
        self.status.lock().state
    }

    pub(super) fn is_running(&self) -> bool {
        self.state() == v1::ContainerState::ContainerRunning
    }

    /// Marks a created container as running; whether it was created.
    pub(super) fn begin(&self, clock: &SharedClock) -> bool {
        let mut status = self.status.lock();
        if status.state != v1::ContainerState::ContainerCreated {
            return false;
        }
        status.state = v1::ContainerState::ContainerRunning;
        status.started_at = nanoseconds(clock);
        true
    }

    /// Marks the container as ended.
    pub(super) fn end(&self, clock: &SharedClock, code: i32) {
        self.log.finish();
        let mut status = self.status.lock();
        status.state = v1::ContainerState::ContainerExited;
        status.finished_at = nanoseconds(clock);
        status.exit_code = code;
        drop(status);
        self.input.lock().take();
        self.ended.send_replace(true);
    }

    /// Makes the input of the main process.
    pub(super) fn open_input(&self) -> mpsc::Receiver<Bytes> {
        let (sender, receiver) = mpsc::channel(INPUT);
        *self.input.lock() = Some(sender);
        receiver
    }

    pub(super) fn input(&self) -> Option<mpsc::Sender<Bytes>> {
        self.input.lock().clone()
    }

    /// One who was attached is gone, which for some containers ends the input.
    pub(super) fn input_left(&self) {
        if self.config.stdin_once {
            self.input.lock().take();
        }
    }

    pub(super) fn tell(&self, stop: Stop) {
        self.stop.send_if_modified(|told| {
            let news = stop > *told;
            *told = stop.max(*told);
            news
        });
    }

    /// Waits until the container has ended; its exit code.
    pub(super) async fn wait(&self) -> i32 {
        // The sender lives in this value, so waiting cannot fail.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
        self.status.lock().exit_code
    }

    /// Waits until the process has to end because it was told to; its exit code.
    pub(super) async fn told_to_end(
        &self,
        clock: &dyn Clock,
        ignores_term: &AtomicBool,
        delay: Duration,
        polite: bool,
    ) -> i32 {
        let mut told = self.stop.subscribe();
        let heard = |stop: &Stop| match stop {
            Stop::No => false,
            Stop::Term => !ignores_term.load(Ordering::Acquire),
            Stop::Kill => true,
        };
        // The sender lives in this value, so waiting cannot fail.
        let stop = told.wait_for(heard).await.map_or(Stop::Kill, |stop| *stop);
        if stop == Stop::Kill {
            return KILLED;
        }
        tokio::select! {
            () = clock.sleep(delay) => if polite { 0 } else { TERMINATED },
            _ = told.wait_for(|stop| *stop == Stop::Kill) => KILLED,
        }
    }

    pub(super) fn set_resources(&self, resources: v1::LinuxContainerResources) {
        self.status.lock().resources = Some(resources);
    }

    /// When it was started, in nanoseconds since 1970; zero before.
    pub(super) fn started_at(&self) -> i64 {
        self.status.lock().started_at
    }

    pub(super) fn listed(&self) -> v1::Container {
        v1::Container {
            id: self.id.to_string(),
            pod_sandbox_id: self.sandbox.to_string(),
            metadata: self.config.metadata.clone(),
            image: self.config.image.clone(),
            image_ref: self.image_id.clone(),
            state: self.state().into(),
            created_at: self.created_at,
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            image_id: self.image_id.clone(),
        }
    }

    pub(super) fn message(&self) -> v1::ContainerStatus {
        let status = self.status.lock().clone();
        let reason = match (status.state, status.exit_code) {
            (v1::ContainerState::ContainerExited, 0) => "Completed",
            (v1::ContainerState::ContainerExited, _) => "Error",
            _ => "",
        };
        v1::ContainerStatus {
            id: self.id.to_string(),
            metadata: self.config.metadata.clone(),
            state: status.state.into(),
            created_at: self.created_at,
            started_at: status.started_at,
            finished_at: status.finished_at,
            exit_code: status.exit_code,
            image: self.config.image.clone(),
            image_ref: self.image_id.clone(),
            reason: reason.to_owned(),
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            mounts: self.config.mounts.clone(),
            log_path: self.log.path(),
            resources: Some(v1::ContainerResources { linux: status.resources }),
            image_id: self.image_id.clone(),
            ..Default::default()
        }
    }
}

/// Ends a container at once and waits for it; nothing to do for one that does not run.
pub(super) async fn kill(container: &Container) {
    if container.is_running() {
        container.tell(Stop::Kill);
        container.wait().await;
    }
}

pub(super) fn emit(events: &Events, container: &Container, kind: v1::ContainerEventType, now: i64) {
    let event = v1::ContainerEventResponse {
        container_id: container.id.to_string(),
        container_event_type: kind.into(),
        created_at: now,
        pod_sandbox_status: Some(v1::PodSandboxStatus {
            id: container.sandbox.to_string(),
            metadata: container.sandbox_config.metadata.clone(),
            ..Default::default()
        }),
        containers_statuses: vec![container.message()],
    };
    // Nobody has to listen.
    let _ = events.send(Arc::new(event));
}

/// The container a process belongs to, with what tells of its end.
pub(super) struct Running {
    pub(super) container: Arc<Container>,
    pub(super) clock: SharedClock,
    pub(super) events: Events,
}

impl Running {
    pub(super) fn ended(&self, code: i32) {
        self.container.end(&self.clock, code);
        let now = nanoseconds(&self.clock);
        emit(&self.events, &self.container, v1::ContainerEventType::ContainerStoppedEvent, now);
    }
}
