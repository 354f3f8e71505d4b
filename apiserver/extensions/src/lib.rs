//! CustomResourceDefinitions: structural schemas and the kinds they define.
//!
//! ```text
//!   CustomResourceDefinition ──> validation (structural schema, names, rules, costs)
//!            │
//!   CustomResources (component) ── names accepted? ──> definition_of ──> Registry::install
//!            │                                             │
//!            └── deletion: objects first                   ├── Schema (prune, default), values, rules, columns
//!                                                          └── Converter (a webhook, for several versions)
//! ```
//!
//! ```
//! use kubeplane_core::Object;
//! use serde_json::json;
//!
//! let crd = Object::from_value(json!({
//!     "metadata": {"name": "widgets.example.com"},
//!     "spec": {
//!         "group": "example.com", "scope": "Namespaced",
//!         "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
//!         "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
//!             "type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}},
//!         }}}],
//!     },
//! }));
//! let definition = kubeplane_extensions::definition_of(&crd.unwrap(), "v1").unwrap();
//! assert_eq!(definition.kind.to_string(), "example.com/v1, Kind=Widget");
//! ```
//!
//! Whole programs: [a choice of kinds][bespoke_distribution] and [a conversion webhook][conversion_webhook].
//!
//! [bespoke_distribution]: https://github.com/kubeplane/kubeplane/blob/main/examples/bespoke_distribution.rs
//! [conversion_webhook]: https://github.com/kubeplane/kubeplane/blob/main/examples/conversion_webhook.rs

mod approval;
mod beta;
mod columns;
mod component;
mod conditions;
mod conversion;
mod custom;
mod embedded;
mod fieldpath;
mod forms;
mod jsonpath;
mod kind;
mod lists;
mod metrics;
mod names;
mod props;
mod rules;
mod schema;
mod value;
mod webhook;

pub use component::CustomResources;
pub use custom::definition_of;
pub use kind::{CustomResourceDefinitionDeletion, definition, resource};
pub use webhook::ConversionWebhook;
