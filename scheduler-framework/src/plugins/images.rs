mod tracking;

use crate::{
    CycleState, MAX_SCORE, NodeInfo, PodInfo, PreScore, PreScoreVerdict, SchedulerPlugin, Score,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

const MIB: i64 = 1024 * 1024;
/// Less than this is not worth a thought.
const LEAST: i64 = 23 * MIB;
/// More than this per container does not count.
const MOST: i64 = 1000 * MIB;

/// Prefers nodes that have a pod's images already.
#[derive(Debug, Clone, Copy, Default)]
pub struct ImageLocality;

impl SchedulerPlugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn requeue_on(&self) -> Vec<crate::ClusterEvent> {
        Vec::new()
    }

    fn as_track(&self) -> Option<&dyn crate::Track> {
        Some(self)
    }

    fn as_pre_score(&self) -> Option<&dyn PreScore> {
        Some(self)
    }

    fn as_score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}

/// What the pod needs, and on how many nodes each image is.
struct Images {
    /// By name, as nodes report them.
    wanted: Vec<String>,
    containers: i64,
    spread: Arc<HashMap<String, i64>>,
    nodes: usize,
}

/// With the tag that an image without one has.
fn normalized(name: &str) -> String {
    let tagged = match (name.rfind(':'), name.rfind('/')) {
        (Some(colon), slash) => slash.is_none_or(|slash| colon > slash),
        (None, _) => false,
    };
    if tagged { name.to_owned() } else { format!("{name}:latest") }
}

fn sizes(node: &NodeInfo) -> BTreeMap<&str, i64> {
    let images = node.node().status.as_ref().and_then(|status| status.images.as_ref());
    let all = images.into_iter().flatten().flat_map(|image| {
        let size = image.size_bytes.unwrap_or_default();
        image.names.iter().flatten().map(move |name| (name.as_str(), size))
    });
    all.collect()
}

impl PreScore for ImageLocality {
    fn pre_score(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        _: &[Arc<NodeInfo>],
    ) -> PreScoreVerdict {
        let part = |node: &NodeInfo| sizes(node).into_keys().map(str::to_owned).collect::<Vec<_>>();
        let change = |total: &mut HashMap<String, i64>, names: &Vec<String>, sign| {
            for name in names {
                *total.entry(name.clone()).or_default() += sign;
            }
        };
        let snapshot = state.snapshot();
        let (spread, nodes) = (snapshot.tally("images", part, change), snapshot.nodes().len());
        let wanted: Vec<_> = wanted(pod)
            .map(normalized)
            .filter(|name| spread.get(name).is_some_and(|count| *count > 0))
            .collect();
        if wanted.is_empty() {
            return PreScoreVerdict::Skip;
        }
        let spec = pod.spec();
        let containers = spec.containers.len() + spec.init_containers.as_ref().map_or(0, Vec::len);
        let containers = i64::try_from(containers).unwrap_or(i64::MAX);
        state.insert_until_placed(Images { wanted, containers, spread, nodes });
        PreScoreVerdict::Continue
    }
}

