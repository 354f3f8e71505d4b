//! What a namespace asks for.

use kubeplane_core::{
    Object,
    field::{Error, Path},
};
use serde::Deserialize;
use std::{fmt, str::FromStr};

pub(super) const PREFIX: &str = "pod-security.kubernetes.io/";

/// How much pods may do; the later the less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub enum Level {
    /// Everything.
    #[default]
    Privileged,
    /// Nothing that is known to give rights on the node.
    Baseline,
    /// What hardened pods need.
    Restricted,
}

impl FromStr for Level {
    type Err = PodSecurityError;

    fn from_str(text: &str) -> Result<Self, PodSecurityError> {
        match text {
            "privileged" => Ok(Self::Privileged),
            "baseline" => Ok(Self::Baseline),
            "restricted" => Ok(Self::Restricted),
            _ => Err(PodSecurityError::Level),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        })
    }
}

/// A version of the standards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum PolicyVersion {
    /// The newest known.
    #[default]
    Latest,
    /// That of Kubernetes 1.x.
    Minor(u32),
}

impl PolicyVersion {
    /// Whether a rule made in 1.`since` is in it.
    pub(super) fn has(self, since: u32) -> bool {
        match self {
            Self::Latest => true,
            Self::Minor(minor) => minor >= since,
        }
    }
}

impl FromStr for PolicyVersion {
    type Err = PodSecurityError;

    fn from_str(text: &str) -> Result<Self, PodSecurityError> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let minor = text.strip_prefix("v1.").filter(|digits| {
            digits.bytes().all(|byte| byte.is_ascii_digit())
                && (digits.len() == 1 || !digits.starts_with('0'))
        });
        let minor = minor.and_then(|digits| digits.parse().ok());
        minor.map(Self::Minor).ok_or(PodSecurityError::Version)
    }
}

impl fmt::Display for PolicyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Minor(minor) => write!(f, "v1.{minor}"),
        }
    }
}

/// A level of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct LevelVersion {
    /// The level.
    pub level: Level,
    /// The version.
    pub version: PolicyVersion,
}

impl LevelVersion {
    fn is_equivalent(self, other: Self) -> bool {
        self == other || (self.level == Level::Privileged && other.level == Level::Privileged)
    }
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.level, self.version)
    }
}

/// Why a configuration or a label is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PodSecurityError {
    /// No such level.
    #[error("must be one of privileged, baseline, restricted")]
    Level,
    /// No such version.
    #[error("must be \"latest\" or \"v1.x\"")]
    Version,
    /// Not of the form of a PodSecurityConfiguration.
    #[error("{0}")]
    Form(String),
}

/// What pods of a namespace are held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Policy {
    pub(super) enforce: LevelVersion,
    pub(super) audit: LevelVersion,
    pub(super) warn: LevelVersion,
}

/// Reads labels, and notes what is wrong with them.
struct Labels<'a> {
    namespace: &'a Object,
    errors: Vec<Error>,
}

impl Labels<'_> {
    fn read<T: FromStr<Err = PodSecurityError>>(&mut self, name: &str) -> Option<Result<T, ()>> {
        let label = format!("{PREFIX}{name}");
        let text = self.namespace.label(&label)?;
        Some(text.parse().map_err(|why: PodSecurityError| {
            let path = Path::new("metadata.labels").key(&label);
            self.errors.push(Error::invalid(&path, text, why.to_string()));
        }))
    }
}

impl Policy {
    /// By the labels of a namespace. Labels that are not understood enforce the strictest, and neither audit
    /// nor warn.
    pub(super) fn of(namespace: &Object, defaults: &Self) -> (Self, Vec<Error>) {
        let mut policy = *defaults;
        let mut labels = Labels { namespace, errors: Vec::new() };
        let enforce = labels.read::<Level>("enforce");
        if let Some(level) = enforce {
            policy.enforce.level = level.unwrap_or(Level::Restricted);
        }
        if let Some(version) = labels.read("enforce-version") {
            policy.enforce.version = version.unwrap_or_default();
        }
        if let Some(level) = labels.read("audit") {
            policy.audit.level = level.unwrap_or_default();
        }
        if let Some(version) = labels.read("audit-version") {
            policy.audit.version = version.unwrap_or_default();
        }
        let warn = labels.read("warn");
        if let Some(level) = warn {
            policy.warn.level = level.unwrap_or_default();
        }
        let warn_version = labels.read("warn-version");
        if let Some(version) = warn_version {
            policy.warn.version = version.unwrap_or_default();
        }
        let enforced = matches!(enforce, Some(Ok(_)));
        if warn.is_none() && enforced && policy.enforce.level > policy.warn.level {
            policy.warn.level = policy.enforce.level;
            if warn_version.is_none() {
                policy.warn.version = policy.enforce.version;
            }
        }
        (policy, labels.errors)
    }

