//! The API server with everything a cluster expects of it.

use crate::{
    credentials::{Credentials, FRONT_PROXY, KUBELET_CLIENT, PROXY},
    simulated_logs::LogsOfAll,
    ways::Ways,
};
use ipnet::{IpNet, Ipv4Net};
use kubeplane_aggregation::{Aggregation, Identity};
use kubeplane_apiserver::{ApiServer, Builder, Route, TlsOptions, Versions, audit::AuditLog};
use kubeplane_auth::{
    BootstrapTokens, Masters, NodeAuthorizer, Rbac, RbacEscalation, ServiceAccountTokens,
    TokenIssuer, UsedTokens, X509,
};
use kubeplane_clock::{Seed, SharedClock};
use kubeplane_core::{GroupResource, GroupVersion, features::Features};
use kubeplane_handlers::{
    AccessReview, Bootstrap, BootstrapOptions, ComponentStatuses, Dial, FrontProxy,
    IssuerDiscovery, KubeletClient, PodBinding, PodEviction, PodLog, PodStream, ResourceProxy,
    ReviewKind, SelfSubjectReview, SelfSubjectRulesReview, ServiceAccountToken, ServiceAddresses,
    ServiceAddressesError, Tcp, TokenReview, admission::AdmissionPlugins,
};
use kubeplane_openapi::OpenApi;
use kubeplane_store_trait::Store;
use kubeplane_telemetry::{Health, Metrics};
use kubeplane_webhooks::Extensions;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    sync::Arc,
};

/// Who issues service account tokens, as the tokens say.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// How a standard API server is set up.
#[derive(Debug, Clone)]
pub struct ApiOptions {
    /// Where to listen; `None` to be reached in this process only.
    pub listen: Option<SocketAddr>,
    /// The feature gates.
    pub features: Features,
    /// Which of the versions there are kinds of are served; that of PodGroups is with the gate `GenericWorkload`, and that
    /// of DeviceTaintRules (`v1beta2`) with `DRADeviceTaintRules`, unless it is said that it is not.
    pub versions: Versions,
    /// Which admission steps run, and how.
    pub admission: AdmissionPlugins,
    /// Where requests are recorded, if anywhere.
    pub audit: Option<Arc<AuditLog>>,
    /// What all keys in the store begin with, as in `/registry`.
    pub storage_prefix: String,
    /// Cluster addresses of Services: one range, or one of each family, the first of which is the default.
    pub service_ranges: Vec<IpNet>,
    /// Node ports of Services.
    pub node_ports: RangeInclusive<u16>,
    /// The name of the machine, for a server that says by a Lease that it is there, and since when. `None` for one of
    /// which nobody asks that.
    pub host: Option<String>,
    /// Where time comes from.
    pub clock: SharedClock,
    /// Where chance comes from.
    pub seed: Seed,
    /// Checks served under `/readyz` and so on, beside the server's own.
    pub health: Health,
    /// Metrics served beside the server's own.
    pub metrics: Metrics,
    /// Components shown by `kubectl get componentstatuses`.
    pub components: ComponentStatuses,
    /// What the server tells at `/flagz` that it was started with, by name; none of it secret.
    pub flags: BTreeMap<String, String>,
    /// Further paths that name no resource, and what serves them.
    pub routes: Vec<(String, Arc<dyn Route>)>,
    /// What it has beside the standard.
    pub extend: Extend,
}

type Step = Arc<dyn Fn(Builder) -> Builder + Send + Sync>;

/// What an API server has beside the standard, as functions of its builder.
#[derive(Clone, Default)]
pub struct Extend(Vec<Step>);

impl fmt::Debug for Extend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Extend").field(&self.0.len()).finish()
    }
}

impl Extend {
    /// With this too, done last: what it adds is asked after what was there.
    #[must_use]
    pub fn and(mut self, step: impl Fn(Builder) -> Builder + Send + Sync + 'static) -> Self {
        self.0.push(Arc::new(step));
        self
    }

    fn apply(&self, builder: Builder) -> Builder {
        self.0.iter().fold(builder, |builder, step| step(builder))
    }
}

