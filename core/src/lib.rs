//! API machinery without I/O: identities, objects, schemas, patches, errors and the traits of the request pipeline.
//!
//! ```text
//!   identity   GroupVersionKind, GroupResource            what a thing is called
//!   object     Object                                     a thing, as untyped JSON with typed metadata
//!   schema     Schema, Field  -> decode, patch, apply, protobuf   what its fields are
//!   definition Definition + Strategy                      a kind: data and hooks
//!   status     ApiError <- field::Errors                  what is wrong, in the API's own form
//!   auth, admission                                       who may do what to it
//!   component  Component, Lifecycle                       a part of a control plane
//! ```
//!
//! # Contracts
//! What others implement, and what they promise by it; the trait's own page has all of it.
//!
//! * [`Strategy`], the hooks of a kind: pure, the same output for the same input; no I/O, no clock, no chance.
//! * [`Converter`](definition::Converter), for versions that take more than that: as many objects afterwards, in the
//!   same order, or an error for all of them.
//! * [`Authenticator`](auth::Authenticator): `Ok(None)` where there are no credentials of its kind, and the next is
//!   asked; an error where they are bad.
//! * [`Authorizer`](auth::Authorizer): never fails; one that cannot tell has no opinion; the first opinion wins.
//! * [`Admission`](admission::Admission), one step: `mutate` in the order of assembly, then `validate`, which changes
//!   nothing; an error refuses the write and is what the client reads.
//! * [`ObjectReader`](reader::ObjectReader): at most a moment old, and never older than what it said before.
//! * [`ObjectUpdater`](reader::ObjectUpdater): changes what is stored, again and again until no other write came
//!   between; admission does not see it.
//! * [`Versions`](apply::Versions), the versions in which fields are managed: the same answer as long as one write goes on.
//! * [`Component`](component::Component): says once that it is ready, ends soon after it is asked to, leaves no task
//!   behind; dropping its future ends it at once.
//!
//! # Example
//! An authorizer of a distribution's own: who is in the group `readers` may read.
//!
//! ```
//! use async_trait::async_trait;
//! use kubeplane_core::auth::{Attributes, Authorizer, Decision, UserInfo};
//!
//! #[derive(Debug)]
//! struct Readers;
//!
//! #[async_trait]
//! impl Authorizer for Readers {
//!     async fn authorize(&self, request: &Attributes) -> Decision {
//!         match request.is_read_only() && request.user.is_in("readers") {
//!             true => Decision::Allow("readers read".into()),
//!             false => Decision::NoOpinion(String::new()),
//!         }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let asked = |verb: &str| Attributes {
//!     user: UserInfo::new("jane", ["readers"]).into(),
//!     verb: verb.into(),
//!     resource: "pods".into(),
//!     ..Attributes::default()
//! };
//! assert_eq!(Readers.authorize(&asked("list")).await, Decision::Allow("readers read".into()));
//! assert_eq!(Readers.authorize(&asked("delete")).await, Decision::NoOpinion(String::new()));
//! # }
//! ```
//!
//! Whole programs: [an admission step][custom_admission] and [an authenticator][custom_authenticator].
//!
//! [custom_admission]: https://github.com/kubeplane/kubeplane/blob/main/examples/custom_admission.rs
//! [custom_authenticator]: https://github.com/kubeplane/kubeplane/blob/main/examples/custom_authenticator.rs

pub mod admission;
pub mod apply;
pub mod auth;
pub mod component;
pub mod decode;
pub mod definition;
pub mod duration;
pub mod features;
pub mod field;
mod generated;
pub mod identity;
pub mod metadata;
pub mod names;
pub mod object;
pub mod patch;
pub mod protobuf;
pub mod quantity;
pub mod reader;
pub mod schema;
pub mod selector;
pub mod status;
pub mod webhook;
pub mod yaml;

pub use definition::{Definition, Scope, Strategy};
pub use identity::{GroupKind, GroupResource, GroupVersion, GroupVersionKind};
pub use object::Object;
pub use status::ApiError;
