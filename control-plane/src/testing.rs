//! A control plane inside a test.
//!
//! ```text
//!   TestCluster::builder().controllers().scheduler().nodes(2).seed(7).paused().start()
//!        │
//!        ├─> ControlPlane: API server ─ controllers ─ scheduler ─ kubelets ─ your own
//!        │        ^ clients                  │ store
//!        │      gate: faults, cuts        memory: history of writes, faults, snapshots, forks
//!        └─> clock: real, or paused until advance()
//! ```
//!
//! # Replaying
//! What a cluster writes depends on its seed, its clock, and the order in which its tasks run. Under
//! [`record`], or `#[kubeplane::test(paused)]`, all of it is one thread that stands still until
//! [`TestCluster::advance`]; names, uids, times, keys and faults are those of the seed, and tasks take their turns in
//! the order in which they were woken. The API server, the built-in controllers, the scheduler, simulated nodes and a test
//! that asks no other chance then bring the same [`History`] byte by byte; parts of your own do as far as they wait on
//! [`kubeplane_clock::watch`] and use `select!` with `biased`, for tokio chooses by a chance of its own. Kubelets
//! ([`nodes`](TestClusterBuilder::nodes)), sockets and tokens that are kept in Secrets add the operating system's.
//! Certificates that are asked for are the same for the same request, since the key of a seeded cluster's authority is
//! Ed25519, whose signatures know no chance; who makes a request has a key of his own, and that is by chance.
//!
//! A test that fails tells its seed, the planned faults and the last writes: one that panics always, one that returns
//! an error under `#[kubeplane::test]` and [`run()`]. `KUBEPLANE_SEED=...` lets every cluster without a seed of its own
//! begin with that one.
//!
//! # From kube-rs
//! A test that had a client of a cluster set up elsewhere changes one line, that in which the client comes to be; with
//! the last clone of the client the cluster goes:
//!
//! ```
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! use k8s_openapi::api::core::v1::Namespace;
//!
//! // let client = kube::Client::try_default().await?;
//! let client = kubeplane::testing::TestCluster::start().await?.into_client();
//! let namespaces: kube::Api<Namespace> = kube::Api::all(client);
//! assert!(namespaces.get_opt("kube-system").await?.is_some());
//! # Ok(()) }
//! ```
//!
//! [`#[kubeplane::test]`](macro@crate::test) in place of `#[tokio::test]` does more: it stops the cluster in order, chooses
//! its parts, and a test that fails tells its seed. For that the test takes its client as its argument
//! (`async fn it(client: kube::Client)`), or the cluster itself.
//!
//! # Other languages
//! `kubeplane testserver` is the same in a process of its own: it prints a kubeconfig when it is ready and ends
//! when its standard input does. As `kube-apiserver` and `etcd` it stands in for those two under controller-runtime's
//! envtest; see the README.

mod assembly;
mod builder;
mod clock;
mod faults;
mod gate;
mod history;
mod idle;
mod keys;
mod kinds;
mod nodes;
mod past;
mod run;
mod server;
mod store;
mod story;
mod ways;

pub use builder::{ClusterParts, TestClusterBuilder};
pub use faults::{Fault, FaultPlan, Faults};
pub use history::{History, Write, WriteKind};
pub use past::Past;
pub use run::{record, run};
pub use story::Outcome;

use crate::ControlPlaneError;
use clock::ClusterClock;
use futures::FutureExt;
use gate::Gate;
use kubeplane_clock::{PausedClock, SharedClock};
use kubeplane_core::{auth::UserInfo, reader::ObjectReader};
use kubeplane_store_memory::Snapshot;
use parking_lot::Mutex;
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a [`TestCluster`] does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The seed that the environment asks for is none.
    #[error("KUBEPLANE_SEED={text} is no number")]
    Seed {
        /// What it says.
        text: String,
    },
    /// A clock is to be [off](TestClusterBuilder::skew) of a part that the cluster does not have.
    #[error("no part of the cluster is called {name:?}; these are: {}", known.join(", "))]
    NoSuchPart {
        /// The name.
        name: String,
        /// The parts whose clock can be off.
        known: Vec<String>,
    },
    /// A part does not start.
    #[error("{source} (again with KUBEPLANE_SEED={seed})")]
    Part {
        /// The cluster's seed.
        seed: u64,
        /// What the part says.
        source: BoxError,
    },
}

/// How long a server that is to stop leaves what it began.
const GRACE: Duration = Duration::from_secs(10);
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

