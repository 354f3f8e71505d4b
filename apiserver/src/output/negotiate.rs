use crate::query::Query;
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use kubeplane_core::{
    Definition,
    protobuf::Message,
    status::{ApiError, ApiResult, Details},
};

/// The media types of objects, the preferred first.
const OBJECTS: [&str; 3] =
    ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
/// Those of watches.
const STREAMS: [&str; 2] =
    ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];

/// Those of pages about the server itself.
const PAGES: [&str; 3] = ["application/json", "application/yaml", "text/plain"];

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Yaml,
    Protobuf,
}

impl Media {
    const ALL: [Self; 3] = [Self::Json, Self::Yaml, Self::Protobuf];

    /// Its media type.
    pub(crate) fn name(self) -> &'static str {
        OBJECTS[self as usize]
    }

    /// Of a media type without parameters.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|media| media.name() == name)
    }
}

/// What a handler can answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Metadata-only forms.
    forms: bool,
    /// Tables.
    tables: bool,
    /// A watch: no YAML.
    stream: bool,
    /// A list or a watch, which have one path.
    listed: bool,
    /// The object's own form has a protobuf form.
    protobuf: bool,
    /// Nothing but the writer of the answer looks at what is accepted.
    late: bool,
}

impl Offer {
    /// The object's own form only.
    pub(crate) const PLAIN: Self = Self {
        forms: false,
        tables: false,
        stream: false,
        listed: false,
        protobuf: true,
        late: false,
    };
    /// The lists of groups, which no route of the original's stands before.
    pub(crate) const GROUPS: Self = Self { late: true, ..Self::PLAIN };
    /// Objects that are answered and not stored.
    pub(crate) const ANSWER: Self = Self { forms: true, ..Self::PLAIN };

    /// Every form of a kind's objects.
    pub(crate) fn forms(definition: &Definition) -> Self {
        let protobuf = Message::of(&definition.schema).is_some();
        Self { protobuf, ..Self::STATUS }
    }

    /// Every form of a list of a kind's objects.
    pub(crate) fn list(definition: &Definition) -> Self {
        Self { listed: true, ..Self::forms(definition) }
    }

    /// A watch of a kind's objects.
    pub(crate) fn stream(definition: &Definition) -> Self {
        Self { stream: true, ..Self::list(definition) }
    }

    /// Every form, of a Status.
    const STATUS: Self = Self { forms: true, tables: true, ..Self::PLAIN };
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
    pub(crate) media: Media,
    pub(crate) pretty: bool,
    /// Large answers may be compressed.
    pub(crate) gzip: bool,
}

impl Accepted {
    const JSON: Self = Self { form: Form::Object, media: Media::Json, pretty: false, gzip: false };

    /// Chooses by the `Accept` header.
    ///
    /// # Errors
    /// 406 when nothing accepted is offered, 400 for bad table options.
    pub(crate) fn of(head: &Parts, offer: Offer) -> ApiResult<Self> {
        let query = Query::of(&head.uri);
        let custom = offer.forms && !offer.protobuf;
        // As in the original, built-in paths refuse types that nobody serves before parameters are looked at.
        if !custom && !offer.late && is_unknown(&head.headers) {
            let objects: &[&str] = &OBJECTS;
            let streams: &[&str] = if offer.listed { &STREAMS } else { &[] };
            return Err(unavailable(&[objects, streams].concat()));
        }
        let mut accepted = choose(head.headers.get_all(header::ACCEPT), offer)
            .ok_or_else(|| ApiError::not_acceptable(&OBJECTS))?;
        accepted.gzip = takes_gzip(&head.headers);
        if offer.stream && accepted.media == Media::Yaml {
            return Err(ApiError::not_acceptable(&STREAMS));
        }
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

    /// For failures, which are always answered: as the original, in indented JSON where nothing accepted is
    /// offered.
    pub(crate) fn of_error(wish: &Wish) -> Self {
        let pretty = Self { pretty: true, ..Self::JSON };
        let mut accepted = choose(&wish.accept, Offer::PLAIN).unwrap_or(pretty);
        accepted.pretty |= wish.pretty;
        accepted
    }

    /// For a Status that is no failure: it stays one whatever form is asked for.
    pub(crate) fn of_status(head: &Parts) -> Self {
        let accepted =
            choose(head.headers.get_all(header::ACCEPT), Offer::STATUS).unwrap_or(Self::JSON);
        let pretty = accepted.pretty || is_pretty(&head.headers, &Query::of(&head.uri));
        Self { form: Form::Object, pretty, ..accepted }
    }

    /// Whether objects are sent whole in protobuf.
    pub(crate) fn is_protobuf_object(&self) -> bool {
        self.media == Media::Protobuf && self.form == Form::Object
    }

    /// Whether stored bytes can be sent as they are.
    pub(crate) fn is_plain_json(&self) -> bool {
        self.media == Media::Json && !self.pretty
    }
}

/// What decides how a failure is written, kept from a request that is on its way.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    accept: Vec<HeaderValue>,
    pub(crate) pretty: bool,
}

