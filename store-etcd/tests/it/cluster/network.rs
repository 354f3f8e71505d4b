//! A network of the test's own: a bridge, and behind it a namespace for each member.

use std::process::Command;

/// The members' namespaces, which are called as the members are, and their addresses.
pub(crate) const MEMBERS: [(&str, &str); 3] =
    [("m0", "10.98.0.1"), ("m1", "10.98.0.2"), ("m2", "10.98.0.3")];

const INSIDE: &str = "KUBEPLANE_TEST_INSIDE";

/// The names of the namespaces are the test's own, too: they stand in a file system that only it sees.
const SET_UP: &str = "set -e
mkdir -p /run/netns
mount -t tmpfs none /run/netns
ip link set lo up
ip link add members type bridge
ip address add 10.98.0.254/24 dev members
ip link set members up
for index in 0 1 2; do
  ip netns add m$index
  ip link add m$index type veth peer name eth0 netns m$index
  ip link set m$index master members up
  ip -netns m$index link set lo up
  ip -netns m$index address add 10.98.0.$((index + 1))/24 dev eth0
  ip -netns m$index link set eth0 up
done
exec \"$@\"";

/// Runs the test of this name again in such a network; false when this is there already.
pub(crate) fn enter(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    let status = Command::new("unshare")
        .args(["--net", "--mount", "sh", "-c", SET_UP, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("a cluster that is parted needs unshare, sh, ip, nft and root");
    assert!(status.success(), "{test} failed in its network: {status}");
    true
}

/// Drops all that travels between a member and the others, both ways.
pub(crate) fn part(member: usize) {
    let others = MEMBERS.iter().filter(|(name, _)| *name != MEMBERS[member].0);
    let others: Vec<_> = others.map(|(_, address)| *address).collect();
    let others = others.join(", ");
    let rules = format!(
        "table ip parted {{
           chain in {{ type filter hook input priority 0; ip saddr {{ {others} }} drop; }}
           chain out {{ type filter hook output priority 0; ip daddr {{ {others} }} drop; }}
         }}"
    );
    run(member, &["nft", &rules]);
}

pub(crate) fn join(member: usize) {
    run(member, &["nft", "delete table ip parted"]);
}

/// Takes a member's cable out, or puts it in again.
pub(crate) fn plug(member: usize, connected: bool) {
    run(member, &["ip", "link", "set", "eth0", if connected { "up" } else { "down" }]);
}

fn run(member: usize, command: &[&str]) {
    let mut within = Command::new("ip");
    let status = within.args(["netns", "exec", MEMBERS[member].0]).args(command).status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}
