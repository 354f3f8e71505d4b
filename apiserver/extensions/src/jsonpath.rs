//! The part of kubectl's JSONPath that printer columns use: names, indices, ranges, wildcards, filters, descent.

use serde_json::Value;
use std::cmp::Ordering;

/// A parsed path.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    /// From, to and step of a range of items; a single index is a range of one.
    Range(Option<i64>, Option<i64>, i64),
    Index(i64),
    All,
    Descend,
    Filter(Filter),
}

#[derive(Debug, Clone, PartialEq)]
struct Filter {
    left: Vec<Step>,
    /// The comparison and what with; without it the path must lead somewhere.
    compare: Option<(String, Operand)>,
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Constant(Value),
    Path(Vec<Step>),
}

impl JsonPath {
    /// Parses a path; `None` when it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        steps(text).map(Self)
    }

    /// What the path leads to, in order; nothing where a name is missing.
    pub(crate) fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        find(&self.0, vec![value])
    }
}

fn steps(text: &str) -> Option<Vec<Step>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        match first {
            '.' if rest.starts_with("..") => {
                out.push(Step::Descend);
                rest = &rest[1..];
                // The second dot is that of the name, unless a bracket follows.
                if rest[1..].starts_with('[') {
                    rest = &rest[1..];
                }
            }
            '.' => {
                let (name, after) = name(&rest[1..]);
                match name.as_str() {
                    "" if after.is_empty() || after.starts_with('[') => {}
                    "" => return None,
                    "*" => out.push(Step::All),
                    _ => out.push(Step::Field(name)),
                }
                rest = after;
            }
            '[' => {
                let end = closing(rest)?;
                out.extend(bracket(&rest[1..end])?);
                rest = &rest[end + 1..];
            }
            '@' | '$' if out.is_empty() => rest = &rest[1..],
            _ => return None,
        }
    }
    Some(out)
}

/// A name up to the next dot or bracket; a backslash takes what follows as it is.
fn name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '.' | '[' => return (name, &text[at..]),
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            c => name.push(c),
        }
    }
    (name, "")
}

/// Where the bracket that begins the text is closed.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0_usize, None);
    for (at, c) in text.char_indices() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            (_, Some(_)) => {}
            ('\'' | '"', None) => quote = Some(c),
            ('[', None) => depth += 1,
            (']', None) => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn bracket(text: &str) -> Option<Vec<Step>> {
    let text = text.trim();
    if let Some(condition) = text.strip_prefix("?(") {
        return Some(vec![Step::Filter(filter(condition.strip_suffix(')')?)?)]);
    }
    if text == "*" {
        return Some(vec![Step::All]);
    }
    if let Some(name) = unquoted(text) {
        return Some(vec![Step::Field(name)]);
    }
    if let Ok(index) = text.parse() {
        return Some(vec![Step::Index(index)]);
    }
    let mut parts = text.split(':').map(|part| match part.trim() {
        "" => Some(None),
        number => number.parse().ok().map(Some),
    });
    let (from, to) = (parts.next()??, parts.next()??);
    let step = parts.next().unwrap_or(Some(None))?.unwrap_or(1);
    (step > 0).then(|| vec![Step::Range(from, to, step)])
}

fn unquoted(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let inner = text[1..].strip_suffix(quote)?;
    Some(inner.replace(&format!("\\{quote}"), &quote.to_string()))
}

fn filter(text: &str) -> Option<Filter> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            (_, Some(_)) => continue,
            ('\'' | '"', None) => quote = Some(c),
            _ => {}
        }
        let operator =
            ["==", "!=", "<=", ">=", "<", ">"].into_iter().find(|op| text[at..].starts_with(op));
        if let Some(operator) = operator.filter(|_| quote.is_none()) {
            let left = steps(text[..at].trim())?;
            let right = operand(text[at + operator.len()..].trim())?;
            return Some(Filter { left, compare: Some((operator.to_owned(), right)) });
        }
    }
    Some(Filter { left: steps(text.trim())?, compare: None })
}

fn operand(text: &str) -> Option<Operand> {
    if let Some(text) = unquoted(text) {
        return Some(Operand::Constant(text.into()));
    }
    if text.starts_with(['@', '$', '.']) {
        return steps(text).map(Operand::Path);
    }
    serde_json::from_str(text).ok().map(Operand::Constant)
}

