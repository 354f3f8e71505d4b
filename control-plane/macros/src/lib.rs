//! The test attribute of kubeplane
