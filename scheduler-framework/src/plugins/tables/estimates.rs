//! What a pod counts as when nodes are scored, and broken lines.

use crate::plugins::{
    fit::{ShapePoint, on_line},
    fixtures::pod,
};
use serde_json::{Value, json};

const MIB: i64 = 1024 * 1024;
/// Of a container that says nothing.
const CPU: i64 = 100;
const MEMORY: i64 = 200 * MIB;

#[test]
fn containers_that_say_nothing_count_as_small_ones() {
    let one = || json!({"cpu": "1", "memory": "1Mi"});
    let (tiny, little) = (json!({"cpu": "1m", "memory": "1"}), json!({"cpu": "3m", "memory": "3"}));
    let none = || json!({});
    // Overhead, what starts the pod, its containers; CPU and memory.
    for (overhead, init, own, expected) in [
        (one(), vec![], vec![], (1000, MIB)),
        (none(), vec![], vec![none()], (CPU, MEMORY)),
        (none(), vec![], vec![none(), none()], (2 * CPU, 2 * MEMORY)),
        (none(), vec![], vec![one(), none()], (1000 + CPU, MIB + MEMORY)),
        (one(), vec![], vec![one(), none()], (2000 + CPU, 2 * MIB + MEMORY)),
        (one(), vec![json!({"cpu": "3"})], vec![one(), none()], (4000, 2 * MIB + MEMORY)),
        (none(), vec![none(), tiny.clone()], vec![little.clone()], (CPU, MEMORY)),
        (none(), vec![none(), tiny], vec![little, none()], (3 + CPU, 3 + MEMORY)),
    ] {
        let container = |own: &Value| json!({"name": "c", "resources": {"requests": own}});
        let all = |own: &[Value]| own.iter().map(container).collect::<Vec<_>>();
        let spec = json!({"overhead": overhead, "containers": all(&own),
            "initContainers": all(&init)});
        let pod = pod("p", "", spec.clone());
        for counted in [pod.scored_requests(), pod.arriving_requests()] {
            assert_eq!((counted.milli_cpu, counted.memory), expected, "{spec}");
        }
    }
}

#[test]
fn a_line_goes_on_level_beyond_its_ends() {
    for (points, expected) in [
        (
            &[(10, 1), (90, 9)][..],
            &[
                (-10, 10),
                (0, 10),
                (9, 10),
                (10, 10),
                (15, 15),
                (19, 19),
                (20, 20),
                (89, 89),
                (90, 90),
                (99, 90),
                (100, 90),
                (110, 90),
            ][..],
        ),
        (
            &[(0, 2), (40, 10), (100, 0)],
            &[(-10, 20), (0, 20), (20, 60), (30, 80), (40, 100), (70, 50), (100, 0), (110, 0)],
        ),
        (
            &[(0, 2), (40, 2), (100, 2)],
            &[(-10, 20), (0, 20), (20, 20), (40, 20), (70, 20), (100, 20), (110, 20)],
        ),
    ] {
        let point = |(utilization, score): &(i64, i64)| ShapePoint {
            utilization: *utilization,
            score: *score,
        };
        let shape: Vec<_> = points.iter().map(point).collect();
        for (utilization, score) in expected {
            assert_eq!(on_line(&shape, *utilization), *score, "{points:?} at {utilization}");
        }
    }
}
