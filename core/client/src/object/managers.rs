//! Leaving out, before an object is read, what of it is thrown away.

use std::{borrow::Cow, ops::Range};

/// The text of an object without its `metadata.managedFields`; the whole text where they cannot be found.
pub(super) fn without(text: &str) -> Cow<'_, str> {
    match found(text.as_bytes()) {
        Some(Range { start, end }) => {
            let mut rest = String::with_capacity(text.len() - (end - start));
            rest.push_str(&text[..start]);
            rest.push_str(&text[end..]);
            Cow::Owned(rest)
        }
        None => Cow::Borrowed(text),
    }
}

/// Where they are, with the comma that goes when they go.
fn found(text: &[u8]) -> Option<Range<usize>> {
    let metadata = Members::of(text, 0)?.seek(b"metadata")?;
    let mut comma = None;
    for member in Members::of(text, metadata)? {
        let after = spaces(text, member.value.end);
        let is_last = text.get(after) != Some(&b',');
        if member.key == b"managedFields" {
            return Some(match comma {
                Some(comma) if is_last => comma..member.value.end,
                _ if is_last => member.start..member.value.end,
                _ => member.start..after + 1,
            });
        }
        comma = Some(after);
    }
    None
}

struct Member<'t> {
    /// Where its key begins.
    start: usize,
    /// The key as it is written.
    key: &'t [u8],
    value: Range<usize>,
}

/// The members of a map, up to the first that is not as it should be.
struct Members<'t> {
    text: &'t [u8],
    /// Behind a brace or a comma.
    at: usize,
}

impl<'t> Members<'t> {
    /// Of the map that begins here.
    fn of(text: &'t [u8], at: usize) -> Option<Self> {
        let brace = spaces(text, at);
        (text.get(brace) == Some(&b'{')).then_some(Self { text, at: brace + 1 })
    }

    /// The next key as it is written, where it begins, and where its value does.
    fn key(&self) -> Option<(&'t [u8], usize, usize)> {
        let text = self.text;
        let start = spaces(text, self.at);
        let behind = string(text, start)?;
        let colon = spaces(text, behind);
        let is_key = text.get(colon) == Some(&b':');
        is_key.then(|| (&text[start + 1..behind - 1], start, spaces(text, colon + 1)))
    }

    /// Where the value of the first member of this key begins, wherever that ends.
    fn seek(mut self, key: &[u8]) -> Option<usize> {
        loop {
            let (found, _, value) = self.key()?;
            if found == key {
                return Some(value);
            }
            self.next()?;
        }
    }
}

impl<'t> Iterator for Members<'t> {
    type Item = Member<'t>;

    fn next(&mut self) -> Option<Member<'t>> {
        let (key, start, value) = self.key()?;
        let value = value..end_of(self.text, value)?;
        // Of the last, where no other begins.
        self.at = spaces(self.text, value.end) + 1;
        Some(Member { start, key, value })
    }
}

/// Where what is no space begins.
fn spaces(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// Where the value ends that begins here.
fn end_of(text: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        match text.get(at)? {
            b'"' => at = string(text, at)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                // Of a map around a number or a word, which thereby ends.
                if depth == 0 {
                    return Some(at);
                }
                depth -= 1;
                at += 1;
            }
            b',' if depth == 0 => return Some(at),
            byte if depth == 0 && byte.is_ascii_whitespace() => return Some(at),
            _ => {
                at += 1;
                continue;
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Behind the string that begins here.
fn string(text: &[u8], at: usize) -> Option<usize> {
    if text.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// What is left is what would be left of the value.
    fn check(text: &str) {
        let mut expected: Value = serde_json::from_str(text).unwrap();
        if let Some(metadata) = expected["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        let left = without(text);
        assert_eq!(serde_json::from_str::<Value>(&left).unwrap(), expected, "{left}");
    }

    #[test]
    fn managers_are_left_out_wherever_they_stand_and_nothing_else_is() {
        let managers = json!([{"manager": "a\"]}\\", "fieldsV1": {"f:x": {"k:{\"n\":1}": {}}}}]);
        let others = json!({"managedFields": managers, "n": 1});
        for (before, after) in
            [("", ""), ("\"b\":1,", ""), ("", ",\"z\":{}"), ("\"b\":[2],", ",\"z\":null")]
        {
            let metadata = format!("{{{before}\"managedFields\":{managers}{after}}}");
            for text in [
                format!("{{\"kind\":\"K\",\"metadata\":{metadata},\"spec\":{others}}}"),
                format!("{{\"spec\":{others},\"metadata\":{metadata}}}"),
                format!("{{\"metadata\":{metadata}}}"),
            ] {
                check(&text);
                assert!(matches!(without(&text), Cow::Owned(_)), "{text}");
                let value: Value = serde_json::from_str(&text).unwrap();
                check(&serde_json::to_string_pretty(&value).unwrap());
            }
        }
    }

    #[test]
    fn a_text_without_them_stays_as_it_is() {
        let metadata = json!({"labels": {"managedFields": "[]"}, "name": "\"managedFields\":["});
        let texts = [
            json!({"metadata": metadata, "spec": {"metadata": {"managedFields": []}}}).to_string(),
            json!({"metadata": null, "managedFields": []}).to_string(),
            json!([{"metadata": {"managedFields": []}}]).to_string(),
            "{\"metadata\":{\"managedFields\":[".to_owned(),
            "{\"metadata\":{\"managedFields".to_owned(),
            "{\"metadata\" {}}".to_owned(),
            "{}".to_owned(),
            String::new(),
        ];
        for text in texts {
            assert_eq!(without(&text), text);
        }
    }
}
