//! The scheduler against a plain reference implementation and against recorded answers of the original.

mod against_reference;
mod engine;
mod recorded;
mod reference;
mod replay;
mod scenario;
