//! Authorities, certificates, signing requests and kubeconfig files
