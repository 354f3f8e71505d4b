//! What `cargo xtask protos` makes of `proto/`.

#[rustfmt::skip]
#[allow(unreachable_pub, missing_docs, clippy::all, clippy::allow_attributes_without_reason, reason = "generated")]
pub(crate) mod etcdserverpb;
#[rustfmt::skip]
#[allow(unreachable_pub, missing_docs, clippy::all, clippy::allow_attributes_without_reason, reason = "generated")]
pub(crate) mod mvccpb;
