//! DeviceTaintRules (KEP-5055): taints that administrators put on devices, beside those of the devices' drivers.

use k8s_openapi::{
    ClusterResourceScope, Metadata, Resource,
    api::resource::v1::{Device, DeviceTaint, ResourceSlice},
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta},
};
use serde::{Deserialize, Serialize};

/// A DeviceTaintRule of `resource.k8s.io/v1beta2`; the API is served when it is asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceTaintRule {
    /// Its name.
    pub metadata: ObjectMeta,
    /// Which devices have which taint.
    #[serde(default)]
    pub spec: DeviceTaintRuleSpec,
    /// What follows from it.
    #[serde(default)]
    pub status: DeviceTaintRuleStatus,
}

/// Which devices have which taint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceTaintRuleSpec {
    /// The devices. Without it no pod is evicted, and yet all devices have the taint: the original's scheduler does not hold with
    /// what is documented of its API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_selector: Option<DeviceTaintSelector>,
    /// Their taint.
    pub taint: DeviceTaint,
}

/// Devices that have everything that is said here; all devices when nothing is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceTaintSelector {
    /// Of this driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Of pools of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// What follows from a rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceTaintRuleStatus {
    /// `EvictionInProgress` among them.
    pub conditions: Vec<Condition>,
}

impl Resource for DeviceTaintRule {
    type Scope = ClusterResourceScope;
    const API_VERSION: &'static str = "resource.k8s.io/v1beta2";
    const GROUP: &'static str = "resource.k8s.io";
    const KIND: &'static str = "DeviceTaintRule";
    const URL_PATH_SEGMENT: &'static str = "devicetaintrules";
    const VERSION: &'static str = "v1beta2";
}

impl Metadata for DeviceTaintRule {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl DeviceTaintRule {
    /// Whether pods with this device are evicted by the rule's taint, if that asks for it.
    #[must_use]
    pub fn selects(&self, driver: &str, pool: &str, device: &str) -> bool {
        let suits =
            |own: &Option<String>, other: &str| own.as_deref().is_none_or(|own| own == other);
        self.spec.device_selector.as_ref().is_some_and(|own| {
            suits(&own.driver, driver) && suits(&own.pool, pool) && suits(&own.device, device)
        })
    }

    /// Whether this device has the rule's taint when devices are given out.
    #[must_use]
    pub fn taints(&self, driver: &str, pool: &str, device: &str) -> bool {
        self.spec.device_selector.is_none() || self.selects(driver, pool, device)
    }

    /// Whether a device of this slice [has the rule's taint](Self::taints).
    #[must_use]
    pub fn concerns(&self, slice: &ResourceSlice) -> bool {
        let (driver, pool) = (&slice.spec.driver, &slice.spec.pool.name);
        slice.spec.devices.iter().flatten().any(|device| self.taints(driver, pool, &device.name))
    }
}

/// The slice with what rules add to the taints of its devices; `None` where they add nothing.
#[must_use]
pub fn with_rules(slice: &ResourceSlice, rules: &[&DeviceTaintRule]) -> Option<ResourceSlice> {
    let concerned = rules.iter().any(|rule| rule.concerns(slice));
    let mut tainted = concerned.then(|| slice.clone())?;
    let (driver, pool) = (&slice.spec.driver, &slice.spec.pool.name);
    let add = |device: &mut Device| {
        let added = rules.iter().filter(|rule| rule.taints(driver, pool, &device.name));
        let added: Vec<_> = added.map(|rule| rule.spec.taint.clone()).collect();
        if !added.is_empty() {
            device.taints.get_or_insert_default().extend(added);
        }
    };
    tainted.spec.devices.iter_mut().flatten().for_each(add);
    Some(tainted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn rule(selector: Value) -> DeviceTaintRule {
        let taint = json!({"key": "example.com/bad", "effect": "NoSchedule"});
        let mut spec = json!({"taint": taint});
        if !selector.is_null() {
            spec["deviceSelector"] = selector;
        }
        let rule = json!({"apiVersion": "resource.k8s.io/v1beta2", "kind": "DeviceTaintRule",
            "metadata": {"name": "r"}, "spec": spec});
        serde_json::from_value(rule).unwrap()
    }

    #[test]
    fn a_rule_selects_what_has_all_it_says_and_nothing_without_a_selector() {
        let table = [
            (json!(null), false),
            (json!({}), true),
            (json!({"driver": "d"}), true),
            (json!({"driver": "other"}), false),
            (json!({"driver": "d", "pool": "p", "device": "x"}), true),
            (json!({"pool": "p", "device": "y"}), false),
        ];
        for (selector, expected) in table {
            assert_eq!(rule(selector.clone()).selects("d", "p", "x"), expected, "{selector}");
        }
    }

    #[test]
    fn rules_add_their_taints_to_those_of_the_driver() {
        let taint = json!({"key": "own", "effect": "None"});
        let slice = json!({"metadata": {"name": "s"}, "spec": {"driver": "d", "nodeName": "n",
            "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
            "devices": [{"name": "x", "taints": [taint]}, {"name": "y"}]}});
        let slice: ResourceSlice = serde_json::from_value(slice).unwrap();
        let keys = |slice: &ResourceSlice| -> Vec<Vec<String>> {
            let devices = slice.spec.devices.iter().flatten();
            let keys = devices.map(|device| {
                device.taints.iter().flatten().map(|taint| taint.key.clone()).collect()
            });
            keys.collect()
        };
        let (one, all) = (rule(json!({"device": "x"})), rule(json!({"driver": "d"})));
        let tainted = with_rules(&slice, &[&one, &all]).unwrap();
        let both = vec!["own", "example.com/bad", "example.com/bad"];
        assert_eq!(keys(&tainted), [both, vec!["example.com/bad"]]);
        assert!(with_rules(&slice, &[&rule(json!({"driver": "other"}))]).is_none());
        let unsaid = with_rules(&slice, &[&rule(json!(null))]).unwrap();
        assert_eq!(keys(&unsaid), [vec!["own", "example.com/bad"], vec!["example.com/bad"]]);
        assert!(with_rules(&slice, &[]).is_none());
    }
}
