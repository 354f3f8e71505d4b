//! Tests with real containers run in a network namespace of their own, so that bridges, addresses and
//! nftables rules go with it.

use std::process::Command;

/// The address the machine has in there towards others, and so the node.
pub(crate) const NODE_ADDRESS: &str = "10.99.0.2";

const INSIDE: &str = "KUBEPLANE_TEST_INSIDE";

/// Loopback, and one interface with a default route as machines have.
const SET_UP: &str = "set -e
ip link set lo up
ip link add outside type veth peer name beyond
ip link set beyond up
ip address add 10.99.0.2/24 dev outside
ip link set outside up
ip route add default via 10.99.0.1
exec \"$@\"";

/// Runs the test of this name again in a new network namespace; false when this is there already.
pub(crate) fn enter(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    let status = Command::new("unshare")
        .args(["--net", "sh", "-c", SET_UP, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("real containers need unshare, sh and root");
    assert!(status.success(), "{test} failed in its network namespace: {status}");
    true
}
