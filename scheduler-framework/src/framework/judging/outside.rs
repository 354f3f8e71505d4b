//! What extenders say of a pod that is only asked about.

use super::{EXTENDER, Judged};
use crate::{
    ExtenderOpinion, ExtenderTrace, Framework, NodeInfo, PluginRemark, PodInfo, Refusal, Snapshot,
    Trace,
    extender::{Extender, Filtered},
};
use std::{collections::BTreeMap, sync::Arc};

impl Framework {
    /// As [`trace`](Self::trace), and the extenders are asked too: which nodes they leave, and what they think of them.
    /// One that does not answer is told of, not an error.
    ///
    /// # Errors
    /// When a plugin fails.
    ///
    /// # Cancellation
    /// Without effect but for what extenders make of having been asked.
    pub async fn trace_asking_extenders(
        &self,
        pod: &PodInfo,
        nodes: &Snapshot,
    ) -> Result<Trace, String> {
        let mut judged = self.judged(pod, nodes)?;
        let deciding = self.extenders.iter().filter(|own| own.decides());
        let deciding: Vec<_> = deciding.cloned().collect();
        for extender in &deciding {
            let told = judged.filtered_by(extender, pod, nodes).await;
            judged.trace.extenders.push(told);
        }
        self.score_traced(&mut judged.state, pod, nodes, &mut judged.trace)?;
        for (index, extender) in deciding.iter().enumerate() {
            judged.scored_by(extender, index, pod, nodes).await;
        }
        Ok(judged.concluded())
    }
}

impl Judged {
    fn left(&self, nodes: &Snapshot) -> Vec<Arc<NodeInfo>> {
        let left = self.trace.nodes.iter().filter(|own| own.fits);
        left.filter_map(|own| nodes.node(&own.node)).cloned().collect()
    }

    /// Takes out the nodes that an extender refuses; all of them when it fails and may not.
    async fn filtered_by(
        &mut self,
        extender: &Extender,
        pod: &PodInfo,
        nodes: &Snapshot,
    ) -> ExtenderTrace {
        let url = extender.url().to_owned();
        let asked = extender.is_interested(pod);
        let mut told =
            ExtenderTrace { extender: url, weight: extender.factor(), asked, ..Default::default() };
        let left = self.left(nodes);
        if !asked || left.is_empty() {
            return told;
        }
        let names: Vec<_> = left.iter().map(|node| node.name().to_owned()).collect();
        let opinion = |node: &String| ExtenderOpinion {
            node: node.clone(),
            fits: true,
            says: None,
            score: None,
        };
        told.nodes = names.iter().map(opinion).collect();
        match extender.filter(pod, left).await {
            Ok(filtered) => self.take_out(filtered, nodes, &mut told),
            Err(error) => {
                if !extender.is_ignorable() {
                    let why = format!("{}: {error}", extender.url());
                    for own in self.trace.nodes.iter_mut().filter(|own| own.fits) {
                        own.fits = false;
                        own.refusals.push(PluginRemark { plugin: EXTENDER, says: why.clone() });
                    }
                    self.failure.get_or_insert_with(|| error.clone());
                }
                told.nodes.clear();
                told.error = Some(error);
            }
        }
        told
    }

    fn take_out(&mut self, filtered: Filtered, nodes: &Snapshot, told: &mut ExtenderTrace) {
        let Filtered { nodes: left, refused } = filtered;
        let mut whys = BTreeMap::new();
        for (node, why, resolvable) in refused {
            let refusal = Refusal { plugin: EXTENDER, reasons: vec![why.clone()], resolvable };
            self.diagnosis.refuse(nodes.index(&node), &refusal);
            whys.insert(node, why);
        }
        let stays = |name: &str| left.iter().any(|node| node.name() == name);
        for own in told.nodes.iter_mut().filter(|own| !stays(&own.node)) {
            own.fits = false;
            own.says = whys.remove(&own.node);
            let Some(node) = self.trace.nodes.iter_mut().find(|node| node.node == own.node) else {
                continue;
            };
            node.fits = false;
            let says =
                own.says.clone().unwrap_or_else(|| format!("{} leaves it out", told.extender));
            node.refusals.push(PluginRemark { plugin: EXTENDER, says });
        }
    }

    /// Adds what an extender thinks of the nodes that are left to what they have.
    async fn scored_by(
        &mut self,
        extender: &Extender,
        index: usize,
        pod: &PodInfo,
        nodes: &Snapshot,
    ) {
        let left = self.left(nodes);
        if left.is_empty() || !self.trace.extenders[index].asked {
            return;
        }
        let scores = match extender.opinions(pod, &left).await {
            Ok(None) => return,
            Ok(Some(scores)) => scores,
            Err(error) => {
                self.trace.extenders[index].error = Some(error);
                return;
            }
        };
        let told = &mut self.trace.extenders[index];
        for (node, score) in left.iter().zip(scores) {
            if let Some(own) = self.trace.nodes.iter_mut().find(|own| own.node == node.name()) {
                own.total = own.total.map(|total| total + score * extender.factor());
            }
            match told.nodes.iter_mut().find(|own| own.node == node.name()) {
                Some(own) => own.score = Some(score),
                None => told.nodes.push(ExtenderOpinion {
                    node: node.name().to_owned(),
                    fits: true,
                    says: None,
                    score: Some(score),
                }),
            }
        }
    }
}
