use kubeplane_core::features::Features;

/// What of the requests of pods as a whole counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestGates {
    /// Whether they do at all, and not those of the containers alone.
    pub(crate) whole: bool,
    /// Whether what the pod has, or was promised, counts while they are being changed in place.
    pub(crate) whole_resized: bool,
}

impl From<&Features> for RequestGates {
    fn from(features: &Features) -> Self {
        Self {
            whole: features.is_on("PodLevelResources"),
            whole_resized: features.is_on("InPlacePodLevelResourcesVerticalScaling"),
        }
    }
}

impl Default for RequestGates {
    /// As where nothing is said about the gates.
    fn default() -> Self {
        Self { whole: true, whole_resized: true }
    }
}
