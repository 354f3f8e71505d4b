//! Which admission steps run, by the command line and an AdmissionConfiguration.

use crate::cli::AdmissionArgs;
use anyhow::{Context as _, bail};
use kubeplane::{
    core::{Object, yaml},
    handlers::admission::{AdmissionPlugins, EventLimit, LimitedResources, PodSecurityOptions},
};
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Configuration {
    api_version: String,
    kind: String,
    #[serde(default)]
    plugins: Vec<Plugin>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Plugin {
    name: String,
    #[serde(default)]
    path: Option<PathBuf>,
    #[serde(default)]
    configuration: Option<Value>,
}

pub(super) fn plugins(args: &AdmissionArgs) -> anyhow::Result<AdmissionPlugins> {
    let plugins = AdmissionPlugins::new();
    let plugins =
        plugins.switch(&args.enable_admission_plugins, &args.disable_admission_plugins)?;
    match &args.admission_control_config_file {
        Some(file) => configured(plugins, file).with_context(|| format!("{}", file.display())),
        None => Ok(plugins),
    }
}

fn configured(mut plugins: AdmissionPlugins, file: &Path) -> anyhow::Result<AdmissionPlugins> {
    let read: Configuration = serde_json::from_value(parse(file)?)?;
    let known = matches!(
        read.api_version.as_str(),
        "apiserver.config.k8s.io/v1" | "apiserver.k8s.io/v1alpha1"
    );
    if !known || read.kind != "AdmissionConfiguration" {
        bail!("no AdmissionConfiguration: {} of {}", read.kind, read.api_version);
    }
    let folder = file.parent().unwrap_or(Path::new(""));
    for plugin in read.plugins {
        let value = match (plugin.configuration, plugin.path) {
            (Some(value), _) => value,
            (None, Some(path)) => parse(&folder.join(path))?,
            (None, None) => continue,
        };
        let Some(object) = Object::from_value(value) else {
            bail!("the configuration of {} is no map", plugin.name);
        };
        plugins = match plugin.name.as_str() {
            "PodSecurity" => plugins
                .pod_security(PodSecurityOptions::from_object(&object).context("PodSecurity")?),
            "EventRateLimit" => {
                plugins.event_limits(EventLimit::from_object(&object).context("EventRateLimit")?)
            }
            "ResourceQuota" => plugins.limited_resources(
                LimitedResources::from_object(&object).context("ResourceQuota")?,
            ),
            other => bail!("{other} takes no configuration"),
        };
    }
    Ok(plugins)
}

fn parse(file: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read(file).with_context(|| format!("{}", file.display()))?;
    Ok(yaml::parse(&text)?)
}
