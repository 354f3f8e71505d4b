//! Pods.

use crate::row::{CREATE, PROXY, Part, READ_PATCH_UPDATE, Row};
use kubeplane_core::{Definition, definition::Verb};

pub(crate) mod defaults;
pub(crate) mod features;
mod image;
mod strategy;
mod table;
pub(crate) mod validation;
pub(crate) mod warnings;

pub(crate) fn definition() -> Definition {
    const STREAM: &[Verb] = &[Verb::Create, Verb::Get];
    let row = Row {
        kind: "Pod",
        plural: "pods",
        short: &["po"],
        categories: &["all"],
        columns: &[
            "Name",
            "Ready",
            "Status",
            "Restarts",
            "Age",
            "+IP",
            "+Node",
            "+Nominated Node",
            "+Readiness Gates",
        ],
        parts: &[
            Part::Handler("attach", "", "v1", "PodAttachOptions", STREAM),
            Part::Handler("binding", "", "v1", "Binding", CREATE),
            Part::Of("ephemeralcontainers", READ_PATCH_UPDATE),
            Part::Handler("eviction", "policy", "v1", "Eviction", CREATE),
            Part::Handler("exec", "", "v1", "PodExecOptions", STREAM),
            Part::Handler("log", "", "v1", "Pod", &[Verb::Get]),
            Part::Handler("portforward", "", "v1", "PodPortForwardOptions", STREAM),
            Part::Handler("proxy", "", "v1", "PodProxyOptions", PROXY),
            Part::Of("resize", READ_PATCH_UPDATE),
            Part::Status,
        ],
        fields: &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
            "spec.host",
        ],
        ..Row::NAMESPACED
    };
    row.define(strategy::Pods)
}