impl Default for ApiOptions {
    /// Service range 10.96.0.0/16, node ports 30000 to 32767, no listener, the machine's clock, the usual
    /// admission steps.
    fn default() -> Self {
        let range = Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16);
        Self {
            listen: None,
            features: Features::default(),
            versions: Versions::default(),
            admission: AdmissionPlugins::new(),
            audit: None,
            storage_prefix: "/registry".to_owned(),
            service_ranges: vec![range.into()],
            node_ports: 30000..=32767,
            host: None,
            clock: kubeplane_clock::real(),
            seed: Seed::random(),
            health: Health::new(),
            metrics: Metrics::new(),
            components: ComponentStatuses::new(),
            flags: BTreeMap::new(),
            routes: Vec::new(),
            extend: Extend::default(),
        }
    }
}

/// Why a standard API server could not be assembled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AssemblyError {
    /// The server itself.
    #[error(transparent)]
    Server(#[from] kubeplane_apiserver::Error),
    /// An authenticator.
    #[error(transparent)]
    Auth(#[from] kubeplane_auth::Error),
    /// The service range.
    #[error(transparent)]
    Addresses(#[from] ServiceAddressesError),
    /// The certificate of the listener.
    #[error("serving certificate: {0}")]
    Serving(kubeplane_pki::Error),
    /// The certificate for kubelets.
    #[error("certificate for kubelets: {0}")]
    KubeletClient(kubeplane_pki::Error),
    /// The certificate for extension API servers.
    #[error("certificate for extension API servers: {0}")]
    Aggregation(String),
    /// The way to kubelets.
    #[error(transparent)]
    Kubelets(#[from] kubeplane_handlers::KubeletClientError),
}

/// An API server with all built-in kinds and CustomResourceDefinitions, certificates, tokens, RBAC,
/// admission, and the ways to kubelets.
///
/// # Errors
/// When credentials are malformed or options do not fit.
pub fn standard_api_server(
    store: Arc<dyn Store>,
    credentials: &Credentials,
    options: &ApiOptions,
) -> Result<ApiServer, AssemblyError> {
    standard_api_server_dialing(store, credentials, options, Arc::new(Tcp))
}

/// The same, which reaches nodes and pods by these ways.
pub(crate) fn standard_api_server_dialing(
    store: Arc<dyn Store>,
    credentials: &Credentials,
    options: &ApiOptions,
    ways: Arc<dyn Ways>,
) -> Result<ApiServer, AssemblyError> {
    let clock = options.clock.clone();
    let used = UsedTokens::default();
    let issuer =
        TokenIssuer::new(ISSUER, &credentials.service_account_key, Vec::new(), clock.clone())?
            .tracking(used.clone());
    let addresses = service_addresses(options)?;
    let mut definitions = kubeplane_builtin::all();
    definitions.extend(kubeplane_builtin::optional(&options.features));
    definitions.push(Arc::new(kubeplane_extensions::definition()));
    let mut builder = ApiServer::builder(store)
        .storage_prefix(&options.storage_prefix)
        .features(options.features.clone())
        .versions(served(options))
        .clock(clock.clone())
        .seed(options.seed.clone())
        .health(options.health.clone())
        .metrics(options.metrics.clone())
        .flags(options.flags.clone())
        .resources(definitions)
        .hook(GroupResource::new("", "services"), Arc::new(addresses))
        .hook(
            kubeplane_extensions::resource(),
            Arc::new(kubeplane_extensions::CustomResourceDefinitionDeletion),
        );
    if let Some(log) = &options.audit {
        builder = builder.audit(log.clone());
    }
    if let Some(address) = options.listen {
        let serving = credentials.live_serving().map_err(AssemblyError::Serving)?;
        builder = builder.listen(address, TlsOptions::from_resolver(serving));
    }
    builder = with_access(builder, credentials, &issuer, options)?;
    let extensions = Extensions::new(kubeplane_webhooks::Options {
        clock: options.clock.clone(),
        seed: options.seed.clone(),
        metrics: options.metrics.clone(),
        provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
    });
    builder = with_admission(builder, options, &extensions);
    for path in IssuerDiscovery::PATHS {
        builder = builder.route(path, Arc::new(IssuerDiscovery::new(issuer.clone())));
    }
    builder = with_handlers(builder, credentials, issuer, options, ways)?;
    for (path, route) in OpenApi::routes() {
        builder = builder.route(path, route);
    }
    for (path, route) in &options.routes {
        builder = builder.route(path.clone(), route.clone());
    }
    let server = options.extend.apply(builder).build()?;
    extensions.attach(&server.api());
    kubeplane_handlers::track_legacy_tokens(&server.api(), used);
    Ok(server)
}

/// The versions that were chosen, with that of metrics, and with those of PodGroups and of DeviceTaintRules where their
/// gates are on: a scheduler with the gates waits for them.
fn served(options: &ApiOptions) -> Versions {
    let versions = crate::metrics_api::served(options.versions.clone());
    let gated = [
        ("GenericWorkload", "scheduling.k8s.io", "v1alpha2"),
        ("DRADeviceTaintRules", "resource.k8s.io", "v1beta2"),
    ];
    let on = gated.into_iter().filter(|(gate, ..)| options.features.is_on(gate));
    on.fold(versions, |versions, (_, group, version)| {
        versions.including(GroupVersion::new(group, version))
    })
}

fn with_access(
    builder: Builder,
    credentials: &Credentials,
    issuer: &TokenIssuer,
    options: &ApiOptions,
) -> Result<Builder, AssemblyError> {
    let (tokens, clock) = (issuer.clone(), options.clock.clone());
    let uids = options.features.is_on("AllowParsingUserUIDFromCertAuth");
    let certificates = X509::from_pem(credentials.authority(), clock.clone())?.reading_uids(uids);
    Ok(builder
        .authenticate(certificates)
        .authenticate_with(move |reader| ServiceAccountTokens::new(tokens, reader.clone()))
        .authenticate_with(move |reader| BootstrapTokens::new(reader.clone(), clock))
        .authorize(Masters)
        .authorize_with(|reader| NodeAuthorizer::new(reader.clone()))
        .authorize_with(|reader| Rbac::new(reader.clone())))
}

/// In the original's order.
fn with_admission(builder: Builder, options: &ApiOptions, extensions: &Extensions) -> Builder {
    let (clock, seed) = (&options.clock, &options.seed);
    let plugins = options.admission.clone().features(options.features.clone());
    plugins.install(builder, clock, seed, |name, builder| match name {
        "RbacEscalation" => {
            builder.admit_with(|reader| RbacEscalation::new(Arc::new(Rbac::new(reader.clone()))))
        }
        "MutatingAdmissionPolicy" => builder.admit(extensions.mutating_policies()),
        "MutatingAdmissionWebhook" => builder.admit(extensions.mutating_webhooks()),
        "ValidatingAdmissionPolicy" => builder.admit(extensions.validating_policies()),
        "ValidatingAdmissionWebhook" => builder.admit(extensions.validating_webhooks()),
        _ => builder,
    })
}

fn with_handlers(
    builder: Builder,
    credentials: &Credentials,
    issuer: TokenIssuer,
    options: &ApiOptions,
    ways: Arc<dyn Ways>,
) -> Result<Builder, AssemblyError> {
    let core = |resource: &'static str| GroupResource::new("", resource);
    let authentication =
        |resource: &'static str| GroupResource::new("authentication.k8s.io", resource);
    let authorization =
        |resource: &'static str| GroupResource::new("authorization.k8s.io", resource);
    let own = credentials.live_kubelet_client().map_err(AssemblyError::KubeletClient)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let dial: Arc<dyn Dial> = ways.clone();
    let kubelets = KubeletClient::resolving(credentials.authority(), own, provider.clone())?
        .dialing(dial.clone());
    let proxy = Arc::new(ResourceProxy::new(kubelets.clone(), provider).dial(dial));
    let stream = Arc::new(PodStream(kubelets.clone()));
    let access = |kind| Arc::new(AccessReview(kind));
    let builder = crate::metrics_api::install(builder, kubelets.clone(), ways.clone());
    let logs = Arc::new(LogsOfAll { kubelets: PodLog(kubelets), ways });
    Ok(builder
        .handler(core("bindings"), "", Arc::new(PodBinding))
        .handler(core("componentstatuses"), "", Arc::new(options.components.clone()))
        .handler(core("nodes"), "proxy", proxy.clone())
        .handler(core("pods"), "proxy", proxy.clone())
        .handler(core("services"), "proxy", proxy)
        .handler(core("pods"), "binding", Arc::new(PodBinding))
        .handler(core("pods"), "eviction", Arc::new(PodEviction))
        .handler(core("pods"), "log", logs)
        .handler(core("pods"), "exec", stream.clone())
        .handler(core("pods"), "attach", stream.clone())
        .handler(core("pods"), "portforward", stream)
        .handler(
            core("serviceaccounts"),
            "token",
            Arc::new(ServiceAccountToken::new(issuer.clone())),
        )
        .handler(authentication("tokenreviews"), "", Arc::new(TokenReview::new(issuer, Vec::new())))
        .handler(authentication("selfsubjectreviews"), "", Arc::new(SelfSubjectReview))
        .handler(authorization("subjectaccessreviews"), "", access(ReviewKind::Subject))
        .handler(authorization("localsubjectaccessreviews"), "", access(ReviewKind::LocalSubject))
        .handler(authorization("selfsubjectaccessreviews"), "", access(ReviewKind::SelfSubject))
        .handler(authorization("selfsubjectrulesreviews"), "", Arc::new(SelfSubjectRulesReview)))
}

fn service_addresses(options: &ApiOptions) -> Result<ServiceAddresses, ServiceAddressesError> {
    ServiceAddresses::new(options.service_ranges.iter().copied(), options.node_ports.clone())
}

/// The component that makes the objects every cluster starts with. `address` is where pods reach the
/// API server; where its port is 0 and the server listens, it is the port listened on.
///
/// # Errors
/// When the service range is too small.
pub fn standard_bootstrap(
    api: &ApiServer,
    credentials: &Credentials,
    options: &ApiOptions,
    address: SocketAddr,
) -> Result<Bootstrap, AssemblyError> {
    let addresses = service_addresses(options)?;
    let bootstrap = Bootstrap::new(
        api.api(),
        BootstrapOptions {
            address,
            service_address: addresses.first(),
            service_ranges: addresses.ranges().to_vec(),
            node_ports: options.node_ports.clone(),
            client_authority: credentials.authority().to_owned(),
            front_proxy: Some(FrontProxy {
                authority: credentials.front_proxy_authority().to_owned(),
                name: FRONT_PROXY.to_owned(),
            }),
            kubelet_client: KUBELET_CLIENT.to_owned(),
            roles: vec![crate::metrics_api::readers(), proxy_reviews()],
            host: options.host.clone(),
        },
    );
    let finds_port = address.port() == 0 && options.listen.is_some();
    Ok(if finds_port { bootstrap.listening(api.bound()) } else { bootstrap })
}

/// Lets the proxy ask who reads its metrics and whether they may. The original's serves them to everybody, so that
/// its bootstrap policy has nothing of the kind.
fn proxy_reviews() -> Value {
    const GROUP: &str = "rbac.authorization.k8s.io";
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRoleBinding",
        "metadata": {"name": "kubeplane:kube-proxy-auth-delegator"},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "system:auth-delegator"},
        "subjects": [{"apiGroup": GROUP, "kind": "User", "name": PROXY}]})
}

/// The component that passes group versions on to extension API servers, where APIServices say so.
///
/// # Errors
/// When credentials are malformed.
pub fn standard_aggregation(
    api: &ApiServer,
    credentials: &Credentials,
) -> Result<Aggregation, AssemblyError> {
    let own = credentials
        .live_front_proxy()
        .map_err(|error| AssemblyError::Aggregation(error.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(Aggregation::new(api.api(), Identity::from_resolver(own), provider))
}
