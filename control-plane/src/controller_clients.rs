//! Clients for controllers in a process of their own: each works as its service account.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{
    Api, Client, Config,
    api::{ObjectMeta, PostParams},
    client::{AuthError, Body},
};
use kubeplane_client::KubeconfigClients;
use kubeplane_clock::SharedClock;
use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::Mutex;
use tower::{BoxError, ServiceExt as _, util::BoxCloneSyncService};

const NAMESPACE: &str = "kube-system";
const LIFETIME: Duration = Duration::from_secs(3600);

/// Makes clients that are service accounts of `kube-system`. Accounts and tokens are made through the
/// manager's own client; a token is renewed when four fifths of its time are over.
#[derive(Clone)]
pub struct ControllerClients {
    manager: Client,
    anonymous: Anonymous,
    clock: SharedClock,
}

/// Sends requests that say themselves who asks.
type Anonymous = BoxCloneSyncService<Request<Body>, Response<Answer>, BoxError>;
type Answer = UnsyncBoxBody<Bytes, BoxError>;

impl fmt::Debug for ControllerClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ControllerClients")
    }
}

impl ControllerClients {
    /// Over the connection of `config`, whose user is the manager.
    ///
    /// # Errors
    /// When the configuration is not usable.
    pub fn new(config: &Config, clock: SharedClock) -> kube::Result<Self> {
        let mut without = config.clone();
        without.auth_info = Default::default();
        let anonymous = Client::try_from(without)?;
        let send = move |request| {
            let client = anonymous.clone();
            async move { Ok::<_, BoxError>(boxed(client.send(request).await?)) }
        };
        let manager = Client::try_from(config.clone())?;
        Ok(Self { manager, anonymous: Anonymous::new(tower::service_fn(send)), clock })
    }

    /// Over the clients of a kubeconfig whose user is the manager, also after its credentials are renewed.
    #[must_use]
    pub fn renewed(clients: &KubeconfigClients, clock: SharedClock) -> Self {
        let anonymous = Anonymous::new(clients.service_without_user());
        Self { manager: clients.client(), anonymous, clock }
    }

    /// The client of one controller.
    #[must_use]
    pub fn client(&self, controller: &str) -> Client {
        let service = AsServiceAccount {
            shared: self.clone(),
            name: controller.to_owned(),
            token: Arc::default(),
        };
        Client::new(service, NAMESPACE)
    }

    async fn issue(&self, name: &str) -> kube::Result<String> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.manager.clone(), NAMESPACE);
        if accounts.get_opt(name).await?.is_none() {
            let account = ServiceAccount {
                metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
                ..ServiceAccount::default()
            };
            match accounts.create(&PostParams::default(), &account).await {
                Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                other => drop(other?),
            }
        }
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: i64::try_from(LIFETIME.as_secs()).ok(),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let issued = accounts.create_token_request(name, &PostParams::default(), &request).await?;
        Ok(issued.status.and_then(|status| status.token).unwrap_or_default())
    }
}

/// A token and when it was issued.
type Token = Arc<Mutex<Option<(HeaderValue, Duration)>>>;

fn boxed(response: Response<Body>) -> Response<Answer> {
    response.map(|body| body.map_err(BoxError::from).boxed_unsync())
}

#[derive(Clone)]
struct AsServiceAccount {
    shared: ControllerClients,
    name: String,
    token: Token,
}

impl AsServiceAccount {
    async fn bearer(&self) -> kube::Result<HeaderValue> {
        let now = self.shared.clock.elapsed();
        let mut kept = self.token.lock().await;
        if let Some((token, issued)) = &*kept
            && now.saturating_sub(*issued) < LIFETIME * 4 / 5
        {
            return Ok(token.clone());
        }
        let token = self.shared.issue(&self.name).await?;
        let mut bearer = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|error| kube::Error::Auth(AuthError::InvalidBearerToken(error)))?;
        bearer.set_sensitive(true);
        *kept = Some((bearer.clone(), now));
        Ok(bearer)
    }
}

impl tower::Service<Request<Body>> for AsServiceAccount {
    type Response = Response<Answer>;
    type Error = BoxError;
    type Future = futures::future::BoxFuture<'static, Result<Response<Answer>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let own = self.clone();
        Box::pin(async move {
            request.headers_mut().insert(header::AUTHORIZATION, own.bearer().await?);
            own.shared.anonymous.oneshot(request).await
        })
    }
}
