use super::pick::pick;
use crate::stored::Shape;
use bytes::Bytes;
use kubeplane_core::{Object, protobuf};
use kubeplane_store_trait::Revision;
use parking_lot::Mutex;
use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

/// A stored object and what selectors look at.
#[derive(Debug)]
pub(crate) struct Row {
    pub(super) key: Bytes,
    /// Where the namespace and the name begin in the key.
    namespace_at: usize,
    name_at: usize,
    pub(crate) value: Bytes,
    pub(crate) revision: Revision,
    pub(crate) generation: i64,
    labels: Box<[(Box<str>, Box<str>)]>,
    fields: Box<[Box<str>]>,
    object: OnceLock<Arc<Object>>,
    /// The protobuf form, while lists ask for it.
    protobuf: Mutex<Option<Bytes>>,
}

impl Row {
    /// Reads what the index needs of a value in the version's own form. This is the only time it is decoded on its way
    /// to readers.
    pub(crate) fn new(
        shape: &Shape,
        prefix: &str,
        key: Bytes,
        value: Bytes,
        revision: Revision,
    ) -> serde_json::Result<Self> {
        let definition = shape.definition();
        let object = pick(&value, &definition.selectable_fields)?;
        let labels = object.labels().map(|(key, value)| (key.into(), value.into())).collect();
        let field = |path: &Cow<'static, str>| definition.strategy.field(&object, path).into();
        let fields = definition.selectable_fields.iter().map(field).collect();
        let namespace_at = prefix.len().min(key.len());
        let slash = key[namespace_at..].iter().position(|byte| *byte == b'/');
        let name_at = match slash {
            Some(slash) if definition.is_namespaced() => namespace_at + slash + 1,
            _ => namespace_at,
        };
        let generation = object.generation();
        let (object, protobuf) = (OnceLock::new(), Mutex::default());
        Ok(Self {
            key,
            namespace_at,
            name_at,
            value,
            revision,
            generation,
            labels,
            fields,
            object,
            protobuf,
        })
    }

    /// The namespace, or the empty text.
    pub(crate) fn namespace(&self) -> &str {
        std::str::from_utf8(
            &self.key[self.namespace_at..self.name_at.saturating_sub(1).max(self.namespace_at)],
        )
        .unwrap_or_default()
    }

    /// The name.
    pub(crate) fn name(&self) -> &str {
        std::str::from_utf8(&self.key[self.name_at..]).unwrap_or_default()
    }

    /// A label's value.
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|(own, _)| (**own).cmp(key)).ok()?;
        Some(&self.labels[at].1)
    }

    /// The value of the definition's selectable field of this index.
    pub(crate) fn field(&self, index: usize) -> &str {
        self.fields.get(index).map(|field| &**field).unwrap_or_default()
    }

    /// The object as a protobuf message, kept until forgotten.
    pub(crate) fn protobuf(&self, shape: &Shape) -> protobuf::Result<Bytes> {
        if let Some(kept) = &*self.protobuf.lock() {
            return Ok(kept.clone());
        }
        // Without the room that its making took.
        let made = Bytes::copy_from_slice(&shape.protobuf(&self.value, Some(self.revision))?);
        *self.protobuf.lock() = Some(made.clone());
        Ok(made)
    }

    /// Gives back the memory of the protobuf form.
    pub(super) fn forget_protobuf(&self) {
        *self.protobuf.lock() = None;
    }

    /// The decoded object, kept once made: for readers that come again and again.
    pub(crate) fn kept(&self) -> serde_json::Result<Arc<Object>> {
        if let Some(object) = self.object.get() {
            return Ok(object.clone());
        }
        let object = Arc::new(crate::stored::decode(&self.value, self.revision)?);
        Ok(self.object.get_or_init(|| object).clone())
    }

    /// The decoded object at a revision (a delete event shows the revision of the delete).
    pub(crate) fn decoded(&self, revision: Revision) -> serde_json::Result<Object> {
        match self.object.get() {
            Some(object) if revision == self.revision => Ok(Object::clone(object)),
            _ => crate::stored::decode(&self.value, revision),
        }
    }
}
