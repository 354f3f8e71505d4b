//! Which container runtime a node uses.

use ipnet::IpNet;
use kubeplane_clock::{Clock, SharedClock};
use kubeplane_runtime_cri::{ContainerRuntime, CriClient, SimulatedOptions, SimulatedRuntime};
use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

/// Where containerd listens.
pub const CONTAINERD: &str = "/run/containerd/containerd.sock";

/// How long a runtime may take to say which it is: the user waits for the start-up lines.
const ANSWER_LIMIT: Duration = Duration::from_millis(800);

/// A wish for a runtime.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RuntimeChoice {
    /// containerd if its socket answers, else simulated.
    #[default]
    Auto,
    /// No real containers.
    Simulated,
    /// The CRI runtime behind a socket.
    Cri(PathBuf),
}

impl FromStr for RuntimeChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "simulated" => Ok(Self::Simulated),
            _ => match text.strip_prefix("cri=").filter(|path| !path.is_empty()) {
                Some(path) => Ok(Self::Cri(path.trim_start_matches("unix://").into())),
                None => Err("expected auto, simulated or cri=PATH".into()),
            },
        }
    }
}

impl fmt::Display for RuntimeChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Simulated => f.write_str("simulated"),
            Self::Cri(path) => write!(f, "cri={}", path.display()),
        }
    }
}

/// A runtime, and what to tell the user of it.
#[derive(Debug, Clone)]
pub struct Found {
    /// The runtime.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// Whether its containers are real.
    pub real: bool,
    /// One line about it.
    pub description: String,
}

/// Finds the runtime wished for; a simulated one takes its addresses from `pod_range`.
///
/// # Errors
/// When a socket that was named does not answer.
///
/// # Cancellation
/// No effect.
pub async fn find(
    choice: &RuntimeChoice,
    clock: SharedClock,
    pod_range: IpNet,
) -> Result<Found, String> {
    let pod_cidr = pod_range.to_string();
    find_with(choice, clock, SimulatedOptions { pod_cidr, ..SimulatedOptions::default() }).await
}

/// The same with these options of a simulated runtime, for the case that there is no other.
///
/// # Errors
/// When a socket that was named does not answer.
///
/// # Cancellation
/// No effect.
pub async fn find_with(
    choice: &RuntimeChoice,
    clock: SharedClock,
    options: SimulatedOptions,
) -> Result<Found, String> {
    match choice {
        RuntimeChoice::Simulated => Ok(simulated(clock, options, "as asked")),
        RuntimeChoice::Cri(path) => connect(path, &*clock).await,
        RuntimeChoice::Auto => Ok(auto(Path::new(CONTAINERD), clock, options).await),
    }
}

/// The runtime that listens at `socket`, or a simulated one that says why it is not that.
async fn auto(socket: &Path, clock: SharedClock, options: SimulatedOptions) -> Found {
    let connected = match socket.try_exists() {
        Ok(true) => connect(socket, &*clock).await,
        Ok(false) => Err(format!("there is no {}", socket.display())),
        Err(error) => Err(format!("{} cannot be read: {error}", socket.display())),
    };
    connected.unwrap_or_else(|why| simulated(clock, options, &why))
}

fn simulated(clock: SharedClock, options: SimulatedOptions, why: &str) -> Found {
    Found {
        runtime: Arc::new(SimulatedRuntime::new(clock, options)),
        real: false,
        description: format!("simulated, no real containers ({why})"),
    }
}

async fn connect(path: &Path, clock: &dyn Clock) -> Result<Found, String> {
    let failed = |error: &dyn fmt::Display| format!("{} cannot be used: {error}", path.display());
    let ask = async {
        let client = CriClient::connect(path).await.map_err(|error| failed(&error))?;
        let version = client.version().await.map_err(|error| failed(&error))?;
        Ok::<_, String>((client, version))
    };
    let answer = kubeplane_clock::timeout(clock, ANSWER_LIMIT, ask).await;
    let (client, version) = answer.unwrap_or_else(|| Err(failed(&"it does not answer")))?;
    let description =
        format!("{} {} at {}", version.runtime_name, version.runtime_version, path.display());
    Ok(Found { runtime: Arc::new(client), real: true, description })
}

#[cfg(test)]
mod tests;
