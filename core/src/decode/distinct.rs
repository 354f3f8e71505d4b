//! Whether anything can come twice in a body, told without making anything of it.

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::{borrow::Cow, fmt};

/// A map with more members is left to those who look at it more closely.
const MOST: usize = 32;

/// Whether this is JSON in which surely no member of any map comes twice.
pub(super) fn is_distinct(body: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(body) else { return false };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    Distinct.deserialize(&mut deserializer).and_then(|()| deserializer.end()).is_ok()
}

/// Any value; fails where a member comes twice.
struct Distinct;

impl<'de> DeserializeSeed<'de> for Distinct {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Distinct {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Distinct)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut seen: Vec<Cow<'de, str>> = Vec::new();
        while let Some(Key(key)) = members.next_key()? {
            if seen.len() == MOST || seen.contains(&key) {
                return Err(A::Error::custom("maybe twice"));
            }
            seen.push(key);
            members.next_value_seed(Distinct)?;
        }
        Ok(())
    }
}

/// A key, borrowed where it is written as it is.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(KeyVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, Value, json};

    #[test]
    fn what_comes_twice_at_any_depth_is_seen() {
        let texts = [
            r#"{"a":1,"a":1}"#,
            r#"{"a":[{"b":{},"c":"x","b":null}]}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":1"#,
            r#"{"a":1} {}"#,
            "",
        ];
        for text in texts {
            assert!(!is_distinct(text.as_bytes()), "{text}");
        }
        assert!(!is_distinct(b"{\"a\":\"\xff\"}"));
        let sound = json!({"a": [1, -1, 1.5, true, null, "a", {"a": {"a": "\"a\":"}}], "b": {"a": 1, "\"": []}});
        assert!(is_distinct(sound.to_string().as_bytes()));
        assert!(is_distinct(b" [] \n"));
    }

    #[test]
    fn large_maps_are_left_to_others() {
        let map = |count: usize| -> Map<String, Value> {
            (0..count).map(|number| (number.to_string(), json!(number))).collect()
        };
        let told =
            [MOST, MOST + 1].map(|count| is_distinct(json!(map(count)).to_string().as_bytes()));
        assert_eq!(told, [true, false]);
    }
}
