//! Typed forms of JSON values.
//!
//! Whatever reads and writes typed objects is code for each type and each way of reading and writing, most of what some
//! programs consist of. Clients read and write text, so by way of text nothing is added to that.

use k8s_openapi::api::core::v1::PodSpec;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// The `spec` of a pod.
///
/// # Errors
/// When a value has the wrong type.
pub fn pod_spec(spec: &Value) -> serde_json::Result<PodSpec> {
    PodSpec::deserialize(spec)
}

/// The typed form of a value.
///
/// # Errors
/// When a value has the wrong type.
pub fn typed<T: DeserializeOwned>(value: &Value) -> serde_json::Result<T> {
    serde_json::from_str(&value.to_string())
}

/// The value of a typed form.
///
/// # Errors
/// When the type cannot be written as JSON.
pub fn untyped<T: Serialize>(typed: &T) -> serde_json::Result<Value> {
    serde_json::from_slice(&serde_json::to_vec(typed)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_spec_stays_the_same_through_its_typed_form_and_back() {
        let spec = json!({"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}],
            "resources": {"limits": {"cpu": "100m"}}, "livenessProbe": {"httpGet": {"port": "web"}}}],
            "activeDeadlineSeconds": 5_000_000_000_i64, "hostNetwork": true});
        let read = pod_spec(&spec).unwrap();
        assert_eq!(read, typed::<PodSpec>(&spec).unwrap());
        assert_eq!(untyped(&read).unwrap(), spec);
        assert_eq!(untyped(&read).unwrap(), serde_json::to_value(&read).unwrap());
        assert!(pod_spec(&json!({"containers": 1})).is_err());
        assert!(typed::<PodSpec>(&json!({"containers": 1})).is_err());
    }
}
