//! The Pod Security Standards.

mod checks;
mod policy;

pub use policy::{Level, LevelVersion, PodSecurityError, PodSecurityOptions, PolicyVersion};

use super::is_core;
use async_trait::async_trait;
use checks::{Findings, Pod};
use kubeplane_core::{
    Definition, GroupKind, GroupResource, Object,
    admission::{Admission, Does, Operation, Request},
    status::{ApiError, ApiResult},
};
use policy::Policy;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// How many pods are looked at when a namespace is made stricter.
const PODS: usize = 3000;
/// Subresources of pods that do not change what is run.
const IGNORED: [&str; 8] =
    ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

/// Holds pods to the level that the labels `pod-security.kubernetes.io/*` of their namespace ask for, and
/// warns of workloads whose pods would be refused.
///
/// # Contract
/// As the [standards](https://kubernetes.io/docs/concepts/security/pod-security-standards/) of every version
/// up to 1.36 say. What was decided is annotated for the audit log under `pod-security.kubernetes.io/`.
#[derive(Debug, Default)]
pub struct PodSecurity {
    options: PodSecurityOptions,
}

impl PodSecurity {
    /// With defaults for namespaces without labels, and exemptions.
    #[must_use]
    pub fn new(options: PodSecurityOptions) -> Self {
        Self { options }
    }

    fn policy(&self, namespace: &Object) -> (Policy, Vec<kubeplane_core::field::Error>) {
        Policy::of(namespace, &self.options.defaults)
    }

