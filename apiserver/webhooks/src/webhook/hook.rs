use crate::{expressions::Conditions, matching::Matching};
use kubeplane_cel::Environment;
use kubeplane_core::Object;
use kubeplane_outbound::Endpoint;
use serde_json::Value;
use std::time::Duration;

/// What the API gives a webhook that says nothing else.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One webhook of a configuration.
#[derive(Debug)]
pub(crate) struct Hook {
    pub(crate) name: String,
    pub(crate) configuration: String,
    /// What tells it from all others.
    pub(crate) key: String,
    pub(crate) endpoint: Endpoint,
    pub(crate) matching: Matching,
    pub(crate) conditions: Conditions,
    /// Failed calls do not matter.
    pub(crate) ignore: bool,
    pub(crate) timeout: Duration,
    /// Calling it for a dry run does no harm.
    pub(crate) dry_run: bool,
    /// The versions of reviews it understands, most wanted first.
    pub(crate) versions: Vec<String>,
    /// It is called again when others changed what it saw.
    pub(crate) again: bool,
}

impl Hook {
    /// All webhooks of a configuration.
    pub(crate) fn all(environment: &Environment, configuration: &Object) -> Vec<Self> {
        let list = configuration.at(&["webhooks"]).and_then(Value::as_array).into_iter().flatten();
        let parse =
            |(index, webhook)| Self::parse(environment, configuration.name(), index, webhook);
        list.enumerate().map(parse).collect()
    }

    fn parse(environment: &Environment, owner: &str, index: usize, webhook: &Value) -> Self {
        let text = |key: &str| webhook.get(key).and_then(Value::as_str).unwrap_or_default();
        let versions = webhook.get("admissionReviewVersions").and_then(Value::as_array);
        let versions = versions.into_iter().flatten().filter_map(Value::as_str);
        Self {
            name: text("name").to_owned(),
            configuration: owner.to_owned(),
            key: format!("{owner}/{}/{index}", text("name")),
            endpoint: Endpoint::of(webhook.get("clientConfig").unwrap_or(&Value::Null)),
            matching: Matching::of_webhook(webhook),
            conditions: Conditions::of(environment, webhook),
            ignore: text("failurePolicy") == "Ignore",
            timeout: webhook
                .get("timeoutSeconds")
                .and_then(Value::as_u64)
                .map_or(TIMEOUT, Duration::from_secs),
            dry_run: matches!(text("sideEffects"), "None" | "NoneOnDryRun"),
            versions: versions.map(str::to_owned).collect(),
            again: text("reinvocationPolicy") == "IfNeeded",
        }
    }
}
