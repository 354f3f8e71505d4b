use super::*;
use crate::testing::FakeObjects;
use serde_json::{Value, json};

struct World {
    dir: tempfile::TempDir,
    objects: Arc<FakeObjects>,
    clock: kubeplane_clock::PausedClock,
    volumes: Volumes,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let objects = Arc::new(
        FakeObjects::default()
            .with_config_map("n", "settings", json!({"a.conf": "one", "b.conf": "two"}))
            .with_secret("n", "keys", json!({"password": "c2VjcmV0"}))
            .with_volume("data", json!({"local": {"path": local::root(dir.path()).join("data")}}))
            .with_volume("disk", json!({"local": {"path": dir.path().join("disk")}})),
    );
    let clock = kubeplane_clock::PausedClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
    let volumes = Volumes::new(dir.path(), objects.clone(), Arc::new(clock.clone()), false);
    World { dir, objects, clock, volumes }
}

fn pod(volumes: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"uid": "u", "namespace": "n", "name": "p", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c"}], "volumes": volumes}
    }))
    .unwrap()
}

impl World {
    async fn mount(&self, volumes: Value) -> Result<Mounted, Failure> {
        let facts = Facts {
            pod: &pod(volumes),
            pod_ips: &[],
            host_ips: &[],
            allocatable: &BTreeMap::new(),
        };
        self.volumes.mount(&facts).await
    }
}

#[tokio::test]
async fn a_config_map_becomes_files_that_change_together() {
    let world = world();
    let volumes = json!([{"name": "v", "configMap": {"name": "settings"}}]);
    let path = world.mount(volumes.clone()).await.unwrap()["v"].clone();
    assert_eq!(fs::read_to_string(path.join("a.conf")).unwrap(), "one");
    let before = fs::read_link(path.join("..data")).unwrap();
    world.mount(volumes.clone()).await.unwrap();
    assert_eq!(fs::read_link(path.join("..data")).unwrap(), before);
    world.objects.set_config_map("n", "settings", json!({"a.conf": "1", "c.conf": "3"}));
    world.mount(volumes).await.unwrap();
    assert_ne!(fs::read_link(path.join("..data")).unwrap(), before);
    assert!(!path.join(before).exists());
    assert_eq!(fs::read_to_string(path.join("a.conf")).unwrap(), "1");
    assert_eq!(fs::read_to_string(path.join("c.conf")).unwrap(), "3");
    assert!(path.join("b.conf").symlink_metadata().is_err());
}

#[tokio::test]
async fn a_projected_volume_joins_its_sources() {
    let world = world();
    let volumes = json!([{"name": "v", "projected": {"defaultMode": 0o400, "sources": [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 1000}},
        {"configMap": {"name": "settings", "items": [{"key": "a.conf", "path": "etc/a", "mode": 0o444}]}},
        {"secret": {"name": "keys"}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}
    ]}}]);
    let path = world.mount(volumes.clone()).await.unwrap()["v"].clone();
    let read = |name: &str| fs::read_to_string(path.join(name)).unwrap();
    assert_eq!(read("token"), "token-0-api");
    assert_eq!(
        (read("etc/a"), read("password"), read("labels")),
        ("one".into(), "secret".into(), "app=\"web\"".into())
    );
    let mode = |name: &str| fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("etc/a"), mode("password")), (0o444, 0o400));
    world.mount(volumes.clone()).await.unwrap();
    assert_eq!(read("token"), "token-0-api");
    world.clock.advance(Duration::from_secs(801));
    world.mount(volumes).await.unwrap();
    assert_eq!(read("token"), "token-1-api");
}

