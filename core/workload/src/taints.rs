//! Taints of nodes and devices, and the tolerations of pods and claims.

use k8s_openapi::api::{
    core::v1::{Taint, Toleration},
    resource::v1::{DeviceTaint, DeviceToleration},
};

/// Whether one of the tolerations covers the taint.
#[must_use]
pub fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| tolerates_taint(toleration, taint))
}

/// The first taint with an effect that `counts` (as in `["NoSchedule", "NoExecute"]`) and no toleration covers.
#[must_use]
pub fn first_untolerated<'a>(
    taints: &'a [Taint],
    tolerations: &[Toleration],
    counts: &[&str],
) -> Option<&'a Taint> {
    taints
        .iter()
        .find(|taint| counts.contains(&taint.effect.as_str()) && !tolerates(tolerations, taint))
}

/// As [`first_untolerated`], where tolerations cover taints as by [`tolerates_comparing`].
#[must_use]
pub fn first_untolerated_comparing<'a>(
    taints: &'a [Taint],
    tolerations: &[Toleration],
    counts: &[&str],
    comparing: bool,
) -> Option<&'a Taint> {
    taints.iter().find(|taint| {
        counts.contains(&taint.effect.as_str())
            && !tolerates_comparing(tolerations, taint, comparing)
    })
}

/// As [`tolerates`]; if `comparing`, also the operators `Lt` and `Gt` cover taints whose value is a whole number below, or above,
/// that of the toleration: what the gate `TaintTolerationComparisonOperators` is for (KEP-5471).
#[must_use]
pub fn tolerates_comparing(tolerations: &[Toleration], taint: &Taint, comparing: bool) -> bool {
    let mut tolerations = tolerations.iter();
    tolerations.any(|own| tolerates_taint(own, taint) || comparing && compares(own, taint))
}

fn text(value: Option<&String>) -> &str {
    value.map_or("", String::as_str)
}

/// Whether the toleration is about taints of this effect and key.
fn concerns(toleration: &Toleration, taint: &Taint) -> bool {
    let (effect, key) = (text(toleration.effect.as_ref()), text(toleration.key.as_ref()));
    (effect.is_empty() || effect == taint.effect) && (key.is_empty() || key == taint.key)
}

/// Whether the toleration covers the taint. An empty effect or key covers every one; the operators `Lt` and
/// `Gt`, an alpha feature, cover nothing (see [`tolerates_comparing`]).
#[must_use]
pub fn tolerates_taint(toleration: &Toleration, taint: &Taint) -> bool {
    concerns(toleration, taint)
        && match text(toleration.operator.as_ref()) {
            "" | "Equal" => text(toleration.value.as_ref()) == text(taint.value.as_ref()),
            operator => operator == "Exists",
        }
}

/// Whether the toleration covers the taint by the size of its value.
fn compares(toleration: &Toleration, taint: &Taint) -> bool {
    let number = |value: Option<&String>| {
        let (text, number) = (text(value), text(value).parse::<i64>().ok()?);
        // Neither a plus sign nor leading zeros.
        (number.to_string() == text).then_some(number)
    };
    let (Some(limit), Some(value)) =
        (number(toleration.value.as_ref()), number(taint.value.as_ref()))
    else {
        return false;
    };
    concerns(toleration, taint)
        && match text(toleration.operator.as_ref()) {
            "Lt" => value < limit,
            operator => operator == "Gt" && value > limit,
        }
}

/// Whether the toleration of a claim covers the taint of a device. An empty effect or key covers every one.
#[must_use]
pub fn tolerates_device_taint(toleration: &DeviceToleration, taint: &DeviceTaint) -> bool {
    let suits = |own: &Option<String>, other: &str| {
        own.as_deref().is_none_or(|own| own.is_empty() || own == other)
    };
    suits(&toleration.effect, &taint.effect)
        && suits(&toleration.key, &taint.key)
        && match toleration.operator.as_deref() {
            None | Some("" | "Equal") => {
                let value = |own: &Option<String>| own.clone().unwrap_or_default();
                value(&toleration.value) == value(&taint.value)
            }
            Some(operator) => operator == "Exists",
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toleration(key: &str, operator: &str, value: &str, effect: &str) -> Toleration {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Toleration {
            key: text(key),
            operator: text(operator),
            value: text(value),
            effect: text(effect),
            toleration_seconds: None,
        }
    }

    #[test]
    fn empty_parts_cover_everything() {
        let taint = Taint {
            key: "k".into(),
            value: Some("v".into()),
            effect: "NoExecute".into(),
            time_added: None,
        };
        let table = [
            (toleration("", "Exists", "", ""), true),
            (toleration("k", "Exists", "", "NoExecute"), true),
            (toleration("k", "", "v", ""), true),
            (toleration("k", "Equal", "w", ""), false),
            (toleration("x", "Exists", "", ""), false),
            (toleration("k", "Exists", "", "NoSchedule"), false),
        ];
        for (toleration, expected) in table {
            assert_eq!(tolerates_taint(&toleration, &taint), expected, "{toleration:?}");
        }
        assert!(first_untolerated(std::slice::from_ref(&taint), &[], &["NoSchedule"]).is_none());
        assert_eq!(
            first_untolerated(std::slice::from_ref(&taint), &[], &["NoExecute"]),
            Some(&taint)
        );
    }

    #[test]
    fn numbers_are_compared_where_that_is_wanted() {
        let taint = |value: &str| Taint {
            key: "k".into(),
            value: Some(value.into()),
            effect: "NoSchedule".into(),
            time_added: None,
        };
        for (operator, limit, value, expected) in [
            ("Lt", "10", "9", true),
            ("Lt", "10", "10", false),
            ("Gt", "-5", "-4", true),
            ("Gt", "10", "10", false),
            ("Gt", "10", "011", false),
            ("Gt", "+1", "2", false),
            ("Gt", "1", "", false),
            ("Gt", "1", "99999999999999999999", false),
        ] {
            let own = [toleration("k", operator, limit, "")];
            let covers = |comparing| tolerates_comparing(&own, &taint(value), comparing);
            assert_eq!(covers(true), expected, "{value} {operator} {limit}");
            assert!(!covers(false), "{value} {operator} {limit}");
        }
        let (own, taints) = ([toleration("k", "Lt", "10", "")], [taint("9"), taint("10")]);
        let found =
            |comparing| first_untolerated_comparing(&taints, &own, &["NoSchedule"], comparing);
        assert_eq!((found(true), found(false)), (Some(&taints[1]), Some(&taints[0])));
        let other = [toleration("x", "Lt", "10", ""), toleration("k", "Lt", "10", "NoExecute")];
        assert!(!tolerates_comparing(&other, &taint("9"), true));
        assert!(tolerates_comparing(&[toleration("k", "Exists", "", "")], &taint("a"), false));
    }
}
