//! Code made from `proto/` by `cargo xtask protos`.

#[allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    rustdoc::all,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "generated code"
)]
#[rustfmt::skip]
pub mod runtime_v1;
