use super::args::PluginArgs;
use crate::Point;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// A whole configuration. Fields have the names of the file's and are set once it was read.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Configuration {
    /// How many nodes are looked at in parallel; kept, though decisions here need no threads.
    pub parallelism: Option<i32>,
    /// Whether and by which Lease one of several schedulers leads.
    pub leader_election: LeaderElection,
    /// How to reach the API server.
    pub client_connection: ClientConnection,
    /// Kept for the file's sake.
    pub enable_profiling: Option<bool>,
    /// Kept for the file's sake.
    pub enable_contention_profiling: Option<bool>,
    /// The share of nodes that is enough, in percent; zero chooses by the size of the cluster.
    pub percentage_of_nodes_to_score: Option<i32>,
    /// The first back-off.
    pub pod_initial_backoff_seconds: Option<i64>,
    /// The longest back-off.
    pub pod_max_backoff_seconds: Option<i64>,
    /// One for each `schedulerName`.
    pub profiles: Vec<SchedulerProfile>,
    /// Webhooks asked besides plugins.
    pub extenders: Vec<Extender>,
    /// Whether watching begins only once it leads.
    pub delay_cache_until_active: bool,
}

/// Leader election.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LeaderElection {
    /// Whether to elect one.
    pub leader_elect: Option<bool>,
    /// How long others leave a leader alone that does not renew.
    #[serde(deserialize_with = "super::defaults::duration")]
    pub lease_duration: Duration,
    /// How long a leader goes on without a renewal.
    #[serde(deserialize_with = "super::defaults::duration")]
    pub renew_deadline: Duration,
    /// How often to try.
    #[serde(deserialize_with = "super::defaults::duration")]
    pub retry_period: Duration,
    /// Always `leases`.
    pub resource_lock: String,
    /// The Lease's name.
    pub resource_name: String,
    /// The Lease's namespace.
    pub resource_namespace: String,
}

/// How to reach the API server.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClientConnection {
    /// A kubeconfig file.
    pub kubeconfig: String,
    /// Kept for the file's sake: the client chooses by itself.
    pub accept_content_types: String,
    /// Kept for the file's sake.
    pub content_type: String,
    /// Kept for the file's sake: requests are not held back.
    pub qps: f32,
    /// As `qps`.
    pub burst: i32,
}

/// A profile.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SchedulerProfile {
    /// The `schedulerName` of the pods it serves.
    pub scheduler_name: Option<String>,
    /// In place of the configuration's own.
    pub percentage_of_nodes_to_score: Option<i32>,
    /// Which plugins run where, besides the defaults.
    pub plugins: Option<Plugins>,
    /// Arguments of plugins.
    pub plugin_config: Vec<PluginConfig>,
}

/// Plugins by extension point.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "named by their extension points")]
pub struct Plugins {
    pub pre_enqueue: PluginSet,
    pub queue_sort: PluginSet,
    pub pre_filter: PluginSet,
    pub filter: PluginSet,
    pub post_filter: PluginSet,
    pub pre_score: PluginSet,
    pub score: PluginSet,
    pub reserve: PluginSet,
    pub permit: PluginSet,
    pub pre_bind: PluginSet,
    pub bind: PluginSet,
    pub post_bind: PluginSet,
    pub multi_point: PluginSet,
    pub placement_generate: PluginSet,
    pub placement_score: PluginSet,
}

impl Plugins {
    /// The plugins of one extension point.
    #[must_use]
    pub fn at(&self, point: Point) -> &PluginSet {
        match point {
            Point::PreEnqueue => &self.pre_enqueue,
            Point::QueueSort => &self.queue_sort,
            Point::PreFilter => &self.pre_filter,
            Point::Filter => &self.filter,
            Point::PostFilter => &self.post_filter,
            Point::PreScore => &self.pre_score,
            Point::Score => &self.score,
            Point::Reserve => &self.reserve,
            Point::Permit => &self.permit,
            Point::PreBind => &self.pre_bind,
            Point::Bind => &self.bind,
            Point::PostBind => &self.post_bind,
            Point::PlacementGenerate => &self.placement_generate,
            Point::PlacementScore => &self.placement_score,
        }
    }
}

/// What is enabled and disabled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PluginSet {
    /// Besides the defaults.
    pub enabled: Vec<PluginRef>,
    /// Of the defaults; `*` is all of them.
    pub disabled: Vec<PluginRef>,
}

/// A plugin by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PluginRef {
    /// The name.
    pub name: String,
    /// How often its score counts.
    pub weight: Option<i32>,
}

impl PluginRef {
    /// With a weight; zero means none is given.
    #[must_use]
    pub fn new(name: &str, weight: i32) -> Self {
        Self { name: name.to_owned(), weight: (weight != 0).then_some(weight) }
    }
}

impl SchedulerProfile {
    /// What the file says of a plugin, null if nothing.
    pub(super) fn args_of(&self, plugin: &str) -> &Value {
        let own = self.plugin_config.iter().find(|own| own.name == plugin);
        own.map_or(&Value::Null, |own| &own.args)
    }
}

/// Arguments of one plugin.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PluginConfig {
    /// The plugin.
    pub name: String,
    /// As in the file.
    pub args: Value,
    /// As read, for plugins whose arguments are known.
    #[serde(skip)]
    pub decoded: Option<PluginArgs>,
}

/// A webhook.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Extender {
    /// Where it is; verbs are appended.
    #[serde(rename = "urlPrefix")]
    pub url_prefix: String,
    /// Asked which nodes fit, if not empty.
    pub filter_verb: String,
    /// Asked which victims are right.
    pub preempt_verb: String,
    /// Asked for scores.
    pub prioritize_verb: String,
    /// How often its scores count.
    pub weight: i64,
    /// Binds in place of the plugins.
    pub bind_verb: String,
    /// Whether to speak TLS.
    #[serde(rename = "enableHTTPS")]
    pub enable_https: bool,
    /// How.
    pub tls_config: Option<ExtenderTlsConfig>,
    /// How long to wait; five seconds if zero.
    #[serde(rename = "httpTimeout", deserialize_with = "super::defaults::duration")]
    pub http_timeout: Duration,
    /// Whether it knows nodes by name.
    pub node_cache_capable: bool,
    /// It is asked only for pods that request one of these, if there are any.
    pub managed_resources: Vec<ExtenderManagedResource>,
    /// Whether it may fail.
    pub ignorable: bool,
}

/// A resource that an extender manages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ExtenderManagedResource {
    /// Its name.
    pub name: String,
    /// Whether NodeResourcesFit leaves it to the extender.
    pub ignored_by_scheduler: bool,
}

/// How to speak TLS with an extender. Data are base64 in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "named as everywhere")]
pub struct ExtenderTlsConfig {
    pub insecure: bool,
    pub server_name: String,
    pub cert_file: String,
    pub key_file: String,
    #[serde(rename = "caFile")]
    pub ca_file: String,
    pub cert_data: String,
    pub key_data: String,
    #[serde(rename = "caData")]
    pub ca_data: String,
}
