//! Where the original keeps the objects of each kind, so that both can serve one etcd.

/// Resources kept under another name than their own.
const RENAMED: &[(&str, &str, &str)] = &[
    ("", "endpoints", "services/endpoints"),
    ("", "nodes", "minions"),
    ("", "replicationcontrollers", "controllers"),
    ("", "services", "services/specs"),
    ("networking.k8s.io", "ingresses", "ingress"),
];

/// Groups of servers that the original serves beside its own; they are kept under the group, as custom resources.
const OF_THEIR_OWN: &[&str] = &["apiextensions.k8s.io", "apiregistration.k8s.io"];

/// The path below the root: the plural without its group, for nearly all. `None` where it is group and plural.
/// Events of both groups have the same plural, and so are the same objects.
pub(crate) fn path(group: &str, plural: &'static str) -> Option<&'static str> {
    if OF_THEIR_OWN.contains(&group) {
        return None;
    }
    let renamed = RENAMED.iter().find(|row| row.0 == group && row.1 == plural);
    Some(renamed.map_or(plural, |row| row.2))
}
