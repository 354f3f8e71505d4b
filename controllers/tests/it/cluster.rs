//! An API server, the controllers, and something that makes pods ready.

use crate::whole::WholePods;
use futures::StreamExt;
use k8s_openapi::{
    api::core::v1::{Namespace, Node, Pod, ServiceAccount},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::NamespaceResourceScope,
};
use kubeplane_apiserver::{ApiServer, Builder, Clients, admission::NamespaceLifecycle};
use kubeplane_auth::{Masters, Rbac};
use kubeplane_client::{Informers, Watchable};
use kubeplane_clock::{PausedClock, SharedClock};
use kubeplane_controllers::{
    BuiltinOptions, Manager, Selection, Settings, TokenSigner, builtin_with, trim_pod,
};
use kubeplane_core::{
    GroupResource, Object,
    auth::{GROUP_AUTHENTICATED, UserInfo},
    component::{Component, lifecycle},
    features::Features,
};
use kubeplane_extensions::{CustomResourceDefinitionDeletion, CustomResources};
use kubeplane_handlers::{AccessReview, ReviewKind};
use kubeplane_pki::Authority;
use kubeplane_store_memory::MemoryStore;
use kubeplane_store_trait::{Key, ReadAt, Store, WriteOptions};
use kubeplane_telemetry::Metrics;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

/// Signs by saying for what.
#[derive(Debug)]
struct Signer;

impl TokenSigner for Signer {
    fn sign(&self, account: &ServiceAccount, secret: &str) -> Result<String, String> {
        Ok(format!("{} in {secret}", account.metadata.name.as_deref().unwrap_or_default()))
    }
}

/// A built-in controller as the API server sees it.
fn controller(name: &str) -> UserInfo {
    UserInfo::new(
        format!("system:serviceaccount:kube-system:{name}"),
        ["system:serviceaccounts", "system:serviceaccounts:kube-system", GROUP_AUTHENTICATED],
    )
}

pub(crate) struct Cluster {
    /// An administrator's.
    pub(crate) client: Client,
    /// What the controllers tell of themselves.
    pub(crate) metrics: Metrics,
    /// The server itself.
    pub(crate) server: kubeplane_apiserver::Api,
    clients: Clients,
    store: Arc<dyn Store>,
    options: Option<BuiltinOptions>,
    settings: Settings,
    selection: String,
    controllers: Mutex<JoinSet<()>>,
    tasks: JoinSet<()>,
}

pub(crate) const NODE: &str = "node-1";

/// How often it is looked whether something has come.
const TICK: Duration = Duration::from_millis(20);
/// How long is waited for what is to come.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at least, however long that takes: time that stands still goes on with every look, and what is
/// tried again comes after up to half a minute of it.
const LOOKS: u32 = 2000;

impl Cluster {
    /// With all built-in controllers. Their time goes on as the machine's does, but no faster than this process is let
    /// run: a node that nobody renews stays well for as long as the test is kept waiting.
    pub(crate) async fn start() -> Self {
        let clock = PausedClock::starting_at(kubeplane_clock::real().now());
        let mut cluster = Self::with_clock(Arc::new(clock.clone())).await;
        cluster.tasks.spawn(pass(clock, TICK));
        cluster
    }

    /// With controllers that have this clock.
    pub(crate) async fn with_clock(clock: SharedClock) -> Self {
        Self::with(clock, |builder| builder).await
    }

    /// The same, on a server that is put together differently.
    pub(crate) async fn with(clock: SharedClock, change: impl FnOnce(Builder) -> Builder) -> Self {
        Self::selected(clock, change, "*").await
    }

    /// With controllers that have this clock, on a server and with controllers that go by these gates.
    pub(crate) async fn gated(clock: SharedClock, gates: &str) -> Self {
        let features: Features = gates.parse().unwrap();
        let own = features.clone();
        Self::assembled(clock, |builder| builder.features(own), "*", features).await
    }

    /// With controllers that go by these gates, on a server that goes by the defaults.
    pub(crate) async fn with_gated_controllers(clock: SharedClock, gates: &str) -> Self {
        Self::assembled(clock, |builder| builder, "*", gates.parse().unwrap()).await
    }

    /// The same, with those controllers that `--controllers` would select.
    pub(crate) async fn selected(
        clock: SharedClock,
        change: impl FnOnce(Builder) -> Builder,
        selection: &str,
    ) -> Self {
        Self::assembled(clock, change, selection, Features::default()).await
    }

    async fn assembled(
        clock: SharedClock,
        change: impl FnOnce(Builder) -> Builder,
        selection: &str,
        features: Features,
    ) -> Self {
        let mut cluster = Self::bare_with(change).await;
        cluster.bootstrap().await;
        let authority = Authority::generate("kubernetes", clock.now()).unwrap();
        let options = BuiltinOptions::new(clock, "the root")
            .with_authority(Arc::new(authority))
            .with_token_signer(Arc::new(Signer))
            .with_features(features)
            .with_metrics(cluster.metrics.clone());
        cluster.options = Some(options);
        cluster.selection = selection.to_owned();
        cluster.start_controllers().await;
        cluster
    }

