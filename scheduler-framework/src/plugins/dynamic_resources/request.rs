use k8s_openapi::{
    api::resource::v1::{
        CapacityRequirements, DeviceRequest, DeviceSelector, DeviceSubRequest, DeviceTaint,
        DeviceToleration,
    },
    apimachinery::pkg::api::resource::Quantity,
};
use kubeplane_workload::tolerates_device_taint;
use std::collections::BTreeMap;

/// One request of a claim, or one of its alternatives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) name: &'a str,
    /// The request of which it is an alternative.
    pub(super) parent: Option<&'a str>,
    pub(super) class: &'a str,
    mode: Option<&'a str>,
    count: Option<i64>,
    pub(super) admin: bool,
    pub(super) selectors: &'a [DeviceSelector],
    pub(super) tolerations: Option<&'a Vec<DeviceToleration>>,
    capacity: Option<&'a CapacityRequirements>,
}

impl<'a> Request<'a> {
    /// The alternatives of a request, best first; one if there is no choice.
    pub(super) fn alternatives(own: &'a DeviceRequest) -> Vec<Self> {
        let chosen = own.first_available.iter().flatten();
        let mut all: Vec<_> = chosen.map(|sub| Self::alternative(&own.name, sub)).collect();
        if let Some(exactly) = own.exactly.as_ref().filter(|_| all.is_empty()) {
            all.push(Self {
                name: &own.name,
                parent: None,
                class: &exactly.device_class_name,
                mode: exactly.allocation_mode.as_deref(),
                count: exactly.count,
                admin: exactly.admin_access == Some(true),
                selectors: exactly.selectors.as_deref().unwrap_or_default(),
                tolerations: exactly.tolerations.as_ref(),
                capacity: exactly.capacity.as_ref(),
            });
        }
        all
    }

    fn alternative(parent: &'a str, own: &'a DeviceSubRequest) -> Self {
        Self {
            name: &own.name,
            parent: Some(parent),
            class: &own.device_class_name,
            mode: own.allocation_mode.as_deref(),
            count: own.count,
            admin: false,
            selectors: own.selectors.as_deref().unwrap_or_default(),
            tolerations: own.tolerations.as_ref(),
            capacity: own.capacity.as_ref(),
        }
    }

    /// The name of the request, also of one with alternatives.
    pub(super) fn base_name(&self) -> &'a str {
        self.parent.unwrap_or(self.name)
    }

    /// `request` or `request/alternative`.
    pub(super) fn full_name(&self) -> String {
        match self.parent {
            Some(parent) => format!("{parent}/{}", self.name),
            None => self.name.to_owned(),
        }
    }

    /// Whether it wants every device that there is.
    pub(super) fn wants_all(&self) -> bool {
        self.mode == Some("All")
    }

    /// How many devices it wants; `Err` with the mode when that is not known.
    pub(super) fn count(&self) -> Result<usize, &'a str> {
        match self.mode {
            None | Some("ExactCount") => {
                Ok(usize::try_from(self.count.unwrap_or(1)).unwrap_or(usize::MAX))
            }
            Some(other) => Err(other),
        }
    }

    /// Whether it says how much it wants of each device.
    pub(super) fn wants_capacity(&self) -> bool {
        self.capacity.is_some()
    }

    /// What it wants of each device.
    pub(super) fn capacity(&self) -> Option<&'a BTreeMap<String, Quantity>> {
        self.capacity.and_then(|own| own.requests.as_ref())
    }

    /// Whether it takes a device in spite of its taints.
    pub(super) fn tolerates(&self, taints: Option<&Vec<DeviceTaint>>) -> bool {
        let matters =
            |taint: &&DeviceTaint| matches!(taint.effect.as_str(), "NoExecute" | "NoSchedule");
        taints.into_iter().flatten().filter(matters).all(|taint| {
            let tolerations = self.tolerations.into_iter().flatten();
            tolerations.into_iter().any(|own| tolerates_device_taint(own, taint))
        })
    }
}
