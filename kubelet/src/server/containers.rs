use crate::{
    host::Host,
    observed::{self, ObservedPod, State},
    pods::Record,
    spec,
};
use http::StatusCode;
use kubeplane_runtime_cri::ContainerId;

/// The container a request is about.
#[derive(Debug)]
pub(super) struct At<'a> {
    pub(super) namespace: &'a str,
    pub(super) pod: &'a str,
    pub(super) uid: Option<&'a str>,
    pub(super) container: &'a str,
}

/// An answer that ends a request.
pub(super) type Refusal = (StatusCode, String);

impl<'a> At<'a> {
    pub(super) fn new(
        namespace: &'a str,
        pod: &'a str,
        uid: Option<&'a str>,
        container: &'a str,
    ) -> Self {
        Self { namespace, pod, uid, container }
    }

    /// The pod, if it is on this node.
    pub(super) fn record(&self, host: &Host) -> Option<Record> {
        let record = host.pods.find(self.namespace, self.pod)?;
        let same = self.uid.is_none_or(|uid| record.pod.metadata.uid.as_deref() == Some(uid));
        same.then_some(record)
    }

    /// What the runtime has of the pod.
    pub(super) async fn observed(&self, host: &Host) -> Result<(Record, ObservedPod), Refusal> {
        let record = self
            .record(host)
            .ok_or_else(|| (StatusCode::NOT_FOUND, "pod does not exist".to_owned()))?;
        let uid = record.pod.metadata.uid.clone().unwrap_or_default();
        match observed::observe(host.runtime.as_ref(), &uid).await {
            Ok(observed) => Ok((record, observed)),
            Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
        }
    }

    /// The running container, and whether it has a terminal.
    pub(super) async fn running(&self, host: &Host) -> Result<(ContainerId, bool), Refusal> {
        let (record, observed) = self.observed(host).await?;
        let found =
            observed.container(self.container).filter(|found| found.state == State::Running);
        let Some(found) = found else {
            let message = format!("container not found ({:?})", self.container);
            return Err((StatusCode::INTERNAL_SERVER_ERROR, message));
        };
        let spec = spec::container_named(&record.pod, self.container);
        let tty = spec.is_some_and(|(_, container)| container.tty == Some(true));
        Ok((found.id.clone(), tty))
    }
}
