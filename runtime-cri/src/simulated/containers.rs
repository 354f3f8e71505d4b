use super::{
    RESTART_POLICY_ANNOTATION, SimulatedRuntime,
    container::{Container, KILLED, Parts, Running, Stop, kill},
    files::Files,
    output::{Log, Output},
    program::{Process, Surroundings},
    script::Script,
    selects,
};
use crate::{
    ContainerId, Containers, Error, LogStream, ProcessStreams, Reader, Result, SandboxId,
    Streaming, Writer, v1,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use kubeplane_clock::timeout;
use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, DuplexStream, duplex},
    sync::{broadcast, mpsc, oneshot, watch},
};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tokio_util::io::StreamReader;

/// What a pipe between a process and its reader holds.
const PIPE: usize = 64 << 10;
/// The exit code of a command that is not there.
const NOT_FOUND: i32 = 127;
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl SimulatedRuntime {
    /// How long a command runs that is not known.
    fn idle_time(&self, container: &Container) -> Option<Duration> {
        let policy = container
            .config
            .annotations
            .get(RESTART_POLICY_ANNOTATION)
            .or_else(|| container.sandbox_config.annotations.get(RESTART_POLICY_ANNOTATION));
        let ends = policy.is_some_and(|policy| policy == "Never" || policy == "OnFailure");
        ends.then_some(self.inner.options.exit_delay)
    }

    fn surroundings(&self, container: &Container) -> Surroundings {
        let hostname = container.sandbox_config.hostname.clone();
        let mut env = vec![
            ("PATH".to_owned(), DEFAULT_PATH.to_owned()),
            ("HOSTNAME".to_owned(), hostname),
            ("HOME".to_owned(), "/root".to_owned()),
        ];
        for variable in &container.config.envs {
            let value = String::from_utf8_lossy(&variable.value).into_owned();
            env.retain(|(name, _)| *name != variable.key);
            env.push((variable.key.clone(), value));
        }
        Surroundings {
            clock: self.inner.clock.clone(),
            env,
            files: Files::new(&container.config.mounts),
            ignores_term: AtomicBool::new(false),
            idle: self.idle_time(container),
        }
    }

    async fn run_main(self, container: Arc<Container>) {
        let config = &container.config;
        let argv: Vec<String> = config.command.iter().chain(&config.args).cloned().collect();
        let script = Script::read(&argv).ok();
        let around = self.surroundings(&container);
        let running = Running {
            container: container.clone(),
            clock: self.inner.clock.clone(),
            events: self.inner.events.clone(),
        };
        let delay = self.inner.options.stop_delay;
        let stdin = container.config.stdin.then(|| reader(container.open_input()));
        // From here on the process must not keep the runtime alive, for the runtime owns the process.
        drop(self);
        let polite = !script.as_ref().is_some_and(Script::is_known);
        let work = async {
            match script {
                Some(script) => {
                    let mut output = Output::Log(container.clone());
                    let mut process = Process { around: &around, stdin, output: &mut output };
                    process.run(&script).await
                }
                None => around.idle().await,
            }
        };
        let told = container.told_to_end(&*around.clock, &around.ignores_term, delay, polite);
        let code = tokio::select! {
            biased;
            code = work => code,
            code = told => code,
        };
        running.ended(code);
    }

    fn running(&self, id: &ContainerId) -> Result<Arc<Container>> {
        let container = self.container(id)?;
        if !container.is_running() {
            return Err(Error::precondition(format!("container {id} is not running")));
        }
        Ok(container)
    }

    /// Ends and forgets a container.
    pub(super) async fn remove(&self, container: &Container) {
        kill(container).await;
        if self.inner.state.lock().containers.remove(&container.id).is_some() {
            self.emit(container, v1::ContainerEventType::ContainerDeletedEvent);
        }
    }
}

/// Runs a command beside the main process of a container, and ends with it.
async fn run_beside(
    container: &Container,
    around: &Surroundings,
    command: &[String],
    stdin: Option<Reader>,
    output: &mut Output,
) -> i32 {
    let mut process = Process { around, stdin, output };
    let work = async {
        match Script::from_argv(command) {
            Ok(script) => process.run(&script).await,
            Err(reason) => {
                let message = format!("the simulated runtime cannot run {command:?}: {reason}");
                process.complain(&message, NOT_FOUND).await
            }
        }
    };
    tokio::select! {
        biased;
        code = work => code,
        _ = container.wait() => KILLED,
    }
}

fn reader(input: mpsc::Receiver<Bytes>) -> Reader {
    Box::new(StreamReader::new(ReceiverStream::new(input).map(Ok::<_, std::io::Error>)))
}

/// Both ends of a pipe, when it is wanted.
fn pipe(wanted: bool) -> (Option<DuplexStream>, Option<DuplexStream>) {
    if !wanted {
        return (None, None);
    }
    let (near, far) = duplex(PIPE);
    (Some(near), Some(far))
}

