//! ControllerRevisions: the templates that StatefulSets and DaemonSets had.

use super::{deployment::hash, pods, written::Written};
use crate::{Context, Error, error::unless_gone};
use k8s_openapi::{
    api::{apps::v1::ControllerRevision, core::v1::PodTemplateSpec},
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        runtime::RawExtension,
    },
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams},
    core::NamespaceResourceScope,
};
use kubeplane_client::{ControllerRefManager, ObjectKey, Watchable, controller_of, controller_ref};
use kubeplane_workload::typed::{typed, untyped};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// The label with the hash of a StatefulSet's revision.
pub(super) const HASH: &str = "controller.kubernetes.io/hash";
/// The longest part of a name that is the owner's.
const LONGEST_PREFIX: usize = 223;

/// The history of one owner, oldest first.
pub(super) struct History<'a, O> {
    pub(super) context: &'a Context,
    pub(super) owner: &'a O,
    pub(super) key: &'a ObjectKey,
    pub(super) written: &'a Written,
    /// Under which label revisions carry their hash.
    label: &'static str,
    /// Who asks for a revision puts these on it.
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) all: Vec<ControllerRevision>,
    pub(super) collisions: i32,
}

impl<'a, O> History<'a, O>
where
    O: Watchable + kube::Resource<Scope = NamespaceResourceScope>,
{
    /// Reads the revisions, which are [indexed](pods::index_other), and adopts those that nobody has.
    pub(super) async fn read(
        context: &'a Context,
        owner: &'a O,
        key: &'a ObjectKey,
        written: &'a Written,
        selector: &LabelSelector,
        label: &'static str,
    ) -> Result<Self, Error> {
        let uid = owner.meta().uid.as_deref().unwrap_or_default();
        let all = context.informers().of::<ControllerRevision>();
        let found = pods::managed_or_orphaned(&all, uid, &key.namespace).into_iter();
        let ours =
            found.filter(|revision| pods::selects(selector, revision.metadata.labels.as_ref()));
        let claims = ControllerRefManager::new(context.client(), owner, selector)?;
        let claimed = claims.claim(ours.collect(), |_| true).await?;
        let mut all: Vec<_> = claimed.into_iter().map(|revision| (*revision).clone()).collect();
        all.sort_by_key(|revision| {
            let created = revision.metadata.creation_timestamp.as_ref().map(|time| time.0);
            (revision.revision, created, revision.name_any())
        });
        let annotations = owner.meta().annotations.clone().unwrap_or_default();
        Ok(Self { context, owner, key, written, label, annotations, all, collisions: 0 })
    }

    fn api(&self) -> Api<ControllerRevision> {
        Api::namespaced(self.context.client(), &self.key.namespace)
    }

    /// The newest revision, which has this template: found, renumbered or made.
    pub(super) async fn newest(
        &mut self,
        template: &PodTemplateSpec,
    ) -> Result<ControllerRevision, Error> {
        let same = |revision: &&ControllerRevision| {
            template_of(revision).is_some_and(|other| hash::is_same(&other, template))
        };
        if let Some(last) = self.all.last().filter(same) {
            return Ok(last.clone());
        }
        let number = self.all.last().map_or(0, |last| last.revision) + 1;
        if let Some(mut equal) = self.all.iter().rev().find(same).cloned() {
            equal.revision = number;
            let renumbered =
                self.api().replace(&equal.name_any(), &PostParams::default(), &equal).await?;
            self.written.updated(self.key, &renumbered);
            self.all.retain(|revision| revision.metadata.uid != renumbered.metadata.uid);
            self.all.push(renumbered.clone());
            return Ok(renumbered);
        }
        let made = self.make(template, number).await?;
        self.all.push(made.clone());
        Ok(made)
    }

    async fn make(
        &mut self,
        template: &PodTemplateSpec,
        number: i64,
    ) -> Result<ControllerRevision, Error> {
        loop {
            let collisions = Some(self.collisions).filter(|count| *count > 0);
            let revision = self.revision(template, number, &hash::of(template, collisions));
            match self.api().create(&PostParams::default(), &revision).await.map_err(Error::from) {
                Ok(created) => {
                    self.written.created(self.key, &created);
                    return Ok(created);
                }
                Err(error) if error.is_already_exists() => {
                    let present = self.api().get(&revision.name_any()).await?;
                    let uid = self.owner.meta().uid.as_deref();
                    let ours = controller_of(&present).map(|owner| owner.uid.as_str()) == uid;
                    let same =
                        template_of(&present).is_some_and(|other| hash::is_same(&other, template));
                    if ours && same {
                        return Ok(present);
                    }
                    self.collisions += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn revision(&self, template: &PodTemplateSpec, number: i64, hash: &str) -> ControllerRevision {
        let labels = template.metadata.as_ref().and_then(|meta| meta.labels.clone());
        let mut labels = labels.unwrap_or_default();
        labels.insert(self.label.to_owned(), hash.to_owned());
        let prefix: String = self.key.name.chars().take(LONGEST_PREFIX).collect();
        let mut template = untyped(template).unwrap_or_default();
        template["$patch"] = json!("replace");
        ControllerRevision {
            metadata: ObjectMeta {
                name: Some(format!("{prefix}-{hash}")),
                labels: Some(labels),
                annotations: Some(self.annotations.clone()).filter(|all| !all.is_empty()),
                owner_references: Some(vec![controller_ref(self.owner)]),
                ..ObjectMeta::default()
            },
            data: Some(RawExtension(json!({"spec": {"template": template}}))),
            revision: number,
        }
    }

    /// The hash that a revision carries.
    pub(super) fn hash_of<'r>(&self, revision: &'r ControllerRevision) -> &'r str {
        revision.labels().get(self.label).map(String::as_str).unwrap_or_default()
    }

    /// Gives revisions without a hash their name for one, as who reads hashes of pods does not compute any.
    pub(super) async fn label_all(&mut self) -> Result<(), Error> {
        let api = self.api();
        for revision in self.all.iter_mut().filter(|own| !own.labels().contains_key(self.label)) {
            let name = revision.name_any();
            revision.labels_mut().insert(self.label.to_owned(), name.clone());
            *revision = api.replace(&name, &PostParams::default(), revision).await?;
            self.written.updated(self.key, revision);
        }
        Ok(())
    }

    /// The other revisions with the template of this one.
    pub(super) fn doubles(&self, of: &ControllerRevision) -> Vec<ControllerRevision> {
        let Some(template) = template_of(of) else { return Vec::new() };
        let same = |other: &&ControllerRevision| {
            other.metadata.uid != of.metadata.uid
                && template_of(other).is_some_and(|other| hash::is_same(&other, &template))
        };
        self.all.iter().filter(same).cloned().collect()
    }

    /// Deletes a revision.
    pub(super) async fn delete(&mut self, revision: &ControllerRevision) -> Result<(), Error> {
        unless_gone(self.api().delete(&revision.name_any(), &DeleteParams::default()).await)?;
        self.written.deleted(self.key, revision);
        self.all.retain(|own| own.metadata.uid != revision.metadata.uid);
        Ok(())
    }

    /// Deletes the oldest revisions that are not in use, so that `keep` of those are left.
    pub(super) async fn truncate(&self, live: &BTreeSet<String>, keep: i32) -> Result<(), Error> {
        let Ok(keep) = usize::try_from(keep) else { return Ok(()) };
        let unused = |revision: &&ControllerRevision| !live.contains(&revision.name_any());
        let unused: Vec<_> = self.all.iter().filter(unused).collect();
        for revision in &unused[..unused.len().saturating_sub(keep)] {
            let deleted = self.api().delete(&revision.name_any(), &DeleteParams::default()).await;
            unless_gone(deleted)?;
            self.written.deleted(self.key, *revision);
        }
        Ok(())
    }
}

/// The template that a revision keeps.
pub(super) fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision.data.as_ref()?.0.pointer("/spec/template")?.clone();
    template.as_object_mut()?.remove("$patch");
    typed(&template).ok()
}
