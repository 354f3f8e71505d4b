//! What a user waits for who starts a cluster: `cargo bench -p kubeplane --bench start [PART...]`.
//!
//! Parts are `simulated` and `containerd`, both by default; the second needs root, containerd, runc, the network plugins
//! and busybox-static, and runs in a network namespace of its own. Each round starts `kubeplane serve` on the data of the
//! last one, waits until it is ready and then idle, and applies `examples/manifests/web.yaml` with kubectl.
//!
//! `KUBEPLANE` names another program than the one that is built with the benches: `cargo build --release` orders its
//! functions by the list in `layout/`, which fits that build alone and is a good part of the memory.
#![expect(clippy::print_stdout, reason = "the figures are what was asked for")]

mod process;

use kubeplane_runtime_cri::testing::{Containerd, ContainerdOptions};
use process::{Kubectl, Server};
use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

const ROUNDS: usize = 7;
/// After this a cluster without workloads does nothing but renew its leases.
const SETTLED: Duration = Duration::from_secs(5);
const WEB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/manifests/web.yaml");
/// Set where this program runs in the namespace it made.
const INSIDE: &str = "KUBEPLANE_BENCH_INSIDE";
/// Loopback, and one interface with a default route as machines have.
const NETWORK: &str = "set -e
ip link set lo up
ip link add outside type veth peer name beyond
ip link set beyond up
ip address add 10.99.0.2/24 dev outside
ip link set outside up
ip route add default via 10.99.0.1
exec \"$@\"";

/// Figures of one kind, one a round.
#[derive(Default)]
struct Figures(Vec<f64>);

impl Figures {
    fn print(mut self, what: &str, unit: &str, aim: &str) {
        self.0.sort_by(f64::total_cmp);
        let (least, most) = (self.0[0], self.0[self.0.len() - 1]);
        let median = self.0[self.0.len() / 2];
        println!("{what:<44} {median:>8.1} {unit} ({least:.1}..{most:.1})   aim {aim}");
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn rounds(name: &str, more: &[String]) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    // The first start makes certificates and bootstrap objects.
    Server::start(data.path(), more)?.stop()?;
    let [mut ready, mut memory, mut applied] = <[Figures; 3]>::default();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let server = Server::start(data.path(), more)?;
        ready.0.push(millis(begin.elapsed()));
        std::thread::sleep(SETTLED);
        memory.0.push(server.resident()?);
        let kubectl = Kubectl::of(data.path());
        let begin = Instant::now();
        kubectl.run(&["apply", "-f", WEB])?;
        kubectl.wait_for(
            "3",
            &["-n", "web", "get", "deployment", "web"],
            "{.status.readyReplicas}",
        )?;
        applied.0.push(millis(begin.elapsed()));
        kubectl.run(&["delete", "-f", WEB])?;
        server.stop()?;
    }
    ready.print(&format!("{name}: exec to readyz, after the first"), "ms", "150");
    memory.print(&format!("{name}: resident when idle"), "MiB", "40 (simulated)");
    applied.print(&format!("{name}: kubectl apply to three Ready"), "ms", "1000 (simulated)");
    Ok(())
}

fn containerd() -> anyhow::Result<()> {
    if std::env::var_os(INSIDE).is_none() {
        let mut again = Command::new("unshare");
        again.args(["--net", "sh", "-c", NETWORK, "sh"]).arg(std::env::current_exe()?);
        let status = again.arg("containerd").env(INSIDE, "1").status()?;
        anyhow::ensure!(status.success(), "in a network namespace of its own: {status}");
        return Ok(());
    }
    let cni = tempfile::tempdir()?;
    let options = ContainerdOptions { cni_config: Some(cni.path().to_owned()), cni_plugins: None };
    let containerd = Containerd::start_with(options)?;
    let runtime = format!("--runtime=cri={}", containerd.socket().display());
    rounds("containerd", &[runtime, format!("--cni-conf-dir={}", cni.path().display())])
}

fn main() -> anyhow::Result<()> {
    let wanted: Vec<_> = std::env::args().skip(1).filter(|part| part != "--bench").collect();
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|own| own == part);
    println!("{}", Path::new(&process::program()).display());
    if is_wanted("simulated") {
        rounds("simulated", &["--runtime=simulated".to_owned()])?;
    }
    if is_wanted("containerd") {
        containerd()?;
    }
    Ok(())
}