type Plane = AbortOnDropHandle<Result<(), ControlPlaneError>>;

/// Everything a cluster had stored at a moment, and its keys. It costs nothing to take, and stays as it is.
#[derive(Clone)]
pub struct ClusterSnapshot {
    store: Snapshot,
    keys: keys::Keys,
    clock: Option<PausedClock>,
}

impl fmt::Debug for ClusterSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterSnapshot")
            .field("revision", &self.revision())
            .finish_non_exhaustive()
    }
}

impl ClusterSnapshot {
    /// The revision it was taken at.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.store.revision().0
    }
}

#[derive(Debug)]
struct Inner {
    gate: Arc<Gate>,
    clock: ClusterClock,
    kubeconfig: Option<PathBuf>,
    stop: CancellationToken,
    plane: Mutex<Option<Plane>>,
    directory: TempDir,
    origin: TestClusterBuilder,
    story: story::Story,
}

/// A test that panics without [`run()`] drops its cluster on the way out.
impl Drop for Inner {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.story.tell();
        }
    }
}

/// A full API server on memory, in this process, with no port unless asked for one, and the parts asked for.
///
/// [`stop`](Self::stop) ends it in order. Dropping the last clone ends it at once. Either way its tasks and
/// files go with it.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// use k8s_openapi::api::core::v1::Namespace;
/// use kubeplane::testing::TestCluster;
///
/// let cluster = TestCluster::start().await?;
/// let namespaces: kube::Api<Namespace> = kube::Api::all(cluster.client());
/// assert!(namespaces.get_opt("kube-system").await?.is_some());
/// cluster.stop().await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct TestCluster(Arc<Inner>);

impl TestCluster {
    /// An API server with its bootstrap objects and custom resources, and nothing else.
    ///
    /// # Errors
    /// When it does not start.
    ///
    /// # Cancellation
    /// As of [`TestClusterBuilder::start`].
    pub async fn start() -> Result<Self, StartError> {
        Self::builder().start().await
    }

    /// Chooses more parts.
    pub fn builder() -> TestClusterBuilder {
        TestClusterBuilder::default()
    }

