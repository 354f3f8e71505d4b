//! What `cargo xtask protos` makes of `proto/`.

#[rustfmt::skip]
#[allow(unreachable_pub, missing_docs, clippy::all, reason = "generated")]
pub(crate) mod etcdserverpb;
#[rustfmt::skip]
#[allow(unreachable_pub, missing_docs, clippy::all, reason = "generated")]
pub(crate) mod mvccpb;
