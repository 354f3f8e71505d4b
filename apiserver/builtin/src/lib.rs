//! The built-in kinds: definitions, defaults, validation and table rows. Pure code, no I/O.
//!
//! ```text
//!   all() -> [Definition]      one file a kind: configmap, secret, service, pod/...
//!              |- Row          names, verbs, columns, subresources as one row of constants
//!              `- Strategy     default -> prepare -> validate, on untyped JSON
//! ```
//!
//! ```
//! let kinds = kubeplane_builtin::all();
//! let pods = kinds.iter().find(|kind| kind.plural == "pods").expect("pods are built in");
//! assert_eq!(pods.short_names, ["po"]);
//! ```

use kubeplane_core::{Definition, features::Features};
use std::sync::Arc;

mod addresses;
mod admissionregistration;
mod apiservice;
mod binding;
mod certificatesigningrequest;
mod check;
mod componentstatus;
mod conditions;
mod configmap;
mod controllerrevision;
mod cronjob;
mod csidriver;
mod csinode;
mod csistoragecapacity;
mod daemonset;
mod defaulting;
mod deployment;
mod endpoints;
mod endpointslice;
mod event;
mod expressions;
mod flowschema;
mod gates;
mod hooks;
mod horizontalpodautoscaler;
mod ingress;
mod ingressclass;
mod ipaddress;
mod job;
mod lease;
mod limitrange;
mod look;
mod metadata;
mod namespace;
mod networkpolicy;
mod node;
mod persistentvolume;
mod persistentvolumeclaim;
mod plain;
mod pod;
mod poddisruptionbudget;
mod podtemplate;
mod priorityclass;
mod prioritylevelconfiguration;
mod rbac;
mod replicaset;
mod replicationcontroller;
mod resource;
mod resourcequota;
mod review;
mod row;
mod runtimeclass;
mod scheduling;
mod secret;
mod service;
mod serviceaccount;
mod servicecidr;
mod statefulset;
mod storage;
mod storageclass;
mod table;
mod volumeattachment;
mod volumeattributesclass;
mod workload;

/// The kinds of alpha and beta versions, as far as they have no gate or it is on; a server serves them when it is
/// told to.
#[must_use]
pub fn optional(features: &Features) -> Vec<Arc<Definition>> {
    let mut kinds = resource::optional(features);
    if features.is_on("GenericWorkload") {
        kinds.extend(scheduling::optional());
    }
    kinds.into_iter().map(Arc::new).collect()
}

/// Every built-in kind, one definition for each version served.
#[must_use]
pub fn all() -> Vec<Arc<Definition>> {
    let mut kinds = vec![
        binding::definition(),
        componentstatus::definition(),
        configmap::definition(),
        endpoints::definition(),
        event::core(),
        namespace::definition(),
        node::definition(),
        pod::definition(),
        podtemplate::definition(),
        replicationcontroller::definition(),
        secret::definition(),
        serviceaccount::definition(),
        service::definition(),
        controllerrevision::definition(),
        deployment::definition(),
        replicaset::definition(),
        horizontalpodautoscaler::v1(),
        horizontalpodautoscaler::v2(),
        job::definition(),
        cronjob::definition(),
        poddisruptionbudget::definition(),
        statefulset::definition(),
        daemonset::definition(),
        persistentvolume::definition(),
        persistentvolumeclaim::definition(),
        limitrange::definition(),
        resourcequota::definition(),
        event::events(),
        lease::definition(),
        endpointslice::definition(),
        ingressclass::definition(),
        ingress::definition(),
        networkpolicy::definition(),
        runtimeclass::definition(),
        rbac::cluster_role_binding(),
        rbac::cluster_role(),
        rbac::role_binding(),
        rbac::role(),
        priorityclass::definition(),
        storageclass::definition(),
        apiservice::definition(),
        certificatesigningrequest::definition(),
        csidriver::definition(),
        csinode::definition(),
        csistoragecapacity::definition(),
        flowschema::definition(),
        ipaddress::definition(),
        prioritylevelconfiguration::definition(),
        servicecidr::definition(),
        volumeattachment::definition(),
        volumeattributesclass::definition(),
    ];
    kinds.extend(admissionregistration::definitions());
    kinds.extend(resource::definitions());
    kinds.extend(review::definitions());
    kinds.into_iter().map(Arc::new).collect()
}
