//! What an answer has otherwise than the recorded one.

use super::Kind;
use serde_json::{Map, Value, json};
use std::fmt;

/// One place of one answer.
#[derive(Debug)]
pub(crate) struct Difference {
    pub(crate) kind: String,
    pub(crate) case: String,
    step: usize,
    request: String,
    place: String,
    want: Value,
    got: Value,
    /// Only the text for people differs.
    pub(crate) in_message: bool,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, case, step, request, place, want, got, .. } = self;
        write!(f, "{kind} {case} {step} ({request}) {place}: want {want} got {got}")
    }
}

/// Differences that are known, with the reason: a line of `known.jsonl`.
#[derive(Debug)]
pub(crate) struct Known {
    /// `*` for all.
    kinds: Vec<String>,
    /// `*` for all.
    case: String,
    /// The step from which on it is so, or all.
    from: usize,
    /// What the place begins with.
    place: String,
    #[expect(dead_code, reason = "shown when the entry is not needed any more")]
    why: String,
}

impl Known {
    pub(crate) fn read(line: &Value) -> Self {
        let texts = |value: &Value| match value {
            Value::Array(list) => {
                list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            other => vec![other.as_str().unwrap_or("*").to_owned()],
        };
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        assert!(!text("why").is_empty(), "{line}");
        let from = line["from"].as_u64().and_then(|step| usize::try_from(step).ok());
        Self {
            kinds: texts(&line["kinds"]),
            case: text("case"),
            from: from.unwrap_or_default(),
            place: text("place"),
            why: text("why"),
        }
    }

    pub(crate) fn covers(&self, difference: &Difference) -> bool {
        let kind = |kind: &String| kind == "*" || *kind == difference.kind;
        !difference.in_message
            && self.kinds.iter().any(kind)
            && (self.case == "*" || self.case == difference.case)
            && self.from <= difference.step
            && difference.place.starts_with(&self.place)
    }
}

/// A merge patch, where null removes.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(target) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Whether it is an object of the kind itself.
fn is_own(kind: &Kind, object: &Value) -> bool {
    object["kind"] == kind.base["kind"] && object["apiVersion"] == kind.base["apiVersion"]
}

/// The recorded answers in full.
fn wanted(kind: &Kind, steps: &[Value]) -> Vec<Value> {
    let mut last = kind.created.clone();
    let mut all = Vec::new();
    for step in steps {
        let mut want = step["want"].clone();
        let Some(answer) = want.as_object_mut() else { continue };
        let code = answer.entry("code").or_insert(json!(200)).clone();
        if let Some(status) = answer.get_mut("status").and_then(Value::as_object_mut) {
            status.entry("code").or_insert(code);
        }
        if let Some(delta) = answer.remove("delta") {
            merge(&mut last, &delta);
            answer.insert("object".into(), last.clone());
        } else if let Some(object) = answer.get("object").filter(|object| is_own(kind, object)) {
            last = object.clone();
        }
        all.push(want);
    }
    all
}

/// Compares step by step.
pub(crate) fn differences(
    kind: &Kind,
    case: &str,
    steps: &[Value],
    answers: &[Value],
) -> Vec<Difference> {
    let mut all = Vec::new();
    // Whether a page ends with the last object depends on the other cases in a collection that all of them share; that one
    // before the last has another behind it is seen when that is asked for.
    let shared = !kind.path.contains("{ns}");
    for (index, want) in wanted(kind, steps).iter().enumerate() {
        let mut places = Vec::new();
        compare(want, answers.get(index).unwrap_or(&Value::Null), String::new(), &mut places);
        places.retain(|(place, ..)| !shared || place != "/list/metadata/continue");
        let request = ["m", "t", "p"].map(|field| steps[index][field].as_str().unwrap_or_default());
        for (place, want, got) in places {
            all.push(Difference {
                kind: kind.name.clone(),
                case: case.to_owned(),
                step: index,
                request: request.join(" ").trim().to_owned(),
                in_message: place == "/status/message",
                place,
                want,
                got,
            });
        }
    }
    all
}

fn compare(want: &Value, got: &Value, place: String, all: &mut Vec<(String, Value, Value)>) {
    if want == got {
        return;
    }
    let none = json!("<none>");
    match (want, got) {
        (Value::Object(one), Value::Object(other)) => {
            let mut keys: Vec<_> = one.keys().chain(other.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                let (one, other) = (one.get(key).unwrap_or(&none), other.get(key).unwrap_or(&none));
                compare(one, other, format!("{place}/{key}"), all);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                compare(one, other, format!("{place}/{index}"), all);
            }
        }
        _ => all.push((place, want.clone(), got.clone())),
    }
}
