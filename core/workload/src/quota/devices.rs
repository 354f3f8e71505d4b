use super::number;
use crate::resources::Resources;
use kubeplane_core::Object;
use serde_json::Value;

const BY_CLASS: &str = ".deviceclass.resource.k8s.io/devices";
/// How many devices one claim may have at most, which is what asking for all may take.
const ALL: i64 = 32;

pub(super) fn counts(name: &str) -> bool {
    name.ends_with(BY_CLASS)
}

fn class_and_number(request: &Value) -> Option<(&str, i64)> {
    let class = request["deviceClassName"].as_str()?;
    match request["allocationMode"].as_str() {
        Some("All") => Some((class, ALL)),
        _ => Some((class, request["count"].as_i64().unwrap_or(1))),
    }
}

/// Of alternatives each class is charged with the one that takes most of it.
pub(super) fn usage(claim: &Object) -> Resources {
    let mut usage = Resources::new();
    let requests = claim.at(&["spec", "devices", "requests"]).and_then(Value::as_array);
    for request in requests.into_iter().flatten() {
        let mut most = Resources::new();
        let exactly = [&request["exactly"]];
        let choices = request["firstAvailable"].as_array().into_iter().flatten();
        for (class, count) in exactly.into_iter().chain(choices).filter_map(class_and_number) {
            let one = Resources::from([(format!("{class}{BY_CLASS}"), number(count))]);
            crate::resources::max(&mut most, &one);
        }
        crate::resources::add(&mut usage, &most);
    }
    usage
}
