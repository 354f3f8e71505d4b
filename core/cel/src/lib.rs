//! The Kubernetes CEL environment: the rules of `x-kubernetes-validations`, checked against a schema, bounded in
//! cost, and evaluated over JSON.
//!
//! ```text
//!   schema (JSON) ──> Shape ──┬──> Environment::compile ──> Program ── static cost, uses oldSelf?
//!                             └──> Shape::bind(JSON) ─────────┴──> Program::evaluate ──> Outcome
//! ```
//!
//! ```
//! use kubeplane_cel::{Environment, Outcome, Shape};
//! use serde_json::json;
//!
//! let schema = json!({"type": "object", "properties": {"size": {"type": "integer"}}});
//! let shape = Shape::of_schema(&schema, false).unwrap();
//! let environment = Environment::new();
//! let program = environment.compile("self.size < 9", &[("self", &shape)]).unwrap();
//! let value = shape.bind(&json!({"size": 10}));
//! assert_eq!(program.evaluate(&environment, &[("self", &value)]).unwrap(), Outcome::Bool(false));
//! assert!(environment.compile("self.sise < 9", &[("self", &shape)]).is_err());
//! ```

mod activation;
mod authorizer;
mod bind;
mod check;
mod cost;
mod depth;
mod environment;
mod error;
mod escape;
mod functions;
mod macros;
mod meter;
mod shape;
mod walk;

pub use activation::Activation;
pub use authorizer::{Answer, Authorizer, Check};
pub use bind::Bound;
pub use check::Type;
pub use environment::{Environment, MAX_SOURCE_BYTES, Outcome, Program};
pub use error::{Error, Result};
pub use escape::{escape, unescape};
pub use shape::{PLAIN_NAMES, Shape};

/// The largest estimated cost one expression may have.
pub const EXPRESSION_COST_LIMIT: u64 = 10_000_000;

/// The largest estimated cost all expressions of one schema may have together.
pub const SCHEMA_COST_LIMIT: u64 = 100_000_000;
