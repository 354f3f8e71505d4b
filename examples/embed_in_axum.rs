//! A control plane behind your own web service: one listener, your routes and your users, Kubernetes below a path.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use async_trait::async_trait;
use axum::{
    Router, extract::Request, extract::State, middleware, response::Response, routing::get,
};
use http::{header, request::Parts};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, Config, api::ListParams, api::PostParams};
use kubeplane::{builtin, core::status::ApiResult, prelude::*};
use serde_json::json;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Who is signed in, as the web service knows it.
#[derive(Debug, Clone)]
struct Session(String);

/// Believes the web service, which is the only way in.
#[derive(Debug)]
struct Sessions;

#[async_trait]
impl Authenticator for Sessions {
    async fn authenticate(&self, request: &Parts) -> ApiResult<Option<UserInfo>> {
        let session = request.extensions.get::<Session>();
        Ok(session.map(|session| UserInfo::new(&session.0, ["system:masters"])))
    }
}

/// The sign-in of the whole service; a real one would look at a cookie.
async fn sign_in(mut request: Request, next: middleware::Next) -> Response {
    let token = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some(user) = token.and_then(|token| token.strip_prefix("Bearer token-of-")) {
        let session = Session(user.to_owned());
        request.extensions_mut().insert(session);
    }
    next.run(request).await
}

/// A page of the service itself, made with a client in the process.
async fn front_page(State(client): State<Client>) -> String {
    let maps = Api::<ConfigMap>::all(client).list(&ListParams::default()).await;
    format!("{} notes are kept here\n", maps.map_or(0, |list| list.items.len()))
}

/// Runs the service as long as `show` takes; returns the lines shown.
pub(crate) async fn run() -> anyhow::Result<Vec<String>> {
    let server = ApiServer::builder(Arc::new(MemoryStore::new()))
        .resources(builtin::all())
        .authenticate(Sessions)
        .authorize(Masters)
        .build()?;
    let router = Router::new()
        .route("/", get(front_page))
        .with_state(server.client())
        .nest_service("/kubernetes", server.service())
        .layer(middleware::from_fn(sign_in));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let web = axum::serve(listener, router).into_future();
    let mut shown = Ok(Vec::new());
    let until = async {
        tokio::select! {
            lines = show(format!("http://{address}")) => shown = lines,
            ended = web => shown = ended.map(|()| Vec::new()).map_err(Into::into),
        }
    };
    ControlPlane::new().with(server).run_until(until).await?;
    shown
}

async fn show(base: String) -> anyhow::Result<Vec<String>> {
    let client = |token: Option<&str>| {
        let mut config = Config::new(format!("{base}/kubernetes").parse()?);
        config.auth_info.token = token.map(|token| token.to_owned().into());
        anyhow::Ok(Client::try_from(config)?)
    };
    let mut lines = Vec::new();
    let jane: Api<ConfigMap> = Api::namespaced(client(Some("token-of-jane"))?, "default");
    let note = serde_json::from_value(json!({"metadata": {"name": "note"}}))?;
    jane.create(&PostParams::default(), &note).await?;
    lines.push("jane wrote a note".to_owned());
    let nobody: Api<ConfigMap> = Api::namespaced(client(None)?, "default");
    let refused = nobody.get("note").await.err().map(|error| error.to_string());
    lines.push(format!("nobody: {}", refused.unwrap_or_default()));
    let front = Client::try_from(Config::new(base.parse()?))?;
    lines.push(
        front.request_text(http::Request::get("/").body(Vec::new())?).await?.trim_end().to_owned(),
    );
    Ok(lines)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run().await?.iter().for_each(|line| println!("{line}"));
    Ok(())
}
