use crate::{
    config::args::{
        DefaultPreemptionArgs, DynamicResourcesArgs, NodeAffinityArgs,
        NodeResourcesBalancedAllocationArgs, NodeResourcesFitArgs, PluginArgs,
        PodTopologySpreadArgs, ResourceSpec, UtilizationShapePoint, VolumeBindingArgs,
    },
    span::as_go,
};
use k8s_openapi::api::core::v1::NodeSelectorTerm;
use kubeplane_core::{
    features::Features,
    field::{Error, Errors, Path},
    names::is_qualified_name,
};
use std::{collections::BTreeSet, time::Duration};

pub(super) fn validate(path: &Path, args: &PluginArgs, features: &Features) -> Errors {
    match args {
        PluginArgs::DefaultPreemption(own) => preemption(path, own),
        PluginArgs::InterPodAffinity(own) => {
            let weight = own.hard_pod_affinity_weight;
            let path = path.child("hardPodAffinityWeight");
            let wrong = !(0..=100).contains(&weight);
            let error = || Error::invalid(&path, weight, "not in valid range [0, 100]");
            wrong.then(error).into_iter().collect()
        }
        PluginArgs::NodeAffinity(own) => affinity(path, own),
        PluginArgs::NodeResourcesBalancedAllocation(own) => balanced(path, own),
        PluginArgs::NodeResourcesFit(own) => fit(path, own),
        PluginArgs::PodTopologySpread(own) => spread(path, own),
        PluginArgs::VolumeBinding(own) => volumes(path, own, features),
        PluginArgs::DynamicResources(own) => dynamic(path, own, features),
    }
}

fn preemption(path: &Path, args: &DefaultPreemptionArgs) -> Errors {
    let (share, number) = (args.min_candidate_nodes_percentage, args.min_candidate_nodes_absolute);
    let (shares, numbers) =
        (path.child("minCandidateNodesPercentage"), path.child("minCandidateNodesAbsolute"));
    let mut errors = Errors::new();
    if !(0..=100).contains(&share) {
        errors.push(Error::invalid(&shares, share, "not in valid range [0, 100]"));
    }
    if number < 0 {
        errors.push(Error::invalid(&numbers, number, "not in valid range [0, inf)"));
    }
    if share == 0 && number == 0 {
        let why = |other: &str| format!("cannot be zero at the same time as {other}");
        errors.push(Error::invalid(&shares, share, why("minCandidateNodesAbsolute")));
        errors.push(Error::invalid(&numbers, number, why("minCandidateNodesPercentage")));
    }
    errors
}

fn affinity(path: &Path, args: &NodeAffinityArgs) -> Errors {
    let Some(added) = &args.added_affinity else { return Errors::new() };
    let path = path.child("addedAffinity");
    let mut errors = Errors::new();
    if let Some(required) = &added.required_during_scheduling_ignored_during_execution {
        let path =
            path.child("requiredDuringSchedulingIgnoredDuringExecution").child("nodeSelectorTerms");
        for (index, own) in required.node_selector_terms.iter().enumerate() {
            errors.extend(term(&path.index(index), own));
        }
    }
    let preferred = added.preferred_during_scheduling_ignored_during_execution.iter().flatten();
    let path = path.child("preferredDuringSchedulingIgnoredDuringExecution");
    for (index, own) in preferred.enumerate() {
        errors.extend(term(&path.index(index), &own.preference));
    }
    errors
}

fn term(path: &Path, term: &NodeSelectorTerm) -> Errors {
    let mut errors = Errors::new();
    let operators = ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];
    for (index, own) in term.match_expressions.iter().flatten().enumerate() {
        let path = path.child("matchExpressions").index(index);
        if !operators.contains(&own.operator.as_str()) {
            let why = "not a valid selector operator";
            errors.push(Error::not_supported(&path.child("operator"), own.operator.as_str(), &[]));
            if let Some(error) = errors.last_mut() {
                error.detail = why.into();
            }
        }
        let wrong = is_qualified_name(&own.key);
        errors.extend(
            wrong
                .iter()
                .map(|why| Error::invalid(&path.child("key"), own.key.as_str(), why.to_string())),
        );
    }
    for (index, own) in term.match_fields.iter().flatten().enumerate() {
        let path = path.child("matchFields").index(index);
        if own.key != "metadata.name" {
            let why = "not a valid field selector key";
            errors.push(Error::not_supported(&path.child("key"), own.key.as_str(), &[]));
            if let Some(error) = errors.last_mut() {
                error.detail = why.into();
            }
        }
    }
    errors
}

