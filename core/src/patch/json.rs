//! JSON Patch.
//!
//! Not the `json-patch` crate: clients depend on how the original reads a patch, which is laxer than
//! RFC 6902 (negative indexes, replacing what is not there, a test for null that holds for a missing
//! key).

use super::{PatchError, unreadable};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// How many operations a JSON patch may have.
pub const MAX_OPERATIONS: usize = 10_000;

/// How many bytes the copy operations of one patch may add in all.
pub const MAX_COPY_BYTES: usize = 3 * 1024 * 1024;

/// Applies a JSON patch (RFC 6902, as the original reads it). `null` is a patch without operations, and an operation that fails.
///
/// # Errors
/// [`PatchError::Malformed`] when the patch does not parse, [`PatchError::TooManyOperations`], and
/// [`PatchError::Unprocessable`] when an operation fails or copies exceed [`MAX_COPY_BYTES`].
pub fn json_patch(original: Value, patch: &[u8]) -> Result<Value, PatchError> {
    let operations: Option<Vec<Option<Map<String, Value>>>> = serde_json::from_slice(patch)
        .map_err(|error| {
            let why = unreadable(patch, &error, "[]handlers.jsonPatchOp");
            PatchError::Malformed(format!("error decoding patch: {why}"))
        })?;
    let operations = operations.unwrap_or_default();
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooManyOperations(operations.len()));
    }
    let mut document = Document { root: original, copied: 0 };
    for operation in operations {
        document.apply(operation.unwrap_or_default()).map_err(PatchError::Unprocessable)?;
    }
    Ok(document.root)
}

struct Document {
    root: Value,
    copied: usize,
}

type Outcome<T = ()> = Result<T, String>;

const MISSING: &str = "missing value";

impl Document {
    fn apply(&mut self, mut operation: Map<String, Value>) -> Outcome {
        let value = operation.remove("value");
        let kind = operation.get("op").and_then(Value::as_str).unwrap_or("unknown");
        let path = operation.get("path").and_then(Value::as_str);
        let from = operation.get("from").and_then(Value::as_str);
        let path = path.ok_or_else(|| format!("{kind} operation failed to decode path: {MISSING}"));
        let from = from.ok_or_else(|| format!("{kind} operation failed to decode from: {MISSING}"));
        match kind {
            "add" => self.add(path?, value.unwrap_or_default()),
            "remove" => self.remove(path?),
            "replace" => self.replace(path?, value.unwrap_or_default()),
            "test" => self.test(path?, &value.unwrap_or_default()),
            "move" => self.shift(from?, path?),
            "copy" => self.copy(from?, path?),
            other => Err(format!("Unexpected kind: {other}")),
        }
    }

    fn add(&mut self, path: &str, value: Value) -> Outcome {
        let (container, key) = find(&mut self.root, path).ok_or_else(|| {
            format!("add operation does not apply: doc is missing path: \"{path}\": {MISSING}")
        })?;
        insert(container, &key, value)
            .map_err(|why| format!("error in add for path: '{path}': {why}"))
    }

    fn remove(&mut self, path: &str) -> Outcome {
        let (container, key) = find(&mut self.root, path).ok_or_else(|| {
            format!("remove operation does not apply: doc is missing path: \"{path}\": {MISSING}")
        })?;
        take(container, &key)
            .map(drop)
            .map_err(|why| format!("error in remove for path: '{path}': {why}"))
    }

    fn replace(&mut self, path: &str, value: Value) -> Outcome {
        if path.is_empty() {
            if !value.is_object() && !value.is_array() {
                return Err("replace operation value must be object or array".to_owned());
            }
            self.root = value;
            return Ok(());
        }
        let (container, key) = find(&mut self.root, path).ok_or_else(|| {
            format!("replace operation does not apply: doc is missing path: {path}: {MISSING}")
        })?;
        match container {
            Container::Map(map) => {
                map.insert(key.into_owned(), value);
                Ok(())
            }
            Container::List(list) => {
                let index = existing(&key, list.len()).map_err(|_| {
                    format!(
                        "replace operation does not apply: doc is missing key: {path}: {MISSING}"
                    )
                })?;
                list[index] = value;
                Ok(())
            }
        }
    }

    fn test(&mut self, path: &str, expected: &Value) -> Outcome {
        let failed = || format!("testing value {path} failed: test failed");
        if path.is_empty() {
            return if self.root == *expected { Ok(()) } else { Err(failed()) };
        }
        let (container, key) = find(&mut self.root, path).ok_or_else(|| {
            format!("test operation does not apply: is missing path: {path}: {MISSING}")
        })?;
        let found = peek(&container, &key)
            .map_err(|why| format!("error in test for path: '{path}': {why}"))?;
        if found.unwrap_or(&Value::Null) == expected { Ok(()) } else { Err(failed()) }
    }

