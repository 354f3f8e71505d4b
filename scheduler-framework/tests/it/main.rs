//! The scheduler against a plain reference implementation and against recorded answers of the original.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod against_reference;
mod devices;
mod engine;
mod recorded;
mod reference;
mod replay;
mod scenario;
mod what_if;
