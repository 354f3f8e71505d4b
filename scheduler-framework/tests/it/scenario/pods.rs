use super::{Dice, HOSTNAME, Mix, REGION, ZONE};
use serde_json::{Value, json};

pub(super) fn pod(dice: &mut Dice, index: usize, mix: Mix) -> Value {
    let namespace = *dice.pick(&["red", "orange", "blue"]);
    let labels =
        json!({"app": dice.pick(&["web", "db", "cache", "batch"]), "rev": dice.pick(&["1", "2"])});
    let mut spec = json!({
        "containers": containers(dice, mix), "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": false, "enableServiceLinks": false,
    });
    if dice.percent(20) {
        spec["initContainers"] = init_containers(dice);
    }
    if dice.percent(6) {
        // The API server wants no less than the containers ask for.
        let amounts = json!({"cpu": "4", "memory": "4Gi"});
        spec["resources"] = json!({"requests": amounts, "limits": amounts});
    }
    if dice.percent(40) {
        spec["tolerations"] = tolerations(dice);
    }
    if dice.percent(12) {
        spec["nodeSelector"] = json!({"disk": dice.pick(&["ssd", "hdd"])});
    }
    let mut affinity = json!({});
    if dice.percent(mix.node_affinity) {
        affinity["nodeAffinity"] = node_affinity(dice);
    }
    if dice.percent(mix.pod_affinity) {
        affinity["podAffinity"] = pod_affinity(dice, 30);
    }
    if dice.percent(mix.pod_affinity) {
        affinity["podAntiAffinity"] = pod_affinity(dice, 50);
    }
    if affinity != json!({}) {
        spec["affinity"] = affinity;
    }
    if dice.percent(mix.spread) {
        spec["topologySpreadConstraints"] = spread(dice);
    }
    if dice.percent(mix.priority) {
        spec["priorityClassName"] = json!(dice.pick(&["middle", "high"]));
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("p{index:05}"),
        "namespace": namespace, "labels": labels}, "spec": spec})
}

fn amounts(dice: &mut Dice) -> Value {
    let mut amounts = json!({});
    if dice.percent(80) {
        amounts["cpu"] = json!(format!("{}m", 50 + 50 * dice.below(12)));
    }
    if dice.percent(80) {
        amounts["memory"] = json!(format!("{}Mi", 64 + 64 * dice.below(12)));
    }
    if dice.percent(10) {
        amounts["ephemeral-storage"] = json!(format!("{}Gi", 1 + dice.below(4)));
    }
    amounts
}

fn containers(dice: &mut Dice, mix: Mix) -> Value {
    let count = 1 + dice.below(2);
    let one = |index: u64| {
        let image = match dice.below(3) {
            0 => format!("registry.test/app:{}", dice.below(4)),
            1 => "registry.test/other".to_owned(),
            _ => format!("registry.test/app@sha256:{:064}", dice.below(4)),
        };
        let mut requests = amounts(dice);
        let mut limits = json!({});
        if dice.percent(4) {
            requests["example.com/gpu"] = json!("1");
            limits["example.com/gpu"] = json!("1");
        }
        let mut container = json!({"name": format!("c{index}"), "image": image,
            "resources": {"requests": requests, "limits": limits}});
        if dice.percent(mix.ports) {
            let ip = *dice.pick(&["", "127.0.0.1", "10.0.0.1"]);
            let protocol = *dice.pick(&["TCP", "UDP"]);
            container["ports"] = json!([{"containerPort": 80 + index, "hostPort": 8000 + 2 * dice.below(3) + index,
                "hostIP": ip, "protocol": protocol}]);
        }
        container
    };
    (0..count).map(one).collect()
}

fn init_containers(dice: &mut Dice) -> Value {
    let one = |index: u64| {
        let mut container = json!({"name": format!("i{index}"), "image": "registry.test/app:1",
            "resources": {"requests": amounts(dice)}});
        if dice.percent(40) {
            container["restartPolicy"] = json!("Always");
        }
        container
    };
    (0..2).map(one).collect()
}

fn tolerations(dice: &mut Dice) -> Value {
    let mut tolerations = Vec::new();
    if dice.percent(50) {
        tolerations
            .push(json!({"key": "dedicated", "operator": "Equal", "value": dice.pick(&["a", "b"]),
            "effect": "NoSchedule"}));
    }
    if dice.percent(40) {
        tolerations.push(json!({"key": "busy", "operator": "Exists"}));
    }
    if dice.percent(20) {
        tolerations.push(json!({"operator": "Exists", "effect": "PreferNoSchedule"}));
    }
    if dice.percent(20) {
        tolerations.push(json!({"key": "leaving", "operator": "Exists", "effect": "NoExecute"}));
    }
    tolerations.into()
}

