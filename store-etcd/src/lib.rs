//! The store contract over etcd v3
