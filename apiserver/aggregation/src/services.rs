//! APIServices as the aggregator reads them.

use kubeplane_apiserver::Standing;
use kubeplane_core::{GroupResource, GroupVersion, Object};
use kubeplane_outbound::{Endpoint, Place};
use serde_json::{Value, json};

/// Where APIServices are stored.
pub(crate) fn resource() -> GroupResource {
    GroupResource::new("apiregistration.k8s.io", "apiservices")
}

/// The Service of an APIService.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) endpoint: Endpoint,
}

impl Service {
    fn of(spec: &Value) -> Option<Self> {
        spec.get("service").filter(|service| service.is_object())?;
        let insecure = spec["insecureSkipTLSVerify"].as_bool().unwrap_or(false);
        let endpoint = Endpoint { insecure, ..Endpoint::of(spec) };
        let Place::Service { namespace, name, port, .. } = endpoint.place.clone() else {
            return None;
        };
        Some(Self { namespace, name, port, endpoint })
    }

    /// The name its certificate must have, and its port.
    pub(crate) fn authority(&self) -> String {
        format!("{}.{}.svc:{}", self.name, self.namespace, self.port)
    }
}

/// An APIService.
#[derive(Debug, Clone)]
pub(crate) struct Registered {
    pub(crate) name: String,
    pub(crate) version: GroupVersion,
    pub(crate) standing: Standing,
    /// `None` for what the server itself serves.
    pub(crate) service: Option<Service>,
    object: Object,
}

impl Registered {
    pub(crate) fn of(object: Object) -> Self {
        let spec = object.at(&["spec"]).cloned().unwrap_or_default();
        let text = |key: &str| spec[key].as_str().unwrap_or_default().to_owned();
        let number = |key: &str| spec[key].as_i64().unwrap_or_default();
        Self {
            name: object.name().to_owned(),
            version: GroupVersion::new(text("group"), text("version")),
            standing: Standing {
                group: number("groupPriorityMinimum"),
                version: number("versionPriority"),
            },
            service: Service::of(&spec),
            object,
        }
    }

    /// The path of its discovery.
    pub(crate) fn path(&self) -> String {
        match self.version.group.is_empty() {
            true => format!("/api/{}", self.version.version),
            false => format!("/apis/{}", self.version),
        }
    }

    pub(crate) fn has(&self, condition: &Condition) -> bool {
        condition.holds(&self.object)
    }
}

/// Whether an APIService is available, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) status: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Condition {
    pub(crate) fn local() -> Self {
        Self {
            status: "True",
            reason: "Local",
            message: "Local APIServices are always available".into(),
        }
    }

    pub(crate) fn passed() -> Self {
        Self { status: "True", reason: "Passed", message: "all checks passed".into() }
    }

    pub(crate) fn failed(reason: &'static str, message: String) -> Self {
        Self { status: "False", reason, message }
    }

    pub(crate) fn unknown(reason: &'static str, message: String) -> Self {
        Self { status: "Unknown", reason, message }
    }

    pub(crate) fn is_true(&self) -> bool {
        self.status == "True"
    }

    fn holds(&self, object: &Object) -> bool {
        let all = object.at(&["status", "conditions"]).and_then(Value::as_array);
        let own = all.into_iter().flatten().find(|condition| condition["type"] == "Available");
        own.is_some_and(|own| {
            own["status"] == self.status
                && own["reason"] == self.reason
                && own["message"] == self.message.as_str()
        })
    }

    /// Says so in an APIService; the time stays while the status does.
    pub(crate) fn set(&self, object: &mut Object, now: &str) {
        let all = object.at(&["status", "conditions"]).and_then(Value::as_array);
        let mut all = all.cloned().unwrap_or_default();
        let mut said = json!({"type": "Available", "status": self.status, "lastTransitionTime": now,
            "reason": self.reason, "message": self.message});
        match all.iter_mut().find(|condition| condition["type"] == "Available") {
            Some(own) => {
                if own["status"] == self.status {
                    said["lastTransitionTime"] = own["lastTransitionTime"].take();
                }
                *own = said;
            }
            None => all.push(said),
        }
        object.set(&["status", "conditions"], all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_condition_is_that_of_its_status() {
        let mut object = Object::from_value(json!({"metadata": {"name": "v1.a"}})).unwrap();
        Condition::failed("ServiceNotFound", "a".into()).set(&mut object, "t1");
        Condition::failed("MissingEndpoints", "b".into()).set(&mut object, "t2");
        let all = |object: &Object| object.at(&["status", "conditions"]).cloned().unwrap();
        assert_eq!(all(&object)[0]["lastTransitionTime"], "t1");
        assert_eq!(all(&object)[0]["reason"], "MissingEndpoints");
        Condition::passed().set(&mut object, "t3");
        assert_eq!(all(&object)[0]["lastTransitionTime"], "t3");
        assert_eq!(all(&object).as_array().unwrap().len(), 1);
        assert!(Registered::of(object).has(&Condition::passed()));
    }

    #[test]
    fn services_have_a_port_and_a_name_for_their_certificate() {
        let object = json!({"metadata": {"name": "v1.a"}, "spec": {"group": "a", "version": "v1",
            "groupPriorityMinimum": 7, "versionPriority": 8, "insecureSkipTLSVerify": true,
            "service": {"namespace": "n", "name": "s"}}});
        let registered = Registered::of(Object::from_value(object).unwrap());
        assert_eq!(registered.path(), "/apis/a/v1");
        let service = registered.service.unwrap();
        assert_eq!(service.authority(), "s.n.svc:443");
        assert!(service.endpoint.insecure);
    }
}
