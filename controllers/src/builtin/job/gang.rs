//! The Workload and the PodGroup of a Job whose pods are scheduled all at once or not at all, where the gate
//! `WorkloadWithJob` is on (KEP-5547).

use super::{
    Request,
    sync::{count, is_indexed},
};
use crate::{
    Context, Error, Sources,
    builtin::{deployment::hash, figures::Skips, resource_claims::PodGroup, written::Written},
};
use k8s_openapi::{
    Metadata, NamespaceResourceScope, Resource,
    api::{
        batch::v1::Job,
        core::v1::{Pod, PodSchedulingGroup},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{ResourceExt, api::PostParams, core::Request as Call};
use kubeplane_client::{EventType, ObjectKey, Watchable, controller_ref, is_controlled_by};
use kubeplane_clock::SharedClock;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// The index of Workloads by the Job they say they are of.
const BY_JOB: &str = "workload-by-job";
/// The index of PodGroups by their Workload.
const BY_WORKLOAD: &str = "pod-group-by-workload";
const LONGEST_NAME: usize = 253;

/// A Workload, as far as it has to do with Jobs.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Workload {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    controller_ref: Option<ControllerRef>,
    pod_group_templates: Vec<Template>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ControllerRef {
    api_group: String,
    kind: String,
    name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Template {
    name: String,
    scheduling_policy: Value,
}

impl Resource for Workload {
    type Scope = NamespaceResourceScope;
    const API_VERSION: &'static str = "scheduling.k8s.io/v1alpha2";
    const GROUP: &'static str = "scheduling.k8s.io";
    const KIND: &'static str = "Workload";
    const URL_PATH_SEGMENT: &'static str = "workloads";
    const VERSION: &'static str = "v1alpha2";
}

impl Metadata for Workload {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The PodGroup of a Job's pods.
#[derive(Debug, Clone)]
pub(super) struct Group {
    name: String,
    uid: String,
}

impl Group {
    fn of(group: &PodGroup) -> Self {
        let metadata = group.metadata.clone();
        Self { name: metadata.name.unwrap_or_default(), uid: metadata.uid.unwrap_or_default() }
    }

    /// Puts a new pod into the group.
    pub(super) fn admit(&self, pod: &mut Pod) {
        if let Some(spec) = &mut pod.spec {
            let pod_group_name = Some(self.name.clone());
            spec.scheduling_group = Some(PodSchedulingGroup { pod_group_name });
        }
        // Nothing waits for the pods before the group may go: they go with their Job.
        let owner = OwnerReference {
            api_version: PodGroup::API_VERSION.to_owned(),
            kind: PodGroup::KIND.to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: None,
            block_owner_deletion: None,
        };
        pod.metadata.owner_references.get_or_insert_default().push(owner);
    }
}

/// Makes Workloads and PodGroups for Jobs that need all of their pods at once.
pub(super) struct Gangs {
    workloads: Written,
    groups: Written,
}

impl Gangs {
    pub(super) fn new(clock: &SharedClock, skips: &Skips) -> Self {
        let written = || Written::new(clock.clone()).counted(skips);
        Self { workloads: written(), groups: written() }
    }

    pub(super) fn forget(&self, job: &ObjectKey) {
        self.workloads.forget(job);
        self.groups.forget(job);
    }

    /// Whether the caches show what was made for a Job.
    pub(super) fn are_seen(&self, job: &ObjectKey, context: &Context) -> bool {
        let informers = context.informers();
        self.workloads.is_seen(job, &informers.of::<Workload>())
            && self.groups.is_seen(job, &informers.of::<PodGroup>())
    }

    pub(super) fn watch(&self, sources: &mut Sources<Request>) {
        sources.informer::<Workload>().add_index(BY_JOB, |workload| {
            let of = workload.spec.controller_ref.as_ref();
            let of = of.filter(|of| of.api_group == Job::GROUP && of.kind == Job::KIND);
            let of = of.filter(|of| !of.name.is_empty());
            of.map(|of| under(workload.namespace(), &of.name)).into_iter().collect()
        });
        sources.informer::<PodGroup>().add_index(BY_WORKLOAD, |group| {
            group.workload().map(|name| under(group.namespace(), name)).into_iter().collect()
        });
        let written = self.workloads.clone();
        sources.watch::<Workload>(move |change| {
            written.gone_of::<Job, _>(change);
            Vec::new()
        });
        let written = self.groups.clone();
        sources.watch::<PodGroup>(move |change| {
            written.gone_of::<Job, _>(change);
            Vec::new()
        });
    }

    /// The PodGroup of a Job's pods, made if need be; `None` when its pods are scheduled one by one.
    pub(super) async fn group_of(
        &self,
        context: &Context,
        key: &ObjectKey,
        job: &Job,
        pods: &[Arc<Pod>],
    ) -> Result<Option<Group>, Error> {
        let Some(size) = size(job) else { return Ok(None) };
        let known = context.informers().of::<Workload>();
        let found = known.by_index(BY_JOB, &under(Some(key.namespace.clone()), &key.name));
        let workload = match found.as_slice() {
            [] if is_new(job, pods) => Arc::new(self.make_workload(context, key, job, size).await?),
            [one] if is_of(&**one, job) => one.clone(),
            // Others have plans for this Job, or it was begun without a group.
            _ => return Ok(None),
        };
        let [template] = workload.spec.pod_group_templates.as_slice() else { return Ok(None) };
        let known = context.informers().of::<PodGroup>();
        let name = workload.name_any();
        let found = known.by_index(BY_WORKLOAD, &under(Some(key.namespace.clone()), &name));
        match found.as_slice() {
            [] => self.make_group(context, key, job, (&workload, template)).await.map(Some),
            [one] if is_of(&**one, job) => Ok(Some(Group::of(one))),
            _ => Ok(None),
        }
    }

    async fn make_workload(
        &self,
        context: &Context,
        key: &ObjectKey,
        job: &Job,
        size: i32,
    ) -> Result<Workload, Error> {
        let gang = json!({"gang": {"minCount": size}});
        let template = json!({"name": format!("{}-pgt-0", key.name), "schedulingPolicy": gang});
        let workload = json!({
            "apiVersion": Workload::API_VERSION, "kind": Workload::KIND,
            "metadata": {"name": workload_name(job), "ownerReferences": [controller_ref(job)]},
            "spec": {
                "controllerRef": {"apiGroup": Job::GROUP, "kind": Job::KIND, "name": key.name},
                "podGroupTemplates": [template],
            },
        });
        let made: Workload = create(context, &key.namespace, &workload).await?;
        self.workloads.created(key, &made);
        let message = format!("Created Workload {} for Job {}", made.name_any(), key.name);
        context.recorder().event_for(job, EventType::Normal, "WorkloadCreated", message);
        Ok(made)
    }

    async fn make_group(
        &self,
        context: &Context,
        key: &ObjectKey,
        job: &Job,
        (workload, template): (&Workload, &Template),
    ) -> Result<Group, Error> {
        let of = workload.name_any();
        let owner = json!({"apiVersion": Workload::API_VERSION, "kind": Workload::KIND,
            "name": of, "uid": workload.metadata.uid});
        let reference = json!({"workloadName": of, "podGroupTemplateName": template.name});
        let group = json!({
            "apiVersion": PodGroup::API_VERSION, "kind": PodGroup::KIND,
            "metadata": {
                "name": group_name(&of, &template.name),
                "ownerReferences": [controller_ref(job), owner],
            },
            "spec": {
                "podGroupTemplateRef": {"workload": reference},
                "schedulingPolicy": template.scheduling_policy,
            },
        });
        let made: PodGroup = create(context, &key.namespace, &group).await?;
        self.groups.created(key, &made);
        Ok(Group::of(&made))
    }
}

/// How many pods a Job needs at once, if it has an index for each of several and leaves their scheduling to the controller.
fn size(job: &Job) -> Option<i32> {
    let spec = job.spec.as_ref()?;
    let size = spec.parallelism.filter(|size| *size > 1 && spec.completions == Some(*size))?;
    let chosen = spec.template.spec.as_ref().is_some_and(|pod| pod.scheduling_group.is_some());
    (is_indexed(spec) && !chosen).then_some(size)
}

/// Whether nothing was ever done for the Job: one that began before there were groups goes on without.
fn is_new(job: &Job, pods: &[Arc<Pod>]) -> bool {
    let status = job.status.clone().unwrap_or_default();
    let suspended = status.conditions.iter().flatten().filter(|own| own.type_ == "Suspended");
    pods.is_empty()
        && status.start_time.is_none()
        && status.succeeded.unwrap_or_default() == 0
        && status.failed.unwrap_or_default() == 0
        && count(suspended) == 0
}

fn is_of<K: kube::Resource>(object: &K, job: &Job) -> bool {
    is_controlled_by(object, job.metadata.uid.as_deref().unwrap_or_default())
}

fn under(namespace: Option<String>, name: &str) -> String {
    format!("{}/{name}", namespace.unwrap_or_default())
}

fn cut(text: &str, length: usize) -> String {
    text.chars().take(length).collect()
}

/// The same for a Job however often it is asked for, and as the original names it.
fn workload_name(job: &Job) -> String {
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    let hash = hash::encoded(format!("(types.UID){uid}").bytes());
    format!("{}-{hash}", cut(&job.name_any(), LONGEST_NAME - hash.len() - 1))
}

fn group_name(workload: &str, template: &str) -> String {
    let hash = hash::encoded(workload.bytes().chain(template.bytes()));
    let room = LONGEST_NAME.saturating_sub(hash.len() + 2 + template.len());
    format!("{}-{template}-{hash}", cut(workload, room))
}

async fn create<K: Watchable>(
    context: &Context,
    namespace: &str,
    object: &Value,
) -> Result<K, Error> {
    let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
    let call = Call::new(K::url_path(&(), Some(namespace)))
        .create(&PostParams::default(), body)
        .map_err(kube::Error::BuildRequest)?;
    Ok(context.client().request(call).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_that_need_all_their_pods_at_once_have_a_size() {
        let job = |spec: Value| -> Job { serde_json::from_value(json!({"spec": spec})).unwrap() };
        let whole = json!({"completionMode": "Indexed", "parallelism": 3, "completions": 3,
            "template": {"spec": {"containers": []}}});
        assert_eq!(size(&job(whole.clone())), Some(3));
        let chosen = json!({"spec": {"containers": [], "schedulingGroup": {"podGroupName": "g"}}});
        for (field, value) in [
            ("completionMode", json!("NonIndexed")),
            ("parallelism", json!(2)),
            ("completions", json!(null)),
            ("template", chosen),
        ] {
            let mut other = whole.clone();
            other[field] = value;
            assert_eq!(size(&job(other)), None, "{field}");
        }
        let mut one = whole;
        (one["parallelism"], one["completions"]) = (json!(1), json!(1));
        assert_eq!(size(&job(one)), None);
    }

    #[test]
    fn names_are_those_of_the_job_and_no_longer_than_they_may_be() {
        let job = |name: &str| -> Job {
            serde_json::from_value(json!({"metadata": {"name": name, "uid": "u"}})).unwrap()
        };
        let workload = workload_name(&job("crew"));
        assert!(workload.starts_with("crew-"), "{workload}");
        assert_eq!(workload, workload_name(&job("crew")));
        let group = group_name(&workload, "crew-pgt-0");
        assert!(group.starts_with(&format!("{workload}-crew-pgt-0-")), "{group}");
        let long = workload_name(&job(&"a".repeat(300)));
        assert_eq!(long.len(), LONGEST_NAME);
        assert_eq!(group_name(&long, "crew-pgt-0").len(), LONGEST_NAME);
    }
}
