//! What a request takes of a device that several may share.

use super::devices::Capacity;
use k8s_openapi::{
    api::resource::v1::{CapacityRequestPolicy, CapacityRequestPolicyRange, DeviceCapacity},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use kubeplane_core::quantity::{Format, Quantity};
use std::collections::BTreeMap;

type Wanted = BTreeMap<String, ApiQuantity>;
type Offered = BTreeMap<String, DeviceCapacity>;

/// What a request takes of each capacity, rounded up as the device wants it.
pub(super) fn consumed(wanted: Option<&Wanted>, offered: &Offered) -> Capacity {
    let each = offered.iter().map(|(name, capacity)| {
        let wanted = wanted.and_then(|own| own.get(name)).map(Quantity::from_api);
        (name.clone(), taken(wanted, capacity))
    });
    each.collect()
}

fn taken(wanted: Option<Quantity>, capacity: &DeviceCapacity) -> Quantity {
    let policy = capacity.request_policy.as_ref();
    let Some(wanted) = wanted else {
        let default = policy.and_then(|own| own.default.as_ref());
        return Quantity::from_api(default.unwrap_or(&capacity.value));
    };
    let Some(policy) = policy else { return wanted };
    if let Some(range) = &policy.valid_range {
        return within(wanted, range);
    }
    let valid = policy.valid_values.iter().flatten().map(Quantity::from_api);
    valid.into_iter().find(|value| wanted <= *value).unwrap_or(wanted)
}

/// The next amount of a range.
fn within(wanted: Quantity, range: &CapacityRequestPolicyRange) -> Quantity {
    let least = Quantity::from_api(&range.min);
    if wanted < least {
        return least;
    }
    let step = range.step.as_ref().map_or(0, |own| Quantity::from_api(own).value());
    if step == 0 {
        return wanted;
    }
    let steps = (wanted.value() - least.value()).max(0);
    let steps = steps / step + i64::from(steps % step != 0);
    Quantity::new(least.value() + step * steps, Format::BinarySi)
}

/// Whether an amount is none that the device gives out.
fn violates(amount: &Quantity, policy: &CapacityRequestPolicy) -> bool {
    if policy.default.as_ref().is_some_and(|own| Quantity::from_api(own) == *amount) {
        return false;
    }
    if let Some(range) = &policy.valid_range {
        if range.max.as_ref().is_some_and(|most| *amount > Quantity::from_api(most)) {
            return true;
        }
        let step = range.step.as_ref().map_or(0, |own| Quantity::from_api(own).value());
        return step != 0 && (amount.value() - Quantity::from_api(&range.min).value()) % step != 0;
    }
    let mut valid = policy.valid_values.iter().flatten().peekable();
    valid.peek().is_some() && !valid.any(|own| Quantity::from_api(own) == *amount)
}

/// Whether a device has room for a request beside what others `have` and are about to get (`more`).
pub(super) fn has_room(
    wanted: Option<&Wanted>,
    offered: Option<&Offered>,
    have: Option<&Capacity>,
    more: Option<&Capacity>,
) -> bool {
    let none = Offered::new();
    let offered = offered.unwrap_or(&none);
    if wanted.into_iter().flatten().any(|(name, _)| !offered.contains_key(name)) {
        return false;
    }
    consumed(wanted, offered).into_iter().all(|(name, mut amount)| {
        let capacity = &offered[&name];
        if capacity.request_policy.as_ref().is_some_and(|policy| violates(&amount, policy)) {
            return false;
        }
        for others in [have, more].into_iter().flatten() {
            if let Some(own) = others.get(&name) {
                amount.add(own);
            }
        }
        amount <= Quantity::from_api(&capacity.value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn offered(capacity: &Value) -> Offered {
        serde_json::from_value(json!({"memory": capacity})).unwrap()
    }

    fn taken_of(wanted: Option<&str>, capacity: &Value) -> String {
        let wanted = wanted.map(|own| Wanted::from([("memory".into(), ApiQuantity(own.into()))]));
        consumed(wanted.as_ref(), &offered(capacity))["memory"].to_string()
    }

    #[test]
    fn requests_are_rounded_up_as_the_policy_says() {
        let plain = json!({"value": "10Gi"});
        let range = json!({"value": "10Gi", "requestPolicy": {"default": "2Gi",
            "validRange": {"min": "2Gi", "step": "2Gi", "max": "6Gi"}}});
        let values = json!({"value": "10Gi", "requestPolicy": {"default": "1Gi",
            "validValues": ["1Gi", "4Gi"]}});
        for (wanted, capacity, expected) in [
            (None, &plain, "10Gi"),
            (Some("3Gi"), &plain, "3Gi"),
            (None, &range, "2Gi"),
            (Some("1Gi"), &range, "2Gi"),
            (Some("3Gi"), &range, "4Gi"),
            (Some("4Gi"), &range, "4Gi"),
            (Some("2Gi"), &values, "4Gi"),
            (Some("5Gi"), &values, "5Gi"),
        ] {
            assert_eq!(taken_of(wanted, capacity), expected, "{wanted:?} of {capacity}");
        }
    }

    #[test]
    fn there_is_room_for_what_the_policy_allows_and_others_leave() {
        let wanted = |amount: &str| Wanted::from([("memory".into(), ApiQuantity(amount.into()))]);
        let have = |amount: &str| Capacity::from([("memory".into(), amount.parse().unwrap())]);
        let range = offered(&json!({"value": "10Gi", "requestPolicy": {"default": "2Gi",
            "validRange": {"min": "2Gi", "step": "2Gi", "max": "6Gi"}}}));
        let fits = |amount: &str, others: Option<&Capacity>, more: Option<&Capacity>| {
            has_room(Some(&wanted(amount)), Some(&range), others, more)
        };
        assert!(fits("5Gi", None, None));
        assert!(!fits("7Gi", None, None), "more than the policy's maximum");
        assert!(fits("4Gi", Some(&have("6Gi")), None));
        assert!(!fits("4Gi", Some(&have("6Gi")), Some(&have("1Gi"))));
        let unknown = Wanted::from([("bandwidth".into(), ApiQuantity("1".into()))]);
        assert!(!has_room(Some(&unknown), Some(&range), None, None));
    }
}
