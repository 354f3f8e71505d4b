//! What every component that speaks the Kubernetes API shares: informers, a work queue, events, leader election.
//!
//! ```text
//!   InformerSource (list + watch)       ClientSource over kube::Client, or an in-process one
//!        │ bytes
//!        ▼
//!   Informers ── one list/watch per kind ──> Informer<K> ── get, list, by_index ──> Arc<K>
//!                                                │ add_handler, or subscribe: Changes<K>
//!                                                ▼
//!                                            WorkQueue<T> ──> your workers
//!   ownership, expectations, finalizers, EventRecorder, SeriesRecorder, LeaderElector: what those workers need
//!   KubeconfigClients: a kube::Client whose credentials are renewed on the disk
//! ```
//!
//! # Contract
//! An [`InformerSource`] lists one state and names it by its resourceVersion; a watch after that delivers every later
//! change of a matching object, once and in order, or ends with an error. A version that cannot be served any more is
//! `Error::Expired`, and the informer lists again. A cache is therefore behind, and never wrong. It has all of each object
//! but `managedFields`, or less where its owner says so ([`Informers::transform`]).
//!
//! # Example
//! ```
//! # async fn example(client: kube::Client) {
//! use k8s_openapi::api::core::v1::Pod;
//! use kubeplane_client::Informers;
//! let informers = Informers::new(client, kubeplane_clock::real());
//! let pods = informers.of::<Pod>();
//! informers.synced().await;
//! println!("{} pods", pods.list().len());
//! # }
//! ```

mod backoff;
mod cache;
mod changes;
mod error;
mod events;
mod expectations;
pub mod finalizers;
mod informer;
mod informers;
mod key;
mod kubeconfig;
mod leader;
mod object;
mod ownership;
mod queue;
mod reflector;
mod source;

pub use backoff::Backoff;
pub use changes::{Change, Changes, MetadataChange, MetadataChanges, MetadataStep, Registration};
pub use error::{Error, Result};
pub use events::{EventRecorder, EventType, SeriesRecorder};
pub use expectations::Expectations;
pub use informer::{Class, Informer, Lister, MetadataInformer};
pub use informers::{Informers, Watchable};
pub use key::ObjectKey;
pub use kubeconfig::{CredentialReload, KubeconfigClients};
pub use leader::{LeaderElector, LeaderStatus, LeaseConfig};
pub use ownership::{ControllerRefManager, controller_of, controller_ref, is_controlled_by};
pub use queue::{QueueMetrics, QueueOptions, WorkQueue};
pub use source::{ClientSource, InformerSource, Listed, Query, SourceEvent, SourceEvents};
