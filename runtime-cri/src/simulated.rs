mod addresses;
mod container;
mod containers;
mod files;
mod images;
mod output;
mod program;
mod reference;
mod sandboxes;
mod script;
mod stats;

use crate::{ContainerId, ContainerRuntime, Error, EventStream, Result, SandboxId, v1};
use addresses::Addresses;
use async_trait::async_trait;
use container::Container;
use futures::StreamExt;
use images::Image;
use kubeplane_clock::{Seed, SharedClock};
use parking_lot::Mutex;
use sandboxes::Sandbox;
use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};
use tokio::{sync::broadcast, task::JoinSet};
use tokio_stream::wrappers::BroadcastStream;

/// The annotation, of a container or else of its sandbox, that tells the pod's restart policy: under
/// `Never` and `OnFailure` a container that would run until stopped ends with exit code 0 after
/// [`SimulatedOptions::exit_delay`].
pub const RESTART_POLICY_ANNOTATION: &str = "kubeplane.dev/restart-policy";

/// The annotation of a pod that says what each of its simulated containers uses of the processor, as in `250m` or
/// `1.5`; followed by a dash and the name of a container, it is about that one. Without it none is used.
pub const CPU_ANNOTATION: &str = "kubeplane.dev/cpu";

/// The same for memory, as in `64Mi`; without it a container uses 1Mi.
pub const MEMORY_ANNOTATION: &str = "kubeplane.dev/memory";

/// How many events a slow reader may be behind.
const EVENTS: usize = 1024;

/// Behind pointers: the channel has room for all of them from the start.
type Events = broadcast::Sender<Arc<v1::ContainerEventResponse>>;

/// How a [`SimulatedRuntime`] behaves.
#[derive(Debug, Clone)]
pub struct SimulatedOptions {
    /// When a container that does nothing known ends, under restart policy Never or OnFailure; the
    /// default is one second.
    pub exit_delay: Duration,
    /// How long a container takes to end once it is asked to; the default is no time. Longer than the
    /// grace given, it is killed.
    pub stop_delay: Duration,
    /// Where addresses of sandboxes come from until the kubelet tells the node's range: CIDR text, one of
    /// each family, comma separated. The default is `10.88.0.0/16`.
    pub pod_cidr: String,
    /// Where ids come from; the default cannot be predicted.
    pub seed: Seed,
}

impl Default for SimulatedOptions {
    fn default() -> Self {
        Self {
            exit_delay: Duration::from_secs(1),
            stop_delay: Duration::ZERO,
            pod_cidr: "10.88.0.0/16".to_owned(),
            seed: Seed::random(),
        }
    }
}

/// A runtime without processes: containers live in memory, on the cluster's clock, and end with it.
///
/// # What containers do
/// - `true`, `false`, `exit N`, `sleep D` (seconds, or with `s`, `m`, `h`, `d`; `infinity`), `echo`
///   (`-n`, `-e`), `env`, `printenv NAME`, `cat` (of files below mounts; of standard input without any),
///   and `trap '' TERM` do what they do in a shell. The directory before the name of a command does not
///   matter.
/// - `sh -c` and `bash -c` run scripts of those, joined by `;`, `&&`, `||` or line breaks, with quotes,
///   `$NAME`, and `>`, `>>` to files below mounts and `>&2`.
/// - Anything else, also when a script comes to it, and no command, runs until it is stopped and then
///   ends with 0; under restart policy Never or OnFailure ([`RESTART_POLICY_ANNOTATION`]) it ends with 0
///   after [`SimulatedOptions::exit_delay`].
/// - Input of one who is attached goes to the main process; at its end that process has no more input
///   (`stdin_once`), or else the one who was attached has left.
/// - Asked to stop, known commands end with 143; killed, everything ends with 137.
/// - `exec` runs the same commands; anything else ends with 127 and says why.
///
/// Logs are real files in the format of the interface. Every image can be pulled, but for names that are
/// no image references and those of registries under `.invalid`. Addresses are given to sandboxes, but no
/// traffic reaches them ([`ContainerRuntime::network_is_real`]).
#[derive(Debug, Clone)]
pub struct SimulatedRuntime {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clock: SharedClock,
    options: SimulatedOptions,
    state: Mutex<State>,
    processes: Mutex<JoinSet<()>>,
    events: Events,
}

