//! `KubeSchedulerConfiguration` files (`kubescheduler.config.k8s.io/v1`), read as the original reads them.
//!
//! ```text
//!   YAML ──strict──> types ──defaults──> Configuration ──validate──> profiles() ──registry──> Vec<Profile>
//! ```

mod args;
mod defaults;
mod merge;
mod profiles;
mod registry;
mod strict;
mod types;
mod validation;

pub use args::{
    DefaultPreemptionArgs, DynamicResourcesArgs, InterPodAffinityArgs, NodeAffinityArgs,
    NodeResourcesBalancedAllocationArgs, NodeResourcesFitArgs, PluginArgs, PodTopologySpreadArgs,
    ResourceSpec, StrategyArgs, UtilizationShapePoint, VolumeBindingArgs,
};
pub use registry::Registry;
pub use types::{
    ClientConnection, Configuration, Extender, ExtenderManagedResource, ExtenderTlsConfig,
    LeaderElection, PluginConfig, PluginRef, PluginSet, Plugins, SchedulerProfile,
};

use kubeplane_core::{features::Features, field, yaml::YamlError};
use serde_json::Value;

const GROUP: &str = "kubescheduler.config.k8s.io";
const VERSION: &str = "kubescheduler.config.k8s.io/v1";
const KIND: &str = "KubeSchedulerConfiguration";

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It is no YAML.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// It is of another kind or version.
    #[error("{0}")]
    Kind(String),
    /// Fields that are not known, or given twice.
    #[error("strict decoding error: {}", .0.join(", "))]
    Strict(Vec<String>),
    /// A field has the wrong type.
    #[error("{0}")]
    Type(String),
    /// Values that are not allowed.
    #[error("{}", aggregate(.0))]
    Invalid(field::Errors),
    /// The plugins do not make a profile.
    #[error("initializing profiles: creating profile for scheduler name {name}: {why}")]
    Profile {
        /// The `schedulerName`.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// The profiles sort the one queue by different plugins, or by one with different arguments.
    #[error("initializing profiles: {0}")]
    QueueSort(String),
}

/// One error as it is, several as a list.
fn aggregate(errors: &[field::Error]) -> String {
    match errors {
        [one] => one.to_string(),
        all => format!("[{}]", all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

impl Configuration {
    /// Reads a file's text: unknown fields are refused, what is not said is defaulted, and the whole is validated.
    ///
    /// # Errors
    /// When it is not a sound configuration.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        Self::parse_with(text, &Features::default())
    }

    /// As [`parse`](Self::parse), where these gates are: fields that belong to one are refused where it is off.
    ///
    /// # Errors
    /// When it is not a sound configuration.
    pub fn parse_with(text: &[u8], features: &Features) -> Result<Self, ConfigError> {
        let (value, twice) = kubeplane_core::yaml::parse_reporting_duplicates(text)?;
        let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
        let (version, kind) = (text("apiVersion"), text("kind"));
        if kind.is_empty() {
            return Err(ConfigError::Kind("Object 'Kind' is missing".into()));
        }
        if version != VERSION || kind != KIND {
            return Err(ConfigError::Kind(format!(
                "no kind {kind:?} is registered for version {version:?}"
            )));
        }
        let mut problems = twice;
        problems.extend(strict::unknown(&value, &strict::CONFIGURATION));
        let mut configuration: Self = typed(&value)?;
        for (index, profile) in configuration.profiles.iter_mut().enumerate() {
            args::decode(profile, index, &mut problems)?;
        }
        if !problems.is_empty() {
            return Err(ConfigError::Strict(problems));
        }
        configuration.set_defaults();
        let errors = validation::validate(&configuration, features);
        if errors.is_empty() { Ok(configuration) } else { Err(ConfigError::Invalid(errors)) }
    }
}

impl Default for Configuration {
    /// What an empty file means.
    fn default() -> Self {
        let mut configuration = Self::unset();
        configuration.set_defaults();
        configuration
    }
}

fn typed<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, ConfigError> {
    serde_json::from_value(value.clone()).map_err(|error| ConfigError::Type(error.to_string()))
}

#[cfg(test)]
mod tests;
