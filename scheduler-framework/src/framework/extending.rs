use super::{EXTENDER, Failure, Framework};
use crate::{Diagnosis, NodeInfo, PodInfo, Refusal, Snapshot, extender::Filtered};
use std::sync::Arc;

impl Framework {
    /// Which of some nodes extenders leave.
    pub(super) async fn filter_outside(
        &self,
        pod: &PodInfo,
        nodes: &Snapshot,
        mut found: Vec<Arc<NodeInfo>>,
        diagnosis: &mut Diagnosis,
    ) -> Result<Vec<Arc<NodeInfo>>, Failure> {
        for extender in self.extenders(pod) {
            if found.is_empty() {
                break;
            }
            match extender.filter(pod, found.clone()).await {
                Ok(Filtered { nodes: left, refused }) => {
                    if left.len() != found.len() {
                        diagnosis.plugins.insert(EXTENDER);
                    }
                    for (node, why, resolvable) in refused {
                        let refusal = Refusal { plugin: EXTENDER, reasons: vec![why], resolvable };
                        diagnosis.refuse(nodes.index(&node), &refusal);
                    }
                    found = left;
                }
                Err(error) if extender.is_ignorable() => {
                    tracing::info!(extender = extender.url(), error, "extender skipped");
                }
                Err(error) => return Err(Failure::Error(error)),
            }
        }
        Ok(found)
    }
}
