//! Every test runs in a process of its own, in fresh network and mount namespaces that end with it.

use std::process::Command;

/// Runs an ignored test of this binary inside new namespaces.
fn isolated(test: &str) {
    let output = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", test])
        .output()
        .expect("unshare is installed");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn traffic_reaches_endpoints() {
    isolated("inside::traffic_reaches_endpoints");
}

#[test]
fn clients_stay_with_their_endpoint() {
    isolated("inside::clients_stay_with_their_endpoint");
}

#[test]
fn without_endpoints_connections_are_refused() {
    isolated("inside::without_endpoints_connections_are_refused");
}

#[test]
fn local_traffic_keeps_its_source() {
    isolated("inside::local_traffic_keeps_its_source");
}

#[test]
fn leftovers_go_and_lost_rules_come_back() {
    isolated("inside::leftovers_go_and_lost_rules_come_back");
}

#[test]
fn datagrams_follow_the_endpoints() {
    isolated("inside::datagrams_follow_the_endpoints");
}

#[test]
fn both_families_are_served() {
    isolated("inside::both_families_are_served");
}
