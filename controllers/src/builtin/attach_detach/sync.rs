//! One look at one node.

use super::{
    AttachDetach, BY_NODE, BY_VOLUME,
    figures::{Tally, by_plugin},
    nodes,
    volumes::{self, Needed},
};
use crate::{Action, Context, Error, error::unless_gone};
use k8s_openapi::{
    api::{
        core::v1::{AttachedVolume, Node, PersistentVolume, Pod},
        storage::v1::{CSIDriver, VolumeAttachment, VolumeAttachmentSource, VolumeAttachmentSpec},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use kubeplane_client::{EventType, ObjectKey};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How long a volume may stay mounted on a node that is not well before it is taken away all the same.
const PATIENCE: Duration = Duration::from_secs(360);
/// How long a driver may take to attach a volume before its pods are told, and again after that.
const TIMEOUT: Duration = Duration::from_secs(120);
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

pub(super) struct Sync<'a> {
    pub(super) controller: &'a AttachDetach,
    pub(super) context: &'a Context,
    pub(super) node: &'a str,
}

/// An attachment to the node and what it attaches.
struct Attached {
    object: Arc<VolumeAttachment>,
    unique: String,
}

impl Attached {
    fn is_attached(&self) -> bool {
        self.object.status.as_ref().is_some_and(|status| status.attached)
    }

    fn is_going(&self) -> bool {
        self.object.metadata.deletion_timestamp.is_some()
    }
}

/// The sooner of two times to look again.
fn sooner(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

impl Sync<'_> {
    pub(super) async fn run(&self) -> Result<Action, Error> {
        let informers = self.context.informers();
        let node = informers.of::<Node>().get("", self.node);
        // Pods may outlive their node for a while.
        let known = self.known(self.node);
        let needed =
            known.as_ref().map(|node| volumes::needed(informers, node)).unwrap_or_default();
        let attached = self.attached();
        if node.is_none() && attached.is_empty() && needed.is_empty() {
            self.controller.state.lock().left.remove(self.node);
        }
        self.controller.figures.set(self.node, self.tally(&needed));
        let mut again = None;
        // First what is to go: what comes may wait for it.
        for own in attached.iter().filter(|own| !needed.contains_key(&own.unique)) {
            again = sooner(again, self.detach(own, node.as_deref(), &attached, &needed).await?);
        }
        self.forget(&needed, &attached);
        if let Some(node) = &node {
            for (unique, wanted) in &needed {
                let own = attached.iter().find(|own| own.unique == *unique);
                again = sooner(again, self.attach(unique, wanted, own).await?);
            }
            let reported =
                attached.iter().filter(|own| own.is_attached() && !own.is_going()).filter(|own| {
                    needed.contains_key(&own.unique) || self.is_mounted(node, &own.unique)
                });
            self.report(node, reported.map(|own| own.unique.clone()).collect()).await?;
        }
        Ok(again.map_or(Action::Done, Action::RequeueAfter))
    }

    /// The attachments of volumes of drivers to the node.
    fn attached(&self) -> Vec<Attached> {
        let informers = self.context.informers();
        let all = informers.of::<VolumeAttachment>().by_index(BY_NODE, self.node);
        let volumes = informers.of::<PersistentVolume>();
        let named = all.into_iter().filter_map(|object| {
            let volume = volumes.get("", super::volume_of(&object)?);
            let source = volume.as_ref().and_then(|volume| volumes::source(volume));
            let unique = match source {
                Some(source) => volumes::unique_name(source),
                // The volume is gone; whatever it was, nobody needs it any more.
                None if object.name_any().starts_with("csi-") => object.name_any(),
                None => return None,
            };
            Some(Attached { object, unique })
        });
        named.collect()
    }

    fn tally(&self, needed: &BTreeMap<String, Needed>) -> Tally {
        let informers = self.context.informers();
        let desired = needed.values().filter_map(|own| volumes::source(&own.volume));
        let attachments = informers.of::<VolumeAttachment>().by_index(BY_NODE, self.node);
        let pods = nodes::pods_on(&informers.of::<Pod>(), self.node);
        let used: Vec<_> = pods.iter().flat_map(|pod| volumes::of_pod(informers, pod)).collect();
        let used = used.iter().filter_map(|volume| volumes::source(volume));
        Tally {
            desired: by_plugin(desired.map(|source| source.driver.as_str())),
            actual: by_plugin(attachments.iter().map(|own| own.spec.attacher.as_str())),
            used: by_plugin(used.map(|source| source.driver.as_str())),
        }
    }

    /// A node as it is, or as it was when it went.
    fn known(&self, name: &str) -> Option<Arc<Node>> {
        let node = self.context.informers().of::<Node>().get("", name);
        node.or_else(|| self.controller.state.lock().left.get(name).cloned())
    }

    /// Whether the node had a volume mounted when it went; it had, where nobody saw it go.
    fn was_mounted(&self, unique: &str) -> bool {
        let left = self.controller.state.lock().left.get(self.node).cloned();
        left.is_none_or(|node| self.is_mounted(&node, unique))
    }

    fn is_mounted(&self, node: &Node, unique: &str) -> bool {
        let status = node.status.as_ref();
        status.is_some_and(|own| own.volumes_in_use.iter().flatten().any(|name| name == unique))
    }

    fn key(&self, unique: &str) -> (String, String) {
        (self.node.to_owned(), unique.to_owned())
    }

    /// Forgets what is no longer so.
    fn forget(&self, needed: &BTreeMap<String, Needed>, attached: &[Attached]) {
        let mut state = self.controller.state.lock();
        state.unneeded.retain(|(node, unique), _| {
            node != self.node
                || !needed.contains_key(unique) && attached.iter().any(|own| own.unique == *unique)
        });
        state.told.retain(|(node, unique), _| node != self.node || needed.contains_key(unique));
    }

    /// Detaches a volume, or says how long to wait for its node to let it go.
    async fn detach(
        &self,
        own: &Attached,
        node: Option<&Node>,
        attached: &[Attached],
        needed: &BTreeMap<String, Needed>,
    ) -> Result<Option<Duration>, Error> {
        if own.is_going() {
            return Ok(None);
        }
        let now = self.context.clock().elapsed();
        let since = {
            let mut state = self.controller.state.lock();
            *state.unneeded.entry(self.key(&own.unique)).or_insert(now)
        };
        let forces = self.controller.forces;
        let expired = forces && now.saturating_sub(since) > PATIENCE;
        let well = node.is_some_and(nodes::is_ready);
        let out_of_service = node.is_some_and(|node| {
            nodes::taints(node).iter().any(|taint| taint.key == OUT_OF_SERVICE)
        });
        let mounted = match node {
            Some(node) => self.is_mounted(node, &own.unique),
            None => self.was_mounted(&own.unique),
        };
        if mounted && !out_of_service && (well || !expired) {
            // A well node tells when it lets go; another is not waited for for ever.
            let left =
                (PATIENCE + Duration::from_millis(1)).saturating_sub(now.saturating_sub(since));
            return Ok((forces && !well).then_some(left.max(Duration::from_secs(1))));
        }
        if let Some(node) = node {
            let rest = attached.iter().filter(|other| {
                other.unique != own.unique
                    && other.is_attached()
                    && !other.is_going()
                    && (needed.contains_key(&other.unique) || self.is_mounted(node, &other.unique))
            });
            self.report(node, rest.map(|other| other.unique.clone()).collect()).await?;
            if !expired && !out_of_service && self.is_mounted_now(&own.unique).await? {
                return Ok(Some(Duration::from_secs(1)));
            }
        }
        let begun = self.context.clock().elapsed();
        self.controller.state.lock().leaving.entry(own.object.name_any()).or_insert(begun);
        let api: Api<VolumeAttachment> = Api::all(self.context.client());
        let uid = own.object.metadata.uid.clone();
        let preconditions = Preconditions { uid, resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        unless_gone(api.delete(&own.object.name_any(), &params).await)?;
        if expired || out_of_service {
            let reason = if expired { "timeout" } else { "out-of-service" };
            self.controller.figures.forced(reason);
        }
        Ok(None)
    }

    /// Asks the server: the node may have begun to use the volume since the cache was told.
    async fn is_mounted_now(&self, unique: &str) -> Result<bool, Error> {
        let api: Api<Node> = Api::all(self.context.client());
        let node = api.get_opt(self.node).await?;
        Ok(node.is_some_and(|node| self.is_mounted(&node, unique)))
    }

    /// Attaches a volume, or says how long to wait for its driver before that is told.
    async fn attach(
        &self,
        unique: &str,
        wanted: &Needed,
        own: Option<&Attached>,
    ) -> Result<Option<Duration>, Error> {
        let volume = wanted.volume.name_any();
        let Some(own) = own else {
            // That it was made brings the node back here.
            return self.create(unique, wanted).await.map(|()| None);
        };
        let name = own.object.name_any();
        if own.is_going() {
            // It goes first, and its end brings the node back here.
            return Ok(None);
        }
        if own.is_attached() {
            let since = self.controller.state.lock().pending.remove(&name);
            if let Some(since) = since {
                self.note(own, true, since);
                let text = format!("AttachVolume.Attach succeeded for volume {volume:?} ");
                self.tell(&wanted.pods, EventType::Normal, "SuccessfulAttachVolume", &text);
            }
            return Ok(None);
        }
        let error = own.object.status.as_ref().and_then(|status| status.attach_error.as_ref());
        if let Some(why) = error.and_then(|error| error.message.as_ref()) {
            let now = self.context.clock().elapsed();
            let since = self.controller.state.lock().pending.insert(name, now);
            let text = format!("AttachVolume.Attach failed for volume {volume:?} : {why}");
            if self.tell_once(unique, &wanted.pods, text) {
                self.note(own, false, since.unwrap_or(now));
            }
            return Ok(None);
        }
        Ok(Some(self.await_driver(own, wanted)))
    }

    /// Notes how long it took to attach a volume, or to find that this did not work.
    fn note(&self, own: &Attached, worked: bool, since: Duration) {
        let took = self.context.clock().elapsed().saturating_sub(since);
        self.controller.figures.attached(&own.object.spec.attacher, worked, took);
    }

    /// How long a driver may still take; one that has taken too long is told of, and may take as long again.
    fn await_driver(&self, own: &Attached, wanted: &Needed) -> Duration {
        let (attachment, now) = (own.object.name_any(), self.context.clock().elapsed());
        let since = *self.controller.state.lock().pending.entry(attachment.clone()).or_insert(now);
        let left = TIMEOUT.saturating_sub(now.saturating_sub(since));
        if !left.is_zero() {
            return left;
        }
        self.controller.state.lock().pending.insert(attachment, now);
        self.note(own, false, since);
        if let Some(source) = volumes::source(&wanted.volume) {
            let text = format!(
                "AttachVolume.Attach failed for volume {:?} : timed out waiting for external-attacher of {} CSI \
                 driver to attach volume {}",
                wanted.volume.name_any(),
                source.driver,
                source.volume_handle
            );
            self.tell(&wanted.pods, EventType::Warning, "FailedAttachVolume", &text);
        }
        TIMEOUT
    }

    async fn create(&self, unique: &str, wanted: &Needed) -> Result<(), Error> {
        let Some(source) = volumes::source(&wanted.volume) else { return Ok(()) };
        let volume = wanted.volume.name_any();
        if !volumes::is_shared(&wanted.volume) {
            let attachments = self.context.informers().of::<VolumeAttachment>();
            // Before it is looked who has the volume: what goes right after that brings the node back.
            self.controller.state.lock().waiting.insert(self.node.to_owned());
            let all = attachments.by_index(BY_VOLUME, &volume);
            let others: Vec<_> = all
                .iter()
                .map(|other| other.spec.node_name.clone())
                .filter(|other| other != self.node)
                .collect();
            if !others.is_empty() {
                self.tell_of_others(unique, wanted, &others);
                return Ok(());
            }
            if !self.others_are_seen() {
                return Err(Error::Incomplete(
                    "an attachment made elsewhere is not seen yet".into(),
                ));
            }
        }
        if !self.attaches(&source.driver).await? {
            return Ok(());
        }
        let attachment = VolumeAttachment {
            metadata: ObjectMeta {
                name: Some(volumes::attachment_name(source, self.node)),
                ..ObjectMeta::default()
            },
            spec: VolumeAttachmentSpec {
                attacher: source.driver.clone(),
                node_name: self.node.to_owned(),
                source: VolumeAttachmentSource {
                    persistent_volume_name: Some(volume),
                    inline_volume_spec: None,
                },
            },
            status: None,
        };
        let api: Api<VolumeAttachment> = Api::all(self.context.client());
        match api.create(&PostParams::default(), &attachment).await.map_err(Error::from) {
            Ok(created) => {
                let key = ObjectKey::new("", self.node);
                self.controller.written.created(&key, &created);
                let now = self.context.clock().elapsed();
                self.controller.state.lock().pending.insert(created.name_any(), now);
                Ok(())
            }
            Err(error) if error.is_already_exists() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the driver has its volumes attached. One that the cache does not show may have come a moment ago.
    async fn attaches(&self, driver: &str) -> Result<bool, Error> {
        if self.context.informers().of::<CSIDriver>().get("", driver).is_some() {
            return Ok(true);
        }
        let api: Api<CSIDriver> = Api::all(self.context.client());
        let found = api.get_opt(driver).await?;
        Ok(found.is_none_or(|driver| driver.spec.attach_required != Some(false)))
    }

    /// Whether the cache shows every attachment that was made to any node.
    fn others_are_seen(&self) -> bool {
        let informers = self.context.informers();
        let attachments = informers.of::<VolumeAttachment>();
        let nodes = informers.of::<Node>().list();
        nodes.iter().all(|node| {
            self.controller.written.is_seen(&ObjectKey::new("", node.name_any()), &attachments)
        })
    }

    /// Tells whose pods have the volume, without the names of those in other namespaces.
    fn tell_of_others(&self, unique: &str, wanted: &Needed, nodes: &[String]) {
        let informers = self.context.informers();
        let mut users: Vec<Arc<Pod>> = Vec::new();
        for node in nodes.iter().filter_map(|name| self.known(name)) {
            if let Some(there) = volumes::needed(informers, &node).remove(unique) {
                users.extend(there.pods);
            }
        }
        let key = self.key(unique);
        if self.controller.state.lock().told.contains_key(&key) {
            return;
        }
        let volume = wanted.volume.name_any();
        for pod in &wanted.pods {
            let (here, elsewhere): (Vec<_>, Vec<_>) =
                users.iter().partition(|user| user.metadata.namespace == pod.metadata.namespace);
            let names: Vec<_> = here.iter().map(|user| user.name_any()).collect();
            let (names, count) = (names.join(", "), elsewhere.len());
            let why = match (names.is_empty(), count) {
                (true, 0) => "Volume is already exclusively attached to one node and can't be attached to another".to_owned(),
                (true, _) => format!("Volume is already used by {count} pod(s) in different namespaces"),
                (false, 0) => format!("Volume is already used by pod(s) {names}"),
                (false, _) => format!(
                    "Volume is already used by pod(s) {names} and {count} pod(s) in different namespaces"
                ),
            };
            let text = format!("Multi-Attach error for volume {volume:?} {why}");
            let pods = std::slice::from_ref(pod);
            self.tell(pods, EventType::Warning, "FailedAttachVolume", &text);
        }
        self.controller.state.lock().told.insert(key, String::new());
    }

    /// Whether it was not told before.
    fn tell_once(&self, unique: &str, pods: &[Arc<Pod>], text: String) -> bool {
        let known = self.controller.state.lock().told.insert(self.key(unique), text.clone());
        let is_news = known.as_ref() != Some(&text);
        if is_news {
            self.tell(pods, EventType::Warning, "FailedAttachVolume", &text);
        }
        is_news
    }

    fn tell(&self, pods: &[Arc<Pod>], kind: EventType, reason: &str, text: &str) {
        for pod in pods {
            self.context.recorder().event_for(&**pod, kind, reason, text);
        }
    }

    /// Writes which volumes the node may mount.
    async fn report(&self, node: &Node, mut volumes: Vec<String>) -> Result<(), Error> {
        volumes.sort_unstable();
        volumes.dedup();
        let present = node.status.iter().flat_map(|own| own.volumes_attached.iter().flatten());
        let mut present: Vec<_> = present.map(|own| own.name.clone()).collect();
        present.sort_unstable();
        if present == volumes {
            return Ok(());
        }
        let list: Vec<_> = volumes
            .into_iter()
            .map(|name| AttachedVolume { name, device_path: String::new() })
            .collect();
        let api: Api<Node> = Api::all(self.context.client());
        let patch = Patch::Merge(json!({"status": {"volumesAttached": list}}));
        unless_gone(api.patch_status(self.node, &PatchParams::default(), &patch).await)
    }
}
