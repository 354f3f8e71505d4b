use super::{ACCOUNT, ACCOUNT_UID, annotation, is, is_token, unless_changed};
use crate::{Action, Context, Controller, Error, Sources, error::unless_gone};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use k8s_openapi::api::core::v1::{
    ConfigMap, EnvFromSource, EnvVar, Pod, Secret, ServiceAccount, Volume,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::json;
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

/// How often tokens are looked at.
const PERIOD: Duration = Duration::from_secs(24 * 3600);
const TRACKING: &str = "kube-apiserver-legacy-service-account-token-tracking";
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

/// Deletes tokens that were made by themselves and that nobody has used for long: declares them invalid
/// first, and deletes them when nobody has missed them for as long again.
pub(crate) struct UnusedTokens {
    /// How long a token is kept that nobody uses, before and after it is declared invalid.
    unused: SignedDuration,
}

impl UnusedTokens {
    pub(crate) fn new(unused: Duration) -> Self {
        Self { unused: SignedDuration::try_from(unused).unwrap_or(SignedDuration::MAX) }
    }
}

#[async_trait]
impl Controller for UnusedTokens {
    /// All tokens at once.
    type Request = ();
    type Error = Error;

    fn name(&self) -> &'static str {
        "legacy-serviceaccount-token-cleaner-controller"
    }

    fn identity(&self) -> &'static str {
        "legacy-service-account-token-cleaner"
    }

    fn workers(&self) -> usize {
        1
    }

    fn watches(&self, sources: &mut Sources<()>) {
        sources.informer::<ServiceAccount>();
        sources.informer::<Secret>();
        sources.informer::<Pod>();
        sources.at_start(());
    }

    async fn reconcile(&self, (): &(), context: &Context) -> Result<Action, Error> {
        let again = Ok(Action::RequeueAfter(PERIOD));
        let maps: Api<ConfigMap> = Api::namespaced(context.client(), "kube-system");
        let Some(tracking) = maps.get_opt(TRACKING).await? else { return again };
        let since = tracking.data.as_ref().and_then(|data| data.get("since"));
        let Some(since) = since.and_then(|since| since.parse::<Date>().ok()) else { return again };
        let now = context.now();
        let before = now.saturating_sub(self.unused).unwrap_or(Timestamp::MIN);
        // The day on which the server began to note who is used is not whole.
        if since.tomorrow().is_ok_and(|since| date(before) < since) {
            return again;
        }
        let mut mounted = HashMap::new();
        for secret in context.informers().of::<Secret>().list() {
            if !is_token(&secret) || !is_unused(&secret, before) || !is_made(context, &secret) {
                continue;
            }
            let namespace = secret.metadata.namespace.clone().unwrap_or_default();
            let name = secret.metadata.name.clone().unwrap_or_default();
            let used = mounted
                .entry(namespace.clone())
                .or_insert_with(|| secrets_of_pods(context, &namespace));
            if used.contains(&name) {
                continue;
            }
            let api: Api<Secret> = Api::namespaced(context.client(), &namespace);
            if let Err(error) = retire(&api, &secret, &name, now, before).await {
                tracing::warn!(namespace, name, %error, "cannot retire an unused token");
            }
        }
        again
    }
}

