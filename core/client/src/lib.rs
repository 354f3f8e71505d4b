//! Shared informers, listers, work queue, event recorder and leader election over any Kubernetes client
