//! What a body says it is, held against what it was sent to.

use super::json_kind;
use crate::{
    ApiError, GroupKind, GroupVersion, GroupVersionKind, field, schema::builtin_names,
    status::ApiResult,
};
use serde_json::Value;

/// What a body says it is, the rest taken from the path.
pub(super) struct Named {
    kind: String,
    version: GroupVersion,
    typed: bool,
}

impl Named {
    /// Typed kinds may leave both out; others must say what they are, and their version is held against the path's.
    pub(super) fn of(
        names: [Option<Value>; 2],
        expected: &GroupVersionKind,
        typed: bool,
    ) -> Result<Self, String> {
        let text = |value: Option<Value>, field: &str| match value {
            Some(Value::String(text)) => Ok(text),
            None | Some(Value::Null) => Ok(String::new()),
            Some(other) => {
                let what = json_kind(&other);
                let at = format!("Go struct field .{field} of type string");
                Err(format!(
                    "couldn't get version/kind; json parse error: json: cannot unmarshal {what} into {at}"
                ))
            }
        };
        let [version, kind] = names;
        let (version, kind) = (text(version, "apiVersion")?, text(kind, "kind")?);
        let parsed = match version.matches('/').count() {
            0 | 1 if version.is_empty() || version == "/" => match typed {
                true => expected.group_version(),
                false => GroupVersion::new("", ""),
            },
            0 => GroupVersion::new("", version),
            1 => {
                let (group, version) = version.split_once('/').unwrap_or_default();
                GroupVersion::new(group.to_owned(), version.to_owned())
            }
            _ => return Err(format!("unexpected GroupVersion string: {version}")),
        };
        if kind.is_empty() && !typed {
            return Err("Object 'Kind' is missing".to_owned());
        }
        let kind = if kind.is_empty() { expected.kind.to_string() } else { kind };
        Ok(Self { kind, version: parsed, typed })
    }

    /// Holds it against the kind of the path; `name` is that of the object.
    pub(super) fn check(&self, expected: &GroupVersionKind, name: &str) -> ApiResult<()> {
        let group_version = expected.group_version();
        let found = GroupVersionKind {
            group: self.version.group.clone(),
            version: self.version.version.clone(),
            kind: self.kind.clone().into(),
        };
        if self.version == group_version && self.kind == *expected.kind {
            return Ok(());
        }
        // Evictions are taken in the version they had before, too; both say the same.
        if self.kind == "Eviction"
            && *expected.kind == *"Eviction"
            && self.version == GroupVersion::new("policy", "v1beta1")
        {
            return Ok(());
        }
        if !self.typed && self.version == group_version {
            let why = format!("must be {}", expected.kind);
            let error = field::Error::invalid(&field::Path::new("kind"), self.kind.as_str(), why);
            let kind = GroupKind::new(expected.group.clone(), self.kind.clone());
            return Err(ApiError::invalid(&kind, name, &[error]));
        }
        let older = self.kind == *expected.kind
            && self.version.group == expected.group
            && is_registered(&found);
        let other = self.kind == *expected.kind
            && self.version != group_version
            && !expected.group.is_empty()
            && custom(expected);
        if !self.typed || older || other {
            return Err(ApiError::bad_request(format!(
                "the API version in the data ({}) does not match the expected API version ({group_version})",
                self.version
            )));
        }
        let why = if is_registered(&found) || custom(expected) {
            let from = format!("{}.{}", self.version.version, self.kind);
            format!(
                "converting ({from}) to ({}.{}): unknown conversion",
                internal_group(expected),
                expected.kind
            )
        } else {
            format!(
                "no kind {:?} is registered for version {:?} in scheme {:?}",
                self.kind,
                self.version.to_string(),
                scheme_of(expected),
            )
        };
        Err(cannot(&found, expected, &why))
    }
}

/// Where the original lists the types of the server that serves a kind.
#[must_use]
pub fn scheme_of(kind: &GroupVersionKind) -> &'static str {
    match &*kind.group {
        "apiextensions.k8s.io" => "k8s.io/apiextensions-apiserver/pkg/apiserver/apiserver.go:55",
        "apiregistration.k8s.io" => "k8s.io/kube-aggregator/pkg/apiserver/scheme/scheme.go:28",
        _ => "pkg/api/legacyscheme/scheme.go:30",
    }
}

/// Kinds that are no built-in ones.
fn custom(kind: &GroupVersionKind) -> bool {
    !is_registered(kind)
}

/// Whether a built-in type of this name is known; OpenAPI names hold the first label of the group.
fn is_registered(kind: &GroupVersionKind) -> bool {
    let group = match &*kind.group {
        "" => "core",
        group => group.split('.').next().unwrap_or_default(),
    };
    let tail = format!(".{group}.{}.{}", kind.version, kind.kind);
    builtin_names().any(|name| name.ends_with(&tail))
}

fn internal_group(kind: &GroupVersionKind) -> &str {
    if kind.group.is_empty() { "core" } else { kind.group.split('.').next().unwrap_or_default() }
}

pub(super) fn cannot(
    found: &GroupVersionKind,
    expected: &GroupVersionKind,
    error: &dyn std::fmt::Display,
) -> ApiError {
    ApiError::bad_request(format!(
        "{} in version {:?} cannot be handled as a {}: {error}",
        found.kind, found.version, expected.kind
    ))
}

pub(super) fn unrecognized(kind: &GroupVersionKind, body: &[u8], why: &str) -> ApiError {
    let why = match why {
        "Object 'Kind' is missing" => format!("{why} in '{}'", String::from_utf8_lossy(body)),
        _ => why.to_owned(),
    };
    let summary = summary(body);
    ApiError::bad_request(format!(
        "the object provided is unrecognized (must be of type {}): {why} ({summary})",
        kind.kind
    ))
}

/// The start of a body: as text when it looks like JSON, else in hexadecimal.
fn summary(body: &[u8]) -> String {
    const LIMIT: usize = 30;
    let start = &body[..body.len().min(LIMIT)];
    let text = match body.first() {
        None => return "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(start).into_owned(),
        Some(_) => start.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    if body.len() > LIMIT { format!("{text} ...") } else { text }
}
