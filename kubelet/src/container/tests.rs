use super::*;
use crate::volumes::Mounted;
use serde_json::{Value, json};

fn pod(spec: Value) -> Pod {
    serde_json::from_value(
        json!({"metadata": {"uid": "u", "namespace": "n", "name": "p"}, "spec": spec}),
    )
    .unwrap()
}

fn config_of(spec: Value, image_user: security::ImageUser) -> Result<v1::ContainerConfig> {
    let pod = pod(spec);
    config(Parts {
        pod: &pod,
        container: &spec::containers(&pod)[0],
        role: Role::App,
        restart_count: 2,
        image: v1::ImageSpec::default(),
        image_user,
        env: vec![("NAME".into(), "world".into())],
        mounts: Vec::new(),
        memory: 8 << 30,
        target: None,
    })
}

#[test]
fn commands_see_the_environment_and_resources_become_limits() {
    let config = config_of(
        json!({"securityContext": {"runAsUser": 1000, "fsGroup": 2000, "supplementalGroups": [3000]},
            "containers": [{"name": "c", "command": ["echo", "hello $(NAME)"], "args": ["$(NOPE)"],
            "securityContext": {"readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false,
                "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}},
            "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "2Gi"}}}]}),
        security::ImageUser::default(),
    )
    .unwrap();
    assert_eq!(config.command, ["echo", "hello world"]);
    assert_eq!(config.args, ["$(NOPE)"]);
    assert_eq!(config.log_path, "c/2.log");
    let linux = config.linux.unwrap();
    let resources = linux.resources.unwrap();
    assert_eq!((resources.cpu_shares, resources.cpu_quota), (512, 100_000));
    assert_eq!((resources.memory_limit_in_bytes, resources.oom_score_adj), (2 << 30, 875));
    let security = linux.security_context.unwrap();
    assert_eq!(security.run_as_user.unwrap().value, 1000);
    assert_eq!(security.supplemental_groups, [2000, 3000]);
    assert!(security.readonly_rootfs && security.no_new_privs && !security.privileged);
    assert_eq!(security.capabilities.unwrap().drop_capabilities, ["ALL"]);
}

#[test]
fn a_container_without_requests_is_the_first_to_go() {
    let config =
        config_of(json!({"containers": [{"name": "c"}]}), security::ImageUser::default()).unwrap();
    let resources = config.linux.unwrap().resources.unwrap();
    assert_eq!((resources.cpu_shares, resources.oom_score_adj, resources.cpu_quota), (2, 1000, 0));
}

#[test]
fn root_is_refused_where_it_is_not_allowed() {
    let root = security::ImageUser { uid: Some(0), name: String::new() };
    let spec = json!({"securityContext": {"runAsNonRoot": true}, "containers": [{"name": "c"}]});
    let error = config_of(spec.clone(), root).unwrap_err();
    assert_eq!(
        error.to_string(),
        "container has runAsNonRoot and image will run as root (pod: \"p_n(u)\", container: c)"
    );
    let user = security::ImageUser { uid: Some(7), name: String::new() };
    let config = config_of(spec, user).unwrap();
    let security = config.linux.unwrap().security_context.unwrap();
    assert_eq!(security.run_as_user.unwrap().value, 7);
}

#[test]
fn mounts_are_volumes_their_parts_hosts_and_the_last_message() {
    let dir = tempfile::tempdir().unwrap();
    let volume = dir.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    let volumes = Mounted::from([("v".to_owned(), volume.clone())]);
    let pod = pod(json!({"hostname": "box", "containers": [{"name": "c", "volumeMounts": [
        {"name": "v", "mountPath": "/data", "readOnly": true},
        {"name": "v", "mountPath": "/part", "subPathExpr": "$(NAME)/x"}]}],
        "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]}));
    let container = &spec::containers(&pod)[0];
    let env = [("NAME".to_owned(), "world".to_owned())];
    let hosts = hosts::write(dir.path(), &pod, &["10.0.0.2".to_owned()], "cluster.local").unwrap();
    let text = std::fs::read_to_string(&hosts).unwrap();
    assert!(text.contains("10.0.0.2\tbox\n") && text.contains("1.2.3.4\ta\tb\n"));
    let found = mounts::mounts(container, &volumes, &env, dir.path(), Some(hosts)).unwrap();
    let paths: Vec<&str> = found.iter().map(|mount| mount.container_path.as_str()).collect();
    assert_eq!(paths, ["/data", "/part", "/etc/hosts", "/dev/termination-log"]);
    assert!(found[0].readonly && found[1].host_path.ends_with("world/x"));
    let error = mounts::mounts(container, &volumes, &[], dir.path(), None).unwrap_err();
    let expected = "failed to prepare subPath";
    assert!(
        error.to_string().contains("missing value for \"NAME\"")
            || error.to_string().contains(expected)
    );
}
