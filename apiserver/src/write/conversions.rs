//! The other versions of a kind, for who looks at the managers of fields.
//!
//! Comparing is pure, and converting may mean to ask a webhook. So what has to be converted is noted, the comparison ends
//! without an outcome, and begins again when the answer is there.

use super::fields::reset;
use crate::registry::Registry;
use kubeplane_core::{
    Definition, GroupVersion, Object,
    apply::{Filter, Form, Versions},
    schema::SchemaRef,
};
use parking_lot::Mutex;
use std::sync::Arc;

/// The versions of one kind, during one write.
#[derive(Debug)]
pub(crate) struct Conversions<'a> {
    registry: &'a Registry,
    definition: &'a Arc<Definition>,
    subresource: &'a str,
    asked: Mutex<Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    answers: Vec<Answer>,
    /// What is to be converted before anything can be said.
    open: Option<(Object, GroupVersion)>,
}

#[derive(Debug)]
struct Answer {
    of: Object,
    to: GroupVersion,
    converted: Result<Object, String>,
}

impl<'a> Conversions<'a> {
    pub(crate) fn new(
        registry: &'a Registry,
        definition: &'a Arc<Definition>,
        subresource: &'a str,
    ) -> Self {
        Self { registry, definition, subresource, asked: Mutex::default() }
    }

    /// What `make` makes, once all is converted that it needs.
    pub(crate) async fn settled<T>(&self, mut make: impl FnMut() -> T) -> T {
        loop {
            let made = make();
            let Some((of, to)) = self.asked.lock().open.take() else { return made };
            drop(made);
            let converted = self.definition.converted(vec![of.clone()], &to).await;
            let converted = converted
                .map(|mut all| all.pop().unwrap_or_default())
                .map_err(|error| error.message().to_owned());
            self.asked.lock().answers.push(Answer { of, to, converted });
        }
    }

    /// The shape of a version, where the kind itself knows its versions.
    fn own_shape(&self, version: &GroupVersion) -> Option<SchemaRef> {
        self.definition.strategy.shape_in(version)
    }

    fn knows_versions(&self) -> bool {
        self.own_shape(&self.definition.group_version()).is_some()
    }
}

impl Versions for Conversions<'_> {
    fn form(&self, version: &str) -> Option<Form> {
        let version = GroupVersion::parse(version)?;
        if self.knows_versions() {
            // Which versions there are is said by the conversion, as in the original.
            let schema = self.own_shape(&version).unwrap_or_else(|| self.definition.schema.clone());
            return Some(Form { schema, reset: Filter::None });
        }
        // The original knows the kinds below /api and those below /apis apart.
        if version.group.is_empty() != self.definition.kind.group.is_empty() {
            return None;
        }
        let other = self.registry.find(&version, &self.definition.plural)?;
        let other = other.definition();
        Some(Form { schema: other.schema.clone(), reset: reset(other, self.subresource) })
    }

    fn convert(&self, object: &Object, version: &str) -> Result<Object, String> {
        let Some(to) = GroupVersion::parse(version) else {
            return Err(format!("unexpected GroupVersion string: {version}"));
        };
        let strategy = &self.definition.strategy;
        if self.knows_versions() && self.own_shape(&to).is_none() {
            return Err(format!("request to convert CR to an invalid group/version: {version}"));
        }
        if strategy.converter().is_none() {
            let mut converted = strategy.convert(object.clone(), &to);
            converted.set(&["apiVersion"], version);
            strategy.prune(&mut converted);
            return Ok(converted);
        }
        let mut asked = self.asked.lock();
        let known = asked.answers.iter().find(|answer| answer.to == to && answer.of == *object);
        if let Some(answer) = known {
            return answer.converted.clone();
        }
        asked.open = Some((object.clone(), to));
        Err("it is being converted".to_owned())
    }
}
