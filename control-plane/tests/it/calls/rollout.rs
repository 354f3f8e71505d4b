//! A rolling update, and back.

use super::World;
use crate::parts::NEXT_IMAGE;

pub(super) fn all(world: &World<'_>) {
    let image = || {
        let path = "jsonpath={.spec.template.spec.containers[0].image}";
        world.kubectl.ok(&["get", "-n", "web", "deployment/web", "-o", path])
    };
    let finished = || {
        let said = world.kubectl.ok(&[
            "rollout",
            "status",
            "-n",
            "web",
            "deployment/web",
            "--timeout=60s",
        ]);
        assert!(said.ends_with("deployment \"web\" successfully rolled out\n"), "{said}");
        world.wait_for_ready_pods(3);
    };
    let revisions = || {
        let history = world.kubectl.ok(&["rollout", "history", "-n", "web", "deployment/web"]);
        let rows =
            history.lines().filter_map(|line| line.split_whitespace().next()?.parse::<u32>().ok());
        rows.max().unwrap_or_else(|| panic!("{history}"))
    };
    let before = (world.pods(), revisions());
    assert_eq!(image(), "busybox:1.36");

    // Of three replicas none may be missing while they are replaced.
    let watching = world.kubectl.start(&[
        "get",
        "-n",
        "web",
        "deployment/web",
        "-w",
        "-o",
        "jsonpath={.status.availableReplicas}{\"\\n\"}",
    ]);
    watching.until("the state before", |text| text.starts_with('3'));
    let said = world.kubectl.ok(&[
        "set",
        "image",
        "-n",
        "web",
        "deployment/web",
        &format!("web={NEXT_IMAGE}"),
    ]);
    assert_eq!(said, "deployment.apps/web image updated\n");
    finished();
    let seen = watching.until("the update", |text| text.lines().count() > 1);
    assert!(seen.lines().all(|count| count.parse::<u32>().is_ok_and(|count| count >= 3)), "{seen}");
    let after = world.pods();
    assert!(after.iter().all(|name| !before.0.contains(name)), "{before:?} {after:?}");
    let path = "jsonpath={.items[*].spec.containers[0].image}";
    let images = world.kubectl.ok(&["get", "pods", "-n", "web", "-l", "app=web", "-o", path]);
    assert_eq!(images, [NEXT_IMAGE; 3].join(" "));
    assert_eq!(revisions(), before.1 + 1);

    let said = world.kubectl.ok(&["rollout", "undo", "-n", "web", "deployment/web"]);
    assert_eq!(said, "deployment.apps/web rolled back\n");
    finished();
    assert_eq!(image(), "busybox:1.36");
    let sets = world.kubectl.json(&["get", "replicasets", "-n", "web"]);
    let replicas = |set: &serde_json::Value| set["status"]["replicas"].as_u64().unwrap();
    let sets = sets["items"].as_array().unwrap();
    assert_eq!(sets.iter().filter(|set| replicas(set) > 0).count(), 1, "{sets:?}");

    let said = world.kubectl.ok(&["rollout", "restart", "-n", "web", "deployment/web"]);
    assert_eq!(said, "deployment.apps/web restarted\n");
    finished();
}