impl Wish {
    pub(crate) fn of(head: &Parts) -> Self {
        let accept = head.headers.get_all(header::ACCEPT).iter().cloned().collect();
        Self { accept, pretty: is_pretty(&head.headers, &Query::of(&head.uri)) }
    }
}

/// The form of a page about the server itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageForm {
    /// Plain text.
    Text,
    /// An object of `config.k8s.io`.
    Object { media: Media, version: &'static str, pretty: bool },
}

/// The form of such a page that a client accepts; `kind` is that of its object.
///
/// # Errors
/// 406.
pub(crate) fn page_form(head: &Parts, kind: &str) -> ApiResult<PageForm> {
    let sent = head.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let sent = sent.unwrap_or_default();
    if sent.trim().is_empty() {
        return Ok(PageForm::Text);
    }
    let pretty = is_pretty(&head.headers, &Query::of(&head.uri));
    let mut clauses: Vec<_> = sent.split(',').map(clause).collect();
    sort(&mut clauses);
    let found = clauses.iter().find_map(|clause| page_of(clause, kind, pretty));
    found.ok_or_else(|| ApiError::not_acceptable(&PAGES))
}

fn page_of(clause: &Clause<'_>, kind: &str, pretty: bool) -> Option<PageForm> {
    let parameter =
        |name| clause.parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    match (parameter("as"), parameter("g"), parameter("v")) {
        (None, None, None) => {
            matches!(clause.media, "*/*" | "text/*" | "text/plain").then_some(PageForm::Text)
        }
        (Some(sent), Some("config.k8s.io"), Some(version)) if sent == kind => {
            let media = match clause.media {
                "*/*" | "application/*" => Media::Json,
                media => Media::named(media).filter(|media| *media != Media::Protobuf)?,
            };
            let version = ["v1alpha1", "v1beta1"].into_iter().find(|known| *known == version)?;
            Some(PageForm::Object { media, version, pretty })
        }
        _ => None,
    }
}

/// Whether nothing of what is accepted is ever served; of wildcards only `*/*` counts there.
pub(crate) fn is_unknown(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut clauses = values.flat_map(|value| value.split(',')).map(clause);
    let served = |media: &str| matches!(media, "" | "*/*") || OBJECTS.contains(&media);
    headers.contains_key(header::ACCEPT) && !clauses.any(|clause| served(clause.media))
}

fn unavailable(offered: &[&str]) -> ApiError {
    let why = format!("406: Not Acceptable\n\nAvailable representations: {}", offered.join(", "));
    ApiError::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", why).with_details(Details::default())
}

/// Refuses clients that do not accept the one media type of a document. As in the original, that is asked of the names as they
/// stand: of wildcards only `*/*` counts, and quality values do not.
///
/// # Errors
/// 406.
pub fn accepts_only(headers: &HeaderMap, offered: &str) -> ApiResult<()> {
    let mut sent = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let Some(first) = sent.next().filter(|first| !first.is_empty()) else { return Ok(()) };
    let mut clauses = first.split(',').map(clause);
    match clauses.any(|clause| clause.media == "*/*" || clause.media == offered) {
        true => Ok(()),
        false => Err(unavailable(&[offered])),
    }
}

/// The original looks for the bare word.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let sent = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    sent.is_some_and(|sent| sent.split(',').any(|token| token.trim() == "gzip"))
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

/// Chooses by the values of `Accept`.
fn choose<'a>(sent: impl IntoIterator<Item = &'a HeaderValue>, offer: Offer) -> Option<Accepted> {
    let values = sent.into_iter().filter_map(|value| value.to_str().ok());
    let mut clauses: Vec<_> = values.flat_map(|value| value.split(',')).map(clause).collect();
    if clauses.iter().all(|clause| clause.media.is_empty()) {
        return Some(Accepted::JSON);
    }
    sort(&mut clauses);
    clauses.iter().find_map(|clause| accept(clause, offer))
}

/// The most wanted first.
fn sort(clauses: &mut [Clause<'_>]) {
    clauses.sort_by(|a, b| {
        b.quality.total_cmp(&a.quality).then(wildness(a.media).cmp(&wildness(b.media)))
    });
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
        match key.trim() {
            "q" => quality = value.parse().unwrap_or(0.0),
            // Quotes are part of the value, as in the original.
            key => parameters.push((key, value.trim())),
        }
    }
    Clause { media, parameters, quality }
}

fn accept(clause: &Clause<'_>, offer: Offer) -> Option<Accepted> {
    let wild = matches!(clause.media, "*/*" | "application/*");
    let media = Media::ALL.into_iter().filter(|media| wild || media.name() == clause.media);
    media.into_iter().find_map(|media| accept_as(clause, media, offer))
}

