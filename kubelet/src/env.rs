//! The environment of a container.

pub(crate) mod expand;
pub(crate) mod fields;
pub(crate) mod services;

use crate::{Error, Result, api::Objects};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret},
    apimachinery::pkg::api::resource::Quantity,
};
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

/// What an environment is made from, beside ConfigMaps and Secrets.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) container: &'a Container,
    pub(crate) pod_ips: &'a [String],
    pub(crate) host_ips: &'a [IpAddr],
    pub(crate) services: BTreeMap<String, String>,
    pub(crate) allocatable: &'a BTreeMap<String, Quantity>,
}

/// Variables in the order they were first set.
#[derive(Debug, Default)]
struct Variables {
    list: Vec<(String, String)>,
    index: HashMap<String, usize>,
}

impl Variables {
    fn set(&mut self, name: String, value: String) {
        if let Some(at) = self.index.get(&name) {
            self.list[*at].1 = value;
        } else {
            self.index.insert(name.clone(), self.list.len());
            self.list.push((name, value));
        }
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.index.get(name).map(|at| self.list[*at].1.as_str())
    }
}

/// The variables of a container, services included.
///
/// # Errors
/// When something it refers to does not exist and is not optional, in the words of the original.
pub(crate) async fn environment(
    input: &Input<'_>,
    objects: &dyn Objects,
) -> Result<Vec<(String, String)>> {
    let mut sources =
        Sources { input, objects, config_maps: HashMap::new(), secrets: HashMap::new() };
    let mut variables = Variables::default();
    sources.read_all(&mut variables).await?;
    for variable in input.container.env.iter().flatten() {
        let literal = variable.value.as_deref().unwrap_or_default();
        let value = if !literal.is_empty() {
            expand::expand(literal, |name| {
                variables
                    .value(name)
                    .or_else(|| input.services.get(name).map(String::as_str))
                    .map(str::to_owned)
            })
        } else if let Some(source) = &variable.value_from {
            match sources.resolve(source).await? {
                Some(value) => value,
                None => continue,
            }
        } else {
            String::new()
        };
        variables.set(variable.name.clone(), value);
    }
    for (name, value) in &input.services {
        if variables.value(name).is_none() {
            variables.set(name.clone(), value.clone());
        }
    }
    Ok(variables.list)
}

struct Sources<'a> {
    input: &'a Input<'a>,
    objects: &'a dyn Objects,
    config_maps: HashMap<String, Option<Arc<ConfigMap>>>,
    secrets: HashMap<String, Option<Arc<Secret>>>,
}

impl Sources<'_> {
    fn namespace(&self) -> &str {
        self.input.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    async fn read_all(&mut self, variables: &mut Variables) -> Result<()> {
        for from in self.input.container.env_from.iter().flatten() {
            let prefix = from.prefix.as_deref().unwrap_or_default();
            if let Some(reference) = &from.config_map_ref {
                let optional = reference.optional.unwrap_or(false);
                if let Some(map) = self.config_map(&reference.name, optional).await? {
                    for (key, value) in map.data.iter().flatten() {
                        variables.set(format!("{prefix}{key}"), value.clone());
                    }
                }
            } else if let Some(reference) = &from.secret_ref {
                let optional = reference.optional.unwrap_or(false);
                if let Some(secret) = self.secret(&reference.name, optional).await? {
                    for (key, value) in secret.data.iter().flatten() {
                        let text = String::from_utf8_lossy(&value.0).into_owned();
                        variables.set(format!("{prefix}{key}"), text);
                    }
                }
            }
        }
        Ok(())
    }

    async fn config_map(&mut self, name: &str, optional: bool) -> Result<Option<Arc<ConfigMap>>> {
        if let Some(Some(known)) = self.config_maps.get(name) {
            return Ok(Some(known.clone()));
        }
        let read = self.objects.config_map(self.namespace(), name).await;
        let found = absent_if(optional, read)?;
        self.config_maps.insert(name.to_owned(), found.clone());
        Ok(found)
    }

    async fn secret(&mut self, name: &str, optional: bool) -> Result<Option<Arc<Secret>>> {
        if let Some(Some(known)) = self.secrets.get(name) {
            return Ok(Some(known.clone()));
        }
        let read = self.objects.secret(self.namespace(), name).await;
        let found = absent_if(optional, read)?;
        self.secrets.insert(name.to_owned(), found.clone());
        Ok(found)
    }

    /// The value a source has; `None` when it is optional and has none.
    async fn resolve(&mut self, source: &EnvVarSource) -> Result<Option<String>> {
        let input = self.input;
        if let Some(field) = &source.field_ref {
            return fields::field(input.pod, &field.field_path, input.pod_ips, input.host_ips)
                .map(Some);
        }
        if let Some(resource) = &source.resource_field_ref {
            return fields::resource(resource, input.pod, Some(input.container), input.allocatable)
                .map(Some);
        }
        let namespace = self.namespace().to_owned();
        if let Some(key) = &source.config_map_key_ref {
            let optional = key.optional.unwrap_or(false);
            let Some(map) = self.config_map(&key.name, optional).await? else { return Ok(None) };
            let value = map.data.as_ref().and_then(|data| data.get(&key.key)).cloned();
            return required(value, optional, || {
                format!("couldn't find key {} in ConfigMap {namespace}/{}", key.key, key.name)
            });
        }
        if let Some(key) = &source.secret_key_ref {
            let optional = key.optional.unwrap_or(false);
            let Some(secret) = self.secret(&key.name, optional).await? else { return Ok(None) };
            let value = secret.data.as_ref().and_then(|data| data.get(&key.key));
            let text = value.map(|value| String::from_utf8_lossy(&value.0).into_owned());
            return required(text, optional, || {
                format!("couldn't find key {} in Secret {namespace}/{}", key.key, key.name)
            });
        }
        Ok(Some(String::new()))
    }
}

fn absent_if<T>(optional: bool, read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(error) if optional && error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn required(
    value: Option<String>,
    optional: bool,
    message: impl Fn() -> String,
) -> Result<Option<String>> {
    match value {
        None if !optional => Err(Error::pod(message())),
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests;
