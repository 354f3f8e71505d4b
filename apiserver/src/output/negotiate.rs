use crate::query::Query;
use http::{HeaderMap, header, request::Parts};
use kubeplane_core::status::{ApiError, ApiResult};

/// What a handler can answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Table and metadata-only forms.
    pub(crate) forms: bool,
    /// YAML beside JSON.
    pub(crate) yaml: bool,
}

impl Offer {
    /// The object's own form only.
    pub(crate) const PLAIN: Self = Self { forms: false, yaml: true };
    /// Every form.
    pub(crate) const FORMS: Self = Self { forms: true, yaml: true };
    /// A watch.
    pub(crate) const STREAM: Self = Self { forms: true, yaml: false };

    fn names(self) -> &'static [&'static str] {
        if self.yaml { &["application/json", "application/yaml"] } else { &["application/json"] }
    }
}

/// How much of the object a table row carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Include {
    Nothing,
    Metadata,
    Object,
}

/// A table as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableForm {
    pub(crate) version: &'static str,
    pub(crate) include: Include,
}

/// What an object is turned into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    Object,
    Metadata { version: &'static str, list: bool },
    Table(TableForm),
}

/// What the client accepts that is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) form: Form,
    pub(crate) yaml: bool,
    pub(crate) pretty: bool,
}

impl Accepted {
    /// Chooses by the `Accept` header.
    ///
    /// # Errors
    /// 406 when nothing accepted is offered, 400 for bad table options.
    pub(crate) fn of(head: &Parts, offer: Offer) -> ApiResult<Self> {
        let query = Query::of(&head.uri);
        let mut accepted =
            choose(&head.headers, offer).ok_or_else(|| ApiError::not_acceptable(offer.names()))?;
        accepted.pretty |= is_pretty(&head.headers, &query);
        if let Form::Table(form) = &mut accepted.form {
            form.include = match query.text("includeObject") {
                "" | "Metadata" => Include::Metadata,
                "None" => Include::Nothing,
                "Object" => Include::Object,
                other => {
                    return Err(ApiError::bad_request(format!(
                        "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', 'Object', 'None', or empty"
                    )));
                }
            };
        }
        Ok(accepted)
    }

    /// For failures, which are always answered.
    pub(crate) fn of_error(headers: &HeaderMap) -> Self {
        let plain = Self { form: Form::Object, yaml: false, pretty: false };
        let yaml = choose(headers, Offer::FORMS).is_some_and(|accepted| accepted.yaml);
        Self { yaml, ..plain }
    }

    /// Whether stored bytes can be sent as they are.
    pub(crate) fn is_plain_json(&self) -> bool {
        !self.yaml && !self.pretty
    }
}

fn is_pretty(headers: &HeaderMap, query: &Query) -> bool {
    if let Some(pretty) = query.first("pretty").filter(|pretty| !pretty.is_empty()) {
        return matches!(pretty, "1" | "t" | "T" | "true" | "TRUE" | "True");
    }
    let agent =
        headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|known| agent.starts_with(known))
}

struct Clause<'a> {
    media: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

fn choose(headers: &HeaderMap, offer: Offer) -> Option<Accepted> {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut clauses: Vec<_> = values.flat_map(|value| value.split(',')).map(clause).collect();
    if clauses.iter().all(|clause| clause.media.is_empty()) {
        return Some(Accepted { form: Form::Object, yaml: false, pretty: false });
    }
    clauses.sort_by(|a, b| {
        b.quality.total_cmp(&a.quality).then(wildness(a.media).cmp(&wildness(b.media)))
    });
    clauses.iter().filter(|clause| clause.quality > 0.0).find_map(|clause| accept(clause, offer))
}

/// Exact types are preferred to wild ones of the same quality.
fn wildness(media: &str) -> u8 {
    match media {
        "*/*" => 2,
        media if media.ends_with("/*") => 1,
        _ => 0,
    }
}

fn clause(text: &str) -> Clause<'_> {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let (mut parameters, mut quality) = (Vec::new(), 1.0);
    for (key, value) in parts.filter_map(|part| part.split_once('=')) {
        let value = value.trim_matches('"');
        match key {
            "q" => quality = value.parse().unwrap_or(1.0),
            _ => parameters.push((key, value)),
        }
    }
    Clause { media, parameters, quality }
}

fn accept(clause: &Clause<'_>, offer: Offer) -> Option<Accepted> {
    let yaml = match clause.media {
        "application/json" | "*/*" | "application/*" => false,
        "application/yaml" if offer.yaml => true,
        _ => return None,
    };
    let parameter =
        |name| clause.parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    if parameter("sv").is_some_and(|version| !version.is_empty()) {
        return None;
    }
    if parameter("stream").is_some_and(|stream| !matches!(stream, "" | "watch")) {
        return None;
    }
    let form = match (parameter("as"), parameter("g"), parameter("v")) {
        (None, None, None) => Form::Object,
        (Some(kind), Some("meta.k8s.io"), Some(version)) if offer.forms => {
            let version = match version {
                "v1" => "v1",
                "v1beta1" => "v1beta1",
                _ => return None,
            };
            match kind {
                "Table" => Form::Table(TableForm { version, include: Include::Metadata }),
                "PartialObjectMetadata" => Form::Metadata { version, list: false },
                "PartialObjectMetadataList" => Form::Metadata { version, list: true },
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(Accepted { form, yaml, pretty: parameter("pretty") == Some("1") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn accepted(accept: &str, offer: Offer) -> ApiResult<Accepted> {
        let (head, ()) =
            Request::get("/").header(header::ACCEPT, accept).body(()).unwrap().into_parts();
        Accepted::of(&head, offer)
    }

    #[test]
    fn the_first_form_offered_wins() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert!(matches!(accepted(kubectl, Offer::FORMS).unwrap().form, Form::Table(_)));
        assert_eq!(accepted(kubectl, Offer::PLAIN).unwrap().form, Form::Object);
        let client_go = "application/vnd.kubernetes.protobuf, application/json";
        assert_eq!(accepted(client_go, Offer::FORMS).unwrap().form, Form::Object);
        assert!(accepted("application/yaml", Offer::FORMS).unwrap().yaml);
        let error = accepted("application/vnd.kubernetes.protobuf", Offer::FORMS).unwrap_err();
        assert_eq!(error.code().as_u16(), 406);
        assert_eq!(accepted("text/html, */*;q=0.1", Offer::PLAIN).unwrap().form, Form::Object);
    }
}