    fn exemption(&self, request: &Request<'_>) -> Option<&'static str> {
        if self.options.namespaces.iter().any(|name| name == request.namespace) {
            return Some("namespace");
        }
        self.options.users.contains(&request.user.name).then_some("user")
    }

    fn is_exempt_class(&self, spec: &Value) -> bool {
        let class = spec["runtimeClassName"].as_str().unwrap_or_default();
        !class.is_empty() && self.options.runtime_classes.iter().any(|name| name == class)
    }

    async fn check_pod(&self, request: &Request<'_>, object: &Object) -> ApiResult<()> {
        if let Some(why) = self.exemption(request) {
            annotate(request, "exempt", why);
            return Ok(());
        }
        let Some(namespace) = namespace(request).await? else {
            let why = format!("failed to lookup namespace {:?}", request.namespace);
            return Err(ApiError::internal(why));
        };
        let (policy, errors) = self.policy(&namespace);
        if errors.is_empty() && policy.is_privileged() {
            annotate(request, "enforce-policy", LevelVersion::default());
            return Ok(());
        }
        let unchanged =
            |old: &Object| request.operation == Operation::Update && !changes(object, old);
        if request.old.is_some_and(unchanged) {
            return Ok(());
        }
        self.judge(request, (&policy, errors), Pod::whole(object), true)
    }

    async fn check_workload(&self, request: &Request<'_>, object: &Object) -> ApiResult<()> {
        if let Some(why) = self.exemption(request) {
            annotate(request, "exempt", why);
            return Ok(());
        }
        let Some(namespace) = namespace(request).await? else {
            let why = format!("failed to lookup namespace {:?}: not found", request.namespace);
            annotate(request, "error", why);
            return Ok(());
        };
        let (policy, errors) = self.policy(&namespace);
        let quiet = [policy.warn, policy.audit].iter().all(|mode| mode.level == Level::Privileged);
        if errors.is_empty() && quiet {
            return Ok(());
        }
        let Some(template) = template(request.definition, object) else { return Ok(()) };
        self.judge(request, (&policy, errors), Pod::of(template), false)
    }

    fn judge(
        &self,
        request: &Request<'_>,
        (policy, errors): (&Policy, Vec<kubeplane_core::field::Error>),
        pod: Pod<'_>,
        enforce: bool,
    ) -> ApiResult<()> {
        if self.is_exempt_class(pod.spec) {
            annotate(request, "exempt", "runtimeClass");
            return Ok(());
        }
        note_errors(request, errors);
        let audited = checks::evaluate(policy.audit, pod);
        if !audited.is_empty() {
            let would = format!("would violate PodSecurity \"{}\": {audited}", policy.audit);
            annotate(request, "audit-violations", would);
        }
        if enforce {
            annotate(request, "enforce-policy", policy.enforce);
            let found = checks::evaluate(policy.enforce, pod);
            if !found.is_empty() {
                let why = format!("violates PodSecurity \"{}\": {found}", policy.enforce);
                return Err(ApiError::forbidden(&request.definition.resource(), request.name, why));
            }
        }
        let found = checks::evaluate(policy.warn, pod);
        if !found.is_empty() {
            request.warnings.add(format!("would violate PodSecurity \"{}\": {found}", policy.warn));
        }
        Ok(())
    }

    async fn check_namespace(&self, request: &Request<'_>, object: &Object) -> ApiResult<()> {
        let (policy, errors) = self.policy(object);
        let before = request.old.map(|old| self.policy(old));
        let same = before.as_ref().is_some_and(|(_, before)| {
            let texts = |errors: &[kubeplane_core::field::Error]| {
                errors.iter().map(ToString::to_string).collect::<Vec<_>>()
            };
            texts(before) == texts(&errors)
        });
        if !errors.is_empty() && !same {
            return Err(ApiError::invalid(
                &GroupKind::new("", "Namespace"),
                object.name(),
                &errors,
            ));
        }
        let exempt = self.options.namespaces.iter().any(|name| name == object.name());
        let Some((before, _)) = before else {
            if exempt {
                self.warn_exempt(request, object, &policy);
            }
            return Ok(());
        };
        let (new, old) = (policy.enforce, before.enforce);
        let relaxed = new.version == old.version && new.level <= old.level;
        if new == old || new.level == Level::Privileged || relaxed {
            return Ok(());
        }
        if exempt {
            self.warn_exempt(request, object, &policy);
            return Ok(());
        }
        self.warn_of_pods(request, object.name(), new).await
    }

    fn warn_exempt(&self, request: &Request<'_>, namespace: &Object, policy: &Policy) {
        if policy.is_privileged() || policy.is_equivalent(&self.options.defaults) {
            return;
        }
        let name = namespace.name();
        let said = policy.said(namespace);
        request.warnings.add(format!(
            "namespace {name:?} is exempt from Pod Security, and the policy ({said}) will be ignored"
        ));
    }

    /// Tells which pods that run already would be refused now.
    async fn warn_of_pods(
        &self,
        request: &Request<'_>,
        namespace: &str,
        enforce: LevelVersion,
    ) -> ApiResult<()> {
        let resource = GroupResource::new("", "pods");
        if request.reader.revision(&resource).is_none() {
            return Ok(());
        }
        let all = request.reader.list(&resource, namespace).await?.items;
        let pods = self.one_of_each_owner_first(all);
        let mut found: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for pod in pods.iter().take(PODS) {
            let findings = checks::evaluate(enforce, Pod::whole(pod));
            if !findings.is_empty() {
                found.entry(findings.reasons()).or_default().push(pod.name());
            }
        }
        if pods.len() > PODS {
            let total = pods.len();
            request.warnings.add(format!(
                "new PodSecurity enforce level only checked against the first {PODS} of {total} existing pods"
            ));
        }
        if !found.is_empty() {
            request.warnings.add(format!(
                "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{enforce}\""
            ));
        }
        let lines = found.into_iter().map(|(reasons, names)| {
            let first = names.iter().min().copied().unwrap_or_default();
            match names.len() {
                1 => format!("{first}: {reasons}"),
                2 => format!("{first} (and 1 other pod): {reasons}"),
                more => format!("{first} (and {} other pods): {reasons}", more - 1),
            }
        });
        for line in lines.collect::<BTreeSet<_>>() {
            request.warnings.add(line);
        }
        Ok(())
    }

    fn one_of_each_owner_first(&self, pods: Vec<Arc<Object>>) -> Vec<Arc<Object>> {
        let mut seen = BTreeSet::new();
        let looked_at = pods.into_iter().filter(|pod| !self.is_exempt_class(Pod::whole(pod).spec));
        let (mut first, more): (Vec<_>, Vec<_>) = looked_at.partition(|pod| {
            let owners = pod.owner_references();
            let owner = owners.into_iter().find(|owner| owner.controller == Some(true));
            owner.is_none_or(|owner| seen.insert(owner.uid))
        });
        first.extend(more);
        first
    }
}

#[async_trait]
impl Admission for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn does(&self) -> Does {
        Does::Validates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        let written = matches!(operation, Operation::Create | Operation::Update);
        let concerned = match (definition.kind.group.as_ref(), definition.plural.as_ref()) {
            ("", "pods") => !IGNORED.contains(&subresource),
            ("", "namespaces" | "replicationcontrollers" | "podtemplates")
            | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets")
            | ("batch", "jobs" | "cronjobs") => subresource.is_empty(),
            _ => false,
        };
        written && concerned
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let Some(object) = request.object.as_deref() else { return Ok(()) };
        if is_core(request.definition, "namespaces") {
            return self.check_namespace(request, object).await;
        }
        if is_core(request.definition, "pods") {
            return self.check_pod(request, object).await;
        }
        self.check_workload(request, object).await
    }
}

