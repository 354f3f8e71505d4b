//! Lists whose items must differ: sets, and maps by their keys.

use crate::props::{Additional, Props};
use kubeplane_core::field::{Error, Errors, Path};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Items that occur twice in lists of type `set` and `map`.
pub(crate) fn validate(props: &Props, value: &Value, path: &Path) -> Errors {
    let mut errors = Vec::new();
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if let Some(below) = props.properties.get(key) {
                    errors.extend(validate(below, value, &path.child(key)));
                } else if let Some(below) = props.additional.as_ref().and_then(Additional::schema) {
                    errors.extend(validate(below, value, &path.key(key)));
                }
            }
        }
        Value::Array(items) => {
            match props.list_type.as_deref() {
                Some("set") => {
                    let twice = repeated(items);
                    errors.extend(
                        twice.map(|at| Error::duplicate(&path.index(at), items[at].clone())),
                    );
                }
                Some("map") => errors.extend(of_map(props, items, path)),
                _ => {}
            }
            if let Some(below) = &props.items {
                for (index, item) in items.iter().enumerate() {
                    errors.extend(validate(below, item, &path.index(index)));
                }
            }
        }
        _ => {}
    }
    errors
}

fn of_map(props: &Props, items: &[Value], path: &Path) -> Errors {
    let odd = items.iter().position(|item| !item.is_object() && !item.is_null());
    if let Some(at) = odd {
        let detail = "must be an object for an array of list-type map";
        return vec![Error::invalid(&path.index(at), items[at].clone(), detail)];
    }
    let keys: Vec<Value> = items
        .iter()
        .map(|item| {
            let entries = props
                .list_keys
                .iter()
                .filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
            Value::Object(entries.collect::<Map<_, _>>())
        })
        .collect();
    repeated(&keys).map(|at| Error::duplicate(&path.index(at), keys[at].clone())).collect()
}

/// The second occurrence of each item that occurs more than once.
fn repeated(items: &[Value]) -> impl Iterator<Item = usize> {
    let mut seen: HashMap<String, usize> = HashMap::with_capacity(items.len());
    let second = items.iter().enumerate().filter_map(move |(at, item)| {
        let times = seen.entry(item.to_string()).or_default();
        *times += 1;
        (*times == 2).then_some(at)
    });
    second.collect::<Vec<_>>().into_iter()
}
