//! Which fields there are: others are named as the original's strict decoder names them.

use serde_json::Value;

/// The form of a value.
#[derive(Debug)]
pub(super) enum Form {
    /// Anything.
    Any,
    /// These fields.
    Fields(&'static [(&'static str, Form)]),
    /// A list of such.
    List(&'static Form),
}

use Form::{Any, Fields, List};

const PLUGIN: Form = Fields(&[("name", Any), ("weight", Any)]);
const SET: Form = Fields(&[("enabled", List(&PLUGIN)), ("disabled", List(&PLUGIN))]);
const PLUGINS: Form = Fields(&[
    ("preEnqueue", SET),
    ("queueSort", SET),
    ("preFilter", SET),
    ("filter", SET),
    ("postFilter", SET),
    ("preScore", SET),
    ("score", SET),
    ("reserve", SET),
    ("permit", SET),
    ("preBind", SET),
    ("bind", SET),
    ("postBind", SET),
    ("multiPoint", SET),
    ("placementGenerate", SET),
    ("placementScore", SET),
]);
const PROFILE: Form = Fields(&[
    ("schedulerName", Any),
    ("percentageOfNodesToScore", Any),
    ("plugins", PLUGINS),
    ("pluginConfig", List(&Fields(&[("name", Any), ("args", Any)]))),
]);
const TLS: Form = Fields(&[
    ("insecure", Any),
    ("serverName", Any),
    ("certFile", Any),
    ("keyFile", Any),
    ("caFile", Any),
    ("certData", Any),
    ("keyData", Any),
    ("caData", Any),
]);
const EXTENDER: Form = Fields(&[
    ("urlPrefix", Any),
    ("filterVerb", Any),
    ("preemptVerb", Any),
    ("prioritizeVerb", Any),
    ("weight", Any),
    ("bindVerb", Any),
    ("enableHTTPS", Any),
    ("tlsConfig", TLS),
    ("httpTimeout", Any),
    ("nodeCacheCapable", Any),
    ("managedResources", List(&Fields(&[("name", Any), ("ignoredByScheduler", Any)]))),
    ("ignorable", Any),
]);
const ELECTION: Form = Fields(&[
    ("leaderElect", Any),
    ("leaseDuration", Any),
    ("renewDeadline", Any),
    ("retryPeriod", Any),
    ("resourceLock", Any),
    ("resourceName", Any),
    ("resourceNamespace", Any),
]);
const CONNECTION: Form = Fields(&[
    ("kubeconfig", Any),
    ("acceptContentTypes", Any),
    ("contentType", Any),
    ("qps", Any),
    ("burst", Any),
]);

pub(super) const CONFIGURATION: Form = Fields(&[
    ("apiVersion", Any),
    ("kind", Any),
    ("parallelism", Any),
    ("leaderElection", ELECTION),
    ("clientConnection", CONNECTION),
    ("enableProfiling", Any),
    ("enableContentionProfiling", Any),
    ("percentageOfNodesToScore", Any),
    ("podInitialBackoffSeconds", Any),
    ("podMaxBackoffSeconds", Any),
    ("profiles", List(&PROFILE)),
    ("extenders", List(&EXTENDER)),
    ("delayCacheUntilActive", Any),
]);

const RESOURCES: Form = List(&Fields(&[("name", Any), ("weight", Any)]));
const SHAPE: Form = List(&Fields(&[("utilization", Any), ("score", Any)]));
const EXPRESSIONS: Form = List(&Fields(&[("key", Any), ("operator", Any), ("values", Any)]));
const NODE_TERM: Form = Fields(&[("matchExpressions", EXPRESSIONS), ("matchFields", EXPRESSIONS)]);
const ADDED: Form = Fields(&[
    (
        "requiredDuringSchedulingIgnoredDuringExecution",
        Fields(&[("nodeSelectorTerms", List(&NODE_TERM))]),
    ),
    (
        "preferredDuringSchedulingIgnoredDuringExecution",
        List(&Fields(&[("weight", Any), ("preference", NODE_TERM)])),
    ),
]);
const CONSTRAINT: Form = Fields(&[
    ("maxSkew", Any),
    ("topologyKey", Any),
    ("whenUnsatisfiable", Any),
    ("labelSelector", Fields(&[("matchLabels", Any), ("matchExpressions", EXPRESSIONS)])),
    ("minDomains", Any),
    ("nodeAffinityPolicy", Any),
    ("nodeTaintsPolicy", Any),
    ("matchLabelKeys", Any),
]);

/// The arguments of a plugin; `None` for one whose arguments are its own business.
pub(super) fn args_of(plugin: &str) -> Option<Form> {
    Some(match plugin {
        "DefaultPreemption" => Fields(&[
            ("apiVersion", Any),
            ("kind", Any),
            ("minCandidateNodesPercentage", Any),
            ("minCandidateNodesAbsolute", Any),
        ]),
        "InterPodAffinity" => Fields(&[
            ("apiVersion", Any),
            ("kind", Any),
            ("hardPodAffinityWeight", Any),
            ("ignorePreferredTermsOfExistingPods", Any),
        ]),
        "NodeAffinity" => Fields(&[("apiVersion", Any), ("kind", Any), ("addedAffinity", ADDED)]),
        "NodeResourcesBalancedAllocation" => {
            Fields(&[("apiVersion", Any), ("kind", Any), ("resources", RESOURCES)])
        }
        "NodeResourcesFit" => Fields(&[
            ("apiVersion", Any),
            ("kind", Any),
            ("ignoredResources", Any),
            ("ignoredResourceGroups", Any),
            (
                "scoringStrategy",
                Fields(&[
                    ("type", Any),
                    ("resources", RESOURCES),
                    ("requestedToCapacityRatio", Fields(&[("shape", SHAPE)])),
                ]),
            ),
        ]),
        "PodTopologySpread" => Fields(&[
            ("apiVersion", Any),
            ("kind", Any),
            ("defaultConstraints", List(&CONSTRAINT)),
            ("defaultingType", Any),
        ]),
        "VolumeBinding" => Fields(&[
            ("apiVersion", Any),
            ("kind", Any),
            ("bindTimeoutSeconds", Any),
            ("shape", SHAPE),
        ]),
        "DynamicResources" => Fields(&[
            ("apiVersion", Any),
            ("kind", Any),
            ("filterTimeout", Any),
            ("bindingTimeout", Any),
        ]),
        _ => return None,
    })
}

/// The fields that are none: `unknown field "profiles[0].x"`.
pub(super) fn unknown(value: &Value, form: &Form) -> Vec<String> {
    let mut found = Vec::new();
    walk(value, form, "", &mut found);
    found
}

fn walk(value: &Value, form: &Form, path: &str, found: &mut Vec<String>) {
    match (form, value) {
        (Fields(fields), Value::Object(object)) => {
            for (name, value) in object {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match fields.iter().find(|(own, _)| own == name) {
                    Some((_, form)) => walk(value, form, &path, found),
                    None => found.push(format!("unknown field {path:?}")),
                }
            }
        }
        (List(form), Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, form, &format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
}
