//! What a user does with a workload, from `apply` to `delete`.

mod change;
mod discovery;
mod look;
mod rollout;
mod streams;

use crate::{
    cluster::Cluster,
    kubectl::{Kubectl, SOON, first_column},
    parts::{RealRuntime, eventually},
};
use std::time::Instant;

/// Where the workload of the example is.
pub(crate) const MANIFEST: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/manifests/web.yaml");

/// Who calls, and where.
pub(crate) struct World<'a> {
    pub(crate) kubectl: &'a Kubectl,
    pub(crate) cluster: &'a Cluster,
    pub(crate) real: Option<&'a RealRuntime>,
}

impl World<'_> {
    /// The names of the workload's pods that are not being deleted.
    pub(crate) fn pods(&self) -> Vec<String> {
        let format = "jsonpath={range .items[*]}{.metadata.name} {.metadata.deletionTimestamp}{\"\\n\"}{end}";
        let listed = self.kubectl.ok(&["get", "pods", "-n", "web", "-l", "app=web", "-o", format]);
        let living = listed.lines().filter(|line| line.split_whitespace().count() == 1);
        first_column(&living.collect::<Vec<_>>().join("\n"))
    }

    /// Waits until so many pods are ready and no others are left.
    #[track_caller]
    pub(crate) fn wait_for_ready_pods(&self, count: usize) {
        let line = ["get", "pods", "-n", "web", "-l", "app=web", "--no-headers"];
        self.kubectl.until(&line, &format!("{count} ready pods and no others"), |table| {
            let ready =
                table.lines().filter(|line| line.contains("1/1") && line.contains("Running"));
            ready.count() == count && table.lines().count() == count
        });
    }
}

/// A part of the list and its name.
type Part = (&'static str, fn(&World<'_>));

/// Every call, in an order that leaves nothing behind.
const PARTS: [Part; 8] = [
    ("apply", apply),
    ("discovery", discovery::all),
    ("look", look::all),
    ("streams", streams::all),
    ("change", change::all),
    ("rollout", rollout::all),
    ("replace", replace),
    ("delete", delete),
];

/// Makes every call, saying how long each part took.
pub(crate) fn all(world: &World<'_>) {
    for (name, part) in PARTS {
        let start = Instant::now();
        part(world);
        eprintln!("{name}: {:?}", start.elapsed());
    }
}

fn apply(world: &World<'_>) {
    let said = world.kubectl.ok(&["apply", "-f", MANIFEST]);
    let created = [
        "namespace/web created",
        "configmap/web created",
        "deployment.apps/web created",
        "service/web created",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), created);
    let said =
        world.kubectl.ok(&["rollout", "status", "-n", "web", "deployment/web", "--timeout=60s"]);
    assert!(said.ends_with("deployment \"web\" successfully rolled out\n"), "{said}");
    world.wait_for_ready_pods(3);
}

/// A pod that is deleted, and a container that is killed, are replaced.
fn replace(world: &World<'_>) {
    let before = world.pods();
    let said = world.kubectl.ok(&["delete", "pod", "-n", "web", &before[0]]);
    assert!(said.starts_with(&format!("pod \"{}\"", before[0])), "{said}");
    world.wait_for_ready_pods(3);
    let after = world.pods();
    assert!(!after.contains(&before[0]));
    assert_eq!(
        after.iter().filter(|name| before.contains(name)).count(),
        2,
        "{before:?} {after:?}"
    );
    if let Some(real) = world.real {
        let path = "jsonpath={.status.containerStatuses[0].containerID}";
        let id = world.kubectl.ok(&["get", "pod", "-n", "web", &after[0], "-o", path]);
        real.kill(id.strip_prefix("containerd://").expect("an id of containerd"));
        let line = ["get", "pod", "-n", "web", &after[0], "--no-headers"];
        world.kubectl.until(&line, "started again", |row| {
            let cells: Vec<&str> = row.split_whitespace().collect();
            cells[1..4] == ["1/1", "Running", "1"]
        });
        let path = "jsonpath={.status.containerStatuses[0].lastState.terminated.exitCode}";
        assert_eq!(world.kubectl.ok(&["get", "pod", "-n", "web", &after[0], "-o", path]), "137");
    } else {
        // Nobody can kill what only seems to run, but a pod can be forgotten without being asked to end.
        let line = ["delete", "pod", "-n", "web", &after[0], "--grace-period=0", "--force"];
        let said = world.kubectl.ok(&line);
        assert!(said.starts_with(&format!("pod \"{}\"", after[0])), "{said}");
        world.wait_for_ready_pods(3);
        assert!(!world.pods().contains(&after[0]));
    }
}

fn delete(world: &World<'_>) {
    let said = world.kubectl.ok(&["delete", "-f", MANIFEST]);
    for deleted in
        ["namespace \"web\"", "configmap \"web\"", "deployment.apps \"web\"", "service \"web\""]
    {
        assert!(
            said.lines().any(|line| line.starts_with(deleted) && line.contains("deleted")),
            "{said}"
        );
    }
    let (_, said) = world.kubectl.fails(&["get", "namespace", "web"]);
    assert_eq!(said, "Error from server (NotFound): namespaces \"web\" not found\n");
    assert_eq!(world.kubectl.ok(&["get", "pods", "-n", "web", "-o", "name"]), "");
    if let Some(real) = world.real {
        eventually("the end of all containers", SOON, || match real.tasks() {
            tasks if tasks.is_empty() => Ok(()),
            tasks => Err(format!("{tasks:?}")),
        });
    }
}