fn date(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

fn label(secret: &Secret, key: &str) -> Option<String> {
    secret.metadata.labels.as_ref()?.get(key).cloned()
}

/// Whether the Secret is old and was not used since; one whose label says nothing stays.
fn is_unused(secret: &Secret, before: Timestamp) -> bool {
    let created = secret.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let old = created.is_some_and(|created| created < before);
    let used = label(secret, LAST_USED).map(|used| used.parse::<Date>());
    let recently = match used {
        None => false,
        Some(Ok(used)) => used >= date(before),
        Some(Err(_)) => true,
    };
    old && secret.metadata.deletion_timestamp.is_none() && !recently
}

/// Whether the Secret was made for its account by itself: then the account lists it.
fn is_made(context: &Context, secret: &Secret) -> bool {
    let namespace = secret.metadata.namespace.as_deref().unwrap_or_default();
    let accounts = context.informers().of::<ServiceAccount>();
    let account = accounts.get(namespace, annotation(secret, ACCOUNT));
    account.is_some_and(|account| {
        let mut listed = account.secrets.iter().flatten();
        is(&account, annotation(secret, ACCOUNT_UID))
            && listed.any(|entry| entry.name == secret.metadata.name)
    })
}

async fn retire(
    api: &Api<Secret>,
    secret: &Secret,
    name: &str,
    now: Timestamp,
    before: Timestamp,
) -> Result<(), Error> {
    let invalid = label(secret, INVALID_SINCE).and_then(|since| since.parse::<Date>().ok());
    let Some(invalid) = invalid else {
        let patch = json!({"metadata": {
            "uid": secret.metadata.uid, "labels": {INVALID_SINCE: date(now).to_string()}}});
        return unless_gone(api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await);
    };
    if invalid >= date(before) {
        return Ok(());
    }
    let preconditions =
        Preconditions { uid: None, resource_version: secret.metadata.resource_version.clone() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    unless_changed(unless_gone(api.delete(name, &params).await))
}

fn secrets_of_pods(context: &Context, namespace: &str) -> BTreeSet<String> {
    let pods = context.informers().of::<Pod>().list_in(namespace);
    pods.iter().flat_map(|pod| secrets_of(pod)).collect()
}

/// The names of all Secrets a pod mentions.
fn secrets_of(pod: &Pod) -> Vec<String> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let mut names: Vec<String> =
        spec.image_pull_secrets.iter().flatten().map(|secret| secret.name.clone()).collect();
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let all = all.map(|container| (&container.env_from, &container.env));
    let ephemeral = spec.ephemeral_containers.iter().flatten();
    let ephemeral = ephemeral.map(|container| (&container.env_from, &container.env));
    for (whole, single) in all.chain(ephemeral) {
        names.extend(whole.iter().flatten().filter_map(secret_of_source).cloned());
        names.extend(single.iter().flatten().filter_map(secret_of_variable).cloned());
    }
    names.extend(spec.volumes.iter().flatten().flat_map(secrets_of_volume));
    names
}

/// The Secret whose entries are all variables.
pub(in crate::builtin) fn secret_of_source(source: &EnvFromSource) -> Option<&String> {
    source.secret_ref.as_ref().map(|secret| &secret.name)
}

/// The Secret that a variable is from.
pub(in crate::builtin) fn secret_of_variable(variable: &EnvVar) -> Option<&String> {
    Some(&variable.value_from.as_ref()?.secret_key_ref.as_ref()?.name)
}

/// The names of the Secrets that a volume is of, or read with.
pub(in crate::builtin) fn secrets_of_volume(volume: &Volume) -> Vec<String> {
    let local = |name: Option<&k8s_openapi::api::core::v1::LocalObjectReference>| {
        name.map(|reference| reference.name.clone())
    };
    let mut names = Vec::new();
    names.extend(volume.secret.as_ref().and_then(|secret| secret.secret_name.clone()));
    names.extend(volume.azure_file.as_ref().map(|file| file.secret_name.clone()));
    names.extend(volume.cephfs.as_ref().and_then(|fs| local(fs.secret_ref.as_ref())));
    names.extend(volume.cinder.as_ref().and_then(|disk| local(disk.secret_ref.as_ref())));
    names.extend(volume.flex_volume.as_ref().and_then(|flex| local(flex.secret_ref.as_ref())));
    names.extend(volume.rbd.as_ref().and_then(|rbd| local(rbd.secret_ref.as_ref())));
    names.extend(volume.scale_io.as_ref().and_then(|io| local(Some(&io.secret_ref))));
    names.extend(volume.iscsi.as_ref().and_then(|iscsi| local(iscsi.secret_ref.as_ref())));
    names.extend(volume.storageos.as_ref().and_then(|os| local(os.secret_ref.as_ref())));
    let csi = volume.csi.as_ref();
    names.extend(csi.and_then(|csi| local(csi.node_publish_secret_ref.as_ref())));
    let projected = volume.projected.iter().flat_map(|one| one.sources.iter().flatten());
    names.extend(projected.filter_map(|source| Some(source.secret.as_ref()?.name.clone())));
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trim_pod;
    use serde_json::json;

    #[test]
    fn what_is_kept_of_a_pod_mentions_the_same_secrets() {
        let own = |name: &str| {
            json!({"name": name, "image": "i", "envFrom": [{"secretRef": {"name": format!("all-{name}")}}, {"configMapRef": {"name": "m"}}],
                "env": [{"name": "A", "value": "1"},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": format!("of-{name}"), "key": "k"}}}]})
        };
        let mut pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {
            "imagePullSecrets": [{"name": "registry"}],
            "containers": [own("main"), {"name": "plain"}], "initContainers": [own("init")],
            "ephemeralContainers": [own("debug"), {"name": "other"}],
            "volumes": [
                {"name": "e", "emptyDir": {}}, {"name": "s", "secret": {"secretName": "mounted"}},
                {"name": "p", "projected": {"sources": [{"configMap": {"name": "m"}}, {"secret": {"name": "part"}}]}},
                {"name": "f", "azureFile": {"secretName": "share", "shareName": "x"}},
                {"name": "c", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "publish"}}}],
        }}))
        .unwrap();
        let all = secrets_of(&pod);
        assert_eq!(all.len(), 11, "{all:?}");
        trim_pod(&mut pod);
        assert_eq!(secrets_of(&pod), all);
    }
}