    fn modes(&self) -> [(&'static str, LevelVersion); 3] {
        [("enforce", self.enforce), ("audit", self.audit), ("warn", self.warn)]
    }

    pub(super) fn is_privileged(&self) -> bool {
        self.modes().iter().all(|(_, mode)| mode.level == Level::Privileged)
    }

    pub(super) fn is_equivalent(&self, other: &Self) -> bool {
        self.modes()
            .iter()
            .zip(other.modes())
            .all(|((_, own), (_, other))| own.is_equivalent(other))
    }

    /// The modes that the labels of a namespace set, but privileged ones.
    pub(super) fn said(&self, namespace: &Object) -> String {
        let labelled = |mode: &str| {
            namespace.label(&format!("{PREFIX}{mode}")).is_some()
                || namespace.label(&format!("{PREFIX}{mode}-version")).is_some()
        };
        let modes = self.modes().into_iter();
        let said = modes.filter(|(mode, of)| of.level != Level::Privileged && labelled(mode));
        said.map(|(mode, of)| format!("{mode}={of}")).collect::<Vec<_>>().join(", ")
    }
}

/// What holds where namespaces say nothing, and who is left alone.
#[derive(Debug, Clone, Default)]
pub struct PodSecurityOptions {
    pub(super) defaults: Policy,
    pub(super) users: Vec<String>,
    pub(super) namespaces: Vec<String>,
    pub(super) runtime_classes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Configuration {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    #[serde(default)]
    defaults: Defaults,
    #[serde(default)]
    exemptions: Exemptions,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Defaults {
    enforce: String,
    enforce_version: String,
    audit: String,
    audit_version: String,
    warn: String,
    warn_version: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Exemptions {
    usernames: Vec<String>,
    namespaces: Vec<String>,
    runtime_classes: Vec<String>,
}

fn mode(level: &str, version: &str) -> Result<LevelVersion, PodSecurityError> {
    let level = if level.is_empty() { Level::default() } else { level.parse()? };
    let version = if version.is_empty() { PolicyVersion::default() } else { version.parse()? };
    Ok(LevelVersion { level, version })
}

impl PodSecurityOptions {
    /// Nothing enforced where namespaces say nothing; nobody exempt.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What holds where namespaces have no labels.
    #[must_use]
    pub fn defaults(
        mut self,
        enforce: LevelVersion,
        audit: LevelVersion,
        warn: LevelVersion,
    ) -> Self {
        self.defaults = Policy { enforce, audit, warn };
        self
    }

    /// Users, namespaces and runtime classes that are left alone.
    #[must_use]
    pub fn exempt(
        mut self,
        users: Vec<String>,
        namespaces: Vec<String>,
        runtime_classes: Vec<String>,
    ) -> Self {
        (self.users, self.namespaces, self.runtime_classes) = (users, namespaces, runtime_classes);
        self
    }

    /// Of a `PodSecurityConfiguration` of `pod-security.admission.config.k8s.io`.
    ///
    /// # Errors
    /// When it is none, or a level or version is not known.
    pub fn from_object(object: &Object) -> Result<Self, PodSecurityError> {
        let form = |why: &dyn fmt::Display| PodSecurityError::Form(why.to_string());
        let read: Configuration = object.decode().map_err(|why| form(&why))?;
        let group = read.api_version.strip_prefix("pod-security.admission.config.k8s.io/");
        if read.kind != "PodSecurityConfiguration"
            || !group.is_some_and(|version| matches!(version, "v1" | "v1beta1" | "v1alpha1"))
        {
            let (kind, version) = (&read.kind, &read.api_version);
            return Err(form(&format!("no PodSecurityConfiguration: {kind} of {version}")));
        }
        let Defaults { enforce, enforce_version, audit, audit_version, warn, warn_version } =
            read.defaults;
        let exempt = read.exemptions;
        let options = Self::new().defaults(
            mode(&enforce, &enforce_version)?,
            mode(&audit, &audit_version)?,
            mode(&warn, &warn_version)?,
        );
        Ok(options.exempt(exempt.usernames, exempt.namespaces, exempt.runtime_classes))
    }
}