#[derive(Debug, Default)]
struct State {
    addresses: Addresses,
    sandboxes: BTreeMap<SandboxId, Sandbox>,
    containers: BTreeMap<ContainerId, Arc<Container>>,
    images: BTreeMap<String, Image>,
}

impl SimulatedRuntime {
    /// A runtime without sandboxes, containers and images.
    #[must_use]
    pub fn new(clock: SharedClock, options: SimulatedOptions) -> Self {
        let addresses = Addresses::parse(&options.pod_cidr).unwrap_or_default();
        let state = Mutex::new(State { addresses, ..State::default() });
        let events = broadcast::Sender::new(EVENTS);
        let inner = Inner { clock, options, state, processes: Mutex::default(), events };
        Self { inner: Arc::new(inner) }
    }

    fn fresh_id(&self) -> String {
        hex(&self.inner.options.seed.bytes::<32>())
    }

    fn now(&self) -> i64 {
        nanoseconds(&self.inner.clock)
    }

    /// Runs a process; it ends with the runtime.
    fn spawn(&self, process: impl Future<Output = ()> + Send + 'static) {
        let mut processes = self.inner.processes.lock();
        while processes.try_join_next().is_some() {}
        processes.spawn(process);
    }

    fn container(&self, id: &ContainerId) -> Result<Arc<Container>> {
        let state = self.inner.state.lock();
        state.containers.get(id).cloned().ok_or_else(|| Error::not_found("container", id.as_str()))
    }

    fn containers_of(&self, sandbox: &SandboxId) -> Vec<Arc<Container>> {
        let state = self.inner.state.lock();
        state.containers.values().filter(|one| one.sandbox == *sandbox).cloned().collect()
    }

    fn emit(&self, container: &Container, kind: v1::ContainerEventType) {
        container::emit(&self.inner.events, container, kind, self.now());
    }
}

fn nanoseconds(clock: &SharedClock) -> i64 {
    i64::try_from(clock.now().as_nanosecond()).unwrap_or(i64::MAX)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether `labels` has everything `selector` asks for.
fn selects(
    selector: &std::collections::HashMap<String, String>,
    labels: &std::collections::HashMap<String, String>,
) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[async_trait]
impl ContainerRuntime for SimulatedRuntime {
    async fn version(&self) -> Result<v1::VersionResponse> {
        Ok(v1::VersionResponse {
            version: "0.1.0".to_owned(),
            runtime_name: "simulated".to_owned(),
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime_api_version: "v1".to_owned(),
        })
    }

    async fn status(&self, _verbose: bool) -> Result<v1::StatusResponse> {
        let condition = |kind: &str| v1::RuntimeCondition {
            r#type: kind.to_owned(),
            status: true,
            ..Default::default()
        };
        let conditions = vec![condition("RuntimeReady"), condition("NetworkReady")];
        let status = Some(v1::RuntimeStatus { conditions });
        Ok(v1::StatusResponse { status, ..Default::default() })
    }

    async fn update_pod_cidr(&self, pod_cidr: &str) -> Result<()> {
        if !pod_cidr.is_empty() {
            let addresses = Addresses::parse(pod_cidr)?;
            self.inner.state.lock().addresses.replace(addresses);
        }
        Ok(())
    }

    async fn runtime_config(&self) -> Result<v1::RuntimeConfigResponse> {
        let cgroup_driver = v1::CgroupDriver::Cgroupfs.into();
        let linux = Some(v1::LinuxRuntimeConfiguration { cgroup_driver });
        Ok(v1::RuntimeConfigResponse { linux })
    }

    async fn events(&self) -> Result<EventStream> {
        let events = BroadcastStream::new(self.inner.events.subscribe());
        // A gap ends the stream, after the error that tells of it.
        let whole = events.scan(false, |ended, event| {
            let event = event.map(Arc::unwrap_or_clone);
            let answer =
                (!*ended).then(|| event.map_err(|error| Error::internal(error.to_string())));
            *ended |= matches!(answer, Some(Err(_)));
            std::future::ready(answer)
        });
        Ok(whole.boxed())
    }

    fn network_is_real(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
