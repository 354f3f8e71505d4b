//! The `kubeplane` binary.
fn main() {}
