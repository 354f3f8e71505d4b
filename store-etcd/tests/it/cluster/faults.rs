//! What is done to the members.

use super::{Cluster, network};
use kubeplane_clock::Seed;
use rustix::process::Signal;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How many kinds of faults there are to choose from.
const KINDS: usize = 6;

/// One fault, and the members it was done to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    Killed(Vec<usize>),
    /// Stopped without closing anything: to the others as if it were cut off.
    Stopped(usize),
    LeaderStopped(usize),
    LeaderKilled(usize),
    /// Cut off from the other members, while clients still reach it.
    LeaderParted(usize),
    /// Cut off from members and clients.
    Unplugged(usize),
}

/// Injects one fault after the other for a while, and leaves all members running.
pub(crate) async fn inject(cluster: &mut Cluster, seed: &Seed, during: Duration) -> Vec<Fault> {
    let deadline = Instant::now() + during;
    let mut faults = Vec::new();
    sleep(Duration::from_secs(1)).await;
    while Instant::now() < deadline {
        // Every kind once before any comes twice.
        let kind =
            if faults.len() < KINDS { faults.len() as u64 } else { seed.below(KINDS as u64) };
        let fault = choose(cluster, seed, kind).await;
        apply(cluster, &fault, Duration::from_millis(1000 + seed.below(4000))).await;
        faults.push(fault);
        sleep(Duration::from_millis(500 + seed.below(2000))).await;
    }
    faults
}

async fn choose(cluster: &Cluster, seed: &Seed, kind: u64) -> Fault {
    let any = seed.below(3) as usize;
    let leader = tokio::task::block_in_place(|| cluster.leader());
    match kind {
        0 => Fault::LeaderParted(leader.unwrap_or(any)),
        1 => Fault::Killed(vec![0, 1, 2]),
        2 => Fault::LeaderKilled(leader.unwrap_or(any)),
        3 => Fault::LeaderStopped(leader.unwrap_or(any)),
        4 => Fault::Unplugged(any),
        _ if seed.below(2) == 0 => Fault::Killed(vec![any]),
        _ => Fault::Stopped(any),
    }
}

async fn apply(cluster: &mut Cluster, fault: &Fault, during: Duration) {
    match fault {
        Fault::Stopped(member) | Fault::LeaderStopped(member) => {
            cluster.members[*member].signal(Signal::STOP);
            sleep(during).await;
            cluster.members[*member].signal(Signal::CONT);
        }
        Fault::LeaderParted(member) => {
            network::part(*member);
            sleep(during).await;
            network::join(*member);
        }
        Fault::Unplugged(member) => {
            network::plug(*member, false);
            sleep(during).await;
            network::plug(*member, true);
        }
        Fault::LeaderKilled(member) => restart(cluster, &[*member], during).await,
        Fault::Killed(members) => restart(cluster, members, during).await,
    }
}

async fn restart(cluster: &mut Cluster, members: &[usize], after: Duration) {
    for member in members {
        cluster.members[*member].kill();
    }
    sleep(after / 2).await;
    for member in members {
        cluster.members[*member].restart();
    }
}