    /// Starts the controllers, which begin with empty caches.
    pub(crate) async fn start_controllers(&self) {
        let options = self.options.clone().unwrap();
        let clients = self.clients.clone();
        let own = UserInfo::new("system:kube-controller-manager", [GROUP_AUTHENTICATED]);
        let manager = Manager::builder(clients.client_as(own))
            .client_for(move |name| clients.client_as(controller(name)))
            .clock(options.clock.clone())
            .select(Selection::parse(&self.selection))
            .add_all(builtin_with(&options, &self.settings))
            .transform(trim_pod)
            .build()
            .unwrap();
        let (life, mut watch) = lifecycle();
        let mut running = JoinSet::new();
        running.spawn(async move { Box::new(manager).run(life).await.unwrap() });
        assert!(watch.became_ready().await);
        // The life ends with the cluster's tasks.
        running.spawn(async move {
            std::future::pending::<()>().await;
            drop(watch);
        });
        *self.controllers.lock().unwrap() = running;
    }

    /// Has nodes given parts of these ranges, by controllers that begin anew.
    pub(crate) async fn give_ranges(&mut self, ranges: &[&str]) {
        self.stop_controllers().await;
        let options = self.options.take().unwrap();
        let add = |options: BuiltinOptions, range: &&str| {
            options.with_cluster_cidr(range.parse().unwrap())
        };
        self.options = Some(ranges.iter().fold(options, add));
        self.start_controllers().await;
    }

    /// Has an authority of its own sign for a signer, by controllers that begin anew.
    pub(crate) async fn sign_with(&mut self, signer: &str, authority: Authority) {
        self.stop_controllers().await;
        let options = self.options.take().unwrap();
        self.options = Some(options.with_signer_authority(signer, Arc::new(authority)));
        self.start_controllers().await;
    }

    /// Has controllers that begin anew go by other settings.
    pub(crate) async fn set(&mut self, settings: Settings) {
        self.stop_controllers().await;
        self.settings = settings;
        self.start_controllers().await;
    }

    /// Ends the controllers wherever they are.
    pub(crate) async fn stop_controllers(&self) {
        let mut running = std::mem::take(&mut *self.controllers.lock().unwrap());
        running.shutdown().await;
    }

    /// Makes what gives controllers their rights.
    async fn bootstrap(&self) {
        for name in ["kube-system", "kube-public"] {
            self.create::<Namespace>(json!({"metadata": {"name": name}})).await;
        }
        let creates = kubeplane_auth::bootstrap::policy().into_iter().map(|object| async move {
            self.create_any(&object).await;
        });
        futures::future::join_all(creates).await;
    }

    /// Creates an object of a kind that says itself which it is.
    pub(crate) async fn create_any(&self, object: &Object) -> DynamicObject {
        let of = object.group_version().unwrap();
        let gvk = kube::core::GroupVersionKind::gvk(&of.group, &of.version, object.kind());
        let resource = kube::discovery::ApiResource::from_gvk(&gvk);
        let api: Api<DynamicObject> = match object.namespace() {
            "" => Api::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        };
        let object = object.decode().unwrap();
        api.create(&PostParams::default(), &object).await.unwrap()
    }

    /// Stores an object past all that looks at what is written, as a server of another version may have.
    pub(crate) async fn store(&self, key: &str, object: &Value) {
        let key = Key::new(key.to_owned()).unwrap();
        let (text, options) = (object.to_string(), WriteOptions::default());
        let present = self.store.get(&key, ReadAt::Latest).await.unwrap().entry;
        let written = match present {
            Some(entry) => self.store.update(&key, text.into(), entry.revision, options).await,
            None => self.store.create(&key, text.into(), options).await,
        };
        written.unwrap();
    }

    /// A client that is somebody.
    pub(crate) fn client_as(&self, user: UserInfo) -> Client {
        self.clients.client_as(user)
    }

    /// Without controllers.
    pub(crate) async fn bare() -> Self {
        Self::bare_with(|builder| builder).await
    }

    async fn bare_with(change: impl FnOnce(Builder) -> Builder) -> Self {
        let mut kinds = kubeplane_builtin::all();
        kinds.push(Arc::new(kubeplane_extensions::definition()));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let builder = ApiServer::builder(store.clone())
            .resources(kinds)
            .hook(kubeplane_extensions::resource(), Arc::new(CustomResourceDefinitionDeletion))
            .authorize(Masters)
            .authorize_with(|reader| Rbac::new(reader.clone()))
            .handler(
                GroupResource::new("authorization.k8s.io", "subjectaccessreviews"),
                "",
                Arc::new(AccessReview(ReviewKind::Subject)),
            )
            .admit(NamespaceLifecycle)
            .admit(WholePods);
        let server = change(builder).build().unwrap();
        let (client, clients) = (server.client(), server.clients());
        let mut tasks = JoinSet::new();
        let inside = server.api();
        let custom = CustomResources::new(inside.clone());
        tasks.spawn(async move {
            let (life, _watch) = lifecycle();
            let _running = Box::new(custom).run(life).await;
        });
        tasks.spawn(async move {
            let (life, _watch) = lifecycle();
            let _running = Box::new(server).run(life).await;
        });
        let cluster = Self {
            client,
            metrics: Metrics::new(),
            server: inside,
            clients,
            store,
            options: None,
            settings: Settings::default(),
            selection: "*".to_owned(),
            controllers: Mutex::default(),
            tasks,
        };
        cluster.create::<Namespace>(json!({"metadata": {"name": "default"}})).await;
        cluster
    }

