//! The suite, held against a store that passes and many that must not; and the wrappers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test says where")]

mod broken;
mod mutants;
mod proof;
mod retrying;
mod wrappers;

mod model {
    kubeplane_store_trait::conformance!(kubeplane_store_trait::conformance::ModelFactory::default());
}

mod faultless {
    kubeplane_store_trait::conformance!(crate::wrappers::Wrapped::faultless());
}

mod retried {
    kubeplane_store_trait::conformance!(crate::wrappers::Wrapped::retried());
}

mod traced {
    kubeplane_store_trait::conformance!(crate::wrappers::Wrapped::traced());
}
