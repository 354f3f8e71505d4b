//! The names things have in the API.

use std::{borrow::Cow, fmt};

type Name = Cow<'static, str>;

macro_rules! pair {
    ($(#[$doc:meta])* $name:ident, $second:ident, $second_doc:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name {
            /// The API group; empty for the core group.
            pub group: Name,
            #[doc = $second_doc]
            pub $second: Name,
        }

        impl $name {
            /// Both names.
            #[must_use]
            pub fn new(group: impl Into<Name>, $second: impl Into<Name>) -> Self {
                Self { group: group.into(), $second: $second.into() }
            }
        }
    };
}

pair!(
    /// A group and a version, as in `apps/v1`.
    GroupVersion, version, "The version, as in `v1`."
);
pair!(
    /// A group and the plural name of a resource, as in `deployments.apps`.
    GroupResource, resource, "The plural, lower-case name."
);
pair!(
    /// A group and a kind, as in `Deployment.apps`.
    GroupKind, kind, "The kind."
);

impl GroupVersion {
    /// Parses an `apiVersion`; `None` when it has more than one slash or an empty part.
    #[must_use]
    pub fn parse(api_version: &str) -> Option<Self> {
        match api_version.split_once('/') {
            None if api_version.is_empty() => None,
            None => Some(Self::new("", api_version.to_owned())),
            Some((group, version))
                if !group.is_empty() && !version.is_empty() && !version.contains('/') =>
            {
                Some(Self::new(group.to_owned(), version.to_owned()))
            }
            Some(_) => None,
        }
    }
}

/// As in an object's `apiVersion`.
impl fmt::Display for GroupVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.version)
        } else {
            write!(f, "{}/{}", self.group, self.version)
        }
    }
}

/// As in messages: `deployments.apps`, `pods`.
impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.resource)
        } else {
            write!(f, "{}.{}", self.resource, self.group)
        }
    }
}

/// As in messages: `Deployment.apps`, `Pod`.
impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.kind)
        } else {
            write!(f, "{}.{}", self.kind, self.group)
        }
    }
}

/// A group, a version and a kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GroupVersionKind {
    /// The API group; empty for the core group.
    pub group: Name,
    /// The version.
    pub version: Name,
    /// The kind.
    pub kind: Name,
}

impl GroupVersionKind {
    /// All three names.
    #[must_use]
    pub fn new(group: impl Into<Name>, version: impl Into<Name>, kind: impl Into<Name>) -> Self {
        Self { group: group.into(), version: version.into(), kind: kind.into() }
    }

    /// Without the kind.
    #[must_use]
    pub fn group_version(&self) -> GroupVersion {
        GroupVersion { group: self.group.clone(), version: self.version.clone() }
    }

    /// Without the version.
    #[must_use]
    pub fn group_kind(&self) -> GroupKind {
        GroupKind { group: self.group.clone(), kind: self.kind.clone() }
    }
}

/// As Go prints it in messages: `apps/v1, Kind=Deployment`, `/v1, Kind=Pod`.
impl fmt::Display for GroupVersionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}, Kind={}", self.group, self.version, self.kind)
    }
}
