use crate::{cni, host::Host};
use futures::{Stream, StreamExt as _};
use ipnet::IpNet;
use kubeplane_clock::Clock;
use kubeplane_runtime_cri::ContainerRuntime;
use std::{future, path::Path, sync::Arc, time::Duration};

/// How long after a failure it is tried again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Tells the runtime the node's range of addresses, and writes a network where there is none.
pub(crate) async fn keep(host: Arc<Host>) {
    let real = host.runtime.network_is_real();
    let network = Network {
        runtime: &*host.runtime,
        conf_dir: real.then_some(&*host.config.cni_conf_dir),
        clock: &*host.clock,
    };
    let range = || {
        let node = host.node();
        let assigned = node.and_then(|node| node.spec.as_ref()?.pod_cidr.as_ref()?.parse().ok());
        assigned.or(host.config.pod_cidr)
    };
    network.follow(host.nodes.subscribe(), range).await;
}

/// Who is told of the range.
struct Network<'a> {
    runtime: &'a dyn ContainerRuntime,
    /// Where the configuration of networks is, if they are real.
    conf_dir: Option<&'a Path>,
    clock: &'a dyn Clock,
}

impl Network<'_> {
    /// Tells the range whenever it has changed, and again after a while if that failed, until there are no more changes.
    async fn follow<T>(
        &self,
        mut changes: impl Stream<Item = T> + Unpin,
        range: impl Fn() -> Option<IpNet>,
    ) {
        let mut told = None;
        let mut wait = RETRY.0;
        loop {
            let mut failed = false;
            if let Some(range) = range().filter(|range| told != Some(*range)) {
                failed = self.tell(range).await.is_err();
                if !failed {
                    told = Some(range);
                    wait = RETRY.0;
                }
            }
            let again = async {
                if !failed {
                    future::pending::<()>().await;
                }
                self.clock.sleep(wait).await;
            };
            tokio::select! {
                biased;
                change = changes.next() => if change.is_none() { return },
                () = again => wait = (wait * 2).min(RETRY.1),
            }
        }
    }

    async fn tell(&self, range: IpNet) -> crate::Result<()> {
        if let Err(error) = self.runtime.update_pod_cidr(&range.to_string()).await {
            tracing::debug!(%error, "the runtime does not take the range of pod addresses");
        }
        let Some(conf_dir) = self.conf_dir else { return Ok(()) };
        cni::ensure(conf_dir, range).inspect_err(
            |error| tracing::warn!(%error, "failed to write the network configuration of pods"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubeplane_clock::PausedClock;
    use kubeplane_runtime_cri::{SimulatedOptions, SimulatedRuntime};
    use std::fs;

    /// Lets the other future of a `select!` go on until it has come to this.
    async fn until(what: &str, come: impl Fn() -> bool) {
        for _ in 0..10_000 {
            if come() {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("it does not come to this: {what}");
    }

    #[tokio::test]
    async fn a_network_that_could_not_be_written_is_written_later() {
        let clock = Arc::new(PausedClock::starting_at(jiff::Timestamp::UNIX_EPOCH));
        let runtime = SimulatedRuntime::new(clock.clone(), SimulatedOptions::default());
        let home = tempfile::tempdir().unwrap();
        // A file is where the directory should be.
        let conf_dir = home.path().join("net.d");
        fs::write(&conf_dir, "").unwrap();
        let network = Network { runtime: &runtime, conf_dir: Some(&conf_dir), clock: &*clock };
        let range = || Some("10.244.3.0/24".parse().unwrap());
        let test = async {
            for seconds in [1, 2] {
                let wait = Some(Duration::from_secs(seconds));
                until("a failure", || clock.next_wake() == wait).await;
                assert!(conf_dir.is_file());
                if seconds == 2 {
                    fs::remove_file(&conf_dir).unwrap();
                }
                clock.advance(Duration::from_secs(seconds));
            }
            until("success", || conf_dir.is_dir() && clock.next_wake().is_none()).await;
            let written = fs::read_to_string(conf_dir.join("10-kubeplane.conflist")).unwrap();
            assert!(written.contains("10.244.3.0/24"), "{written}");
        };
        tokio::select! {
            () = network.follow(futures::stream::pending::<()>(), range) => panic!("it goes on"),
            () = test => {}
        }
    }
}