fn annotate(request: &Request<'_>, key: &str, value: impl std::fmt::Display) {
    request.notes.annotate(format!("{}{key}", policy::PREFIX), value.to_string());
}

fn note_errors(request: &Request<'_>, errors: Vec<kubeplane_core::field::Error>) {
    let errors = errors.iter().map(ToString::to_string).collect();
    if let Some(errors) = super::joined(errors) {
        annotate(request, "error", format!("Failed to parse policy: {errors}"));
    }
}

async fn namespace(request: &Request<'_>) -> ApiResult<Option<Arc<Object>>> {
    let namespaces = GroupResource::new("", "namespaces");
    let cached = request.reader.get(&namespaces, "", request.namespace).await?;
    match cached {
        Some(found) => Ok(Some(found)),
        None => request.reader.get_fresh(&namespaces, "", request.namespace).await,
    }
}

fn template<'a>(definition: &Definition, object: &'a Object) -> Option<&'a Value> {
    match definition.plural.as_ref() {
        "podtemplates" => object.at(&["template"]),
        "cronjobs" => object.at(&["spec", "jobTemplate", "spec", "template"]),
        _ => object.at(&["spec", "template"]),
    }
}

/// Whether an update changes what runs: a container more or less, or another image.
fn changes(pod: &Object, old: &Object) -> bool {
    let list = |pod: &Object, list: &str| -> Vec<(String, String)> {
        let text =
            |container: &Value, key: &str| container[key].as_str().unwrap_or_default().to_owned();
        let containers = pod.at(&["spec", list]).and_then(Value::as_array);
        let containers = containers.into_iter().flatten();
        containers.map(|one| (text(one, "name"), text(one, "image"))).collect()
    };
    let images = |pod: &Object, name: &str| -> Vec<String> {
        list(pod, name).into_iter().map(|(_, image)| image).collect()
    };
    let added = list(old, "ephemeralContainers");
    images(pod, "containers") != images(old, "containers")
        || images(pod, "initContainers") != images(old, "initContainers")
        || list(pod, "ephemeralContainers").iter().any(|container| !added.contains(container))
}

impl Findings {
    fn reasons(&self) -> String {
        let reasons: Vec<_> = self.0.iter().map(|finding| finding.reason.as_str()).collect();
        reasons.join(", ")
    }
}
