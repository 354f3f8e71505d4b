//! Sets of fields as text.
//!
//! What managers own is the larger part of many objects, and a write changes little of it. So the writer of an API server
//! keeps each `fieldsV1` as the text that it is stored as: read, copied, compared and stored as one value, and changed
//! where it changes. Only objects on their way through the writer are packed; everybody else sees them as they are.

use super::{
    path::{PathElement, is_plain, quote},
    set::{FieldSet, Node},
};
use crate::Object;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use std::{borrow::Cow, fmt};

fn sets(object: &mut Object) -> impl Iterator<Item = &mut Value> {
    let metadata = object.map_mut().get_mut("metadata");
    let list = metadata.and_then(|metadata| metadata.get_mut("managedFields")?.as_array_mut());
    list.into_iter().flatten().filter_map(|entry| entry.get_mut("fieldsV1"))
}

/// Whether a value of `fieldsV1` is a packed set; it is stored as the JSON that it holds.
#[must_use]
pub fn packed_set(fields: &Value) -> Option<&str> {
    fields.as_str().filter(|text| text.starts_with('{'))
}

/// Packs the sets of an object's managers.
pub fn pack_managers(object: &mut Object) {
    for set in sets(object).filter(|set| set.is_object()) {
        *set = Value::String(set.to_string());
    }
}

/// Makes the sets of an object's managers what clients see.
pub fn unpack_managers(object: &mut Object) {
    for set in sets(object) {
        let unpacked = packed_set(set).and_then(|text| serde_json::from_str(text).ok());
        if let Some(unpacked) = unpacked {
            *set = unpacked;
        }
    }
}

/// Makes what a client sent as text in the place of a set something that is none.
pub fn refuse_packed_managers(object: &mut Object) {
    for set in sets(object).filter(|set| set.is_string()) {
        *set = Value::Bool(false);
    }
}

/// Reads a packed set.
///
/// # Errors
/// In words, when it is none.
pub(super) fn set_of(text: &str) -> Result<FieldSet, String> {
    let mut parser = serde_json::Deserializer::from_str(text);
    if let Ok((set, _)) = NodeOf.deserialize(&mut parser)
        && parser.end().is_ok()
    {
        return Ok(set);
    }
    // What is wrong is told by who takes values apart.
    let fields: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    FieldSet::from_json(&fields)
}

/// What follows a step, and whether that is a member.
struct NodeOf;

impl<'de> DeserializeSeed<'de> for NodeOf {
    type Value = (FieldSet, bool);

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for NodeOf {
    type Value = (FieldSet, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a set of fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let (mut set, mut member) = (FieldSet::new(), false);
        while let Some(key) = members.next_key::<String>()? {
            if key == "." {
                let _: IgnoredAny = members.next_value()?;
                member = true;
                continue;
            }
            let (children, is_member) = members.next_value_seed(Self)?;
            if let Some(element) = PathElement::decode(&key).map_err(Error::custom)? {
                set.put(element, is_member, children);
            }
        }
        let member = member || set.is_empty();
        Ok((set, member))
    }
}

/// Writes a set as its text.
pub(super) fn text_of(set: &FieldSet) -> String {
    let mut out = String::with_capacity(256);
    write_node(set, false, &mut out);
    out
}

fn write_node(set: &FieldSet, member: bool, out: &mut String) {
    out.push('{');
    let dot = member && !set.is_empty();
    if dot {
        out.push_str(DOT);
    }
    let named = |node: &Node| matches!(node.element, PathElement::Field(_));
    // Names stand in the order of their texts already.
    if set.nodes().iter().all(named) {
        write_nodes(set.nodes(), !dot, out);
    } else {
        let mut nodes: Vec<_> =
            set.nodes().iter().map(|node| (node.element.encode(), node)).collect();
        nodes.sort_by(|(left, _), (right, _)| left.cmp(right));
        write_nodes(nodes.into_iter().map(|(_, node)| node), !dot, out);
    }
    out.push('}');
}

fn write_nodes<'s>(nodes: impl IntoIterator<Item = &'s Node>, mut first: bool, out: &mut String) {
    for node in nodes {
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        write_key(&node.element, out);
        out.push(':');
        write_node(&node.children, node.member, out);
    }
}

/// Writes a step as the key of its node.
fn write_key(element: &PathElement, out: &mut String) {
    match element {
        PathElement::Field(name) => write_field(name, out),
        element => quote(out, &element.encode()),
    }
}

/// Writes the step to a field as the key of its node.
pub(super) fn write_field(name: &str, out: &mut String) {
    if is_plain(name) {
        out.extend(["\"f:", name, "\""]);
    } else {
        quote(out, &format!("f:{name}"));
    }
}

/// A member stands there without anything below it, or with a dot beside that.
pub(super) const DOT: &str = r#"".":{}"#;

/// What is to become of the members of another set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Add,
    /// What is below them stays.
    Take,
}

