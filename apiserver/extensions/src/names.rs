//! Which names a definition gets: those no other definition of its group has.

use crate::conditions;
use kubeplane_core::{Object, field::go_quote};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The names taken in a group.
#[derive(Debug, Default)]
struct Taken<'a> {
    resources: BTreeSet<&'a str>,
    kinds: BTreeSet<&'a str>,
}

impl<'a> Taken<'a> {
    fn of(crds: impl Iterator<Item = &'a Object>) -> Self {
        let mut taken = Self::default();
        for crd in crds {
            let text = |field: &str| crd.text(&["status", "acceptedNames", field]);
            taken.resources.extend([text("plural"), text("singular")]);
            taken.resources.extend(texts(crd.at(&["status", "acceptedNames", "shortNames"])));
            taken.kinds.extend([text("kind"), text("listKind")]);
        }
        taken
    }
}

fn texts(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Gives a definition its names as far as `others` (all definitions of its group) leave them free, and says so in
/// the condition `NamesAccepted`; `Established` begins as false.
pub(crate) fn accept<'a>(crd: &mut Object, others: impl Iterator<Item = &'a Object>, now: &str) {
    let taken = Taken::of(others);
    let wanted = crd.at(&["spec", "names"]).cloned().unwrap_or_default();
    let had = crd.at(&["status", "acceptedNames"]).cloned().unwrap_or_default();
    let mut names: Map<String, Value> = had.as_object().cloned().unwrap_or_default();
    let mut refused = None;
    let fields = [
        ("plural", "PluralConflict"),
        ("singular", "SingularConflict"),
        ("shortNames", "ShortNamesConflict"),
        ("kind", "KindConflict"),
        ("listKind", "ListKindConflict"),
    ];
    for (field, reason) in fields {
        let set =
            if field == "kind" || field == "listKind" { &taken.kinds } else { &taken.resources };
        let own: Vec<&str> = match had.get(field) {
            Some(Value::String(text)) => vec![text.as_str()],
            list => texts(list).collect(),
        };
        let sought: Vec<&str> = match wanted.get(field) {
            Some(Value::String(text)) => vec![text.as_str()],
            list => texts(list).collect(),
        };
        let conflicts: Vec<_> =
            sought.iter().filter(|name| !own.contains(name) && set.contains(**name)).collect();
        match conflicts.as_slice() {
            [] => put(&mut names, field, wanted.get(field)),
            conflicts => refused = Some((reason, in_use(conflicts))),
        }
    }
    put(&mut names, "categories", wanted.get("categories"));
    crd.set(&["status", "acceptedNames"], names);
    match refused {
        Some((reason, message)) => {
            conditions::set_at(crd, "NamesAccepted", "False", reason, &message, now);
            if conditions::status(crd, "Established").is_none() {
                let message = "not all names are accepted";
                conditions::set_at(crd, "Established", "False", "NotAccepted", message, now);
            }
        }
        None => {
            conditions::set_at(
                crd,
                "NamesAccepted",
                "True",
                "NoConflicts",
                "no conflicts found",
                now,
            );
            if !conditions::is_true(crd, "Established") {
                let message = "the initial names have been accepted";
                conditions::set_at(crd, "Established", "False", "Installing", message, now);
            }
        }
    }
}

fn in_use(names: &[&&str]) -> String {
    let mut each: Vec<_> =
        names.iter().map(|name| format!("{} is already in use", go_quote(name))).collect();
    match each.len() {
        1 => each.remove(0),
        _ => format!("[{}]", each.join(", ")),
    }
}

fn put(names: &mut Map<String, Value>, field: &str, value: Option<&Value>) {
    match value.filter(|value| !value.is_null()) {
        Some(value) => drop(names.insert(field.to_owned(), value.clone())),
        None => drop(names.remove(field)),
    }
}

/// Marks a definition as served, unless the authorities of its conversion webhook cannot be read.
pub(crate) fn establish(crd: &mut Object, readable: bool, now: &str) {
    let (status, reason, message) = match readable {
        true => ("True", "InitialNamesAccepted", "the initial names have been accepted"),
        false => ("False", "InvalidCABundle", "The conversion webhook CABundle is invalid"),
    };
    conditions::set_at(crd, "Established", status, reason, message, now);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn crd(kind: &str, short: &[&str]) -> Object {
        let lower = kind.to_lowercase();
        Object::from_value(json!({
            "metadata": {"name": format!("{lower}s.example.com")},
            "spec": {"group": "example.com", "names": {
                "kind": kind, "listKind": format!("{kind}List"), "plural": format!("{lower}s"), "singular": lower,
                "shortNames": short,
            }},
        }))
        .unwrap()
    }

    #[test]
    fn names_go_to_who_comes_first() {
        let mut first = crd("Widget", &["w"]);
        accept(&mut first, std::iter::empty(), "2026-01-01T00:00:00Z");
        assert!(conditions::is_true(&first, "NamesAccepted"));
        assert_eq!(first.at(&["status", "acceptedNames"]), first.at(&["spec", "names"]));
        let mut second = crd("Wobble", &["w"]);
        accept(&mut second, [&first].into_iter(), "2026-01-01T00:00:00Z");
        assert_eq!(conditions::status(&second, "NamesAccepted"), Some("False"));
        let condition = &second.at(&["status", "conditions"]).unwrap()[0];
        assert_eq!(condition["reason"], "ShortNamesConflict");
        assert_eq!(condition["message"], "\"w\" is already in use");
        assert_eq!(second.text(&["status", "acceptedNames", "plural"]), "wobbles");
        assert!(!conditions::is_true(&second, "Established"));
        accept(&mut second, std::iter::empty(), "2026-01-01T00:00:01Z");
        establish(&mut second, false, "2026-01-01T00:00:01Z");
        assert_eq!(conditions::status(&second, "Established"), Some("False"));
        establish(&mut second, true, "2026-01-01T00:00:01Z");
        assert!(conditions::is_true(&second, "Established"));
    }
}
