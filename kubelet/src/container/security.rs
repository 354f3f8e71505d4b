//! Users, privileges and namespaces of containers and sandboxes.

use crate::{Error, Result, spec};
use k8s_openapi::api::core::v1::{
    Container, Pod, PodSecurityContext, SELinuxOptions, SeccompProfile, SecurityContext,
};
use kubeplane_runtime_cri::v1;
use v1::security_profile::ProfileType;

const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The user an image runs as when nothing else is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ImageUser {
    pub(crate) uid: Option<i64>,
    pub(crate) name: String,
}

/// The quality-of-service class of a pod.
pub(crate) fn qos(pod: &Pod) -> &str {
    if let Some(class) = pod.status.as_ref().and_then(|status| status.qos_class.as_deref()) {
        return class;
    }
    let all = || spec::containers(pod).iter().chain(spec::init_containers(pod));
    let asks = |container: &Container| {
        let resources = container.resources.clone().unwrap_or_default();
        let lists = [resources.requests, resources.limits];
        lists.iter().flatten().any(|list| list.contains_key("cpu") || list.contains_key("memory"))
    };
    let guaranteed = |container: &Container| {
        let resources = container.resources.clone().unwrap_or_default();
        let limits = resources.limits.unwrap_or_default();
        let requests = resources.requests.unwrap_or_else(|| limits.clone());
        ["cpu", "memory"]
            .iter()
            .all(|name| limits.contains_key(*name) && requests.get(*name) == limits.get(*name))
    };
    if !all().any(asks) {
        "BestEffort"
    } else if all().all(guaranteed) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

fn pod_context(pod: &Pod) -> PodSecurityContext {
    spec::spec(pod).security_context.clone().unwrap_or_default()
}

/// The settings of a container, those of its pod filled in.
fn effective(pod: &Pod, container: &Container) -> SecurityContext {
    let outer = pod_context(pod);
    let mut own = container.security_context.clone().unwrap_or_default();
    own.run_as_user = own.run_as_user.or(outer.run_as_user);
    own.run_as_group = own.run_as_group.or(outer.run_as_group);
    own.run_as_non_root = own.run_as_non_root.or(outer.run_as_non_root);
    own.se_linux_options = own.se_linux_options.or(outer.se_linux_options);
    own.seccomp_profile = own.seccomp_profile.or(outer.seccomp_profile);
    own.app_armor_profile = own.app_armor_profile.or(outer.app_armor_profile);
    own
}

/// Refuses a container that must not run as root but would.
pub(crate) fn check_non_root(pod: &Pod, container: &Container, image: &ImageUser) -> Result<()> {
    let context = effective(pod, container);
    if context.run_as_non_root != Some(true) {
        return Ok(());
    }
    let at = format!("(pod: \"{}\", container: {})", spec::PodId::of(pod), container.name);
    match (context.run_as_user, image.uid, image.name.as_str()) {
        (Some(0), _, _) => {
            Err(Error::pod(format!("container's runAsUser breaks non-root policy {at}")))
        }
        (Some(_), _, _) => Ok(()),
        (None, Some(0), _) | (None, None, "root") => {
            Err(Error::pod(format!("container has runAsNonRoot and image will run as root {at}")))
        }
        (None, None, name) if !name.is_empty() => Err(Error::pod(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user \
             is non-root {at}"
        ))),
        _ => Ok(()),
    }
}

fn int64(value: i64) -> v1::Int64Value {
    v1::Int64Value { value }
}

fn supplemental_groups(pod: &Pod) -> Vec<i64> {
    let context = pod_context(pod);
    let mut groups: Vec<i64> = context.fs_group.into_iter().collect();
    groups.extend(context.supplemental_groups.unwrap_or_default());
    groups
}

fn groups_policy(pod: &Pod) -> i32 {
    match pod_context(pod).supplemental_groups_policy.as_deref() {
        Some("Strict") => v1::SupplementalGroupsPolicy::Strict.into(),
        _ => v1::SupplementalGroupsPolicy::Merge.into(),
    }
}

