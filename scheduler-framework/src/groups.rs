//! Pods that are scheduled together: the API's PodGroup, and what is known of each group's pods.

use crate::PodInfo;
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{PodResourceClaim, PodResourceClaimStatus},
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// A PodGroup of `scheduling.k8s.io/v1alpha2`, as far as a scheduler cares; its form still changes from version to
/// version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PodGroupObject {
    /// Its name and namespace.
    pub metadata: ObjectMeta,
    /// What is wanted.
    #[serde(default)]
    pub spec: PodGroupSpec,
    /// How it stands.
    #[serde(default)]
    pub status: PodGroupStatus,
}

/// What a PodGroup wants.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodGroupSpec {
    /// How its pods are placed.
    pub scheduling_policy: GroupPolicy,
    /// Where they may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduling_constraints: Option<GroupConstraints>,
    /// Claims for devices that its pods have together (KEP-5729).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_claims: Vec<PodResourceClaim>,
    /// Whether its pods have to leave together: `PodGroup`, or each for itself: `Pod`, as without it (KEP-5710).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disruption_mode: Option<String>,
    /// What it is worth as a whole, whatever its pods are; zero without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
}

/// One of the ways in which pods of a group are placed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroupPolicy {
    /// All, or at least so many, or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gang: Option<GangPolicy>,
}

/// All or nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GangPolicy {
    /// How many pods must be placed at once.
    pub min_count: i32,
}

/// Where the pods of a group may be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroupConstraints {
    /// On nodes with one value of these labels.
    pub topology: Vec<GroupTopology>,
}

/// One place for all pods of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroupTopology {
    /// The label of nodes.
    pub key: String,
}

/// How a PodGroup stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodGroupStatus {
    /// `PodGroupScheduled` among them.
    pub conditions: Vec<Condition>,
    /// The claims that were made for it by templates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_claim_statuses: Vec<PodResourceClaimStatus>,
}

impl kube::Resource for PodGroupObject {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "PodGroup".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "scheduling.k8s.io".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1alpha2".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "podgroups".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl PodInfo {
    /// `namespace/name` of the group it belongs to, if any.
    #[must_use]
    pub fn group(&self) -> Option<String> {
        let group = self.spec().scheduling_group.as_ref()?;
        let name = group.pod_group_name.as_deref()?;
        Some(format!("{}/{name}", self.namespace()))
    }
}

/// What pods of a group have in common while they are placed in one go.
#[derive(Debug, Default)]
pub(crate) struct GroupCycle {
    /// Whether pods of the group had a node before.
    pub(crate) has_placed: bool,
    /// Whether it is only asked if there is room: nobody makes any.
    pub(crate) in_thought: bool,
    /// The uids of the claims that got devices in this cycle, and wait to be written.
    pub(crate) claims: Mutex<HashSet<String>>,
}

/// The pods of one group.
#[derive(Debug, Clone, Default)]
pub(crate) struct Members {
    /// Those without a node, by uid.
    pub(crate) waiting: BTreeMap<String, Arc<PodInfo>>,
    /// Those with one, assumed or bound.
    pub(crate) placed: BTreeMap<String, (Arc<PodInfo>, String)>,
}

/// The pods of one group at one moment, by uid, in the order of their uids: what [`Handle`](crate::Handle) tells plugins
/// of them.
#[derive(Debug, Clone, Default)]
pub struct GroupMembers(Arc<Members>);

impl GroupMembers {
    pub(crate) fn new(members: Arc<Members>) -> Self {
        Self(members)
    }

    /// Those without a node, also such as a PreEnqueue plugin holds back.
    pub fn waiting(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.waiting.keys().map(String::as_str)
    }

    /// Those with a node, assumed or bound.
    pub fn placed(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.placed.keys().map(String::as_str)
    }
}

/// The pods of all groups, as the scheduling loop has them.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    all: Mutex<HashMap<String, Arc<Members>>>,
    /// The one that is placed as a whole now.
    placing: Mutex<Option<String>>,
}

impl Groups {
    /// A group is placed as a whole from now on, or none is any more.
    pub(crate) fn set_placing(&self, group: Option<&str>) {
        *self.placing.lock() = group.map(str::to_owned);
    }

    /// Whether a group is placed as a whole now, so that each of its pods is tried in any case.
    pub(crate) fn is_placing(&self, group: &str) -> bool {
        self.placing.lock().as_deref() == Some(group)
    }

    /// A pod is there, on a node or not yet.
    pub(crate) fn set(&self, pod: &Arc<PodInfo>, node: Option<&str>) {
        let Some(group) = pod.group() else { return };
        let mut all = self.all.lock();
        // Whoever looks at the members as they were keeps them so.
        let members = Arc::make_mut(all.entry(group).or_default());
        let uid = pod.uid().to_owned();
        match node {
            Some(node) => {
                members.waiting.remove(&uid);
                members.placed.insert(uid, (pod.clone(), node.to_owned()));
            }
            None => {
                members.placed.remove(&uid);
                members.waiting.insert(uid, pod.clone());
            }
        }
    }

    /// A pod is gone.
    pub(crate) fn remove(&self, pod: &PodInfo) {
        let Some(group) = pod.group() else { return };
        let mut all = self.all.lock();
        let Some(members) = all.get_mut(&group).map(Arc::make_mut) else { return };
        members.waiting.remove(pod.uid());
        members.placed.remove(pod.uid());
        if members.waiting.is_empty() && members.placed.is_empty() {
            all.remove(&group);
        }
    }

    /// The pods of a group.
    pub(crate) fn members(&self, group: &str) -> Arc<Members> {
        self.all.lock().get(group).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(uid: &str) -> Arc<PodInfo> {
        let pod = json!({"metadata": {"namespace": "n", "name": uid, "uid": uid},
            "spec": {"containers": [], "schedulingGroup": {"podGroupName": "g"}}});
        Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
    }

    #[test]
    fn one_group_at_a_time_is_placed_as_a_whole() {
        let groups = Groups::default();
        groups.set_placing(Some("n/g"));
        assert!(groups.is_placing("n/g") && !groups.is_placing("n/other"));
        groups.set_placing(None);
        assert!(!groups.is_placing("n/g"));
    }

    #[test]
    fn members_are_those_of_the_moment_they_were_asked_for() {
        let groups = Groups::default();
        groups.set(&pod("b"), None);
        groups.set(&pod("a"), None);
        let before = GroupMembers::new(groups.members("n/g"));
        assert_eq!(before.waiting().collect::<Vec<_>>(), ["a", "b"]);
        groups.set(&pod("a"), Some("node"));
        groups.remove(&pod("b"));
        let after = GroupMembers::new(groups.members("n/g"));
        assert_eq!((after.waiting().len(), after.placed().collect::<Vec<_>>()), (0, vec!["a"]));
        assert_eq!((before.waiting().len(), before.placed().len()), (2, 0));
        let nobody = GroupMembers::new(groups.members("n/other"));
        assert_eq!((nobody.waiting().len(), nobody.placed().len()), (0, 0));
    }
}