    /// An administrator's client, in-process.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        self.client_as(assembly::admin())
    }

    /// Anybody's client, in-process; as an authenticated user only with the group for it among the groups.
    #[must_use]
    pub fn client_as(&self, user: UserInfo) -> kube::Client {
        self.0.gate.client(user)
    }

    /// An administrator's client that the cluster lives as long as: with its last clone the cluster ends as one that is
    /// dropped, and with it what is still streamed.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// use kubeplane::testing::TestCluster;
    ///
    /// let client = TestCluster::start().await?.into_client();
    /// assert!(!client.apiserver_version().await?.minor.is_empty());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn into_client(self) -> kube::Client {
        let client = self.client();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let (client, cluster) = (client.clone(), self.clone());
            async move {
                let answer = client.send(request).await;
                drop(cluster);
                answer
            }
            .boxed()
        });
        kube::Client::new(service, "default")
    }

    /// Reads from the watch caches of the API server that runs now; nothing while it starts anew.
    #[must_use]
    pub fn reader(&self) -> Option<Arc<dyn ObjectReader>> {
        self.0.gate.server.borrow().as_ref().map(|server| server.reader.clone())
    }

    /// The administrator's kubeconfig, if the cluster listens; it is there as long as the cluster.
    #[must_use]
    pub fn kubeconfig(&self) -> Option<&Path> {
        self.0.kubeconfig.as_deref()
    }

    /// A directory for files of the test, which goes with the cluster.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.0.directory.path()
    }

    /// What all its chance comes from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.0.story.seed
    }

    /// What it tells the time by.
    #[must_use]
    pub fn clock(&self) -> SharedClock {
        self.0.clock.shared.clone()
    }

    /// Lets time pass. A [paused](TestClusterBuilder::paused) cluster goes from one moment somebody waits for to the
    /// next, and does at each whatever is to be done then: a day of CronJobs takes as long as their work. Any other
    /// cluster takes as long as it says.
    ///
    /// # Cancellation
    /// Time stands where it came to.
    pub async fn advance(&self, by: Duration) {
        self.0.clock.advance(by, &|| self.0.gate.store.inner.snapshot().revision().0).await;
    }

    /// Waits until nothing more happens before time passes. Exact under [`record`] and
    /// `#[kubeplane::test(paused)]`; on other runtimes it waits until nothing happened for some milliseconds.
    ///
    /// # Cancellation
    /// Without effect.
    pub async fn settle(&self) {
        self.0.clock.settle(&|| self.0.gate.store.inner.snapshot().revision().0).await;
    }

    /// What goes wrong.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.0.gate.faults
    }

    /// What was written since it started.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.0.gate.store.history
    }

    /// The latest revision.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.0.gate.store.inner.snapshot().revision().0
    }

    /// The cluster as it was at a revision; all since its start are kept, unless there are more than 100,000.
    #[must_use]
    pub fn at(&self, revision: u64) -> Past {
        Past::new(self.client(), revision)
    }

    /// Forgets all revisions but the latest: who watches from an older one has to list anew.
    ///
    /// # Errors
    /// None but those of a store that is full.
    ///
    /// # Cancellation
    /// It may still be done.
    pub async fn compact(&self) -> Result<(), kubeplane_store_trait::Error> {
        self.0.gate.store.forget().await
    }

    /// Everything stored now.
    ///
    /// # Errors
    /// When the keys cannot be read.
    pub fn snapshot(&self) -> std::io::Result<ClusterSnapshot> {
        Ok(ClusterSnapshot {
            store: self.0.gate.store.inner.snapshot(),
            keys: keys::read(&self.0.directory.path().join("pki"))?,
            clock: self.0.clock.paused.as_ref().map(PausedClock::fork),
        })
    }

    /// Makes everything stored be as it was. Revisions go on upward, and components see the changes as any other;
    /// the history of writes does not have them.
    ///
    /// # Errors
    /// As a write of the store.
    ///
    /// # Cancellation
    /// It may still be done.
    pub async fn restore(
        &self,
        snapshot: &ClusterSnapshot,
    ) -> Result<(), kubeplane_store_trait::Error> {
        self.0.gate.store.inner.replace_with(&snapshot.store).await.map(drop)
    }

    /// Another cluster with the same parts, which begins with everything this one has stored, with its keys and at
    /// its time, and goes its own way from there. Where this one listens, it listens on a free port of the same address.
    ///
    /// # Errors
    /// When it does not start.
    ///
    /// # Cancellation
    /// What was started is gone.
    pub async fn fork(&self) -> Result<Self, StartError> {
        let seed = self.seed();
        let failed = |error: std::io::Error| StartError::Part { seed, source: error.into() };
        let snapshot = self.snapshot().map_err(failed)?;
        let mut origin = self.0.origin.clone();
        // The port that was asked for is this one's.
        origin.listen = origin.listen.map(|address| SocketAddr::new(address.ip(), 0));
        origin.snapshot(snapshot).start().await
    }

    /// Stops the API server and starts another on the same store. Clients stay; their watches end, requests under way
    /// get no answer, and those that are made meanwhile fail. Writes that it had begun it completes, if ten seconds of the
    /// cluster's clock are enough for it; a paused clock goes on by as much as that takes.
    ///
    /// # Cancellation
    /// It is done all the same.
    pub async fn restart_api_server(&self) {
        let (done, mut is_done) = oneshot::channel();
        // Both fail only when the cluster is stopped.
        if self.0.gate.restarts.send(done).await.is_ok() {
            // On a clock that stands still a write that takes its time would be waited for for ever.
            tokio::select! {
                biased;
                _ = &mut is_done => return,
                () = self.advance(GRACE) => {}
            }
            let _ = is_done.await;
        }
    }

    /// Stops all parts, last started first, and waits for them. Other clones are of no more use. A paused clock goes on
    /// by as much as what is under way takes.
    ///
    /// # Errors
    /// The first failure of a part, now or earlier.
    ///
    /// # Cancellation
    /// What was not stopped yet ends at once.
    pub async fn stop(self) -> Result<(), ControlPlaneError> {
        self.0.stop.cancel();
        let plane = self.0.plane.lock().take();
        let Some(plane) = plane else { return Ok(()) };
        let panicked = |_| ControlPlaneError::Panicked { component: "control plane".into() };
        // On a clock that stands still a write that takes its time would be waited for for ever.
        let activity = || self.0.gate.store.inner.snapshot().revision().0;
        tokio::select! {
            biased;
            ended = plane => ended.map_err(panicked)?,
            () = self.0.clock.pass(&activity) => Ok(()),
        }
    }
}

/// As [`TestCluster::into_client`]: a test under `#[kubeplane::test]` may take no more than that.
impl From<TestCluster> for kube::Client {
    fn from(cluster: TestCluster) -> Self {
        cluster.into_client()
    }
}

#[cfg(test)]
mod tests;
