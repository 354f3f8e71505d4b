//! Health checks, metrics and the small HTTP surface every component serves.
//!
//! ```text
//!   component ── adds checks ──> Health ──┐
//!             ── registers ───> Metrics ──┴──> router() ──> /healthz /livez /readyz /metrics /metrics/slis
//! ```
//!
//! Both are values: several clusters live in one process, each with its own.
//!
//! ```
//! use kubeplane_telemetry::{Health, Probe};
//! let health = Health::new();
//! health.add("ping", Probe::Both, || Ok(()));
//! health.add("synced", Probe::Ready, || Err("no list yet".into()));
//! assert!(health.report(Probe::Live, &[]).is_ok());
//! assert!(!health.report(Probe::Ready, &[]).is_ok());
//! ```

mod exposition;
mod health;
mod metrics;
mod process;
mod router;
mod slis;

pub use exposition::METRICS_CONTENT_TYPE;
pub use health::{Health, Probe, Report};
pub use metrics::Metrics;
pub use router::{health_response, router};
