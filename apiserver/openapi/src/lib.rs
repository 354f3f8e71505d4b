//! The OpenAPI documents of the API server, for built-in kinds and custom resources.
//!
//! ```text
//!   Registry ──> kinds of a group version ──┬─> schemas: k8s-openapi's texts, the schema table's facts
//!   CustomResourceDefinitions ──────────────┘   paths: every verb of every resource
//!                                                     │
//!   /openapi/v3, /openapi/v3/apis/<g>/<v>  <── gzipped documents, made when first asked for
//!   /openapi/v3/{api,apis,apis/<g>,version}   (with what leads to them, and the issuer's keys)
//!   /openapi/v2                            <── the same, in one Swagger document (JSON or protobuf)
//! ```
//!
//! ```
//! use kubeplane_openapi::OpenApi;
//! let routes = OpenApi::routes();
//! assert_eq!(routes.map(|(path, _)| path), ["/openapi/v2", "/openapi/v3"]);
//! ```

mod beside;
mod custom;
mod document;
mod enums;
mod gnostic;
mod kinds;
mod negotiation;
mod operations;
mod overlay;
mod parameters;
mod paths;
mod raised;
mod schemas;
mod serve;
mod shape;
mod store;
mod swagger;

pub use serve::OpenApi;