fn namespaces(pod: &Pod, target: Option<&str>) -> v1::NamespaceOption {
    let spec = spec::spec(pod);
    let node_or = |host: Option<bool>, other: v1::NamespaceMode| {
        i32::from(if host == Some(true) { v1::NamespaceMode::Node } else { other })
    };
    let shared = if spec.share_process_namespace == Some(true) {
        v1::NamespaceMode::Pod
    } else {
        v1::NamespaceMode::Container
    };
    let mut options = v1::NamespaceOption {
        network: node_or(spec.host_network, v1::NamespaceMode::Pod),
        ipc: node_or(spec.host_ipc, v1::NamespaceMode::Pod),
        pid: node_or(spec.host_pid, shared),
        ..Default::default()
    };
    if let Some(target) = target {
        options.pid = v1::NamespaceMode::Target.into();
        target.clone_into(&mut options.target_id);
    }
    options
}

fn selinux(options: Option<SELinuxOptions>) -> Option<v1::SeLinuxOption> {
    options.map(|options| v1::SeLinuxOption {
        user: options.user.unwrap_or_default(),
        role: options.role.unwrap_or_default(),
        r#type: options.type_.unwrap_or_default(),
        level: options.level.unwrap_or_default(),
    })
}

fn profile(kind: &str, localhost: Option<String>) -> v1::SecurityProfile {
    let profile_type = match kind {
        "RuntimeDefault" => ProfileType::RuntimeDefault,
        "Localhost" => ProfileType::Localhost,
        _ => ProfileType::Unconfined,
    };
    v1::SecurityProfile {
        profile_type: profile_type.into(),
        localhost_ref: localhost.unwrap_or_default(),
    }
}

fn seccomp(own: Option<SeccompProfile>) -> v1::SecurityProfile {
    match own {
        Some(own) => profile(&own.type_, own.localhost_profile),
        None => profile("Unconfined", None),
    }
}

/// The security settings of a container.
pub(crate) fn container(
    pod: &Pod,
    container: &Container,
    image: &ImageUser,
    target: Option<&str>,
) -> v1::LinuxContainerSecurityContext {
    let context = effective(pod, container);
    let privileged = context.privileged.unwrap_or(false);
    let unmasked = privileged || context.proc_mount.as_deref() == Some("Unmasked");
    let paths = |paths: &[&str]| {
        if unmasked { Vec::new() } else { paths.iter().map(|path| (*path).to_owned()).collect() }
    };
    let user = context.run_as_user.or(image.uid);
    let capabilities = context.capabilities.unwrap_or_default();
    v1::LinuxContainerSecurityContext {
        capabilities: Some(v1::Capability {
            add_capabilities: capabilities.add.unwrap_or_default(),
            drop_capabilities: capabilities.drop.unwrap_or_default(),
            ..Default::default()
        }),
        privileged,
        namespace_options: Some(namespaces(pod, target)),
        selinux_options: selinux(context.se_linux_options),
        run_as_user: user.map(int64),
        run_as_username: if user.is_none() { image.name.clone() } else { String::new() },
        run_as_group: context.run_as_group.map(int64),
        readonly_rootfs: context.read_only_root_filesystem.unwrap_or(false),
        supplemental_groups: supplemental_groups(pod),
        supplemental_groups_policy: groups_policy(pod),
        no_new_privs: context.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED),
        readonly_paths: paths(&READ_ONLY),
        seccomp: Some(seccomp(context.seccomp_profile)),
        apparmor: context.app_armor_profile.map(|own| profile(&own.type_, own.localhost_profile)),
    }
}

/// The security settings of a pod's sandbox.
pub(crate) fn sandbox(pod: &Pod) -> v1::LinuxSandboxSecurityContext {
    let context = pod_context(pod);
    let privileged = spec::containers(pod).iter().chain(spec::init_containers(pod)).any(|c| {
        c.security_context.as_ref().and_then(|context| context.privileged).unwrap_or(false)
    });
    v1::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod, None)),
        selinux_options: selinux(context.se_linux_options),
        run_as_user: context.run_as_user.map(int64),
        // A group without a user is refused by runtimes.
        run_as_group: context.run_as_user.and(context.run_as_group).map(int64),
        supplemental_groups: supplemental_groups(pod),
        supplemental_groups_policy: groups_policy(pod),
        privileged,
        seccomp: Some(profile("RuntimeDefault", None)),
        ..Default::default()
    }
}