    /// Adds a ready node; pods become ready at once and go at once. They name their node, as there is no scheduler.
    pub(crate) async fn with_kubelet(mut self) -> Self {
        self.create::<Node>(json!({"metadata": {"name": NODE}})).await;
        let ready = json!({"status": {"conditions": [
            {"type": "Ready", "status": "True", "lastHeartbeatTime": Time(kubeplane_clock::real().now())}]}});
        let nodes: Api<Node> = Api::all(self.client.clone());
        nodes.patch_status(NODE, &PatchParams::default(), &Patch::Merge(ready)).await.unwrap();
        self.tasks.spawn(kubelet(self.client.clone()));
        self
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Watchable + kube::Resource<Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Creates an object, in `default` when the kind has namespaces and none is named.
    pub(crate) async fn create<K>(&self, object: Value) -> K
    where
        K: Watchable + Serialize,
    {
        let resource = kube::discovery::ApiResource::erase::<K>(&());
        let global = [
            "Namespace",
            "Node",
            "CertificateSigningRequest",
            "ServiceCIDR",
            "IPAddress",
            "ResourceSlice",
        ];
        let namespaced = !global.contains(&&*K::kind(&()));
        let api: Api<DynamicObject> = if namespaced {
            Api::namespaced_with(self.client.clone(), "default", &resource)
        } else {
            Api::all_with(self.client.clone(), &resource)
        };
        let mut object = object;
        object["apiVersion"] = json!(resource.api_version);
        object["kind"] = json!(resource.kind);
        let created = api
            .create(&PostParams::default(), &serde_json::from_value(object).unwrap())
            .await
            .unwrap();
        serde_json::from_value(serde_json::to_value(created).unwrap()).unwrap()
    }

    pub(crate) async fn list<K>(&self) -> Vec<K>
    where
        K: Watchable + kube::Resource<Scope = NamespaceResourceScope>,
    {
        self.api::<K>().list(&ListParams::default()).await.unwrap().items
    }
}

/// Waits until `check` gives something; panics with what it said last.
pub(crate) async fn eventually<T, F, Fut>(what: &str, check: F) -> T
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + PATIENCE;
    let mut looks = 0;
    loop {
        looks += 1;
        match check().await {
            Ok(value) => return value,
            Err(last) if Instant::now() > deadline && looks > LOOKS => panic!("{what}: {last}"),
            Err(_) => sleep(TICK).await,
        }
    }
}

/// Lets time that stands still go on slowly until this is dropped, as whatever is tried again waits for it.
pub(crate) fn trickle(clock: &PausedClock) -> JoinSet<()> {
    let mut task = JoinSet::new();
    task.spawn(pass(clock.clone(), Duration::from_millis(2)));
    task
}

/// Lets so much time pass with every tick.
async fn pass(clock: PausedClock, step: Duration) {
    loop {
        sleep(TICK).await;
        clock.advance(step);
    }
}

/// Waits until the object is gone.
pub(crate) async fn gone<K>(api: &Api<K>, name: &str)
where
    K: Clone + DeserializeOwned + Debug,
{
    eventually(&format!("{name} goes"), || async {
        match api.get_opt(name).await.unwrap() {
            None => Ok(()),
            Some(object) => Err(format!("{object:?}")),
        }
    })
    .await;
}

async fn kubelet(client: Client) {
    let informers = Informers::new(client.clone(), kubeplane_clock::real());
    let mut changes = informers.of::<Pod>().subscribe();
    let mut next = 0;
    while let Some(change) = changes.next().await {
        let pod = change.object();
        if change.is_deleted() {
            continue;
        }
        let name = pod.metadata.name.clone().unwrap();
        let api: Api<Pod> =
            Api::namespaced(client.clone(), pod.metadata.namespace.as_deref().unwrap());
        if pod.metadata.deletion_timestamp.is_some() {
            let _gone = api.delete(&name, &DeleteParams::default().grace_period(0)).await;
        } else if !kubeplane_workload::is_ready(pod) && !kubeplane_workload::is_terminal(pod) {
            next += 1;
            let ip = format!("10.244.{}.{}", next / 250, next % 250 + 1);
            let now = Time(kubeplane_clock::real().now());
            let status = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": now}]}});
            let _late =
                api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await;
        }
    }
}
