use crate::{CycleState, PodInfo};
use async_trait::async_trait;
use std::time::Duration;

/// Why a placed pod does not get its node after all. From a text it is an [`Error`](Self::Error).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// The plugin will not have the pod there. From Reserve it counts as refused by the plugin, with this reason, and is tried
    /// again after an event of it; from PreBind it is told the reason alone, and is tried again after a while.
    Unschedulable(String),
    /// Something failed, for this reason; the pod is tried again after a while.
    Error(String),
}

impl From<String> for Objection {
    fn from(why: String) -> Self {
        Self::Error(why)
    }
}

/// Keeps account of what a placement takes, from the decision until the pod is bound or given up.
pub trait Reserve: Send + Sync {
    /// The pod is to go to `node`.
    ///
    /// # Errors
    /// Ends the cycle; `unreserve` of all plugins is called.
    fn reserve(&self, state: &mut CycleState, pod: &PodInfo, node: &str) -> Result<(), Objection>;

    /// The pod will not go there. Called in reverse order, also for a plugin whose `reserve` was never
    /// called, so it must be idempotent.
    fn unreserve(&self, state: &mut CycleState, pod: &PodInfo, node: &str);
}

/// Whether a placed pod may be bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PermitVerdict {
    /// It may.
    Allow,
    /// It waits for `Framework::allow` or `reject`, at most this long, and a quarter of an hour in any case.
    Wait(Duration),
    /// It may not.
    Reject(String),
    /// The plugin failed; the pod is tried again after a while.
    Error(String),
}

/// Holds a placed pod back.
pub trait Permit: Send + Sync {
    /// Decides.
    fn permit(&self, state: &mut CycleState, pod: &PodInfo, node: &str) -> PermitVerdict;
}

/// What a preflight of PreBind says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreBindVerdict {
    /// There is work to do.
    Needed,
    /// There is none: PreBind is not called.
    Skip,
    /// The plugin failed; the pod is not bound, and tried again after a while. Without the gate
    /// `NominatedNodeNameForExpectation` nobody waits for that answer, and PreBind is called.
    Error(String),
}

/// Prepares the node before the pod is bound, as attaching volumes does.
#[async_trait]
pub trait PreBind: Send + Sync {
    /// Says quickly whether there is anything to do.
    fn preflight(&self, _state: &CycleState, _pod: &PodInfo, _node: &str) -> PreBindVerdict {
        PreBindVerdict::Needed
    }

    /// Whether [`pre_bind`](Self::pre_bind) may run for this pod beside that of the plugins next to this one in order which
    /// say so too. One that does not say so runs when all before it are done, and those after it wait for it; it also parts
    /// those around it when it is skipped.
    fn allows_parallel(&self, _state: &CycleState, _pod: &PodInfo, _node: &str) -> bool {
        false
    }

    /// Does it.
    ///
    /// # Errors
    /// The pod is not bound.
    ///
    /// # Cancellation
    /// May be dropped when the scheduler stops, another pod takes this one's place, or a plugin that runs beside it objects:
    /// then [`unreserve`](Reserve::unreserve) is called.
    async fn pre_bind(
        &self,
        state: &CycleState,
        pod: &PodInfo,
        node: &str,
    ) -> Result<(), Objection>;
}

/// What Bind did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindVerdict {
    /// The pod is bound.
    Bound,
    /// Not this plugin's to bind: the next one is asked.
    Skip,
    /// The plugin will not have it bound there, for this reason: the pod is told that, no other plugin is asked, and it is
    /// tried again after a while.
    Unschedulable(String),
    /// It could not be bound.
    Error(String),
}

/// Binds pods to nodes.
#[async_trait]
pub trait Bind: Send + Sync {
    /// Binds.
    ///
    /// # Cancellation
    /// The pod may or may not be bound.
    async fn bind(&self, state: &CycleState, pod: &PodInfo, node: &str) -> BindVerdict;
}

/// Is told of bound pods.
pub trait PostBind: Send + Sync {
    /// The pod is bound.
    fn post_bind(&self, state: &CycleState, pod: &PodInfo, node: &str);
}
