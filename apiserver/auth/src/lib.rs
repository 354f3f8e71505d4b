//! Authenticators, the RBAC and node authorizers, service account tokens and the bootstrap policy