fn node_term(dice: &mut Dice) -> Value {
    let expression = match dice.below(6) {
        0 => json!({"key": "disk", "operator": "In", "values": ["ssd", "tape"]}),
        1 => json!({"key": "disk", "operator": "NotIn", "values": ["hdd"]}),
        2 => json!({"key": "disk", "operator": "Exists"}),
        3 => json!({"key": "tier", "operator": "Gt", "values": [dice.below(4).to_string()]}),
        4 => json!({"key": "tier", "operator": "Lt", "values": [(2 + dice.below(4)).to_string()]}),
        _ => {
            json!({"key": ZONE, "operator": "In", "values": [format!("z{}", dice.below(4)), "z1"]})
        }
    };
    let mut term = json!({"matchExpressions": [expression]});
    if dice.percent(6) {
        let names: Vec<_> = (0..2).map(|_| format!("n{:03}", dice.below(20))).collect();
        // Fields take one value each.
        term["matchFields"] = json!([{"key": "metadata.name", "operator": dice.pick(&["In", "NotIn"]), "values": names[..1]}]);
    }
    term
}

fn node_affinity(dice: &mut Dice) -> Value {
    let mut affinity = json!({});
    if dice.percent(50) {
        let terms: Vec<_> = (0..=dice.below(2)).map(|_| node_term(dice)).collect();
        affinity["requiredDuringSchedulingIgnoredDuringExecution"] =
            json!({"nodeSelectorTerms": terms});
    }
    if dice.percent(60) {
        let terms: Vec<_> = (0..=dice.below(2))
            .map(|_| json!({"weight": 1 + dice.below(100), "preference": node_term(dice)}))
            .collect();
        affinity["preferredDuringSchedulingIgnoredDuringExecution"] = terms.into();
    }
    affinity
}

fn selector(dice: &mut Dice) -> Value {
    match dice.below(5) {
        0 => json!({"matchLabels": {"app": "web"}}),
        1 => {
            json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}]})
        }
        2 => {
            json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["batch"]}]})
        }
        3 => json!({"matchLabels": {"app": "cache", "rev": "1"}}),
        _ => json!({"matchExpressions": [{"key": "rev", "operator": "Exists"}]}),
    }
}

fn pod_term(dice: &mut Dice) -> Value {
    let mut term = json!({"labelSelector": selector(dice), "topologyKey": dice.pick(&[HOSTNAME, ZONE, REGION])});
    match dice.below(8) {
        0 => term["namespaces"] = json!(["red", "blue"]),
        1 => term["namespaceSelector"] = json!({"matchLabels": {"team": "warm"}}),
        2 => term["namespaceSelector"] = json!({}),
        3 => term["matchLabelKeys"] = json!(["rev"]),
        4 if term["labelSelector"] == json!({"matchLabels": {"app": "web"}}) => {
            term["mismatchLabelKeys"] = json!(["rev"]);
        }
        _ => {}
    }
    let selects_rev = term["labelSelector"].to_string().contains("rev");
    if selects_rev && let Some(term) = term.as_object_mut() {
        // The API server refuses a key that the selector has too.
        term.remove("matchLabelKeys");
    }
    term
}

fn pod_affinity(dice: &mut Dice, required: u64) -> Value {
    let mut affinity = json!({});
    if dice.percent(required) {
        affinity["requiredDuringSchedulingIgnoredDuringExecution"] = json!([pod_term(dice)]);
    }
    if dice.percent(70) {
        let terms: Vec<_> = (0..=dice.below(2))
            .map(|_| json!({"weight": 1 + dice.below(100), "podAffinityTerm": pod_term(dice)}))
            .collect();
        affinity["preferredDuringSchedulingIgnoredDuringExecution"] = terms.into();
    }
    affinity
}

fn spread(dice: &mut Dice) -> Value {
    let mut keys = vec![HOSTNAME, ZONE, REGION];
    let count = 1 + dice.below(2);
    let one = |_| {
        let key = keys.remove(usize::try_from(dice.below(keys.len() as u64)).unwrap());
        let hard = dice.percent(45);
        let mut constraint = json!({"maxSkew": 1 + dice.below(3), "topologyKey": key,
            "whenUnsatisfiable": if hard { "DoNotSchedule" } else { "ScheduleAnyway" },
            "labelSelector": {"matchLabels": {"app": dice.pick(&["web", "db", "cache", "batch"])}}});
        if hard && dice.percent(25) {
            constraint["minDomains"] = json!(1 + dice.below(6));
        }
        if dice.percent(20) {
            constraint["nodeAffinityPolicy"] = json!(dice.pick(&["Honor", "Ignore"]));
        }
        if dice.percent(20) {
            constraint["nodeTaintsPolicy"] = json!(dice.pick(&["Honor", "Ignore"]));
        }
        if dice.percent(25) {
            constraint["matchLabelKeys"] = json!(["rev"]);
        }
        constraint
    };
    (0..count).map(one).collect()
}