fn balanced(path: &Path, args: &NodeResourcesBalancedAllocationArgs) -> Errors {
    let (mut errors, mut seen) = (Errors::new(), BTreeSet::new());
    for (index, own) in args.resources.iter().enumerate() {
        let path = path.child("resources").index(index);
        if !seen.insert(&own.name) {
            errors.push(Error::duplicate(&path.child("name"), own.name.as_str()));
        }
        if own.weight != 1 {
            errors.push(Error::invalid(&path.child("weight"), own.weight, "must be 1"));
        }
    }
    errors
}

fn label_name(path: &Path, name: &str) -> Errors {
    let wrong = is_qualified_name(name);
    wrong.iter().map(|why| Error::invalid(path, name, why.to_string())).collect()
}

fn weights(path: &Path, resources: &[ResourceSpec]) -> Errors {
    let wrong = resources.iter().enumerate().filter(|(_, own)| !(1..=100).contains(&own.weight));
    let error = |(index, own): (usize, &ResourceSpec)| {
        let why = format!("resource weight of {} not in valid range (0, 100]", own.name);
        Error::invalid(&path.index(index).child("weight"), own.weight, why)
    };
    wrong.map(error).collect()
}

fn fit(path: &Path, args: &NodeResourcesFitArgs) -> Errors {
    let mut errors = Errors::new();
    for (index, own) in args.ignored_resources.iter().enumerate() {
        errors.extend(label_name(&path.child("ignoredResources").index(index), own));
    }
    for (index, own) in args.ignored_resource_groups.iter().enumerate() {
        let path = path.child("ignoredResourceGroups").index(index);
        if own.contains('/') {
            let why = "resource group name can't contain '/'";
            errors.push(Error::invalid(&path, own.as_str(), why));
        }
        errors.extend(label_name(&path, own));
    }
    let path = path.child("scoringStrategy");
    let Some(strategy) = &args.scoring_strategy else {
        errors.push(Error::required(&path, "ScoringStrategy field is required"));
        return errors;
    };
    let types = ["LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"];
    if !types.contains(&strategy.type_.as_str()) {
        errors.push(Error::not_supported(&path.child("type"), strategy.type_.as_str(), &types));
    }
    errors.extend(weights(&path.child("resources"), &strategy.resources));
    let path = path.child("requestedToCapacityRatio");
    match (strategy.type_ == types[2], &strategy.requested_to_capacity_ratio) {
        (true, None) => errors.push(Error::required(
            &path,
            "must be specified when type is RequestedToCapacityRatio",
        )),
        (true, Some(own)) => errors.extend(shape(&path.child("shape"), &own.shape)),
        (false, Some(_)) => errors
            .push(Error::forbidden(&path, "must be nil when type is not RequestedToCapacityRatio")),
        (false, None) => {}
    }
    errors
}

fn shape(path: &Path, shape: &[UtilizationShapePoint]) -> Errors {
    let mut errors = Errors::new();
    if shape.is_empty() {
        errors.push(Error::required(path, "at least one point must be specified"));
    }
    let unsorted = shape.windows(2).position(|pair| pair[0].utilization >= pair[1].utilization);
    if let Some(index) = unsorted.map(|index| index + 1) {
        let path = path.index(index).child("utilization");
        let why = "values must be sorted in increasing order";
        errors.push(Error::invalid(&path, shape[index].utilization, why));
    }
    for (index, own) in shape.iter().enumerate() {
        let path = path.index(index);
        if !(0..=100).contains(&own.utilization) {
            let path = path.child("utilization");
            errors.push(Error::invalid(&path, own.utilization, "not in valid range [0, 100]"));
        }
        if !(0..=10).contains(&own.score) {
            let path = path.child("score");
            errors.push(Error::invalid(&path, own.score, "not in valid range [0, 10]"));
        }
    }
    errors
}