/// The text of a set changed by another set; `None` when it is not as this server writes it.
pub(super) fn changed<'t>(text: &'t str, change: Change, by: &FieldSet) -> Option<Cow<'t, str>> {
    if change == Change::Take && !may_hold(text, by) {
        return Some(Cow::Borrowed(text));
    }
    Some(Cow::Owned(render(&rebuilt(text, change, by)?, false)))
}

/// Whether a member of a set may be in the text of another: not where a step to it is nowhere in the text, which is cheap
/// to see and most often so.
fn may_hold(text: &str, set: &FieldSet) -> bool {
    let mut key = String::new();
    set.nodes().iter().any(|node| {
        let here = match &node.element {
            PathElement::Field(name) if is_never_escaped(name) => {
                key.clear();
                write_field(name, &mut key);
                text.contains(&key)
            }
            _ => true,
        };
        here && (node.member || may_hold(text, &node.children))
    })
}

/// Whether every server writes a text alike.
fn is_never_escaped(text: &str) -> bool {
    text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_' | b'/'))
}

/// The key as it stands between its quotes, and the value.
type Member<'t> = (Cow<'t, str>, Cow<'t, str>);

fn rebuilt<'t>(text: &'t str, change: Change, by: &FieldSet) -> Option<Vec<Member<'t>>> {
    let mut members = members(text)?;
    for other in by.nodes() {
        let Some(at) = members.iter().position(|(key, _)| is_step(key, &other.element)) else {
            if change == Change::Add {
                insert(&mut members, &other.element, &other.children, other.member);
            }
            continue;
        };
        let node = members[at].1.clone();
        let was = node == "{}" || node[1..].starts_with(DOT);
        let member = match change {
            Change::Add => was || other.member,
            Change::Take => was && !other.member,
        };
        let children = rebuilt(&node, change, &other.children)?;
        if children.is_empty() && !member {
            members.remove(at);
        } else {
            let text = render(&children, member);
            members[at].1 = Cow::Owned(text);
        }
    }
    Some(members)
}

fn insert(members: &mut Vec<Member<'_>>, element: &PathElement, below: &FieldSet, member: bool) {
    let key = element.encode();
    let at = members.iter().position(|(other, _)| *unescaped(other) > *key);
    let (mut quoted, mut value) = (String::new(), String::new());
    quote(&mut quoted, &key);
    write_node(below, member, &mut value);
    let raw = quoted[1..quoted.len() - 1].to_owned();
    members.insert(at.unwrap_or(members.len()), (Cow::Owned(raw), Cow::Owned(value)));
}

fn render(members: &[Member<'_>], member: bool) -> String {
    let size = members.iter().map(|(key, value)| key.len() + value.len() + 4).sum::<usize>();
    let mut out = String::with_capacity(size + DOT.len() + 3);
    out.push('{');
    let mut separator = "";
    if member && !members.is_empty() {
        out.push_str(DOT);
        separator = ",";
    }
    for (key, value) in members {
        out.extend([separator, "\"", key, "\":", value]);
        separator = ",";
    }
    out.push('}');
    out
}

/// Other servers write the same step with other escapes.
fn is_step(key: &str, element: &PathElement) -> bool {
    match element {
        PathElement::Field(name) if !key.contains('\\') => key.strip_prefix("f:") == Some(&**name),
        _ if key.starts_with(kind_of(element)) => {
            matches!(PathElement::decode(&unescaped(key)), Ok(Some(other)) if other == *element)
        }
        _ => false,
    }
}

fn kind_of(element: &PathElement) -> char {
    match element {
        PathElement::Field(_) => 'f',
        PathElement::Key(_) => 'k',
        PathElement::Value(_) => 'v',
        PathElement::Index(_) => 'i',
    }
}

fn unescaped(key: &str) -> Cow<'_, str> {
    if !key.contains('\\') {
        return Cow::Borrowed(key);
    }
    serde_json::from_str(&format!("\"{key}\"")).map_or(Cow::Borrowed(key), Cow::Owned)
}

/// The members of an object written without spaces, but for the dot.
fn members(text: &str) -> Option<Vec<Member<'_>>> {
    let mut rest = text.strip_prefix('{')?;
    let mut members = Vec::new();
    while !rest.starts_with('}') {
        rest = rest.strip_prefix('"')?;
        let end = string_end(rest)?;
        let (key, after) = (&rest[..end], rest[end + 1..].strip_prefix(':')?);
        let end = object_end(after)?;
        if key != "." {
            members.push((Cow::Borrowed(key), Cow::Borrowed(&after[..end])));
        }
        rest = &after[end..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    (rest.len() == 1).then_some(members)
}

/// Where the closing quote of a string is, from behind the opening one.
fn string_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| match byte {
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' => {
            escaped = true;
            false
        }
        byte => byte == b'"',
    })
}

/// Behind the closing brace of an object that the text begins with.
fn object_end(text: &str) -> Option<usize> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' => depth += 1,
            b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ if depth == 0 => return None,
            _ => {}
        }
    }
    None
}
