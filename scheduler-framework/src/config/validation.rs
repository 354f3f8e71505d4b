//! What values are allowed, with the original's words.

mod plugin_args;

use super::types::{Configuration, Extender, PluginSet, SchedulerProfile};
use crate::{Point, span::as_go};
use kubeplane_core::{
    features::Features,
    field::{Error, Errors, Path, verbatim},
    names::is_qualified_name,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// In-tree volume plugins that are no more.
const REMOVED: [&str; 4] = ["AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits"];

pub(super) fn validate(configuration: &Configuration, features: &Features) -> Errors {
    let mut errors = connection(configuration);
    errors.extend(election(configuration));
    let parallelism = configuration.parallelism.unwrap_or_default();
    if parallelism <= 0 {
        let path = Path::new("parallelism");
        errors.push(Error::invalid(
            &path,
            parallelism,
            "should be an integer value greater than zero",
        ));
    }
    errors.extend(profiles(&configuration.profiles, features));
    let percentage = configuration.percentage_of_nodes_to_score;
    errors.extend(self::percentage(&Path::new("percentageOfNodesToScore"), percentage));
    let initial = configuration.pod_initial_backoff_seconds.unwrap_or_default();
    let most = configuration.pod_max_backoff_seconds.unwrap_or_default();
    if initial <= 0 {
        let path = Path::new("podInitialBackoffSeconds");
        errors.push(Error::invalid(&path, initial, "must be greater than 0"));
    }
    if most < initial {
        let path = Path::new("podMaxBackoffSeconds");
        let why = "must be greater than or equal to PodInitialBackoffSeconds";
        errors.push(Error::invalid(&path, most, why));
    }
    errors.extend(extenders(&configuration.extenders));
    errors
}

fn connection(configuration: &Configuration) -> Errors {
    let burst = configuration.client_connection.burst;
    let path = Path::new("clientConnection").child("burst");
    let negative = (burst < 0).then(|| Error::invalid(&path, burst, "must be non-negative"));
    negative.into_iter().collect()
}

/// A duration as Go prints it.
fn printed(duration: Duration) -> serde_json::Value {
    verbatim(&format!("{:?}", as_go(duration)))
}

fn election(configuration: &Configuration) -> Errors {
    let own = &configuration.leader_election;
    let (mut errors, path) = (Errors::new(), Path::new("leaderElection"));
    if own.leader_elect != Some(true) {
        return errors;
    }
    if own.lease_duration <= own.renew_deadline {
        let value = printed(own.renew_deadline);
        let why = "must be greater than `RenewDeadline`";
        errors.push(Error::invalid(&path.child("leaseDuration"), value, why));
    }
    if own.resource_lock != "leases" {
        let why = "resourceLock value must be \"leases\"";
        errors.push(Error::invalid(&path.child("resourceLock"), own.resource_lock.as_str(), why));
    }
    errors
}

fn percentage(path: &Path, percentage: Option<i32>) -> Option<Error> {
    let wrong = percentage.filter(|own| !(0..=100).contains(own))?;
    Some(Error::invalid(path, wrong, "not in valid range [0-100]"))
}

fn profiles(profiles: &[SchedulerProfile], features: &Features) -> Errors {
    let all = Path::new("profiles");
    let mut errors = Errors::new();
    let mut seen = BTreeMap::new();
    for (index, profile) in profiles.iter().enumerate() {
        let path = all.index(index);
        let name = profile.scheduler_name.clone().unwrap_or_default();
        if name.is_empty() {
            errors.push(Error::required(&path.child("schedulerName"), ""));
        }
        let share = path.child("percentageOfNodesToScore");
        errors.extend(percentage(&share, profile.percentage_of_nodes_to_score));
        errors.extend(plugins(&path, profile));
        errors.extend(configs(&path, profile, features));
        if let Some(first) = seen.insert(name, index) {
            let other = all.index(first).child("schedulerName");
            errors.push(Error::duplicate(&path.child("schedulerName"), verbatim(other.as_str())));
        }
    }
    errors.extend(sorting(&all, profiles));
    errors
}

fn removed(path: &Path, name: &str) -> Option<Error> {
    let version = super::VERSION;
    let why = format!(
        "was invalid in version \"v1\" (KubeSchedulerConfiguration is version {version:?})"
    );
    REMOVED.contains(&name).then(|| Error::invalid(path, name, why))
}

fn plugins(path: &Path, profile: &SchedulerProfile) -> Errors {
    let Some(plugins) = &profile.plugins else { return Errors::new() };
    let path = path.child("plugins");
    let of = |point: Point| {
        let path = path.child(point.field()).child("enabled");
        let all = plugins.at(point).enabled.iter().enumerate();
        all.filter_map(|(index, own)| removed(&path.index(index), &own.name)).collect::<Vec<_>>()
    };
    Point::ALL.into_iter().flat_map(of).collect()
}

fn configs(path: &Path, profile: &SchedulerProfile, features: &Features) -> Errors {
    let (mut errors, mut seen) = (Errors::new(), BTreeSet::new());
    for (index, own) in profile.plugin_config.iter().enumerate() {
        let path = path.child("pluginConfig").index(index);
        if !seen.insert(&own.name) {
            errors.push(Error::duplicate(&path, own.name.as_str()));
        }
        match removed(&path, &own.name) {
            Some(error) => errors.push(error),
            None => {
                let path = path.child("args");
                let args = own.decoded.iter();
                errors.extend(args.flat_map(|own| plugin_args::validate(&path, own, features)));
            }
        }
    }
    errors
}

/// All profiles share one queue, so they sort it alike.
fn sorting(path: &Path, profiles: &[SchedulerProfile]) -> Errors {
    let mut errors = Errors::new();
    let nothing = PluginSet::default();
    let of = |own: &SchedulerProfile| {
        own.plugins.as_ref().map_or_else(|| nothing.clone(), |own| own.queue_sort.clone())
    };
    let Some((first, others)) = profiles.split_first() else { return errors };
    let canon = of(first);
    let sort = canon.enabled.first().map(|own| own.name.as_str());
    let args = sort.map_or(&serde_json::Value::Null, |name| first.args_of(name));
    let count = canon.enabled.len();
    if count > 1 {
        let path = path.index(0).child("plugins").child("queueSort").child("Enabled");
        errors.push(Error::invalid(&path, count, "only one queue sort plugin can be enabled"));
    }
    for (index, own) in others.iter().enumerate() {
        if of(own) != canon {
            let path = path.index(index + 1).child("plugins").child("queueSort");
            let names: Vec<_> = of(own).enabled.into_iter().map(|own| own.name).collect();
            errors.push(Error::invalid(&path, names, "must be the same for all profiles"));
        }
        let mut configs = own.plugin_config.iter();
        if let Some(other) = configs.find(|other| Some(other.name.as_str()) == sort)
            && other.args != *args
        {
            let path = path.index(index + 1).child("pluginConfig").child("args");
            let why = "queueSort must be the same for all profiles";
            errors.push(Error::invalid(&path, other.args.clone(), why));
        }
    }
    errors
}

fn extenders(extenders: &[Extender]) -> Errors {
    let all = Path::new("extenders");
    let (mut errors, mut managed) = (Errors::new(), BTreeSet::new());
    for (index, own) in extenders.iter().enumerate() {
        let path = all.index(index);
        if !own.prioritize_verb.is_empty() && own.weight <= 0 {
            let why = "must have a positive weight applied to it";
            errors.push(Error::invalid(&path.child("weight"), own.weight, why));
        }
        for (index, resource) in own.managed_resources.iter().enumerate() {
            let (path, name) =
                (path.child("managedResources").index(index).child("name"), &resource.name);
            let wrong = is_qualified_name(name);
            if wrong.is_empty() && !crate::plugins::is_extended_resource(name) {
                errors.push(Error::invalid(
                    &path,
                    name.as_str(),
                    "is an invalid extended resource name",
                ));
            }
            errors.extend(
                wrong.iter().map(|why| Error::invalid(&path, name.as_str(), why.to_string())),
            );
            if !managed.insert(name) {
                let why = "duplicate extender managed resource name";
                errors.push(Error::invalid(&path, name.as_str(), why));
            }
        }
    }
    let binders = extenders.iter().filter(|own| !own.bind_verb.is_empty()).count();
    if binders > 1 {
        let value = format!("found {binders} extenders implementing bind");
        errors.push(Error::invalid(&all, value, "only one extender can implement bind"));
    }
    errors
}
