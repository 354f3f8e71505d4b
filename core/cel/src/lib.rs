//! The Kubernetes CEL environment: expressions held against types, bounded in cost, and evaluated over JSON. Values, errors
//! and costs are those of the original (cel-go with the libraries of k8s.io/apiserver 1.36).
//!
//! ```text
//!   source ──> syntax ──> checker (types, forms of functions) ──┬──> estimate: the most it can cost
//!   schema (JSON) ──> Shape ──────────────────────────────────┘  └──> plan ──> run over JSON: value and cost
//! ```
//!
//! Values borrow from the JSON they are about, so that an expression costs what it looks at and not what is there.
//!
//! ```
//! use kubeplane_cel::{Activation, Environment, Shape};
//! use serde_json::json;
//! use std::sync::Arc;
//!
//! let schema = json!({"type": "object", "properties": {"size": {"type": "integer"}}});
//! let shape = Arc::new(Shape::of_schema(&schema, false).unwrap());
//! let program = Environment::new().compile("self.size < 9", &[("self", &shape)]).unwrap();
//! let value = json!({"size": 10});
//! let evaluated = program.run(&Activation::new().with("self", shape.bind(&value)), 1_000_000);
//! assert_eq!(evaluated.result.unwrap().as_bool(), Some(false));
//! assert_eq!(evaluated.cost, 3);
//! assert!(Environment::new().compile("self.sise < 9", &[("self", &shape)]).is_err());
//! ```

mod activation;
mod admission;
mod ast;
mod authorizer;
mod bound;
mod bounds;
mod charge;
mod checker;
#[cfg(test)]
mod corpus;
mod declarations;
mod depth;
mod device;
mod environment;
mod error;
mod escape;
mod estimate;
mod fault;
mod library;
mod plan;
mod run;
mod shape;
mod syntax;
mod time;
mod types;
mod value;

pub use activation::{Activation, Evaluated};
pub use authorizer::{Answer, Authorizer, Check};
pub use bound::Bound;
pub use checker::Scope;
pub use device::{Attribute, DEVICE_COST_LIMIT, Device, DeviceSelector, compile_device};
pub use environment::{Environment, MAX_SOURCE_BYTES, Program};
pub use error::{Error, Result};
pub use escape::{escape, is_reserved, unescape};
pub use library::{
    regex::{go_pattern, go_words},
    url::is_request_uri,
};
pub use shape::{PLAIN_NAMES, Shape};
pub use types::Type;

/// The largest estimated cost one expression may have.
pub const EXPRESSION_COST_LIMIT: u64 = 10_000_000;

/// The largest estimated cost all expressions of one schema may have together.
pub const SCHEMA_COST_LIMIT: u64 = 100_000_000;
