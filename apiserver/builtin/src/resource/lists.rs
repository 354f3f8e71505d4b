//! Lists and maps of bounded size; what is too large is not looked into.

use crate::look::At;
use kubeplane_core::field::Errors;
use std::collections::HashSet;

/// A list of at most so many items.
pub(super) fn list(
    list: &At<'_>,
    limit: usize,
    mut each: impl FnMut(&At<'_>, &mut Errors),
    errors: &mut Errors,
) {
    if list.len() > limit {
        return errors.push(list.too_many(limit));
    }
    for item in list.items() {
        each(&item, errors);
    }
}

/// A list of at most so many items, each with a key of its own.
pub(super) fn set(
    at: &At<'_>,
    limit: usize,
    key: impl Fn(&At<'_>) -> String,
    each: impl FnMut(&At<'_>, &mut Errors),
    errors: &mut Errors,
) {
    if at.len() > limit {
        return errors.push(at.too_many(limit));
    }
    list(at, limit, each, errors);
    let mut seen = HashSet::new();
    for item in at.items() {
        let key = key(&item);
        if seen.contains(&key) {
            errors.push(item.duplicate_as(key));
        } else {
            seen.insert(key);
        }
    }
}

/// A map of at most so many entries; errors of keys stand at the map.
pub(super) fn map(
    map: &At<'_>,
    limit: usize,
    key_shown: usize,
    check_key: impl Fn(&At<'_>, &mut Errors),
    mut each: impl FnMut(&At<'_>, &mut Errors),
    errors: &mut Errors,
) {
    if map.len() > limit {
        return errors.push(map.too_many(limit));
    }
    for (key, value) in map.entries() {
        let text = serde_json::Value::from(key);
        check_key(&map.with(&text), errors);
        each(&map.key(&shortened(key, key_shown)).with(value.value()), errors);
    }
}

/// A long key without its middle.
fn shortened(key: &str, limit: usize) -> String {
    let limit = limit.max(16);
    if key.len() <= limit {
        return key.to_owned();
    }
    let kept = limit - 3;
    let bytes = key.as_bytes();
    let start = String::from_utf8_lossy(&bytes[..kept.div_ceil(2)]);
    let end = String::from_utf8_lossy(&bytes[bytes.len() - kept / 2..]);
    format!("{start}...{end}")
}

#[cfg(test)]
mod tests {
    use super::shortened;

    #[test]
    fn long_keys_lose_their_middle() {
        assert_eq!(shortened("short", 1), "short");
        assert_eq!(shortened("0123456789abcdefghij", 16), "0123456...efghij");
    }
}