fn boxed_reader(end: DuplexStream) -> Reader {
    Box::new(end)
}

fn boxed_writer(end: DuplexStream) -> Writer {
    Box::new(end)
}

#[async_trait]
impl Containers for SimulatedRuntime {
    async fn create_container(
        &self,
        sandbox: &SandboxId,
        mut config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Result<ContainerId> {
        let Some(metadata) = config.metadata.clone() else {
            return Err(Error::invalid("the container has no metadata"));
        };
        let image = config.image.as_ref().map(|spec| spec.image.as_str()).unwrap_or_default();
        let image_id = self.image_id(image).ok_or_else(|| Error::not_found("image", image))?;
        // Statuses tell the name of an image, also when the container was made of its id.
        if let Some(name) = self.image_name(&image_id)
            && let Some(spec) = &mut config.image
        {
            spec.image = name;
        }
        let created_at = self.now();
        let log = match (sandbox_config.log_directory.as_str(), config.log_path.as_str()) {
            ("", _) | (_, "") => None,
            (directory, name) => Some(Path::new(directory).join(name)),
        };
        let id = ContainerId::from(self.fresh_id());
        let mut state = self.inner.state.lock();
        let found = state.sandboxes.get(sandbox);
        let found = found.ok_or_else(|| Error::not_found("sandbox", sandbox.as_str()))?;
        if !found.is_ready() {
            return Err(Error::precondition(format!("sandbox {sandbox} is not ready")));
        }
        let taken = state.containers.values().any(|other| {
            other.sandbox == *sandbox && other.config.metadata.as_ref() == Some(&metadata)
        });
        if taken {
            let message = format!("container {}_{} exists", metadata.name, metadata.attempt);
            return Err(Error::AlreadyExists { message });
        }
        let container = Arc::new(Container::new(Parts {
            id: id.clone(),
            sandbox: sandbox.clone(),
            config,
            sandbox_config,
            image_id,
            created_at,
            log: Log::new(self.inner.clock.clone(), log),
        }));
        state.containers.insert(id.clone(), container.clone());
        drop(state);
        self.emit(&container, v1::ContainerEventType::ContainerCreatedEvent);
        Ok(id)
    }

    async fn start_container(&self, id: &ContainerId) -> Result<()> {
        let container = self.container(id)?;
        if container.state() == v1::ContainerState::ContainerCreated {
            container.log.open().map_err(|error| {
                Error::caused(format!("cannot open the log {:?}", container.log.path()), error)
            })?;
        }
        if !container.begin(&self.inner.clock) {
            return Err(Error::precondition(format!("container {id} was started before")));
        }
        self.emit(&container, v1::ContainerEventType::ContainerStartedEvent);
        self.spawn(self.clone().run_main(container));
        Ok(())
    }

    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        let Ok(container) = self.container(id) else {
            return Ok(());
        };
        if container.is_running() && !grace.is_zero() {
            container.tell(Stop::Term);
            if timeout(&*self.inner.clock, grace, container.wait()).await.is_some() {
                return Ok(());
            }
        }
        kill(&container).await;
        Ok(())
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<()> {
        if let Ok(container) = self.container(id) {
            self.remove(&container).await;
        }
        Ok(())
    }

    async fn container_status(&self, id: &ContainerId) -> Result<v1::ContainerStatus> {
        Ok(self.container(id)?.message())
    }

    async fn list_containers(&self, filter: v1::ContainerFilter) -> Result<Vec<v1::Container>> {
        let all: Vec<_> = self.inner.state.lock().containers.values().cloned().collect();
        let listed = all.iter().map(|one| one.listed()).filter(|one| {
            (filter.id.is_empty() || filter.id == one.id)
                && (filter.pod_sandbox_id.is_empty() || filter.pod_sandbox_id == one.pod_sandbox_id)
                && filter.state.as_ref().is_none_or(|wanted| wanted.state == one.state)
                && selects(&filter.label_selector, &one.labels)
        });
        Ok(listed.collect())
    }

    async fn update_container_resources(
        &self,
        id: &ContainerId,
        resources: v1::LinuxContainerResources,
    ) -> Result<()> {
        self.container(id)?.set_resources(resources);
        Ok(())
    }

    async fn reopen_container_log(&self, id: &ContainerId) -> Result<()> {
        let container = self.running(id)?;
        container.log.open().map_err(|error| {
            Error::caused(format!("cannot open the log {:?}", container.log.path()), error)
        })
    }

    async fn exec_sync(
        &self,
        id: &ContainerId,
        command: &[String],
        limit: Option<Duration>,
    ) -> Result<v1::ExecSyncResponse> {
        let container = self.running(id)?;
        let around = self.surroundings(&container);
        let mut output = Output::Captured { stdout: Vec::new(), stderr: Vec::new() };
        let work = run_beside(&container, &around, command, None, &mut output);
        let exit_code = match limit {
            None => work.await,
            Some(limit) => timeout(&*self.inner.clock, limit, work)
                .await
                .ok_or_else(|| Error::deadline(&format!("command {command:?}"), limit))?,
        };
        let Output::Captured { stdout, stderr } = output else {
            return Err(Error::internal("the output was lost"));
        };
        Ok(v1::ExecSyncResponse { stdout: stdout.into(), stderr: stderr.into(), exit_code })
    }

    async fn exec(&self, request: v1::ExecRequest) -> Result<Streaming> {
        let container = self.running(&ContainerId::from(request.container_id))?;
        let around = self.surroundings(&container);
        let (stdin, process_stdin) = pipe(request.stdin);
        let (stdout, process_stdout) = pipe(request.stdout);
        let (stderr, process_stderr) = pipe(request.stderr && !request.tty);
        let (ended, end) = oneshot::channel();
        let mut output = Output::Streams {
            stdout: process_stdout.map(boxed_writer),
            stderr: process_stderr.map(boxed_writer),
            tty: request.tty,
        };
        self.spawn(async move {
            let stdin = process_stdin.map(boxed_reader);
            let code = run_beside(&container, &around, &request.cmd, stdin, &mut output).await;
            drop(output);
            // Whoever ran the command may be gone.
            let _ = ended.send(code);
        });
        let exit = end.map(|code| code.map_err(|_| Error::internal("the runtime has ended")));
        let mut streams = ProcessStreams::new(exit.boxed());
        streams.stdin = stdin.map(boxed_writer);
        streams.stdout = stdout.map(boxed_reader);
        streams.stderr = stderr.map(boxed_reader);
        Ok(Streaming::InProcess(streams))
    }

    async fn attach(&self, request: v1::AttachRequest) -> Result<Streaming> {
        let container = self.running(&ContainerId::from(request.container_id))?;
        let (stdin, input) = pipe(request.stdin && container.config.stdin);
        let (stdout, process_stdout) = pipe(request.stdout);
        let (stderr, process_stderr) = pipe(request.stderr && !request.tty);
        let follow = container.log.follow();
        let mut output = Output::Streams {
            stdout: process_stdout.map(boxed_writer),
            stderr: process_stderr.map(boxed_writer),
            tty: request.tty,
        };
        let (fed, watched) = (container.clone(), container.clone());
        let detached = watch::Sender::new(false);
        let (left, over) = (detached.subscribe(), detached.subscribe());
        if let Some(input) = input {
            self.spawn(async move {
                feed(&fed, input).await;
                detached.send_replace(!fed.config.stdin_once);
            });
        }
        self.spawn(async move { follow_output(&watched, follow, left, &mut output).await });
        let exit = async move {
            tokio::select! {
                biased;
                code = container.wait() => Ok(code),
                () = has_left(over) => Ok(0),
            }
        };
        let mut streams = ProcessStreams::new(exit.boxed());
        streams.stdin = stdin.map(boxed_writer);
        streams.stdout = stdout.map(boxed_reader);
        streams.stderr = stderr.map(boxed_reader);
        Ok(Streaming::InProcess(streams))
    }
}

/// Passes what one who is attached writes to the main process.
async fn feed(container: &Container, mut from: DuplexStream) {
    let Some(input) = container.input() else {
        return;
    };
    let mut chunk = vec![0; 4 << 10];
    loop {
        let size = tokio::select! {
            read = from.read(&mut chunk) => read.unwrap_or(0),
            _ = container.wait() => 0,
        };
        if size == 0 || input.send(Bytes::copy_from_slice(&chunk[..size])).await.is_err() {
            break;
        }
    }
    drop(input);
    container.input_left();
}

/// Resolves when one who was attached has said all there was to say to a process that goes on listening.
async fn has_left(mut detached: watch::Receiver<bool>) {
    if detached.wait_for(|left| *left).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Passes what the main process writes to one who is attached, until it has ended or that one has left.
async fn follow_output(
    container: &Container,
    mut follow: broadcast::Receiver<(LogStream, Bytes)>,
    left: watch::Receiver<bool>,
    output: &mut Output,
) {
    let left = has_left(left);
    tokio::pin!(left);
    loop {
        let piece = tokio::select! {
            biased;
            piece = follow.recv() => piece,
            _ = container.wait() => return,
            () = &mut left => return,
        };
        match piece {
            Ok((stream, bytes)) => output.write(stream, &bytes).await,
            Err(broadcast::error::RecvError::Lagged(lost)) => {
                let note = format!("[{lost} pieces of output were not read in time]\n");
                output.write(LogStream::Stderr, note.as_bytes()).await;
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}
