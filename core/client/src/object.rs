//! Objects of any kind behind one type, so that what keeps and passes them on is compiled once and not per kind.

mod managers;
mod tight;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use std::{
    any::{Any, type_name},
    fmt,
    sync::Arc,
};

/// An object whose kind only its typed readers know.
pub(crate) trait Object: Any + Send + Sync {
    fn metadata(&self) -> &ObjectMeta;
}

impl<K: kube::Resource + Send + Sync + 'static> Object for K {
    fn metadata(&self) -> &ObjectMeta {
        self.meta()
    }
}

/// What is kept of each object of a kind, as the owner of its cache says.
#[derive(Clone)]
pub(crate) struct Transform(Arc<Change>);

type Change = dyn Fn(&mut dyn Any) + Send + Sync;

impl fmt::Debug for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transform").finish_non_exhaustive()
    }
}

impl Transform {
    /// Objects of other kinds stay as they are.
    pub(crate) fn of<K: 'static>(change: impl Fn(&mut K) + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |object: &mut dyn Any| {
            if let Some(object) = object.downcast_mut::<K>() {
                change(object);
            }
        }))
    }
}

/// Reads an object of one kind, and keeps of it what is wanted.
pub(crate) type Decode = fn(&str, Option<&Transform>) -> serde_json::Result<Arc<dyn Object>>;

pub(crate) fn decode<K>(
    text: &str,
    transform: Option<&Transform>,
) -> serde_json::Result<Arc<dyn Object>>
where
    K: kube::Resource + DeserializeOwned + Send + Sync + 'static,
{
    // They make up half of an object, and writing an object without them leaves them as they are.
    let text = managers::without(text);
    // From a `str`, as a client reads its answers: the code for that, most of what a kind costs, is there once.
    let mut object: K = serde_json::from_str(&text)?;
    // Those that could not be told apart from the text.
    object.meta_mut().managed_fields = None;
    if let Some(Transform(change)) = transform {
        change(&mut object);
    }
    tight::tighten(&mut object);
    Ok(Arc::new(object))
}

/// `object` as what it is; `None` only for a kind that its cache cannot hold.
pub(crate) fn typed<K: Send + Sync + 'static>(object: Arc<dyn Object>) -> Option<Arc<K>> {
    let object: Arc<dyn Any + Send + Sync> = object;
    match object.downcast() {
        Ok(object) => Some(object),
        Err(_) => {
            mismatch(type_name::<K>());
            None
        }
    }
}

/// As [`typed`], without sharing the object.
pub(crate) fn typed_ref<K: 'static>(object: &dyn Object) -> Option<&K> {
    let object: &dyn Any = object;
    let object = object.downcast_ref();
    if object.is_none() {
        mismatch(type_name::<K>());
    }
    object
}

#[cold]
fn mismatch(wanted: &'static str) {
    tracing::error!(wanted, "skipping an object of another kind");
}

/// Takes objects in order.
pub(crate) trait Sink {
    /// There will be `count` objects.
    fn expect(&mut self, count: usize);

    fn take(&mut self, object: &Arc<dyn Object>);
}

impl<K: Send + Sync + 'static> Sink for Vec<Arc<K>> {
    fn expect(&mut self, count: usize) {
        self.reserve_exact(count);
    }

    fn take(&mut self, object: &Arc<dyn Object>) {
        if let Some(object) = typed(object.clone()) {
            self.push(object);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{ConfigMap, Secret};

    #[test]
    fn an_object_comes_back_as_its_own_kind_only_and_without_managed_fields() {
        let text =
            r#"{"metadata":{"name":"a","managedFields":[{"manager":"m"}]},"data":{"k":"v"}}"#;
        let object = decode::<ConfigMap>(text, None).unwrap();
        assert_eq!(object.metadata().name.as_deref(), Some("a"));
        assert!(object.metadata().managed_fields.is_none());
        let data = typed_ref::<ConfigMap>(&*object).and_then(|map| map.data.clone());
        assert_eq!(data.unwrap_or_default()["k"], "v");

        let (mut maps, mut secrets): (Vec<Arc<ConfigMap>>, Vec<Arc<Secret>>) = Default::default();
        maps.take(&object);
        secrets.take(&object);
        assert!(typed_ref::<Secret>(&*object).is_none());
        assert_eq!((maps.len(), secrets.len()), (1, 0));
    }

    #[test]
    fn a_transform_changes_what_is_of_its_kind() {
        let text = r#"{"metadata":{"name":"a"},"data":{"k":"dg=="}}"#;
        let empty = Transform::of::<Secret>(|secret| secret.data = None);
        let secret = decode::<Secret>(text, Some(&empty)).unwrap();
        assert_eq!(secret.metadata().name.as_deref(), Some("a"));
        assert!(typed_ref::<Secret>(&*secret).is_some_and(|secret| secret.data.is_none()));
        let map = decode::<ConfigMap>(text, Some(&empty)).unwrap();
        assert!(typed_ref::<ConfigMap>(&*map).is_some_and(|map| map.data.is_some()));
    }
}
