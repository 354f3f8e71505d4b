//! Reading the part of a stored object that selectors look at.

use kubeplane_core::Object;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::{borrow::Cow, fmt};

/// The labels, the scalars of the two uppermost levels, and what the dotted `paths` name, whole. Lists and maps
/// deeper down are skipped: most of an object is there, and no selector looks at it.
pub(super) fn pick(value: &[u8], paths: &[Cow<'static, str>]) -> serde_json::Result<Object> {
    let mut parser = serde_json::Deserializer::from_slice(value);
    let picked = Part { place: Place::Top, paths }.deserialize(&mut parser)?;
    parser.end()?;
    Ok(picked.and_then(Object::from_value).unwrap_or_default())
}

/// Where in the object a value stands.
#[derive(Clone, Copy)]
enum Place<'a> {
    Top,
    /// Below this top-level field.
    Below(&'a str),
    /// Further down: only a scalar is kept.
    Deep,
}

/// A value of which a part is kept; `None` when nothing is.
struct Part<'a> {
    place: Place<'a>,
    paths: &'a [Cow<'static, str>],
}

impl Part<'_> {
    /// Whether a path names this member of the top-level field, or what its plural stands for.
    fn names(&self, field: &str, member: &str) -> bool {
        (field == "metadata" && member == "labels")
            || self.paths.iter().any(|path| {
                let mut steps = path.trim_start_matches('.').split('.');
                steps.next() == Some(field)
                    && steps.next().is_some_and(|step| member.starts_with(step))
            })
    }
}

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Option<Value>, D::Error> {
        from.deserialize_any(self)
    }
}

macro_rules! scalars {
    ($($visit:ident($kind:ty)),* $(,)?) => {
        $(fn $visit<E: serde::de::Error>(self, value: $kind) -> Result<Option<Value>, E> {
            Ok(Some(value.into()))
        })*
    };
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = Option<Value>;

    scalars!(visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64), visit_str(&str));

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Option<Value>, E> {
        Ok(Some(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<Value>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Option<Value>, A::Error> {
        if let Place::Deep = self.place {
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(None);
        }
        let mut map = Map::new();
        while let Some(key) = members.next_key::<Cow<'de, str>>()? {
            let place = match self.place {
                Place::Below(field) if self.names(field, &key) => {
                    map.insert(key.into_owned(), members.next_value()?);
                    continue;
                }
                Place::Top => Place::Below(&key),
                _ => Place::Deep,
            };
            let kept = members.next_value_seed(Part { place, paths: self.paths })?;
            map.extend(kept.map(|value| (key.into_owned(), value)));
        }
        Ok(Some(Value::Object(map)))
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
    fn damaged_values_are_refused() {
        assert!(pick(b"{\"metadata\":{\"name\":\"a\"}", &[]).is_err());
        assert!(pick(b"{} x", &[]).is_err());
    }
}
