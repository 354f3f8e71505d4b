//! The way to the API server inside a test cluster: clients go through it, and faults strike there.

use super::{
    faults::{Asked, Fault, Faults},
    store::TestStore,
};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::{Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use kube::client::Body as ClientBody;
use kubeplane_apiserver::{Clients, CutOff, body};
use kubeplane_clock::watch;
use kubeplane_core::{auth::UserInfo, reader::ObjectReader};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::{mpsc, oneshot};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The server there is at present.
#[derive(Debug, Clone)]
pub(super) struct Server {
    /// Which of all that there were.
    pub(super) number: u64,
    pub(super) clients: Clients,
    pub(super) reader: Arc<dyn ObjectReader>,
}

/// Who asks, in a request through a client that several users share.
#[derive(Debug, Clone)]
pub(super) struct Asking(pub(super) Arc<UserInfo>);

/// Who wants the server to start anew is told when it has.
pub(super) type Restart = oneshot::Sender<()>;

/// What all clients of a cluster share.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) server: watch::Sender<Option<Server>>,
    pub(super) faults: Faults,
    pub(super) store: Arc<TestStore>,
    pub(super) restarts: mpsc::Sender<Restart>,
}

impl Gate {
    /// A client that is this user, but for requests that say who is [`Asking`]; of whichever server there is when it asks.
    pub(super) fn client(self: &Arc<Self>, user: UserInfo) -> kube::Client {
        let (gate, user) = (self.clone(), Arc::new(user));
        let service = tower::service_fn(move |mut request: Request<ClientBody>| {
            let own = request.extensions_mut().remove().map(|Asking(own)| own);
            let (gate, user) = (gate.clone(), own.unwrap_or_else(|| user.clone()));
            async move { gate.send(&user, request).await }.boxed()
                as BoxFuture<'static, Result<Response<GatedBody>, BoxError>>
        });
        kube::Client::new(service, "default")
    }

    /// There is no server any more: what is under way with it gets no answer.
    pub(super) fn close(&self) {
        self.server.send_replace(None);
        self.faults.look_again();
    }

    async fn send(
        self: &Arc<Self>,
        user: &Arc<UserInfo>,
        mut request: Request<ClientBody>,
    ) -> Result<Response<GatedBody>, BoxError> {
        let cuts = self.faults.cuts();
        if self.faults.is_cut(&user.name) {
            return Err(format!("{} is cut off", user.name).into());
        }
        let Some(server) = self.server.borrow().clone() else {
            return Err("the API server is not running".into());
        };
        let watch = request.uri().query().is_some_and(|query| {
            query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1" | "watch"))
        });
        let fault = self.fault(user, &request, watch)?;
        if fault == Some(Fault::Conflict) {
            return conflict();
        }
        let mut way = Way { gate: self.clone(), user: user.clone(), number: server.number, cuts };
        if request.headers().contains_key(header::UPGRADE) {
            let mut way = way.clone();
            let cut = CutOff::when(async move { drop(way.parted().await) });
            request.extensions_mut().insert(cut);
        }
        let answer = tokio::select! {
            biased;
            why = way.parted() => return Err(why.into()),
            answer = server.clients.send_as(user.clone(), request) => answer?,
        };
        if fault == Some(Fault::AnswerLost) {
            return Err("timed out (planned: it was carried out)".into());
        }
        let left = match fault {
            Some(Fault::WatchDropped { after }) => Some(after),
            _ => None,
        };
        // What is all there already cannot be cut short.
        let is_long = watch || answer.body().size_hint().exact().is_none();
        let way = is_long.then_some(way);
        Ok(answer.map(|inner| GatedBody::new(inner, left, way)))
    }

    /// Why somebody hears nothing more of the server of this number.
    fn parting(&self, user: &str, number: u64) -> Option<String> {
        let server = self.server.borrow();
        if server.as_ref().is_none_or(|server| server.number != number) {
            return Some("the API server went away".to_owned());
        }
        drop(server);
        self.faults.is_cut(user).then(|| format!("{user} is cut off"))
    }

    /// What strikes the request; those that keep it from being carried out are errors.
    fn fault(
        &self,
        user: &UserInfo,
        request: &Request<ClientBody>,
        watch: bool,
    ) -> Result<Option<Fault>, BoxError> {
        let asked = Asked {
            user: &user.name,
            method: request.method().as_str(),
            path: request.uri().path(),
            watch,
            changes: matches!(*request.method(), Method::PUT | Method::PATCH),
        };
        match self.faults.of_request(&asked) {
            Some(Fault::RequestLost) => Err("timed out (planned: it was not carried out)".into()),
            Some(Fault::Restart) => {
                let (done, _) = oneshot::channel();
                // One that was asked for already is as good.
                let _ = self.restarts.try_send(done);
                Err("the API server went away (planned)".into())
            }
            Some(Fault::Partition(_)) => Err(format!("{} is cut off (planned)", user.name).into()),
            other => Ok(other),
        }
    }
}

fn conflict() -> Result<Response<GatedBody>, BoxError> {
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 409, "reason": "Conflict",
        "message": "Operation cannot be fulfilled: the object has been modified; please apply your changes to the \
            latest version and try again (planned)",
    });
    let body = body::full(serde_json::to_vec(&status)?);
    Ok(Response::builder()
        .status(StatusCode::CONFLICT)
        .header(header::CONTENT_TYPE, "application/json")
        .body(GatedBody::new(body, None, None))?)
}

/// Between a user and the server it asked.
#[derive(Clone)]
struct Way {
    gate: Arc<Gate>,
    user: Arc<UserInfo>,
    number: u64,
    /// Changes when somebody is cut off, or the server goes.
    cuts: watch::Receiver<u64>,
}

impl Way {
    /// Waits until nothing comes through any more, and says why.
    async fn parted(&mut self) -> String {
        loop {
            if self.cuts.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            if let Some(why) = self.gate.parting(&self.user.name, self.number) {
                return why;
            }
        }
    }
}

/// An answer that may be cut short.
struct GatedBody {
    inner: body::Body,
    /// How many pieces come through.
    left: Option<u64>,
    /// Ends when nothing comes through any more.
    parted: Option<BoxFuture<'static, String>>,
}

impl GatedBody {
    fn new(inner: body::Body, left: Option<u64>, way: Option<Way>) -> Self {
        let parted = way.map(|mut way| async move { way.parted().await }.boxed());
        Self { inner, left, parted }
    }
}

impl Body for GatedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(parted) = &mut self.parted
            && let Poll::Ready(why) = parted.as_mut().poll(context)
        {
            self.parted = None;
            self.left = Some(0);
            return Poll::Ready(Some(Err(why.into())));
        }
        if self.left == Some(0) {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let (Poll::Ready(Some(_)), Some(left)) = (&polled, &mut self.left) {
            *left -= 1;
        }
        polled
    }
}
