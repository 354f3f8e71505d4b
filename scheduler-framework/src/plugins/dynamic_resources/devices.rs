use k8s_openapi::api::resource::v1::{DeviceRequestAllocationResult, ResourceClaim};
use kubeplane_core::quantity::Quantity;
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

/// Amounts by the name of what there is so much of.
pub(super) type Capacity = BTreeMap<String, Quantity>;

/// Which device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DeviceId<'a> {
    pub(super) driver: &'a str,
    pub(super) pool: &'a str,
    pub(super) device: &'a str,
}

impl fmt::Display for DeviceId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.driver, self.pool, self.device)
    }
}

/// What of a device is allocated.
#[derive(Debug, Clone, Default)]
pub(super) struct Taken {
    /// How many claims have it for themselves.
    alone: usize,
    /// How many claims share it.
    shared: usize,
    /// What they consume of it.
    consumed: Capacity,
}

/// The devices that are allocated, by driver, pool and name.
#[derive(Debug, Clone, Default)]
pub(super) struct Allocated {
    devices: HashMap<String, HashMap<String, HashMap<String, Taken>>>,
}

impl Allocated {
    fn find(&self, id: DeviceId<'_>) -> Option<&Taken> {
        self.devices.get(id.driver)?.get(id.pool)?.get(id.device)
    }

    /// Whether a claim has the device for itself.
    pub(super) fn is_taken(&self, id: DeviceId<'_>) -> bool {
        self.find(id).is_some_and(|own| own.alone > 0)
    }

    /// Whether any claim has or shares it.
    pub(super) fn is_used(&self, id: DeviceId<'_>) -> bool {
        self.find(id).is_some_and(|own| own.alone + own.shared > 0)
    }

    /// What those who share it consume, if something.
    pub(super) fn consumed(&self, id: DeviceId<'_>) -> Option<&Capacity> {
        self.find(id).map(|own| &own.consumed).filter(|own| !own.is_empty())
    }

    /// Takes in (`sign` 1) what a claim was given, or forgets it (-1). What only administrators look at counts not.
    fn change(&mut self, claim: &ResourceClaim, sign: i64) {
        for result in results(claim).iter().filter(|own| own.admin_access != Some(true)) {
            let pools = self.devices.entry(result.driver.clone()).or_default();
            let devices = pools.entry(result.pool.clone()).or_default();
            let taken = devices.entry(result.device.clone()).or_default();
            let count =
                if result.share_id.is_some() { &mut taken.shared } else { &mut taken.alone };
            *count = if sign > 0 { *count + 1 } else { count.saturating_sub(1) };
            if result.share_id.is_some() {
                for (name, amount) in result.consumed_capacity.iter().flatten() {
                    let amount = Quantity::from_api(amount);
                    let total = taken.consumed.entry(name.clone()).or_default();
                    if sign > 0 { total.add(&amount) } else { total.sub(&amount) }
                }
            }
            if taken.shared == 0 {
                taken.consumed.clear();
                if taken.alone == 0 {
                    devices.remove(&result.device);
                }
            }
        }
    }
}

/// The devices a claim was given.
pub(super) fn results(claim: &ResourceClaim) -> &[DeviceRequestAllocationResult] {
    let allocation = claim.status.as_ref().and_then(|status| status.allocation.as_ref());
    let devices = allocation.and_then(|own| own.devices.as_ref());
    devices.and_then(|own| own.results.as_deref()).unwrap_or_default()
}

fn given(claim: Option<&Arc<ResourceClaim>>) -> &[DeviceRequestAllocationResult] {
    claim.map(|own| results(own)).unwrap_or_default()
}

/// What all claims were given, counted again only for those that changed.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// By their uids.
    claims: HashMap<String, Arc<ResourceClaim>>,
    total: Arc<Allocated>,
}

impl Ledger {
    /// Counts a claim as it is now, in place of what it was before; `None` when it is gone.
    pub(super) fn set(&mut self, uid: &str, claim: Option<Arc<ResourceClaim>>) {
        let claim = claim.filter(|own| !results(own).is_empty());
        let old = match &claim {
            Some(claim) => self.claims.insert(uid.to_owned(), claim.clone()),
            None => self.claims.remove(uid),
        };
        if given(old.as_ref()) == given(claim.as_ref()) {
            return;
        }
        // Copied only while somebody looks at it.
        let total = Arc::make_mut(&mut self.total);
        if let Some(old) = old {
            total.change(&old, -1);
        }
        if let Some(claim) = claim {
            total.change(&claim, 1);
        }
    }

    /// What was counted under one uid counts under another, unless that has something by itself.
    pub(super) fn rename(&mut self, from: &str, to: &str) {
        if self.claims.contains_key(to) {
            return;
        }
        if let Some(claim) = self.claims.remove(from) {
            self.claims.insert(to.to_owned(), claim);
        }
    }

    /// The sum over all claims.
    pub(super) fn total(&self) -> Arc<Allocated> {
        self.total.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claim(uid: &str, results: &serde_json::Value) -> Arc<ResourceClaim> {
        let claim = json!({"metadata": {"uid": uid}, "spec": {},
            "status": {"allocation": {"devices": {"results": results}}}});
        Arc::new(serde_json::from_value(claim).unwrap())
    }

    #[test]
    fn devices_are_free_again_when_their_claims_are_gone() {
        let id = |device| DeviceId { driver: "d", pool: "p", device };
        let own =
            |device: &str| json!([{"driver": "d", "pool": "p", "device": device, "request": "r"}]);
        let share = |uid: &str, amount: &str| {
            claim(
                uid,
                &json!([{"driver": "d", "pool": "p", "device": "s", "request": "r",
                "shareID": uid, "consumedCapacity": {"memory": amount}}]),
            )
        };
        let mut ledger = Ledger::default();
        ledger.set("a", Some(claim("a", &own("x"))));
        ledger.set("b", Some(share("b", "1Gi")));
        ledger.set("c", Some(share("c", "2Gi")));
        let all = ledger.total();
        assert!(all.is_taken(id("x")) && !all.is_taken(id("s")) && all.is_used(id("s")));
        assert_eq!(all.consumed(id("s")).unwrap()["memory"].to_string(), "3Gi");
        ledger.set("a", Some(claim("a", &own("y"))));
        ledger.set("c", None);
        let moved = ledger.total();
        assert!(!moved.is_used(id("x")) && moved.is_taken(id("y")));
        assert_eq!(moved.consumed(id("s")).unwrap()["memory"].to_string(), "1Gi");
        ledger.rename("a", "z");
        assert!(ledger.total().is_taken(id("y")));
        for uid in ["a", "b", "z"] {
            ledger.set(uid, None);
        }
        let none = ledger.total();
        assert!(!none.is_used(id("y")) && none.consumed(id("s")).is_none());
        // Whoever looked before still sees what there was.
        assert!(all.is_taken(id("x")));
    }
}