fn spread(path: &Path, args: &PodTopologySpreadArgs) -> Errors {
    let mut errors = Errors::new();
    let kind = args.defaulting_type.as_str();
    let at = path.child("defaultingType");
    if !["System", "List"].contains(&kind) {
        errors.push(Error::not_supported(&at, kind, &["System", "List"]));
    } else if kind == "System" && !args.default_constraints.is_empty() {
        errors.push(Error::invalid(&at, kind, "when .defaultConstraints are not empty"));
    }
    let all = path.child("defaultConstraints");
    let same = |a: usize, b: usize| {
        let (a, b) = (&args.default_constraints[a], &args.default_constraints[b]);
        a.topology_key == b.topology_key && a.when_unsatisfiable == b.when_unsatisfiable
    };
    for (index, own) in args.default_constraints.iter().enumerate() {
        let path = all.index(index);
        if own.max_skew <= 0 {
            let path = path.child("maxSkew");
            errors.push(Error::invalid(&path, own.max_skew, "not in valid range (0, inf)"));
        }
        let key = path.child("topologyKey");
        if own.topology_key.is_empty() {
            errors.push(Error::required(&key, "can not be empty"));
        } else {
            errors.extend(label_name(&key, &own.topology_key));
        }
        let (when, action) = (path.child("whenUnsatisfiable"), own.when_unsatisfiable.as_str());
        let actions = ["DoNotSchedule", "ScheduleAnyway"];
        if action.is_empty() {
            errors.push(Error::required(&when, "can not be empty"));
        } else if !actions.contains(&action) {
            errors.push(Error::not_supported(&when, action, &actions));
        }
        if own.label_selector.is_some() {
            let why = "constraint must not define a selector, as they deduced for each pod";
            errors.push(Error::forbidden(&path.child("labelSelector"), why));
        }
        if (0..index).any(|other| same(index, other)) {
            let value = format!("{{{}, {action}}}", own.topology_key);
            errors.push(Error::duplicate(&path, value));
        }
    }
    errors
}

fn volumes(path: &Path, args: &VolumeBindingArgs, features: &Features) -> Errors {
    let mut errors = Errors::new();
    if args.bind_timeout_seconds < 0 {
        let why = "invalid BindTimeoutSeconds, should not be a negative value";
        errors.push(Error::invalid(
            &path.child("bindTimeoutSeconds"),
            args.bind_timeout_seconds,
            why,
        ));
    }
    let is_on = features.is_on("StorageCapacityScoring");
    if let Some(own) = args.shape.as_ref().filter(|own| is_on && !own.is_empty()) {
        errors.extend(shape(&path.child("shape"), own));
    }
    if let Some(shape) = args.shape.as_ref().filter(|_| !is_on) {
        let why = "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring";
        let point = |own: &UtilizationShapePoint| serde_json::json!({"Utilization": own.utilization, "Score": own.score});
        let value: Vec<_> = shape.iter().map(point).collect();
        errors.push(Error::invalid(&path.child("shape"), value, why));
    }
    errors
}

fn dynamic(path: &Path, args: &DynamicResourcesArgs, features: &Features) -> Errors {
    let mut errors = Errors::new();
    if args.filter_timeout.is_some() && !features.is_on("DRASchedulerFilterTimeout") {
        let why = "DRASchedulingFilterTimeout feature gate is disabled";
        errors.push(Error::forbidden(&path.child("filterTimeout"), why));
    }
    let mut gates = ["DRADeviceBindingConditions", "DRAResourceClaimDeviceStatus"].iter();
    let (waits, binding) = (gates.all(|own| features.is_on(own)), path.child("bindingTimeout"));
    match args.binding_timeout {
        Some(_) if !waits => {
            let why = "DRADeviceBindingConditions or DRAResourceClaimDeviceStatus feature gate is disabled";
            errors.push(Error::forbidden(&binding, why));
        }
        Some(own) if own < Duration::from_secs(1) => {
            errors.push(Error::invalid(&binding, as_go(own), "must be at least 1 second"));
        }
        _ => {}
    }
    errors
}
