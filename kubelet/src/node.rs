//! The node object and its lease.

pub(crate) mod lease;
pub(crate) mod machine;
pub(crate) mod network;
pub(crate) mod register;
pub(crate) mod status;

use crate::host::Host;
use k8s_openapi::api::core::v1::ObjectReference;

/// What events of the node refer to; the original uses the name as uid.
pub(crate) fn reference(host: &Host) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(host.config.node_name.clone()),
        uid: Some(host.config.node_name.clone()),
        ..ObjectReference::default()
    }
}