fn accept_as(clause: &Clause<'_>, media: Media, offer: Offer) -> Option<Accepted> {
    let parameter =
        |name| clause.parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let served = |version: &str| version.is_empty() || offer.forms && version == "v1";
    if !parameter("sv").is_none_or(served) {
        return None;
    }
    let stream = parameter("stream").unwrap_or_default();
    if !stream.is_empty() && (media == Media::Yaml || stream != "watch") {
        return None;
    }
    let form = match (parameter("as"), parameter("g"), parameter("v")) {
        (None, None, None) if media != Media::Protobuf || offer.protobuf => Form::Object,
        (Some(kind), Some("meta.k8s.io"), Some(version)) if offer.forms => {
            let version = match version {
                "v1" => "v1",
                "v1beta1" => "v1beta1",
                _ => return None,
            };
            match kind {
                // Tables have no protobuf form.
                "Table" if offer.tables && media != Media::Protobuf => {
                    Form::Table(TableForm { version, include: Include::Metadata })
                }
                "PartialObjectMetadata" => Form::Metadata { version, list: false },
                "PartialObjectMetadataList" => Form::Metadata { version, list: true },
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(Accepted { form, media, pretty: parameter("pretty") == Some("1"), gzip: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    const FORMS: Offer = Offer::STATUS;

    fn accepted(accept: &str, offer: Offer) -> ApiResult<Accepted> {
        let (head, ()) =
            Request::get("/").header(header::ACCEPT, accept).body(()).unwrap().into_parts();
        Accepted::of(&head, offer)
    }

    #[test]
    fn the_first_form_offered_wins() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert!(matches!(accepted(kubectl, FORMS).unwrap().form, Form::Table(_)));
        assert_eq!(accepted(kubectl, Offer::PLAIN).unwrap().form, Form::Object);
        assert_eq!(accepted("application/yaml", FORMS).unwrap().media, Media::Yaml);
        assert_eq!(accepted("text/html, */*;q=0.1", Offer::PLAIN).unwrap().form, Form::Object);
        let spaced = "application/json ; as = Table ; v=v1 ; g=meta.k8s.io";
        assert!(matches!(accepted(spaced, FORMS).unwrap().form, Form::Table(_)));
        let quoted = "application/json;as=\"Table\";v=v1;g=meta.k8s.io";
        assert_eq!(accepted(quoted, FORMS).unwrap_err().code().as_u16(), 406);
        let odd = "application/yaml;q=x,application/json;q=0.1";
        assert_eq!(accepted(odd, FORMS).unwrap().media, Media::Json);
    }

    #[test]
    fn built_in_paths_know_one_wildcard_and_the_version_of_the_server() {
        let custom = Offer { protobuf: false, ..FORMS };
        let any = "application/*";
        assert!(accepted(any, FORMS).unwrap_err().message().starts_with("406: Not Acceptable"));
        assert_eq!(accepted(any, custom).unwrap().media, Media::Json);
        assert_eq!(accepted("application/json;sv=v1", FORMS).unwrap().media, Media::Json);
        assert_eq!(accepted("application/json;sv=v2", FORMS).unwrap_err().code().as_u16(), 406);
        assert!(accepted("application/json;sv=v1", Offer::PLAIN).is_err());
    }

    #[test]
    fn protobuf_is_offered_where_there_is_such_a_form() {
        let client_go = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(accepted(client_go, FORMS).unwrap().media, Media::Protobuf);
        let custom = Offer { protobuf: false, ..FORMS };
        assert_eq!(accepted(client_go, custom).unwrap().media, Media::Json);
        let error = accepted("application/vnd.kubernetes.protobuf", custom).unwrap_err();
        assert_eq!(error.code().as_u16(), 406);
        assert_eq!(
            error.message(),
            "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
        );
        let low = "application/vnd.kubernetes.protobuf;q=0.5, application/json;q=0.9";
        assert_eq!(accepted(low, FORMS).unwrap().media, Media::Json);
        let partial =
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        let found = accepted(partial, custom).unwrap();
        assert_eq!(found.media, Media::Protobuf);
        assert_eq!(found.form, Form::Metadata { version: "v1", list: true });
        let table = "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1";
        assert_eq!(accepted(table, FORMS).unwrap_err().code().as_u16(), 406);
        let both = format!("{table},application/json");
        assert_eq!(accepted(&both, FORMS).unwrap().media, Media::Json);
    }

    #[test]
    fn watches_are_no_yaml() {
        let stream = Offer { stream: true, ..FORMS };
        let error = accepted("application/yaml", stream).unwrap_err();
        assert_eq!(
            error.message(),
            "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
        );
        let sent = "application/vnd.kubernetes.protobuf;stream=watch";
        assert_eq!(accepted(sent, stream).unwrap().media, Media::Protobuf);
    }
}
