//! Generated code.

#[rustfmt::skip]
pub(crate) mod schema;
