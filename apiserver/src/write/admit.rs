//! Admission of one write: every step that handles it, in the order of assembly.

use super::Writer;
use crate::{audit::Level, metrics::Phase};
use kubeplane_core::{
    Object,
    admission::{Admission, Does, Notes, Operation, Request},
    apply::unpack_managers,
    status::ApiResult,
};
use std::sync::Arc;
use tracing::Instrument;

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
    let all = async {
        loop {
            for step in phase.steps() {
                phase.timed(Some(step.name()), step.mutate(&mut request)).await?;
            }
            if !notes.begin_again() {
                return Ok(());
            }
        }
    };
    let span = tracing::debug_span!("admission", phase = "mutating");
    let result = phase.timed(None, all).instrument(span).await;
    tell(writer, &notes);
    result
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
    let all = async {
        for step in phase.steps() {
            phase.timed(Some(step.name()), step.validate(&request)).await?;
        }
        Ok(())
    };
    let span = tracing::debug_span!("admission", phase = "validating");
    let result = phase.timed(None, all).instrument(span).await;
    tell(writer, &notes);
    result
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
    fn steps(self) -> impl Iterator<Item = &'a Arc<dyn Admission>> {
        let Self { writer, operation, phase } = self;
        let idle = match phase {
            Phase::Admit => Does::Validates,
            Phase::Validate => Does::Mutates,
        };
        let all = writer.api.0.admission.iter().filter(move |step| step.does() != idle);
        all.filter(move |step| step.handles(operation, writer.definition(), writer.subresource))
    }

    /// The objects with the sets of their managers, if a step looks at them: the new one, and a copy of the old one.
    fn shown<'o>(
        self,
        mut object: Option<&'o mut Object>,
        old: Option<&Object>,
    ) -> (Option<&'o mut Object>, Option<Object>) {
        if !self.steps().any(|step| step.sees_managers()) {
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

    async fn timed(
        self,
        step: Option<&'static str>,
        work: impl Future<Output = ApiResult<()>> + Send,
    ) -> ApiResult<()> {
        let clock = self.writer.api.clock();
        let start = clock.elapsed();
        let result = work.await;
        let took = clock.elapsed().saturating_sub(start);
        let access = &self.writer.api.0.metrics.access;
        access.admitted(step, self.phase, self.operation, result.is_err(), took);
        result
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
