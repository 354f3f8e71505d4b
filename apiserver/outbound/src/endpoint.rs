//! Where something is that the API server calls.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Uri;
use serde_json::Value;
use std::time::Duration;

/// Where something is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// Wherever this leads.
    Url(String),
    /// Behind a Service.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The path asked for, with or without a slash in front.
        path: String,
        /// The port of the Service.
        port: u16,
    },
}

/// Where something is, and whose certificates it may have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Where.
    pub place: Place,
    /// PEM; empty for the machine's own authorities.
    pub authorities: Vec<u8>,
    /// Any certificate will do.
    pub insecure: bool,
}

impl Endpoint {
    /// From a `clientConfig`: `url` or `service`, and `caBundle`.
    #[must_use]
    pub fn of(config: &Value) -> Self {
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
        // A bundle of nothing but white space is none.
        let blank = authorities.iter().all(u8::is_ascii_whitespace);
        let authorities = if blank { Vec::new() } else { authorities };
        Self { place, authorities, insecure: false }
    }

    /// The address of its path; the time there is for a call goes along.
    ///
    /// # Errors
    /// When there is no address, or it cannot be parsed.
    pub fn uri(&self, timeout: Duration) -> Result<Uri, String> {
        let seconds = timeout.as_secs().max(1);
        let base = match &self.place {
            Place::Url(url) if url.is_empty() => {
                return Err("webhook configuration must have either service or URL".to_owned());
            }
            Place::Url(url) => {
                let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
                let (rest, query) = rest.find('?').map_or((rest, ""), |at| rest.split_at(at));
                let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
                format!("{scheme}://{host}{}{query}", cleaned(path))
            }
            Place::Service { namespace, name, path, port } => {
                format!("https://{name}.{namespace}.svc:{port}{}", cleaned(path))
            }
        };
        let separator = if base.contains('?') { '&' } else { '?' };
        let uri: Result<Uri, _> = format!("{base}{separator}timeout={seconds}s").parse();
        uri.map_err(|error| format!("Unparsable URL: {error}"))
    }
}

/// A path as Go's `path.Join` leaves it: without empty steps, `.` and `..`. Servers in Go lead away from any other.
fn cleaned(path: &str) -> String {
    let mut steps = Vec::new();
    for step in path.split('/') {
        match step {
            "" | "." => {}
            ".." => drop(steps.pop()),
            step => steps.push(step),
        }
    }
    format!("/{}", steps.join("/"))
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
        // As Go's envtest writes them.
        let twice = json!({"url": "https://127.0.0.1:8443//validate/./a/../b/"});
        assert_eq!(uri(twice).unwrap(), "https://127.0.0.1:8443/validate/b?timeout=5s");
        assert_eq!(uri(json!({"url": "https://a"})).unwrap(), "https://a/?timeout=5s");
        assert!(uri(json!({})).is_err());
    }
}
