//! Admission of one write: every step that handles it, in the order of assembly.

use super::Writer;
use crate::{
    audit::Level,
    metrics::{AdmissionTimes, Phase},
};
use kubeplane_core::{
    Object,
    admission::{Admission, Does, Notes, Operation, Request},
    apply::unpack_managers,
    status::ApiResult,
};
use std::{sync::Arc, time::Duration};
use tracing::Instrument;

/// One step, as it was assembled.
#[derive(Debug)]
pub(crate) struct Step {
    admission: Arc<dyn Admission>,
    times: AdmissionTimes,
}

impl Step {
    pub(crate) fn new(admission: Arc<dyn Admission>) -> Self {
        let times = AdmissionTimes::of(Some(admission.name()));
        Self { admission, times }
    }
}

fn request<'a>(
    writer: &'a Writer<'_>,
    operation: Operation,
    name: &'a str,
    object: Option<&'a mut Object>,
    old: Option<&'a Object>,
    options: &'a Object,
    notes: &'a Notes,
) -> Request<'a> {
    Request {
        operation,
        verb: writer.verb,
        definition: writer.definition(),
        subresource: writer.subresource,
        namespace: writer.namespace,
        name,
        object,
        old,
        options,
        dry_run: writer.dry_run,
        user: writer.user,
        warnings: writer.warnings,
        notes,
        reader: writer.api.reader(),
        updater: writer.api,
        authorizer: writer.api.authorizer(),
    }
}

/// Lets every step change the object.
pub(crate) async fn mutate(
    writer: &Writer<'_>,
    operation: Operation,
    name: &str,
    object: Option<&mut Object>,
    old: Option<&Object>,
    options: &Object,
) -> ApiResult<()> {
    let notes = Notes::default();
    let phase = Watched { writer, operation, phase: Phase::Admit };
    let (object, unpacked) = phase.shown(object, old);
    let old = unpacked.as_ref().or(old);
    let mut request = request(writer, operation, name, object, old, options, &notes);
    let start = phase.now();
    let all = async {
        let mut now = start;
        loop {
            for step in phase.steps() {
                let work = step.admission.mutate(&mut request);
                now = phase.timed(&step.times, now, work).await?;
            }
            if !notes.begin_again() {
                return Ok(());
            }
        }
    };
    let span = tracing::debug_span!("admission", phase = "mutating");
    let result = phase.timed(&writer.api.0.metrics.access.whole, start, all).instrument(span).await;
    tell(writer, &notes);
    result.map(drop)
}

/// Asks every step whether the write may be made.
pub(crate) async fn validate(
    writer: &Writer<'_>,
    operation: Operation,
    name: &str,
    object: Option<&mut Object>,
    old: Option<&Object>,
    options: &Object,
) -> ApiResult<()> {
    let notes = Notes::default();
    let phase = Watched { writer, operation, phase: Phase::Validate };
    let (object, unpacked) = phase.shown(object, old);
    let old = unpacked.as_ref().or(old);
    let request = request(writer, operation, name, object, old, options, &notes);
    let start = phase.now();
    let all = async {
        let mut now = start;
        for step in phase.steps() {
            now = phase.timed(&step.times, now, step.admission.validate(&request)).await?;
        }
        Ok(())
    };
    let span = tracing::debug_span!("admission", phase = "validating");
    let result = phase.timed(&writer.api.0.metrics.access.whole, start, all).instrument(span).await;
    tell(writer, &notes);
    result.map(drop)
}

fn tell(writer: &Writer<'_>, notes: &Notes) {
    let Some(record) = writer.audit else { return };
    for (key, value) in notes.annotations() {
        record.annotate(&key, &value);
    }
    if record.level() >= Level::Request {
        notes.details().iter().for_each(|(key, value)| record.annotate(key, value));
    }
}

/// One phase of the admission of one write.
#[derive(Clone, Copy)]
struct Watched<'a> {
    writer: &'a Writer<'a>,
    operation: Operation,
    phase: Phase,
}

impl<'a> Watched<'a> {
    /// The steps that do something about such a write.
    fn steps(self) -> impl Iterator<Item = &'a Step> {
        let Self { writer, operation, phase } = self;
        let idle = match phase {
            Phase::Admit => Does::Validates,
            Phase::Validate => Does::Mutates,
        };
        let all = writer.api.0.admission.iter().filter(move |step| step.admission.does() != idle);
        let (definition, subresource) = (writer.definition(), writer.subresource);
        all.filter(move |step| step.admission.handles(operation, definition, subresource))
    }

    /// The objects with the sets of their managers, if a step looks at them: the new one, and a copy of the old one.
    fn shown<'o>(
        self,
        mut object: Option<&'o mut Object>,
        old: Option<&Object>,
    ) -> (Option<&'o mut Object>, Option<Object>) {
        if !self.steps().any(|step| step.admission.sees_managers()) {
            return (object, None);
        }
        if let Some(object) = object.as_deref_mut() {
            unpack_managers(object);
        }
        let mut old = old.cloned();
        if let Some(old) = &mut old {
            unpack_managers(old);
        }
        (object, old)
    }

    fn now(self) -> Duration {
        self.writer.api.clock().elapsed()
    }

    /// Does some work that begins at this moment; when it was over.
    async fn timed(
        self,
        times: &AdmissionTimes,
        since: Duration,
        work: impl Future<Output = ApiResult<()>> + Send,
    ) -> ApiResult<Duration> {
        let result = work.await;
        let now = self.now();
        let access = &self.writer.api.0.metrics.access;
        let took = now.saturating_sub(since);
        access.admitted(times, self.phase, self.operation, result.is_err(), took);
        result.map(|()| now)
    }
}

impl Writer<'_> {
    pub(super) async fn admit_mutate(
        &self,
        operation: Operation,
        object: &mut Object,
        old: Option<&Object>,
        name: &str,
    ) -> ApiResult<()> {
        let Some(sent) = self.options else { return Ok(()) };
        let options = options_for(sent, operation);
        mutate(self, operation, name, Some(object), old, &options).await
    }

    pub(super) async fn admit_validate(
        &self,
        operation: Operation,
        object: &mut Object,
        old: Option<&Object>,
        name: &str,
    ) -> ApiResult<()> {
        let Some(sent) = self.options else { return Ok(()) };
        let options = options_for(sent, operation);
        validate(self, operation, name, Some(object), old, &options).await
    }

    pub(super) async fn admit_delete(&self, old: &Object) -> ApiResult<()> {
        let Some(options) = self.options else { return Ok(()) };
        mutate(self, Operation::Delete, old.name(), None, Some(old), options).await?;
        validate(self, Operation::Delete, old.name(), None, Some(old), options).await
    }
}

/// A patch that creates is admitted with CreateOptions, one that changes with UpdateOptions.
fn options_for(sent: &Object, operation: Operation) -> Object {
    let mut options = sent.clone();
    options.set(
        &["kind"],
        if operation == Operation::Create { "CreateOptions" } else { "UpdateOptions" },
    );
    options.remove(&["force"]);
    options
}
