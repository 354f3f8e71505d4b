use crate::Error;
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{NamespaceCondition, NamespaceStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::discovery::ApiResource;
use std::collections::BTreeMap;

/// Why it is not known what there is, when nobody tells what these group versions serve.
pub(super) fn unknown(stale: &[String]) -> Option<String> {
    if stale.is_empty() {
        return None;
    }
    let each = stale.iter().map(|version| {
        let why = "stale GroupVersion discovery";
        format!("{version}: {why}: {version}")
    });
    let each: Vec<_> = each.collect();
    Some(format!(
        "Discovery failed for some groups, {} failing: unable to retrieve the complete list of server APIs: {}",
        stale.len(),
        each.join(", ")
    ))
}

/// What an attempt to empty a namespace left.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Why it is not known what there is.
    pub(super) discovery: Option<String>,
    /// What could not be deleted.
    pub(super) errors: Vec<String>,
    /// What is still there though nothing is known that holds it.
    unexpected: Vec<String>,
    remaining: BTreeMap<String, usize>,
    finalizers: BTreeMap<String, usize>,
}

impl Findings {
    /// Whether nothing is left and nothing failed.
    pub(super) fn is_empty(&self) -> bool {
        self.discovery.is_none() && self.errors.is_empty() && self.remaining.is_empty()
    }

    /// Whether objects were seen that are still there.
    pub(super) fn anything_remains(&self) -> bool {
        !self.remaining.is_empty()
    }

    pub(super) fn remains<'a>(
        &mut self,
        resource: &ApiResource,
        count: usize,
        finalizers: impl Iterator<Item = &'a String>,
    ) {
        self.remaining.insert(format!("{}.{}", resource.plural, resource.group), count);
        for finalizer in finalizers {
            *self.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
    }

    /// Objects of a resource are still there though nothing is known that holds them.
    pub(super) fn unexplained(&mut self, namespace: &str, resource: &ApiResource) {
        let ApiResource { group, version, plural, .. } = resource;
        self.unexpected.push(format!(
            "unexpected items still remain in namespace: {namespace} for gvr: {group}/{version}, Resource={plural}"
        ));
    }

    /// Why the namespace cannot go yet.
    pub(super) fn into_error(self, namespace: &str) -> Option<Error> {
        if self.is_empty() {
            return None;
        }
        match self.discovery.or_else(|| self.errors.into_iter().next()) {
            Some(reason) => Some(Error::Invalid(format!("namespace {namespace}: {reason}"))),
            None => {
                Some(Error::Incomplete(format!("some content remains in namespace {namespace}")))
            }
        }
    }

    /// Brings the conditions up to date; whether anything changed.
    pub(super) fn write(&self, status: &mut NamespaceStatus, now: Timestamp) -> bool {
        let mut changed = false;
        for (kind, ok, bad) in self.conditions() {
            let (truth, reason, message) = match bad {
                Some((reason, message)) => ("True", reason, message),
                None => ("False", ok.0, ok.1.to_owned()),
            };
            changed |= set(status, kind, truth, reason, message, now);
        }
        changed
    }

    #[expect(
        clippy::type_complexity,
        reason = "a table: type, reason and message when well, the same when not"
    )]
    fn conditions(
        &self,
    ) -> [(&'static str, (&'static str, &'static str), Option<(&'static str, String)>); 5] {
        let list = |counts: &BTreeMap<String, usize>, word: &str| {
            let items: Vec<_> = counts
                .iter()
                .map(|(name, count)| format!("{name} {word} {count} resource instances"))
                .collect();
            (!items.is_empty()).then(|| items.join(", "))
        };
        let mut errors = [self.errors.as_slice(), self.unexpected.as_slice()].concat();
        errors.sort();
        let failed = (!errors.is_empty()).then(|| {
            format!(
                "Failed to delete all resource types, {} remaining: {}",
                errors.len(),
                errors.join(", ")
            )
        });
        let remain = list(&self.remaining, "has")
            .map(|items| format!("Some resources are remaining: {items}"));
        let finalizers = list(&self.finalizers, "in").map(|items| {
            format!("Some content in the namespace has finalizers remaining: {items}")
        });
        [
            (
                "NamespaceDeletionDiscoveryFailure",
                ("ResourcesDiscovered", "All resources successfully discovered"),
                self.discovery.clone().map(|message| ("DiscoveryFailed", message)),
            ),
            (
                "NamespaceDeletionGroupVersionParsingFailure",
                ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
                None,
            ),
            (
                "NamespaceDeletionContentFailure",
                (
                    "ContentDeleted",
                    "All content successfully deleted, may be waiting on finalization",
                ),
                failed.map(|message| ("ContentDeletionFailed", message)),
            ),
            (
                "NamespaceContentRemaining",
                ("ContentRemoved", "All content successfully removed"),
                remain.map(|message| ("SomeResourcesRemain", message)),
            ),
            (
                "NamespaceFinalizersRemaining",
                ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
                finalizers.map(|message| ("SomeFinalizersRemain", message)),
            ),
        ]
    }
}