impl Score for ImageLocality {
    fn score(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> i64 {
        let Some(images) = state.value::<Images>() else { return 0 };
        let there = sizes(node);
        let scaled = |name: &String| {
            let size = there.get(name.as_str())?;
            Some(share(*size, images.spread.get(name).copied().unwrap_or_default(), images.nodes))
        };
        rated(images.wanted.iter().filter_map(scaled).sum(), images.containers)
    }
}

/// The images that a pod needs, as it names them.
fn wanted(pod: &PodInfo) -> impl Iterator<Item = &str> {
    let spec = pod.spec();
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let volumes = spec.volumes.iter().flatten().filter_map(|volume| volume.image.as_ref());
    let named = containers.map(|container| container.image.as_deref());
    let named = named.chain(volumes.map(|image| image.reference.as_deref()));
    named.map(Option::unwrap_or_default)
}

/// The score of images that count so much.
fn rated(sum: i64, containers: i64) -> i64 {
    let most = (MOST * containers).max(LEAST + 1);
    MAX_SCORE * (sum.clamp(LEAST, most) - LEAST) / (most - LEAST)
}

/// An image counts the more the more nodes have it, so that few nodes do not draw all pods.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "in floating point, as the original does, for the same rounding"
)]
fn share(size: i64, having: i64, nodes: usize) -> i64 {
    (size as f64 * (having as f64 / nodes.max(1) as f64)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Snapshot,
        plugins::fixtures::{pod, scores},
    };
    use serde_json::json;

    fn node(name: &str, images: &[(&str, i64)]) -> Arc<NodeInfo> {
        let image = |(name, mib): &(&str, i64)| json!({"names": [name], "sizeBytes": mib * MIB});
        let images: Vec<_> = images.iter().map(image).collect();
        let value = json!({"metadata": {"name": name}, "status": {"images": images}});
        Arc::new(NodeInfo::new(Arc::new(serde_json::from_value(value).unwrap())))
    }

    #[test]
    fn large_images_that_many_nodes_have_count_most() {
        let of = |images: &[&str], nodes: &[Arc<NodeInfo>]| {
            let containers: Vec<_> =
                images.iter().map(|image| json!({"name": "c", "image": image})).collect();
            let own = pod("p", "", json!({"containers": containers}));
            scores(&ImageLocality, &own, &Snapshot::new(nodes.to_vec()), nodes)
        };
        let small = [("r.io/40:latest", 40), ("r.io/300:latest", 300)];
        let large = [("r.io/250:latest", 250), ("r.io/10:latest", 10)];
        let nodes = [node("a", &small), node("b", &large)];
        // Half of 40 MiB is too little; half of 250: (125 - 23) * 100 / (2 * 1000 - 23).
        assert_eq!(of(&["r.io/40", "r.io/250"], &nodes), Some(vec![0, 5]));
        // Half of 40 and 300: (170 - 23) * 100 / (2 * 1000 - 23).
        assert_eq!(of(&["r.io/40", "r.io/300"], &nodes), Some(vec![7, 0]));
        assert_eq!(of(&["r.io/10:latest", "r.io/2000"], &nodes), Some(vec![0, 0]));
        assert_eq!(of(&["r.io/none"], &nodes), None);
        let huge =
            [node("a", &[("r:5000/x:latest", 4000)]), node("b", &[("r:5000/x:latest", 4000)])];
        assert_eq!(of(&["r:5000/x"], &huge), Some(vec![100, 100]));
    }

    #[test]
    fn images_of_init_containers_and_volumes_count_too() {
        const SMALL: &[(&str, i64)] =
            &[("x/20:latest", 20), ("x/30:latest", 30), ("x/40:latest", 40)];
        const MIXED: &[(&str, i64)] =
            &[("x/40:latest", 40), ("x/300:latest", 300), ("x/2000:latest", 2000)];
        const LARGE: &[(&str, i64)] =
            &[("x/300:latest", 300), ("x/600:latest", 600), ("x/900:latest", 900)];
        const OTHERS: &[(&str, i64)] =
            &[("x/600:latest", 600), ("x/40:latest", 40), ("x/900:latest", 900)];
        const HUGE: &[(&str, i64)] = &[("x/4000:latest", 4000), ("x/30:latest", 30)];
        const LITTLE: &[(&str, i64)] = &[("x/250:latest", 250), ("x/10:latest", 10)];
        let of = |images: &[&str]| {
            let container = |image: &&str| json!({"name": "c", "image": image});
            json!({"containers": images.iter().map(container).collect::<Vec<_>>()})
        };
        let mut volume = of(&["x/30"]);
        volume["volumes"] = json!([{"name": "v", "image": {"reference": "x/300"}}]);
        let mut init = of(&["x/30"]);
        init["initContainers"] = json!([{"name": "i", "image": "x/300"}]);
        for (spec, nodes, expected) in [
            (of(&["x/10", "x/4000"]), vec![HUGE, LITTLE], vec![100, 0]),
            // (4000 / 3 - 23) * 100 / (2 * 1000 - 23).
            (of(&["x/10", "x/4000"]), vec![HUGE, LITTLE, &[]], vec![66, 0, 0]),
            // (2 / 3 * (600 + 900) - 23) * 100 / (3 * 1000 - 23), and with a third of 300.
            (of(&["x/300", "x/600", "x/900"]), vec![OTHERS, LARGE, &[]], vec![32, 36, 0]),
            (of(&["x/30", "x/40"]), vec![SMALL, HUGE], vec![1, 0]),
            // Volumes are not counted among the containers: (300 / 2 - 23) * 100 / (1000 - 23).
            (volume, vec![LARGE, HUGE], vec![12, 0]),
            (init, vec![MIXED, SMALL], vec![6, 0]),
        ] {
            let named = |(index, images): (usize, _)| node(&format!("n{index}"), images);
            let nodes: Vec<_> = nodes.into_iter().enumerate().map(named).collect();
            let own = pod("p", "", spec);
            let found = scores(&ImageLocality, &own, &Snapshot::new(nodes.clone()), &nodes);
            assert_eq!(found, Some(expected), "{:?}", own.spec());
        }
    }

    #[test]
    fn images_without_a_tag_have_the_latest() {
        for (name, expected) in [
            ("root", "root:latest"),
            ("root:tag", "root:tag"),
            ("gcr.io:5000/root", "gcr.io:5000/root:latest"),
            ("root@sha256:0", "root@sha256:0"),
        ] {
            assert_eq!(normalized(name), expected);
        }
    }
}
