//! One look at one node.

use super::{
    AttachDetach, BY_NODE, BY_VOLUME, nodes,
    volumes::{self, Needed},
};
use crate::{Action, Context, Error, builtin::figures::labels, error::unless_gone};
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

impl Sync<'_> {
    pub(super) async fn run(&self) -> Result<Action, Error> {
        let informers = self.context.informers();
        let node = informers.of::<Node>().get("", self.node);
        let needed = node.as_ref().map(|node| volumes::needed(informers, node)).unwrap_or_default();
        let attached = self.attached();
        let mut again = None;
        // First what is to go: what comes may wait for it.
        for own in attached.iter().filter(|own| !needed.contains_key(&own.unique)) {
            let wait = self.detach(own, node.as_deref(), &attached, &needed).await?;
            again = match (again, wait) {
                (Some(a), Some(b)) => Some(std::cmp::min(a, b)),
                (a, b) => a.or(b),
            };
        }
        self.forget(&needed, &attached);
        for (unique, wanted) in &needed {
            let own = attached.iter().find(|own| own.unique == *unique);
            self.attach(unique, wanted, own).await?;
        }
        if let Some(node) = &node {
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
        let mounted = node.is_none_or(|node| self.is_mounted(node, &own.unique));
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
        let api: Api<VolumeAttachment> = Api::all(self.context.client());
        let uid = own.object.metadata.uid.clone();
        let preconditions = Preconditions { uid, resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        unless_gone(api.delete(&own.object.name_any(), &params).await)?;
        if expired || out_of_service {
            let reason = if expired { "timeout" } else { "out-of-service" };
            self.controller.forced.get_or_create(&labels([("reason", reason)])).inc();
        }
        Ok(None)
    }

    /// Asks the server: the node may have begun to use the volume since the cache was told.
    async fn is_mounted_now(&self, unique: &str) -> Result<bool, Error> {
        let api: Api<Node> = Api::all(self.context.client());
        let node = api.get_opt(self.node).await?;
        Ok(node.is_some_and(|node| self.is_mounted(&node, unique)))
    }

    async fn attach(
        &self,
        unique: &str,
        wanted: &Needed,
        own: Option<&Attached>,
    ) -> Result<(), Error> {
        let volume = wanted.volume.name_any();
        let Some(own) = own else { return self.create(unique, wanted).await };
        let name = own.object.name_any();
        if own.is_going() {
            // It goes first, and its end brings the node back here.
            return Ok(());
        }
        if own.is_attached() {
            if self.controller.state.lock().pending.remove(&name) {
                let text = format!("AttachVolume.Attach succeeded for volume {volume:?} ");
                self.tell(&wanted.pods, EventType::Normal, "SuccessfulAttachVolume", &text);
            }
            return Ok(());
        }
        self.controller.state.lock().pending.insert(name);
        let error = own.object.status.as_ref().and_then(|status| status.attach_error.as_ref());
        if let Some(why) = error.and_then(|error| error.message.as_ref()) {
            let text = format!("AttachVolume.Attach failed for volume {volume:?} : {why}");
            self.tell_once(unique, &wanted.pods, text);
        }
        Ok(())
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
                self.controller.state.lock().pending.insert(created.name_any());
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
        for node in nodes.iter().filter_map(|name| informers.of::<Node>().get("", name)) {
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

    fn tell_once(&self, unique: &str, pods: &[Arc<Pod>], text: String) {
        let known = self.controller.state.lock().told.insert(self.key(unique), text.clone());
        if known.as_ref() != Some(&text) {
            self.tell(pods, EventType::Warning, "FailedAttachVolume", &text);
        }
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