fn find<'a>(steps: &[Step], mut values: Vec<&'a Value>) -> Vec<&'a Value> {
    for step in steps {
        values = values.into_iter().flat_map(|value| take(step, value)).collect();
    }
    values
}

fn take<'a>(step: &Step, value: &'a Value) -> Vec<&'a Value> {
    let empty: &[Value] = &[];
    let items = value.as_array().map_or(empty, Vec::as_slice);
    let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let place = |index: i64| if index < 0 { count + index } else { index };
    match step {
        Step::Field(name) => value.get(name).into_iter().collect(),
        Step::Index(index) => {
            usize::try_from(place(*index)).ok().and_then(|at| items.get(at)).into_iter().collect()
        }
        Step::Range(from, to, step) => {
            let from = usize::try_from(place(from.unwrap_or(0)).max(0)).unwrap_or(0);
            let to = usize::try_from(place(to.unwrap_or(count)).clamp(0, count)).unwrap_or(0);
            let step = usize::try_from(*step).unwrap_or(1);
            items.get(from..to.max(from)).unwrap_or(empty).iter().step_by(step).collect()
        }
        Step::All => match value {
            Value::Object(map) => map.values().collect(),
            _ => items.iter().collect(),
        },
        Step::Descend => descend(value),
        Step::Filter(filter) => items.iter().filter(|item| filter.holds(item)).collect(),
    }
}

fn descend(value: &Value) -> Vec<&Value> {
    let mut out = vec![value];
    match value {
        Value::Object(map) => out.extend(map.values().flat_map(descend)),
        Value::Array(items) => out.extend(items.iter().flat_map(descend)),
        _ => {}
    }
    out
}

impl Filter {
    fn holds(&self, item: &Value) -> bool {
        let left = find(&self.left, vec![item]);
        let Some((operator, right)) = &self.compare else { return !left.is_empty() };
        let right = match right {
            Operand::Constant(value) => Some(value),
            Operand::Path(path) => find(path, vec![item]).into_iter().next(),
        };
        let (Some(left), Some(right)) = (left.first(), right) else { return false };
        let order = order(left, right);
        match operator.as_str() {
            "==" => order == Some(Ordering::Equal),
            "!=" => order != Some(Ordering::Equal),
            "<" => order == Some(Ordering::Less),
            ">" => order == Some(Ordering::Greater),
            "<=" => order.is_some_and(Ordering::is_le),
            _ => order.is_some_and(Ordering::is_ge),
        }
    }
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_to_values() {
        let object = json!({
            "metadata": {"labels": {"a.b/c": "x"}},
            "spec": {"list": [{"n": 1}, {"n": 2}, {"n": 3}], "size": 3},
            "status": {"conditions": [
                {"type": "Ready", "status": "True"}, {"type": "Old", "status": "False"},
            ]},
        });
        let found = |path: &str| -> Vec<Value> {
            JsonPath::parse(path).unwrap().find(&object).into_iter().cloned().collect()
        };
        assert_eq!(found(".spec.size"), [json!(3)]);
        assert_eq!(found(".spec.missing.deeper"), Vec::<Value>::new());
        assert_eq!(found(r".metadata.labels.a\.b/c"), [json!("x")]);
        assert_eq!(found(".metadata.labels['a.b/c']"), [json!("x")]);
        assert_eq!(found(".spec.list[-1].n"), [json!(3)]);
        assert_eq!(found(".spec.list[0:2].n"), [json!(1), json!(2)]);
        assert_eq!(found(".spec.list[*].n"), [json!(1), json!(2), json!(3)]);
        assert_eq!(found(".status.conditions[?(@.type==\"Ready\")].status"), [json!("True")]);
        assert_eq!(found(".status.conditions[?(@.type=='Old')].status"), [json!("False")]);
        assert_eq!(found(".spec.list[?(@.n>=2)].n"), [json!(2), json!(3)]);
        assert_eq!(found("..n"), [json!(1), json!(2), json!(3)]);
        assert_eq!(JsonPath::parse(".a[?(@.b"), None);
        assert_eq!(JsonPath::parse("a.b"), None);
    }
}
