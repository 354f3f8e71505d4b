//! Pod and node semantics that several components share: pure functions over the API's typed objects.
//!
//! ```text
//!   resources    requests, limits                what a pod takes from a node
//!   taints       tolerates, first_untolerated    which nodes push pods away
//!   device_rules DeviceTaintRule                which taints administrators put on devices
//!   affinity     node_affinity_matches           which nodes pods ask for
//!   conditions   is_ready, condition, set        what a pod says of itself
//!   phase        is_active, is_terminal          where in its life it is
//!   qos          qos_class                       how it is treated when memory runs out
//!   ports        host_ports                      what it takes of the node's own address
//!   quota        Evaluator                       what objects take of a ResourceQuota
//!   services     Family, plan                  which addresses a Service takes and gives back
//!   storage      best_match, is_bound_to         which volumes suit which claims
//!   cron         Schedule, time_zone             when CronJobs run
//!   bootstrap_token   BootstrapToken             with what machines join
//!   typed        pod_spec, typed, untyped        JSON values as typed objects, and back
//! ```
//!
//! ```
//! use k8s_openapi::api::core::v1::PodSpec;
//! use kubeplane_workload::{QosClass, qos_class};
//!
//! assert_eq!(qos_class(&PodSpec::default()), QosClass::BestEffort);
//! ```

pub mod affinity;
pub mod bootstrap_token;
pub mod conditions;
pub mod cron;
pub mod device_rules;
pub mod phase;
pub mod ports;
pub mod qos;
pub mod quota;
pub mod resources;
pub mod services;
pub mod storage;
pub mod taints;
pub mod typed;

pub use affinity::{node_affinity_matches, node_affinity_score, node_selector_matches};
pub use conditions::{condition, is_available, is_ready, set_condition};
pub use device_rules::DeviceTaintRule;
pub use phase::{is_active, is_terminal};
pub use ports::{HostPort, host_ports};
pub use qos::{QosClass, qos_class};
pub use resources::{Resources, is_sidecar, limits, requests};
pub use taints::{
    first_untolerated, first_untolerated_comparing, tolerates, tolerates_comparing,
    tolerates_device_taint, tolerates_taint,
};
pub use typed::pod_spec;
