//! Small programs, each showing one thing, each on the public interface alone, each at an end when it is done.
//!
//! ```text
//!   cargo run -p kubeplane-examples --example apiserver_memory
//! ```
//!
//! | example | shows |
//! |---|---|
//! | `apiserver_memory` | an API server on memory, in the process of its clients: create, list, watch |
//! | `apiserver_etcd` | two API servers on one etcd, which see each other's writes at once |
//! | `embed_in_axum` | a control plane behind one's own web service: its listener, its users, its pages |
//! | `bespoke_distribution` | a choice of kinds: custom resources and roles, no pods |
//! | `many_clusters` | a hundred clusters in one process that share nothing |
//! | `custom_controller` | a kind of your own, derived, and the controller that makes a ConfigMap for each object, here or elsewhere |
//! | `scheduler_extender` | a webhook that filters and scores nodes, from a configuration file |
//! | `custom_scheduler_plugin` | a score of your own in a scheduler profile, placing pods on simulated nodes |
//! | `custom_scheduler_profile` | two profiles in one scheduler, from a configuration file: one spreads pods, one packs them |
//! | `custom_admission` | an admission step that refuses images whose version is not said |
//! | `custom_authenticator` | a key in a header that says who asks |
//! | `custom_runtime` | a container runtime around another one: a node that takes images of one registry only |
//! | `custom_store` | a store of your own, on `kubeplane-store-trait` alone, that passes its conformance suite |
//! | `conversion_webhook` | a webhook that converts between the two versions of a CustomResourceDefinition |
//! | `extension_apiserver` | an API server of your own with a kind of your own, behind that of a cluster |
//! | `test_with_cluster` | `#[kubeplane::test]`: a test with a control plane of its own |
//! | `load` | a load generator: any API servers under one load, in turn, side by side |
//!
//! `manifests/web.yaml` is a small web site to `kubectl apply` to a running `kubeplane`.
//!
//! Each is run by a test in `tests/it`, which includes its file and looks at what it shows.
