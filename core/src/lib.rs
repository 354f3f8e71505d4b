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

pub mod admission;
pub mod apply;
pub mod auth;
pub mod component;
pub mod decode;
pub mod definition;
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
pub mod yaml;

pub use definition::{Definition, Scope, Strategy};
pub use identity::{GroupKind, GroupResource, GroupVersion, GroupVersionKind};
pub use object::Object;
pub use status::ApiError;
