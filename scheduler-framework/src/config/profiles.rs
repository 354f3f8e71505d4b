use super::{
    ConfigError, Registry,
    merge::merged,
    types::{Configuration, PluginRef, Plugins, SchedulerProfile},
};
use crate::{Point, Profile, SchedulerPlugin};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

type Made = BTreeMap<String, Arc<dyn SchedulerPlugin>>;

impl Configuration {
    /// The profiles it describes.
    ///
    /// # Errors
    /// When a plugin is not known or refuses its arguments, a profile would not run, or profiles do not sort the queue alike.
    pub fn profiles(&self, registry: &Registry) -> Result<Vec<Profile>, ConfigError> {
        // What extenders manage is none of NodeResourcesFit's business where they say so.
        let managed: Vec<_> = (self.extenders.iter())
            .flat_map(|own| &own.managed_resources)
            .filter(|own| own.ignored_by_scheduler)
            .map(|own| own.name.clone())
            .collect();
        let build = |own: &SchedulerProfile| {
            let name = own.scheduler_name.clone().unwrap_or_default();
            self.profile(own, &name, registry, &managed)
                .map_err(|why| ConfigError::Profile { name, why })
        };
        let (mut profiles, mut first) = (Vec::new(), None);
        for own in &self.profiles {
            let profile = build(own)?;
            let sort = sort_of(own, &profile);
            let first = first.get_or_insert_with(|| sort.clone());
            is_sorted_alike(profile.scheduler_name(), &sort, first)?;
            profiles.push(profile);
        }
        Ok(profiles)
    }

    fn profile(
        &self,
        own: &SchedulerProfile,
        name: &str,
        registry: &Registry,
        managed: &[String],
    ) -> Result<Profile, String> {
        let plugins = merged(own.plugins.as_ref(), registry.features());
        let made = make_all(&plugins, own, registry, managed)?;
        let mut profile = Profile::empty(name);
        // Those of MultiPoint first, in their order.
        let mut names: Vec<_> = plugins.multi_point.enabled.iter().map(|own| &own.name).collect();
        names.extend(made.keys());
        let mut seen = BTreeSet::new();
        let (weights, placements) = (
            weights(&plugins, Point::Score, &made)?,
            weights(&plugins, Point::PlacementScore, &made)?,
        );
        for name in names.into_iter().filter(|name| seen.insert(*name)) {
            if let Some(plugin) = made.get(name) {
                let weight = weights.get(name).copied().unwrap_or(1);
                profile = profile.add_shared(plugin.clone(), i64::from(weight));
            }
        }
        for (name, weight) in placements {
            profile = profile.weigh_placements(&name, i64::from(weight));
        }
        for point in Point::ALL {
            profile = profile.at(point, order(&plugins, point, &made)?);
        }
        let percentage = own.percentage_of_nodes_to_score.or(self.percentage_of_nodes_to_score);
        let percentage = percentage.and_then(|own| u8::try_from(own).ok()).unwrap_or_default();
        let sorts = profile.order(Point::QueueSort).len();
        if sorts != 1 {
            return Err(format!(
                "only one queue sort plugin required for profile with scheduler name {name:?}, but got {sorts}"
            ));
        }
        if profile.order(Point::Bind).is_empty() {
            return Err(format!(
                "at least one bind plugin is needed for profile with scheduler name {name:?}"
            ));
        }
        if profile.order(Point::PlacementGenerate).len() > 1 {
            return Err(format!(
                "at most one placement generate plugin is allowed for profile with scheduler name {name:?}"
            ));
        }
        Ok(profile.percentage_of_nodes(percentage))
    }
}

