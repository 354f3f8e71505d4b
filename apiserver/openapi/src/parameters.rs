//! The parameters of operations.

use serde_json::{Value, json};

/// A query parameter: name, type, what it is.
type Parameter = (&'static str, &'static str, &'static str);

const FIELD_VALIDATION: Parameter = (
    "fieldValidation",
    "string",
    "What to do about unknown and duplicate fields: Ignore drops them, Warn drops them with a warning, Strict refuses the request.",
);
const DRY_RUN: Parameter =
    ("dryRun", "string", "With the value All, everything is done but nothing is stored.");
const FIELD_MANAGER: Parameter =
    ("fieldManager", "string", "The name of the actor that makes the change, for managedFields.");
const FORCE: Parameter =
    ("force", "boolean", "Apply only: take over fields that other managers own.");

const LIST: &[Parameter] = &[
    ("allowWatchBookmarks", "boolean", "Send BOOKMARK events in a watch."),
    ("continue", "string", "The token of an earlier, limited list, to get its next part."),
    ("fieldSelector", "string", "Only objects whose fields match."),
    ("labelSelector", "string", "Only objects whose labels match."),
    ("limit", "integer", "The most objects to return; the rest can be had with `continue`."),
    ("resourceVersion", "string", "The version the answer must show or start from."),
    ("resourceVersionMatch", "string", "How resourceVersion is meant: Exact or NotOlderThan."),
    ("sendInitialEvents", "boolean", "Begin a watch with the present objects as ADDED events."),
    ("timeoutSeconds", "integer", "End the call after this many seconds."),
    ("watch", "boolean", "Stream changes instead of a list."),
];

const DELETE: &[Parameter] = &[
    DRY_RUN,
    ("gracePeriodSeconds", "integer", "The seconds until the object is removed; 0 means at once."),
    ("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
    (
        "propagationPolicy",
        "string",
        "What becomes of dependents: Orphan, Background or Foreground.",
    ),
];

/// What a set of operations takes from the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Query {
    Nothing,
    List,
    Write,
    Patch,
    Delete,
    DeleteCollection,
}

/// The query parameters of an operation.
pub(crate) fn query(which: Query) -> Vec<Value> {
    let listed: Vec<Parameter> = match which {
        Query::Nothing => Vec::new(),
        Query::List => LIST.to_vec(),
        Query::Write => vec![DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION],
        Query::Patch => vec![DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE],
        Query::Delete => DELETE.to_vec(),
        Query::DeleteCollection => {
            let selecting =
                LIST.iter().filter(|(name, ..)| !name.contains("atch") || name.contains("Match"));
            DELETE.iter().chain(selecting).copied().collect()
        }
    };
    listed.into_iter().map(|(name, kind, text)| in_query(name, kind, text)).collect()
}

/// One query parameter.
pub(crate) fn in_query(name: &str, kind: &str, text: &str) -> Value {
    json!({
        "name": name, "in": "query", "description": text,
        "schema": {"type": kind, "uniqueItems": true},
    })
}

/// One path parameter.
pub(crate) fn in_path(name: &str, text: &str) -> Value {
    json!({
        "name": name, "in": "path", "description": text, "required": true,
        "schema": {"type": "string", "uniqueItems": true},
    })
}

/// The parameter every path has.
pub(crate) fn pretty() -> Value {
    in_query("pretty", "string", "With `true`, the output is indented.")
}
