use kubeplane_core::features::Features;

/// What of the allocation of devices is switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gates {
    /// Whether devices stand for extended resources.
    pub(super) extended: bool,
    /// Whether requests have alternatives.
    pub(super) alternatives: bool,
    /// Whether devices are parts of others: such ones consume counters, and say themselves which nodes they are for.
    pub(super) parts: bool,
    /// Whether taints keep claims away.
    pub(super) taints: bool,
    /// Whether devices are made ready after they were allocated.
    pub(super) conditions: bool,
    /// Whether several claims share a device.
    pub(super) shares: bool,
    /// Whether attributes of devices can be lists.
    pub(super) lists: bool,
    /// Whether a node is given up when it takes too long.
    pub(super) timeout: bool,
    /// Whether devices take of their node's own resources.
    pub(super) of_nodes: bool,
}

impl From<&Features> for Gates {
    fn from(features: &Features) -> Self {
        let all = |names: &[&str]| names.iter().all(|name| features.is_on(name));
        Self {
            extended: all(&["DRAExtendedResource"]),
            alternatives: all(&["DRAPrioritizedList"]),
            parts: all(&["DRAPartitionableDevices"]),
            taints: all(&["DRADeviceTaints"]),
            conditions: all(&["DRADeviceBindingConditions", "DRAResourceClaimDeviceStatus"]),
            shares: all(&["DRAConsumableCapacity"]),
            lists: all(&["DRAListTypeAttributes"]),
            timeout: all(&["DRASchedulerFilterTimeout"]),
            of_nodes: all(&["DRANodeAllocatableResources"]),
        }
    }
}

impl Default for Gates {
    fn default() -> Self {
        Self::from(&Features::default())
    }
}
