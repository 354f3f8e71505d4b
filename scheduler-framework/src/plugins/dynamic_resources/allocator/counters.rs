use super::super::pools::{CounterSets, Pool, devices};
use super::Allocated;
use k8s_openapi::api::resource::v1::Device;
use kubeplane_core::quantity::Quantity;

/// What is left of the counters of a pool.
#[derive(Debug)]
pub(super) struct Counters {
    left: CounterSets,
}

impl Counters {
    /// Without what allocated devices consume.
    pub(super) fn new(pool: &Pool, allocated: &Allocated) -> Self {
        let mut counters = Self { left: pool.counters.clone() };
        let all = pool.slices.iter().chain(&pool.elsewhere).flat_map(|slice| devices(slice));
        for device in all.filter(|device| allocated.is_used(pool.id(&device.name))) {
            counters.change(device, Quantity::sub);
        }
        counters
    }

    fn change(&mut self, device: &Device, by: impl Fn(&mut Quantity, &Quantity)) {
        for own in device.consumes_counters.iter().flatten() {
            let Some(set) = self.left.get_mut(&own.counter_set) else { continue };
            for (name, counter) in &own.counters {
                if let Some(left) = set.get_mut(name) {
                    by(left, &Quantity::from_api(&counter.value));
                }
            }
        }
    }

    /// Takes what a device consumes; `false`, and nothing taken, when there is too little.
    pub(super) fn take(&mut self, device: &Device) -> bool {
        self.change(device, Quantity::sub);
        let short = self.left.values().flat_map(|set| set.values()).any(|left| left.sign() < 0);
        if short {
            self.give_back(device);
        }
        !short
    }

    pub(super) fn give_back(&mut self, device: &Device) {
        self.change(device, Quantity::add);
    }
}
