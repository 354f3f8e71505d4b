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
use kubeplane_apiserver::Clients;
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
    pub(super) clients: Clients,
    pub(super) reader: Arc<dyn ObjectReader>,
}

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
    /// A client that is this user, of whichever server there is when it asks.
    pub(super) fn client(self: &Arc<Self>, user: UserInfo) -> kube::Client {
        let (gate, user) = (self.clone(), Arc::new(user));
        let service = tower::service_fn(move |request: Request<ClientBody>| {
            let (gate, user) = (gate.clone(), user.clone());
            async move { gate.send(&user, request).await }.boxed()
                as BoxFuture<'static, Result<Response<GatedBody>, BoxError>>
        });
        kube::Client::new(service, "default")
    }

    async fn send(
        &self,
        user: &UserInfo,
        request: Request<ClientBody>,
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
        let answer = server.clients.client_as(user.clone()).send(request).await?;
        if fault == Some(Fault::AnswerLost) {
            return Err("timed out (planned: it was carried out)".into());
        }
        let left = match fault {
            Some(Fault::WatchDropped { after }) => Some(after),
            _ => None,
        };
        let gate = watch.then(|| (self.faults.clone(), user.name.clone(), cuts));
        Ok(answer.map(|inner| GatedBody::new(Box::pin(inner), left, gate)))
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
    let body = ClientBody::from(serde_json::to_vec(&status)?);
    Ok(Response::builder()
        .status(StatusCode::CONFLICT)
        .header(header::CONTENT_TYPE, "application/json")
        .body(GatedBody::new(Box::pin(body), None, None))?)
}

type Cut = (Faults, String, watch::Receiver<u64>);

/// An answer that may be cut short.
struct GatedBody {
    inner: Pin<Box<ClientBody>>,
    /// How many pieces come through.
    left: Option<u64>,
    gate: Option<(Faults, String)>,
    /// Ends when somebody is cut off.
    changed: Option<BoxFuture<'static, watch::Receiver<u64>>>,
}

impl GatedBody {
    fn new(inner: Pin<Box<ClientBody>>, left: Option<u64>, cut: Option<Cut>) -> Self {
        let (gate, changed) = match cut {
            Some((faults, user, cuts)) => (Some((faults, user)), Some(changed(cuts))),
            None => (None, None),
        };
        Self { inner, left, gate, changed }
    }

    fn is_cut(&mut self, context: &mut Context<'_>) -> bool {
        let (Some((faults, user)), Some(waiting)) = (&self.gate, &mut self.changed) else {
            return false;
        };
        while let Poll::Ready(cuts) = waiting.as_mut().poll(context) {
            if faults.is_cut(user) {
                return true;
            }
            *waiting = changed(cuts);
        }
        false
    }
}

fn changed(mut cuts: watch::Receiver<u64>) -> BoxFuture<'static, watch::Receiver<u64>> {
    async move {
        if cuts.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        cuts
    }
    .boxed()
}

impl Body for GatedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.is_cut(context) {
            self.changed = None;
            self.left = Some(0);
            return Poll::Ready(Some(Err("cut off".into())));
        }
        if self.left == Some(0) {
            return Poll::Ready(None);
        }
        let polled = self.inner.as_mut().poll_frame(context);
        if let (Poll::Ready(Some(_)), Some(left)) = (&polled, &mut self.left) {
            *left -= 1;
        }
        polled.map_err(Into::into)
    }
}
