use jiff::Timestamp;
use kubeplane_client::ObjectKey;
use kubeplane_core::Object;
use kubeplane_workload::{quota::Evaluator, resources::Resources};
use parking_lot::Mutex;
use std::collections::HashMap;

/// An object that went or takes less now.
#[derive(Debug, Clone)]
pub(super) struct Freeing {
    pub(super) evaluator: Evaluator,
    pub(super) before: Object,
    pub(super) after: Option<Object>,
}

impl Freeing {
    /// What a quota gets back.
    fn amounts(&self, quota: &Object, now: Timestamp) -> Resources {
        let left = self.evaluator.total(quota, &self.after, now);
        let mut freed = self.evaluator.total(quota, [&self.before], now);
        for (name, amount) in &mut freed {
            if let Some(left) = left.get(name) {
                amount.sub(left);
            }
        }
        freed.retain(|_, amount| amount.sign() > 0);
        freed
    }
}

/// What was seen to be given back to each quota and is not noted there yet.
#[derive(Debug, Default)]
pub(super) struct Freed(Mutex<HashMap<ObjectKey, Vec<Freeing>>>);

impl Freed {
    pub(super) fn add(&self, quota: ObjectKey, freeing: impl IntoIterator<Item = Freeing>) {
        self.0.lock().entry(quota).or_default().extend(freeing);
    }

    pub(super) fn take(&self, quota: &ObjectKey) -> Vec<Freeing> {
        self.0.lock().remove(quota).unwrap_or_default()
    }
}

/// What is left of what is noted once everything given back is taken off.
pub(super) fn less(
    noted: &Resources,
    freed: &[Freeing],
    quota: &Object,
    now: Timestamp,
) -> Resources {
    let mut left = noted.clone();
    for (name, amount) in freed.iter().flat_map(|freeing| freeing.amounts(quota, now)) {
        if let Some(left) = left.get_mut(&name) {
            left.sub(&amount);
        }
    }
    left
}
