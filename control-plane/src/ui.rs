//! A picture of the cluster in the browser: nodes and pods as they come and go, components and their health, and a
//! page for each object with its events and, of a pod, why it is where it is. Lists by kind, from discovery, lead to
//! them.
//!
//! ```text
//!   browser ── GET /ui/ ──────────────> constant files: open to all, they say nothing of the cluster
//!      │  as the user of its certificate or of the token typed in
//!      ├── GET /api/v1/pods?watch ... ─> the API, with that user's rights
//!      └── GET /ui/trace/NS/POD ───────> Scheduler::explain, for whoever may get the path
//! ```
//!
//! The files are part of the binary, fetch nothing from elsewhere, and the policy they are sent with keeps the browser
//! from running or loading anything else. Authorization sees what the page asks for as it sees what kubectl does.

use async_trait::async_trait;
use http::{Method, Response, StatusCode, header, request::Parts};
use kubeplane_apiserver::{
    Api, Builder, Route,
    body::{self, Body},
};
use kubeplane_auth::OpenPaths;
use kubeplane_core::{
    GroupResource,
    component::{Component, ComponentError, Lifecycle},
    features::Features,
    status::{ApiError, ApiResult},
};
use kubeplane_scheduler_framework::{Error, Scheduler};
use parking_lot::Mutex;
use std::{fmt, sync::Arc};
use tokio::sync::Semaphore;

/// What a browser lets the pages do.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Path, type and text of each file.
const FILES: [(&str, &str, &str); 9] = [
    ("/ui/", "text/html; charset=utf-8", include_str!("ui/index.html")),
    ("/ui/style.css", "text/css; charset=utf-8", include_str!("ui/style.css")),
    ("/ui/icon.svg", "image/svg+xml", include_str!("ui/icon.svg")),
    ("/ui/main.js", SCRIPT, include_str!("ui/main.js")),
    ("/ui/cluster.js", SCRIPT, include_str!("ui/cluster.js")),
    ("/ui/draw.js", SCRIPT, include_str!("ui/draw.js")),
    ("/ui/overview.js", SCRIPT, include_str!("ui/overview.js")),
    ("/ui/kinds.js", SCRIPT, include_str!("ui/kinds.js")),
    ("/ui/object.js", SCRIPT, include_str!("ui/object.js")),
];

const TRACE: &str = "/ui/trace/";

/// The pages, as a route of an API server. Clones are the same.
///
/// ```
/// # fn assemble(store: std::sync::Arc<dyn kubeplane::store::Store>, credentials: &kubeplane::credentials::Credentials)
/// # -> Result<kubeplane::ControlPlane, Box<dyn std::error::Error>> {
/// use kubeplane::{api::{ApiOptions, standard_api_server}, credentials::{SCHEDULER, component_user}, prelude::*, ui::Ui};
///
/// let (ui, mut options) = (Ui::new(), ApiOptions::default());
/// let own = ui.clone();
/// options.extend = options.extend.and(move |builder| own.install(builder));
/// let api = standard_api_server(store, credentials, &options)?;
/// let traces = ui.traces(api.client_as(component_user(SCHEDULER)));
/// # Ok(
/// ControlPlane::new().with(api).with(traces)
/// # )
/// # }
/// ```
#[derive(Clone)]
pub struct Ui(Arc<Inner>);

struct Inner {
    /// Who asks what the scheduler says, as long as that is possible.
    client: Mutex<Option<kube::Client>>,
    /// A trace reads all nodes and pods: one at a time is enough.
    turn: Semaphore,
}

impl fmt::Debug for Ui {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ui")
    }
}

impl Default for Ui {
    fn default() -> Self {
        Self::new()
    }
}

impl Ui {
    /// Where the pages are, with a slash after it.
    pub const PATH: &'static str = "/ui";

    /// Without traces until there are [`traces`](Self::traces).
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner { client: Mutex::new(None), turn: Semaphore::new(1) }))
    }

    /// Adds the pages to an API server, and lets everybody read the files they consist of.
    #[must_use]
    pub fn install(&self, builder: Builder) -> Builder {
        let files = FILES.iter().map(|(path, ..)| *path).chain([Self::PATH]);
        builder.route(Self::PATH, Arc::new(self.clone())).authorize(OpenPaths::new(files))
    }

    /// What explains where pods go while it runs, by the default profile, through a client that may read what a
    /// scheduler reads.
    #[must_use]
    pub fn traces(&self, client: kube::Client) -> Traces {
        Traces { ui: self.clone(), client }
    }

    async fn trace(&self, rest: &str, features: &Features) -> ApiResult<Vec<u8>> {
        let (namespace, name) = rest.split_once('/').ok_or_else(ApiError::no_such_path)?;
        let client = self.0.client.lock().clone();
        let client =
            client.ok_or_else(|| ApiError::unavailable("the scheduler is not asked here"))?;
        let _turn = self.0.turn.acquire().await.map_err(ApiError::internal)?;
        let builder = Scheduler::builder(client).features(features.clone());
        let scheduler = builder.build().map_err(ApiError::internal)?;
        let trace = scheduler.explain(namespace, name).await.map_err(|error| match error {
            Error::NoSuchPod { .. } => ApiError::not_found(&GroupResource::new("", "pods"), name),
            Error::NoSuchProfile(_) => ApiError::bad_request(error.to_string()),
            other => ApiError::internal(other),
        })?;
        serde_json::to_vec(&trace).map_err(ApiError::internal)
    }
}

#[async_trait]
impl Route for Ui {
    async fn serve(&self, api: &Api, head: &Parts, _body: Body) -> ApiResult<Response<Body>> {
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return Err(ApiError::method_not_allowed());
        }
        let path = head.uri.path();
        let answer = Response::builder()
            .header(header::CONTENT_SECURITY_POLICY, POLICY)
            .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
            .header(header::REFERRER_POLICY, "no-referrer");
        let answer = if let Some((_, kind, text)) = FILES.iter().find(|(own, ..)| *own == path) {
            // Another version of the server has others.
            let answer = answer
                .header(header::CONTENT_TYPE, *kind)
                .header(header::CACHE_CONTROL, "no-cache");
            answer.body(body::full(*text))
        } else if path == Self::PATH {
            let answer = answer.status(StatusCode::PERMANENT_REDIRECT);
            answer.header(header::LOCATION, "/ui/").body(body::full(""))
        } else if let Some(rest) = path.strip_prefix(TRACE) {
            let trace = self.trace(rest, api.features()).await?;
            let answer = answer.header(header::CONTENT_TYPE, "application/json");
            answer.header(header::CACHE_CONTROL, "no-store").body(body::full(trace))
        } else {
            return Err(ApiError::no_such_path());
        };
        answer.map_err(ApiError::internal)
    }
}

/// Lets the pages ask the scheduler; see [`Ui::traces`].
pub struct Traces {
    ui: Ui,
    client: kube::Client,
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Traces")
    }
}

#[async_trait]
impl Component for Traces {
    fn name(&self) -> &str {
        "ui"
    }

    async fn run(self: Box<Self>, lifecycle: Lifecycle) -> Result<(), ComponentError> {
        let Self { ui, client } = *self;
        *ui.0.client.lock() = Some(client);
        lifecycle.ready();
        lifecycle.stopping().await;
        // The server holds the pages, and the client the server.
        *ui.0.client.lock() = None;
        Ok(())
    }
}
