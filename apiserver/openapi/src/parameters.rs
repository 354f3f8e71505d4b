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

/// What connections and logs take, by the kind of their options.
const OPTIONS: &[(&str, &[Parameter])] = &[
    ("PodAttachOptions", &[CONTAINER, STDERR, STDIN, STDOUT, TTY]),
    (
        "PodExecOptions",
        &[
            ("command", "string", "The command and, given again and again, its arguments."),
            CONTAINER,
            STDERR,
            STDIN,
            STDOUT,
            TTY,
        ],
    ),
    (
        "PodLogOptions",
        &[
            CONTAINER,
            ("follow", "boolean", "Go on with what is written from now on."),
            (
                "insecureSkipTLSVerifyBackend",
                "boolean",
                "Believe the kubelet whatever its certificate says.",
            ),
            ("limitBytes", "integer", "The most bytes to return."),
            ("previous", "boolean", "Of the container before its last restart."),
            ("sinceSeconds", "integer", "Only what was written in so many seconds before now."),
            ("stream", "string", "All, Stdout or Stderr."),
            ("tailLines", "integer", "Only so many lines at the end."),
            ("timestamps", "boolean", "Begin each line with its time."),
        ],
    ),
    ("PodPortForwardOptions", &[("ports", "integer", "The ports to forward to.")]),
    ("NodeProxyOptions", &[BEHIND]),
    ("PodProxyOptions", &[BEHIND]),
    ("ServiceProxyOptions", &[BEHIND]),
];

const CONTAINER: Parameter =
    ("container", "string", "The container; need not be named where there is one.");
const STDERR: Parameter = ("stderr", "boolean", "Connect its standard error.");
const STDIN: Parameter = ("stdin", "boolean", "Connect its standard input.");
const STDOUT: Parameter = ("stdout", "boolean", "Connect its standard output.");
const TTY: Parameter = ("tty", "boolean", "Use a terminal.");
const BEHIND: Parameter = ("path", "string", "The path behind the proxy.");

/// The query parameters that options of a kind stand for; none of others.
pub(crate) fn of_options(kind: &str) -> Vec<Value> {
    let known = OPTIONS.iter().find(|(name, _)| *name == kind);
    let listed = known.into_iter().flat_map(|(_, listed)| listed.iter());
    listed.map(|(name, kind, text)| in_query(name, kind, text)).collect()
}

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
