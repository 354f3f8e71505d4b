//! The recorded answers of Kubernetes 1.36 to dry-run creates, against the built-in kinds alone.

mod creates;