    fn shift(&mut self, from: &str, path: &str) -> Outcome {
        let (container, key) = find(&mut self.root, from).ok_or_else(|| {
            format!("move operation does not apply: doc is missing from path: {from}: {MISSING}")
        })?;
        let value = take(container, &key)
            .map_err(|why| format!("error in move for path: '{key}': {why}"))?;
        let (container, key) = find(&mut self.root, path).ok_or_else(|| {
            format!(
                "move operation does not apply: doc is missing destination path: {path}: {MISSING}"
            )
        })?;
        insert(container, &key, value)
            .map_err(|why| format!("error in move for path: '{path}': {why}"))
    }

    fn copy(&mut self, from: &str, path: &str) -> Outcome {
        let (container, key) = find(&mut self.root, from).ok_or_else(|| {
            format!("copy operation does not apply: doc is missing from path: {from}: {MISSING}")
        })?;
        let value = peek(&container, &key)
            .map_err(|why| format!("error in copy for from: '{from}': {why}"))?
            .cloned()
            .unwrap_or_default();
        let (container, key) = find(&mut self.root, path).ok_or_else(|| {
            format!(
                "copy operation does not apply: doc is missing destination path: {path}: {MISSING}"
            )
        })?;
        self.copied += serde_json::to_vec(&value).map_or(0, |bytes| bytes.len());
        if self.copied > MAX_COPY_BYTES {
            return Err(format!(
                "Unable to complete the copy, the accumulated size increase of copy is {}, exceeding the limit {MAX_COPY_BYTES}",
                self.copied
            ));
        }
        insert(container, &key, value)
            .map_err(|why| format!("error while adding value during copy: {why}"))
    }
}

enum Container<'a> {
    Map(&'a mut Map<String, Value>),
    List(&'a mut Vec<Value>),
}

/// The container a pointer's last step is about, and that step.
fn find<'a, 'p>(root: &'a mut Value, path: &'p str) -> Option<(Container<'a>, Cow<'p, str>)> {
    let (above, last) = path.split_at_checked(path.rfind('/')?)?;
    let mut value = root;
    for step in above.split('/').skip(1) {
        let step = unescape(step);
        value = match value {
            Value::Object(map) => map.get_mut(&*step)?,
            Value::Array(list) => {
                let index = existing(&step, list.len()).ok()?;
                list.get_mut(index)?
            }
            _ => return None,
        };
    }
    let container = match value {
        Value::Object(map) => Container::Map(map),
        Value::Array(list) => Container::List(list),
        _ => return None,
    };
    Some((container, unescape(last.strip_prefix('/')?)))
}

fn unescape(step: &str) -> Cow<'_, str> {
    if step.contains('~') {
        Cow::Owned(step.replace("~1", "/").replace("~0", "~"))
    } else {
        Cow::Borrowed(step)
    }
}

fn insert(container: Container<'_>, key: &str, value: Value) -> Outcome {
    match container {
        Container::Map(map) => {
            map.insert(key.to_owned(), value);
        }
        Container::List(list) if key == "-" => list.push(value),
        Container::List(list) => {
            let index = parse(key)
                .map_err(|why| format!("value was not a proper array index: '{key}': {why}"))?;
            let index = within(index, list.len() + 1)?;
            list.insert(index, value);
        }
    }
    Ok(())
}

fn take(container: Container<'_>, key: &str) -> Outcome<Value> {
    match container {
        Container::Map(map) => map
            .remove(key)
            .ok_or_else(|| format!("Unable to remove nonexistent key: {key}: {MISSING}")),
        Container::List(list) => existing(key, list.len()).map(|index| list.remove(index)),
    }
}

fn peek<'a>(container: &'a Container<'_>, key: &str) -> Outcome<Option<&'a Value>> {
    match container {
        Container::Map(map) => Ok(map.get(key)),
        Container::List(list) => existing(key, list.len()).map(|index| list.get(index)),
    }
}

fn existing(key: &str, length: usize) -> Outcome<usize> {
    within(parse(key)?, length)
}

fn parse(key: &str) -> Outcome<i64> {
    key.parse().map_err(|_| format!("strconv.Atoi: parsing {key:?}: invalid syntax"))
}

/// Negative indexes count from the end.
fn within(index: i64, length: usize) -> Outcome<usize> {
    let wrapped = if index < 0 { index.saturating_add_unsigned(length as u64) } else { index };
    usize::try_from(wrapped)
        .ok()
        .filter(|at| *at < length)
        .ok_or_else(|| format!("Unable to access invalid index: {index}: invalid index referenced"))
}
