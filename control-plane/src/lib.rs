//! kubeplane: a Kubernetes control plane as a library, and the binary made of it