fn set(
    status: &mut NamespaceStatus,
    kind: &str,
    truth: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> bool {
    let conditions = status.conditions.get_or_insert_default();
    let next = NamespaceCondition {
        type_: kind.to_owned(),
        status: truth.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: Some(Time(now)),
    };
    let Some(present) = conditions.iter_mut().find(|present| present.type_ == kind) else {
        conditions.push(next);
        return true;
    };
    let since = if present.status == next.status {
        present.last_transition_time.clone()
    } else {
        Some(Time(now))
    };
    let next = NamespaceCondition { last_transition_time: since, ..next };
    let changed = *present != next;
    *present = next;
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_tells_of_keeps_the_namespace() {
        assert_eq!(unknown(&[]), None);
        let stale = ["a.example.com/v1".to_owned(), "metrics.k8s.io/v1beta1".to_owned()];
        let findings = Findings { discovery: unknown(&stale), ..Findings::default() };
        let mut status = NamespaceStatus::default();
        assert!(findings.write(&mut status, Timestamp::UNIX_EPOCH));
        let bad = status.conditions.iter().flatten().find(|own| own.status == "True").unwrap();
        assert_eq!(bad.type_, "NamespaceDeletionDiscoveryFailure");
        assert_eq!(
            bad.message.as_deref(),
            Some(
                "Discovery failed for some groups, 2 failing: unable to retrieve the complete list of server \
                 APIs: a.example.com/v1: stale GroupVersion discovery: a.example.com/v1, \
                 metrics.k8s.io/v1beta1: stale GroupVersion discovery: metrics.k8s.io/v1beta1"
            )
        );
        assert!(findings.into_error("n").is_some());
    }

    #[test]
    fn what_remains_is_named_with_its_finalizers() {
        let pods = ApiResource {
            group: String::new(),
            version: "v1".into(),
            api_version: "v1".into(),
            kind: "Pod".into(),
            plural: "pods".into(),
        };
        let mut findings = Findings::default();
        findings.remains(&pods, 2, ["a/b".to_owned(), "a/b".to_owned()].iter());
        let mut status = NamespaceStatus::default();
        assert!(findings.write(&mut status, Timestamp::UNIX_EPOCH));
        assert!(!findings.write(&mut status, Timestamp::UNIX_EPOCH));
        let messages: Vec<_> =
            status.conditions.iter().flatten().filter(|c| c.status == "True").collect();
        let texts: Vec<_> =
            messages.iter().filter_map(|condition| condition.message.as_deref()).collect();
        assert_eq!(
            texts,
            [
                "Some resources are remaining: pods. has 2 resource instances",
                "Some content in the namespace has finalizers remaining: a/b in 2 resource instances",
            ]
        );
        assert!(matches!(findings.into_error("n"), Some(Error::Incomplete(_))));
    }

    #[test]
    fn what_remains_for_no_known_reason_is_told_of_as_a_failure() {
        let gadgets = ApiResource {
            group: "example.com".into(),
            version: "v1".into(),
            api_version: "example.com/v1".into(),
            kind: "Gadget".into(),
            plural: "gadgets".into(),
        };
        let mut findings = Findings::default();
        findings.remains(&gadgets, 1, std::iter::empty());
        findings.unexplained("n", &gadgets);
        let mut status = NamespaceStatus::default();
        assert!(findings.write(&mut status, Timestamp::UNIX_EPOCH));
        let all: Vec<_> = status.conditions.unwrap_or_default();
        let failed = all.iter().find(|own| own.type_ == "NamespaceDeletionContentFailure").unwrap();
        assert_eq!(failed.reason.as_deref(), Some("ContentDeletionFailed"));
        let message = "Failed to delete all resource types, 1 remaining: unexpected items still remain in \
                       namespace: n for gvr: example.com/v1, Resource=gadgets";
        assert_eq!(failed.message.as_deref(), Some(message));
        // It is looked at again soon all the same.
        assert!(matches!(findings.into_error("n"), Some(Error::Incomplete(_))));
    }
}
