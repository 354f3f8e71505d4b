//! Reading the part of a stored object that selectors look at.
//!
//! Rows are made of values as servers write them: compact, and sound. So what nobody looks at, most of a value, is only
//! walked over, and not read.

use kubeplane_core::Object;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// The labels, the scalars of the two uppermost levels, and what the dotted `paths` name, whole. Lists and maps
/// deeper down are skipped: most of an object is there, and no selector looks at it. Of a value that is not as servers
/// write it all is kept.
pub(super) fn pick(value: &[u8], paths: &[Cow<'static, str>]) -> serde_json::Result<Object> {
    match walked(value, paths) {
        Some(picked) => Ok(picked),
        None => Object::parse(value),
    }
}

fn walked(value: &[u8], paths: &[Cow<'static, str>]) -> Option<Object> {
    let text = std::str::from_utf8(value).ok()?;
    let mut picked = Map::new();
    let end = members(text, |field, value| {
        let kept = match value.as_bytes().first() {
            Some(b'{') => Value::Object(below(&field, value, paths)?),
            Some(b'[') => return Some(()),
            _ => serde_json::from_str(value).ok()?,
        };
        picked.insert(field.into_owned(), kept);
        Some(())
    })?;
    // The original ends what it writes with a line break.
    text[end..].trim_ascii_end().is_empty().then(|| Object::from_value(Value::Object(picked)))?
}

/// What is kept of a map in a top-level field.
fn below(field: &str, text: &str, paths: &[Cow<'static, str>]) -> Option<Map<String, Value>> {
    let mut kept = Map::new();
    members(text, |member, value| {
        if !value.starts_with(['{', '[']) || is_named(field, &member, paths) {
            kept.insert(member.into_owned(), serde_json::from_str(value).ok()?);
        }
        Some(())
    })?;
    Some(kept)
}

/// Whether a path names this member of the top-level field, or what its plural stands for.
fn is_named(field: &str, member: &str, paths: &[Cow<'static, str>]) -> bool {
    (field == "metadata" && member == "labels")
        || paths.iter().any(|path| {
            let mut steps = path.trim_start_matches('.').split('.');
            steps.next() == Some(field) && steps.next().is_some_and(|step| member.starts_with(step))
        })
}

/// Shows the members of the map that a text begins with, their values as text; where the map ends.
fn members<'v>(
    text: &'v str,
    mut show: impl FnMut(Cow<'v, str>, &'v str) -> Option<()>,
) -> Option<usize> {
    let mut at = text.strip_prefix('{').map(|_| 1)?;
    loop {
        match text.as_bytes().get(at)? {
            b'}' => return Some(at + 1),
            b',' => at += 1,
            b'"' => {
                let key = &text[at..at + string(&text[at..])?];
                let value = text[at + key.len()..].strip_prefix(':')?;
                let value = &value[..length(value)?];
                at += key.len() + 1 + value.len();
                show(unquoted(key)?, value)?;
            }
            _ => return None,
        }
    }
}

fn unquoted(key: &str) -> Option<Cow<'_, str>> {
    match key.contains('\\') {
        true => serde_json::from_str(key).map(Cow::Owned).ok(),
        false => Some(Cow::Borrowed(&key[1..key.len() - 1])),
    }
}

/// How long the value is that a text begins with.
fn length(text: &str) -> Option<usize> {
    match text.as_bytes().first()? {
        b'"' => string(text),
        b'{' | b'[' => nested(text),
        _ => text.bytes().position(|byte| matches!(byte, b',' | b'}' | b']')),
    }
}

/// How long the string is, its quotes included.
fn string(text: &str) -> Option<usize> {
    let (bytes, mut at) = (text.as_bytes(), 1);
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// How long the map or list is.
fn nested(text: &str) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0);
    loop {
        match text.as_bytes().get(at)? {
            b'"' => at += string(&text[at..])? - 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_selectors_look_at_is_kept_and_the_rest_is_not() {
        let pod = json!({
            "kind": "Pod", "list": [1],
            "metadata": {"name": "a", "labels": {"app": "b"}, "annotations": {"long": "text"}},
            "spec": {"nodeName": "n", "hostNetwork": true, "containers": [{"name": "c"}], "deep": {"er": {"x": 1}}},
            "status": {"podIPs": [{"ip": "10.0.0.1"}], "conditions": []},
        });
        let paths = ["spec.nodeName".into(), "status.podIP".into(), ".spec.deep.er".into()];
        let picked = pick(pod.to_string().as_bytes(), &paths).unwrap();
        let expected = json!({
            "kind": "Pod",
            "metadata": {"name": "a", "labels": {"app": "b"}},
            "spec": {"nodeName": "n", "hostNetwork": true, "deep": {"er": {"x": 1}}},
            "status": {"podIPs": [{"ip": "10.0.0.1"}]},
        });
        assert_eq!(picked.into_value(), expected);
    }

    #[test]
    fn what_is_walked_over_may_hold_anything() {
        let texts = ["}", "]", "{[\"", "\\", "\\\\\"", "\u{e9}\"\\", ",\":{", ""];
        let odd: Map<String, Value> =
            texts.iter().map(|text| (text.to_string(), json!([text]))).collect();
        let map = json!({
            "a\"}b\\": 1, "kind": "Odd", "list": texts,
            "metadata": {"annotations": odd, "labels": {"\"": "\\"}, "name": "\\\"}"},
            "spec": {"deep": {"er": [odd, {"x": odd}]}, "flag": false, "none": null, "number": -1.5e3, "\u{e9}\"": texts},
        });
        let expected = json!({
            "a\"}b\\": 1, "kind": "Odd",
            "metadata": {"labels": {"\"": "\\"}, "name": "\\\"}"},
            "spec": {"flag": false, "none": null, "number": -1.5e3},
        });
        assert_eq!(pick(map.to_string().as_bytes(), &[]).unwrap().into_value(), expected);
        assert_eq!(pick(b"{}", &[]).unwrap(), Object::default());
    }

    #[test]
    fn spaces_cost_time_alone() {
        let map = json!({"kind": "Odd", "metadata": {"name": "a", "labels": {"b": "c"}}});
        let pretty = serde_json::to_vec_pretty(&map).unwrap();
        assert_eq!(walked(&pretty, &[]), None);
        assert_eq!(pick(&pretty, &[]).unwrap().into_value(), map);
        let line = format!("{map}\n");
        assert_eq!(walked(line.as_bytes(), &[]).unwrap().into_value(), map);
    }

    #[test]
    fn damaged_values_are_refused() {
        let sound =
            br#"{"metadata":{"labels":{"a":"b"},"name":"a"},"spec":{"list":[{"x":"y"}],"n":1}}"#;
        assert!(walked(sound, &[]).is_some());
        for end in 0..sound.len() {
            assert!(pick(&sound[..end], &[]).is_err(), "{end}");
        }
        for text in
            ["{} x", "[]", "null", "", "{\"a\" 1}", "{\"a\":}", "{\"a\":1,b}", "{\"a\":nul}"]
        {
            assert!(pick(text.as_bytes(), &[]).is_err(), "{text}");
        }
        assert!(pick(b"{\"a\":\"\xff\"}", &[]).is_err());
    }
}
