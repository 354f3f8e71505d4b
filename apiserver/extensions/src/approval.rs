//! Groups that belong to the Kubernetes project: definitions in them say who approved that.

use crate::conditions;
use kubeplane_core::{Object, field::go_quote};

/// Where they say it.
pub(crate) const ANNOTATION: &str = "api-approved.kubernetes.io";
const CONDITION: &str = "KubernetesAPIApprovalPolicyConformant";
const MORE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";

/// What a definition says of its approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Approval {
    Missing,
    /// There is none, and why.
    Bypassed,
    /// Where.
    Approved,
    Invalid,
}

impl Approval {
    pub(crate) fn of(crd: &Object) -> Self {
        let text = crd.annotation(ANNOTATION).unwrap_or_default();
        let url = text
            .split_once("://")
            .is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
        match text {
            "" => Self::Missing,
            text if text.starts_with("unapproved") => Self::Bypassed,
            _ if url => Self::Approved,
            _ => Self::Invalid,
        }
    }

    /// What is said of it, in the original's words.
    pub(crate) fn told(self, crd: &Object) -> String {
        let found = crd.annotation(ANNOTATION).unwrap_or_default();
        let wanted = format!("protected groups must have approval annotation {ANNOTATION:?}");
        match self {
            Self::Missing => format!("{wanted}, {MORE}"),
            Self::Bypassed => format!("not approved: {}", go_quote(found)),
            Self::Approved => format!("approved in {found}"),
            Self::Invalid => format!(
                "{wanted} with either a URL or a reason starting with \"unapproved\", {MORE}"
            ),
        }
    }
}

/// Whether a definition is in such a group.
pub(crate) fn is_protected(crd: &Object) -> bool {
    let group = crd.text(&["spec", "group"]);
    ["k8s.io", "kubernetes.io"].iter().any(|domain| {
        group.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

/// Says in a condition how a definition of such a group stands; whether that is something new.
pub(crate) fn note(crd: &mut Object, now: &str) -> bool {
    if !is_protected(crd) {
        return false;
    }
    let approval = Approval::of(crd);
    let (status, reason) = match approval {
        Approval::Missing => ("False", "MissingAnnotation"),
        Approval::Bypassed => ("False", "UnapprovedAnnotation"),
        Approval::Approved => ("True", "ApprovedAnnotation"),
        Approval::Invalid => ("False", "InvalidAnnotation"),
    };
    let message = approval.told(crd);
    conditions::set_at(crd, CONDITION, status, reason, &message, now)
}
