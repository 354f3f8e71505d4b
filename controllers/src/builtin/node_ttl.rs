use crate::{Action, Context, Controller, Error, Sources, error::unless_gone};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use kubeplane_client::{Change, ObjectKey};
use parking_lot::Mutex;
use serde_json::json;
use std::sync::Arc;

const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";

/// From how many nodes to how many, kubelets may believe what they know of Secrets and ConfigMaps for how many
/// seconds. The steps overlap, so that a cluster at the edge of one does not go back and forth.
const STEPS: [(usize, usize, u32); 5] =
    [(0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, usize::MAX, 300)];

/// Tells kubelets by an annotation how long they may believe what they know: longer in larger clusters.
pub(super) struct NodeTtl {
    step: Arc<Mutex<usize>>,
}

impl NodeTtl {
    pub(super) fn new() -> Self {
        Self { step: Arc::default() }
    }
}

/// The step for a number of nodes, coming from another one.
fn next(mut step: usize, nodes: usize) -> usize {
    while nodes > STEPS[step].1 {
        step += 1;
    }
    while nodes < STEPS[step].0 {
        step -= 1;
    }
    step
}

#[async_trait]
impl Controller for NodeTtl {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "ttl-controller"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        let (nodes, step) = (sources.informer::<Node>(), self.step.clone());
        sources.watch::<Node>(move |change| {
            let mut step = step.lock();
            let before = *step;
            if !matches!(change, Change::Updated { .. }) {
                *step = next(before, nodes.len());
            }
            match *step == before {
                true => vec![ObjectKey::of(&**change.object())],
                false => nodes.list().iter().map(|node| ObjectKey::of(&**node)).collect(),
            }
        });
    }

    async fn reconcile(&self, key: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let Some(node) = context.informers().of::<Node>().get("", &key.name) else {
            return Ok(Action::Done);
        };
        let wanted = STEPS[*self.step.lock()].2;
        let present = node.metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION));
        if present.and_then(|text| text.parse().ok()) == Some(wanted) {
            return Ok(Action::Done);
        }
        let patch = json!({"metadata": {"annotations": {ANNOTATION: wanted.to_string()}}});
        let api: Api<Node> = Api::all(context.client());
        let params = PatchParams::default();
        unless_gone(api.patch(&key.name, &params, &Patch::Strategic(patch)).await)?;
        Ok(Action::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_overlap() {
        assert_eq!(next(0, 100), 0);
        assert_eq!(next(0, 101), 1);
        assert_eq!(next(1, 90), 1);
        assert_eq!(next(1, 89), 0);
        assert_eq!(next(0, 5000), 4);
        assert_eq!(next(4, 10), 0);
    }
}
