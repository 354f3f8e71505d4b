//! Pod and node semantics that several components share