#[test]
fn files_belong_to_the_user_that_all_containers_are() {
    let world = world();
    let clock = Arc::new(world.clock.clone());
    let volumes = Volumes::new(world.dir.path(), world.objects.clone(), clock, true);
    let user = |spec: Value| {
        let pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
        volumes.fs_user(&pod)
    };
    let own = |user: i64| json!({"name": "c", "securityContext": {"runAsUser": user}});
    let plain = json!({"name": "d"});
    let outer = json!({"runAsUser": 7});
    assert_eq!(user(json!({"containers": [own(1)], "initContainers": [own(1)]})), Some(1));
    assert_eq!(user(json!({"containers": [plain], "securityContext": outer})), Some(7));
    assert_eq!(user(json!({"containers": [own(7), plain], "securityContext": outer})), Some(7));
    assert_eq!(user(json!({"containers": [own(1), own(2)]})), None);
    assert_eq!(user(json!({"containers": [own(1), plain]})), None);
    assert_eq!(user(json!({"containers": [own(1)], "initContainers": [plain]})), None);
}

#[tokio::test]
async fn missing_sources_fail_unless_optional() {
    let world = world();
    let failure = world
        .mount(
            json!([{"name": "v", "configMap": {"name": "absent"}}, {"name": "w", "emptyDir": {}}]),
        )
        .await
        .unwrap_err();
    assert_eq!(
        (failure.volume.as_str(), failure.error.to_string().as_str()),
        ("v", "configmap \"absent\" not found")
    );
    let failure = world
        .mount(json!([{"name": "v", "secret": {"secretName": "keys", "items": [{"key": "x", "path": "x"}]}}]))
        .await
        .unwrap_err();
    assert_eq!(failure.error.to_string(), "references non-existent secret key: x");
    let mounted = world
        .mount(json!([{"name": "v", "configMap": {"name": "absent", "optional": true}}]))
        .await
        .unwrap();
    assert!(mounted["v"].is_dir());
}

#[tokio::test]
async fn an_empty_dir_keeps_its_content_until_the_pod_is_gone() {
    let world = world();
    let volumes = json!([{"name": "v", "emptyDir": {}}]);
    let path = world.mount(volumes.clone()).await.unwrap()["v"].clone();
    fs::write(path.join("x"), "x").unwrap();
    world.mount(volumes).await.unwrap();
    assert!(path.join("x").exists());
    assert_eq!(world.volumes.known(), ["u"]);
    world.volumes.remove("u").await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn host_paths_are_checked() {
    let world = world();
    let file = world.dir.path().join("file");
    let volume = |kind: &str| json!([{"name": "v", "hostPath": {"path": file, "type": kind}}]);
    let failure = world.mount(volume("File")).await.unwrap_err();
    let expected = format!("hostPath type check failed: {} is not a file", file.display());
    assert_eq!(failure.error.to_string(), expected);
    world.mount(volume("FileOrCreate")).await.unwrap();
    assert!(file.is_file());
    assert!(world.mount(volume("Directory")).await.is_err());
}

#[tokio::test]
async fn a_directory_of_the_node_is_made_when_it_is_ours_and_outlives_its_pods() {
    let world = world();
    let volume =
        |claim: &str| json!([{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]);
    let path = world.mount(volume("data")).await.unwrap()["v"].clone();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o777);
    fs::write(path.join("x"), "x").unwrap();
    world.volumes.remove("u").await.unwrap();
    assert_eq!(world.mount(volume("data")).await.unwrap()["v"], path);
    assert!(path.join("x").exists());
    let failure = world.mount(volume("disk")).await.unwrap_err();
    let expected = format!("path {:?} does not exist", world.dir.path().join("disk"));
    assert_eq!(failure.error.to_string(), expected);
    fs::create_dir(world.dir.path().join("disk")).unwrap();
    world.mount(volume("disk")).await.unwrap();
}

#[test]
fn parts_of_volumes_stay_inside() {
    let dir = tempfile::tempdir().unwrap();
    let volume = dir.path().join("volume");
    fs::create_dir(&volume).unwrap();
    std::os::unix::fs::symlink("/etc", volume.join("out")).unwrap();
    assert!(sub_path::resolve(&volume, "a/b").unwrap().is_dir());
    assert!(sub_path::resolve(&volume, "../x").is_err());
    assert!(sub_path::resolve(&volume, "/etc").is_err());
    assert!(sub_path::resolve(&volume, "out").is_err());
    assert!(sub_path::resolve(&volume, "out/new").is_err());
}
