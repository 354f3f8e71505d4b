//! How full nodes are of resources that devices stand for.

use super::{
    device_classes::class_for,
    dynamic_resources::{Stock, Totals},
};
use crate::{NodeInfo, PodInfo, objects::ClusterObjects};
use k8s_openapi::api::resource::v1::DeviceClass;
use std::{collections::BTreeMap, sync::Arc};

/// Classes by the resources that their devices stand for.
pub(super) type Classes = BTreeMap<String, Arc<DeviceClass>>;

/// Those of these resources that a pod wants and devices stand for.
pub(super) fn stood_for<'a>(
    objects: &ClusterObjects,
    pod: &PodInfo,
    resources: impl Iterator<Item = &'a str>,
) -> Classes {
    let wanted = resources.filter(|name| pod.requests().amount(name) != 0);
    wanted.filter_map(|name| Some((name.to_owned(), class_for(objects, name)?))).collect()
}

/// What devices there are for such resources, and how many of them are allocated.
#[derive(Debug)]
pub(super) struct DeviceLoads {
    classes: Classes,
    totals: Totals,
}

impl DeviceLoads {
    /// As things are now; `None` where no devices stand for anything.
    pub(super) fn of(stock: &Stock, objects: &ClusterObjects, classes: Classes) -> Option<Self> {
        (!classes.is_empty()).then(|| Self { classes, totals: stock.totals(objects) })
    }

    /// How many devices are allocated on a node for a resource, and how many there are; `None` when there are none.
    pub(super) fn on(&self, node: &NodeInfo, resource: &str) -> Option<(i64, i64)> {
        let found = self.totals.on(node.node(), self.classes.get(resource)?);
        let found = found.inspect_err(|why| {
            tracing::warn!(node = node.name(), resource, why, "devices are not counted");
        });
        found.ok().filter(|(_, total)| *total > 0)
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        ClusterObjects, NodeInfo, NodeResourcesBalancedAllocation, NodeResourcesFit, PodInfo,
        SchedulerPlugin, ScoringStrategy, Snapshot, Tracking,
        plugins::fixtures::{node, pod, scores},
    };
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};
    use std::sync::Arc;

    const GPU: &str = "example.com/gpu";

    fn read<K: DeserializeOwned>(values: &[Value]) -> Arc<Vec<Arc<K>>> {
        let one = |own: &Value| Arc::new(serde_json::from_value(own.clone()).unwrap());
        Arc::new(values.iter().map(one).collect())
    }

    fn slice(name: &str, driver: &str, place: (&str, Value), devices: Value) -> Value {
        let pool = json!({"name": name, "generation": 1, "resourceSliceCount": 1});
        let mut spec = json!({"driver": driver, "pool": pool, "devices": devices});
        spec[place.0] = place.1;
        json!({"metadata": {"name": name}, "spec": spec})
    }

    fn given(name: &str, pool: &str, device: &str, share: Option<&str>) -> Value {
        let result = json!({"request": "r", "driver": "drv", "pool": pool, "device": device,
            "shareID": share});
        json!({"metadata": {"name": name, "namespace": "d", "uid": name}, "spec": {},
            "status": {"allocation": {"devices": {"results": [result]}}}})
    }

    /// Of the class are six devices of `a`, of which two are allocated, and two of `b`, of which one is shared by some;
    /// one of them is the same. `c` has ten of the resource itself.
    fn nodes() -> Snapshot {
        let names =
            |all: &[&str]| json!(all.iter().map(|name| json!({"name": name})).collect::<Vec<_>>());
        let own = json!([{"name": "p1", "nodeName": "a"}, {"name": "p2", "nodeName": "b"}]);
        let slices = [
            slice("a", "drv", ("nodeName", json!("a")), names(&["d1", "d2", "d3", "d4"])),
            slice("all", "drv", ("allNodes", json!(true)), names(&["x"])),
            slice("own", "drv", ("perDeviceNodeSelection", json!(true)), own),
            slice("other", "another", ("nodeName", json!("a")), names(&["o"])),
        ];
        let claims = [given("one", "a", "d1", None), given("two", "all", "x", Some("s"))];
        let driver = json!([{"cel": {"expression": "device.driver == 'drv'"}}]);
        let class = json!({"metadata": {"name": "gpu"},
            "spec": {"selectors": driver, "extendedResourceName": GPU}});
        let objects = ClusterObjects {
            resource_claims: read(&claims),
            resource_slices: read(&slices),
            device_classes: read(&[class]),
            ..ClusterObjects::default()
        };
        let rich = json!({"metadata": {"name": "c"}, "status": {"allocatable":
            {"cpu": "4", "memory": "8Gi", "pods": "110", GPU: "10"}}});
        let rich = Arc::new(NodeInfo::new(Arc::new(serde_json::from_value(rich).unwrap())));
        let nodes = vec![node("a", "", &[]), node("b", "", &[]), rich];
        Snapshot::new(nodes).with_objects(Arc::new(objects))
    }

    fn wanting() -> Arc<PodInfo> {
        let requests = json!({"cpu": "1", GPU: "1"});
        pod("p", "", json!({"containers": [{"name": "c", "resources": {"requests": requests}}]}))
    }

    fn fit() -> NodeResourcesFit {
        NodeResourcesFit::scoring([(GPU.to_owned(), 1)])
    }

    #[test]
    fn nodes_are_as_full_as_devices_that_stand_for_a_resource_are_allocated() {
        let (nodes, own) = (nodes(), wanting());
        let of = |plugin: NodeResourcesFit| scores(&plugin, &own, &nodes, nodes.nodes()).unwrap();
        // Three of six, two of two, one of ten.
        assert_eq!(of(fit()), [50, 0, 90]);
        assert_eq!(of(fit().strategy(ScoringStrategy::MostAllocated)), [50, 100, 10]);
        assert_eq!(of(fit().with_devices(false)), [0, 0, 90]);
    }

    #[test]
    fn such_resources_are_balanced_with_others() {
        let (nodes, own) = (nodes(), wanting());
        let plugin = || NodeResourcesBalancedAllocation::of(["cpu".to_owned(), GPU.to_owned()]);
        let of = |plugin: NodeResourcesBalancedAllocation| {
            scores(&plugin, &own, &nodes, nodes.nodes()).unwrap()[0]
        };
        // CPU from none to a quarter, devices from a third to a half.
        assert_eq!(of(plugin()), 50 + (50 + 87 - 83) / 2);
        assert_eq!(of(plugin().with_devices(false)), 75);
    }

    #[test]
    fn pods_that_are_scored_by_devices_are_not_followed() {
        let (nodes, own) = (nodes(), wanting());
        let tracking =
            |plugin: &dyn SchedulerPlugin| plugin.as_track().unwrap().track(&own, &nodes);
        assert!(matches!(tracking(&fit()), Tracking::Opaque));
        assert!(matches!(tracking(&fit().with_devices(false)), Tracking::Alone(_)));
        assert!(matches!(tracking(&NodeResourcesFit::default()), Tracking::Alone(_)));
        let balanced = NodeResourcesBalancedAllocation::of([GPU.to_owned()]);
        assert!(matches!(tracking(&balanced), Tracking::Opaque));
        let usual = NodeResourcesBalancedAllocation::default();
        assert!(matches!(tracking(&usual), Tracking::Alone(_)));
    }
}