/// The plugin that sorts the queue, and its arguments.
type Sort = (&'static str, Value);

fn sort_of(own: &SchedulerProfile, profile: &Profile) -> Sort {
    let index = profile.order(Point::QueueSort).first().copied();
    let plugin = index.and_then(|index| profile.plugins().get(index));
    let name = plugin.map_or("", |own| own.plugin.name());
    (name, own.args_of(name).clone())
}

fn is_sorted_alike(profile: &str, own: &Sort, first: &Sort) -> Result<(), ConfigError> {
    let why = if own.0 != first.0 {
        let (plugin, first) = (own.0, first.0);
        format!(
            "different queue sort plugins for profile {profile:?}: {plugin:?}, first: {first:?}"
        )
    } else if own.1 != first.1 {
        format!("different queue sort plugin args for profile {profile:?}")
    } else {
        return Ok(());
    };
    Err(ConfigError::QueueSort(why))
}

fn make_all(
    plugins: &Plugins,
    profile: &SchedulerProfile,
    registry: &Registry,
    managed: &[String],
) -> Result<Made, String> {
    let mut made = Made::new();
    let enabled = Point::ALL.into_iter().flat_map(|point| &plugins.at(point).enabled);
    for own in plugins.multi_point.enabled.iter().chain(enabled) {
        if made.contains_key(&own.name) {
            continue;
        }
        let config = profile.plugin_config.iter().find(|config| config.name == own.name);
        let raw = config.map_or(&Value::Null, |config| &config.args);
        let args = config.and_then(|config| config.decoded.as_ref());
        match registry.make(&own.name, raw, args, managed) {
            Some(Ok(plugin)) => drop(made.insert(own.name.clone(), plugin)),
            Some(Err(why)) => return Err(format!("initializing plugin {:?}: {why}", own.name)),
            None => {}
        }
    }
    Ok(made)
}

/// The weights of plugins that score nodes, or placements: those of this point count before those of `multiPoint`.
fn weights(plugins: &Plugins, point: Point, made: &Made) -> Result<BTreeMap<String, i32>, String> {
    let mut weights = BTreeMap::new();
    let mut total = 0i64;
    for own in plugins.at(point).enabled.iter().chain(&plugins.multi_point.enabled) {
        let scores = made.get(&own.name).is_some_and(|plugin| point.is_offered_by(&**plugin));
        if scores && !weights.contains_key(&own.name) {
            let weight = own.weight.filter(|weight| *weight != 0).unwrap_or(1);
            total = total.saturating_add(i64::from(weight) * crate::MAX_SCORE);
            weights.insert(own.name.clone(), weight);
        }
    }
    if total <= i64::MAX / 2 {
        return Ok(weights);
    }
    let what = if point == Point::Score { "score" } else { "placement score" };
    Err(format!("{what} plugins: total score of Score plugins could overflow"))
}

/// The plugins of a point in order: those enabled both here and by `multiPoint`, then those of `multiPoint`, then
/// those enabled here alone.
fn order(plugins: &Plugins, point: Point, made: &Made) -> Result<Vec<String>, String> {
    let set = plugins.at(point);
    let offers = |own: &PluginRef| made.get(&own.name).map(|own| point.is_offered_by(&**own));
    let mut here = Vec::new();
    for own in &set.enabled {
        match offers(own) {
            None => return Err(format!("{point}Plugin {:?} does not exist", own.name)),
            Some(false) => {
                return Err(format!("plugin {:?} does not extend {point}Plugin plugin", own.name));
            }
            Some(true) if here.contains(&own.name) => {
                return Err(format!(
                    "plugin {:?} already registered as \"{point}Plugin\"",
                    own.name
                ));
            }
            Some(true) => here.push(own.name.clone()),
        }
    }
    let disabled = |name: &str| set.disabled.iter().any(|own| own.name == name);
    if disabled("*") {
        return Ok(here);
    }
    let (mut overriding, mut expanded) = (BTreeSet::new(), Vec::new());
    for own in &plugins.multi_point.enabled {
        match offers(own) {
            None => return Err(format!("{point}Plugin {:?} does not exist", own.name)),
            Some(false) => {}
            Some(true) if disabled(&own.name) => {}
            Some(true) if here.contains(&own.name) => drop(overriding.insert(own.name.clone())),
            Some(true) if expanded.contains(&own.name) => {
                return Err(format!(
                    "plugin {:?} already registered as \"{point}Plugin\"",
                    own.name
                ));
            }
            Some(true) => expanded.push(own.name.clone()),
        }
    }
    let (mut first, last): (Vec<_>, Vec<_>) =
        here.into_iter().partition(|name| overriding.contains(name));
    first.extend(expanded);
    first.extend(last);
    Ok(first)
}
