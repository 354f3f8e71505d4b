use crate::{expressions::Conditions, matching::Matching};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Uri;
use kubeplane_cel::Environment;
use kubeplane_core::Object;
use serde_json::Value;
use std::time::Duration;

/// What the API gives a webhook that says nothing else.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where a webhook is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// Wherever this leads.
    Url(String),
    /// Behind a Service.
    Service { namespace: String, name: String, path: String, port: u16 },
}

/// Where a webhook is, and whose certificates it may have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    pub(crate) place: Place,
    /// PEM; empty for the machine's own authorities.
    pub(crate) authorities: Vec<u8>,
}

impl Endpoint {
    fn of(config: &Value) -> Self {
        let text = |value: &Value, key: &str| {
            value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let place = match config.get("service").filter(|service| service.is_object()) {
            None => Place::Url(text(config, "url")),
            Some(service) => Place::Service {
                namespace: text(service, "namespace"),
                name: text(service, "name"),
                path: text(service, "path"),
                port: service
                    .get("port")
                    .and_then(Value::as_u64)
                    .and_then(|port| u16::try_from(port).ok())
                    .filter(|port| *port != 0)
                    .unwrap_or(443),
            },
        };
        let authorities = STANDARD.decode(text(config, "caBundle")).unwrap_or_default();
        Self { place, authorities }
    }

    /// Where a review is sent; the time there is for it goes along.
    pub(crate) fn uri(&self, timeout: Duration) -> Result<Uri, String> {
        let seconds = timeout.as_secs().max(1);
        let base = match &self.place {
            Place::Url(url) if url.is_empty() => {
                return Err("webhook configuration must have either service or URL".to_owned());
            }
            Place::Url(url) => url.clone(),
            Place::Service { namespace, name, path, port } => {
                let slash = if path.starts_with('/') { "" } else { "/" };
                format!("https://{name}.{namespace}.svc:{port}{slash}{path}")
            }
        };
        let separator = if base.contains('?') { '&' } else { '?' };
        let uri: Result<Uri, _> = format!("{base}{separator}timeout={seconds}s").parse();
        uri.map_err(|error| format!("Unparsable URL: {error}"))
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn places_are_urls() {
        let uri = |config: Value| {
            Endpoint::of(&config).uri(Duration::from_secs(5)).map(|uri| uri.to_string())
        };
        let service = json!({"service": {"namespace": "n", "name": "s", "path": "/x"}});
        assert_eq!(uri(service).unwrap(), "https://s.n.svc:443/x?timeout=5s");
        let other = json!({"service": {"namespace": "n", "name": "s", "port": 8443}});
        assert_eq!(uri(other).unwrap(), "https://s.n.svc:8443/?timeout=5s");
        let url = json!({"url": "https://example.com/a?b=c"});
        assert_eq!(uri(url).unwrap(), "https://example.com/a?b=c&timeout=5s");
        assert!(uri(json!({})).is_err());
    }
}
