//! What stands in the files of volumes that are made from API objects.

use super::{
    Facts, Volumes,
    atomic::{File, Files},
};
use crate::{Error, Result, env::fields};
use k8s_openapi::{
    ByteString,
    api::core::v1::{
        ConfigMap, ConfigMapVolumeSource, DownwardAPIVolumeFile, DownwardAPIVolumeSource,
        KeyToPath, ProjectedVolumeSource, Secret, SecretVolumeSource,
        ServiceAccountTokenProjection,
    },
};
use std::collections::BTreeMap;

const DEFAULT_MODE: i32 = 0o644;

/// Fills one volume.
pub(super) struct Content<'a> {
    volumes: &'a Volumes,
    facts: &'a Facts<'a>,
    volume: &'a str,
}

impl<'a> Content<'a> {
    pub(super) fn new(volumes: &'a Volumes, facts: &'a Facts<'a>, volume: &'a str) -> Self {
        Self { volumes, facts, volume }
    }

    fn namespace(&self) -> &str {
        self.facts.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub(super) async fn config_map(&self, source: &ConfigMapVolumeSource) -> Result<Files> {
        let optional = source.optional.unwrap_or(false);
        let items = source.items.as_deref();
        self.map_files(&source.name, items, optional, mode(source.default_mode)).await
    }

    pub(super) async fn secret(&self, source: &SecretVolumeSource) -> Result<Files> {
        let optional = source.optional.unwrap_or(false);
        let name = source.secret_name.as_deref().unwrap_or_default();
        let items = source.items.as_deref();
        self.secret_files(name, items, optional, mode(source.default_mode)).await
    }

    pub(super) fn downward(&self, source: &DownwardAPIVolumeSource) -> Result<Files> {
        let items = source.items.as_deref().unwrap_or_default();
        self.downward_files(items, mode(source.default_mode))
    }

    pub(super) async fn projected(&self, source: &ProjectedVolumeSource) -> Result<Files> {
        let mode = mode(source.default_mode);
        let mut files = Files::new();
        for source in source.sources.iter().flatten() {
            let part = if let Some(map) = &source.config_map {
                let optional = map.optional.unwrap_or(false);
                self.map_files(&map.name, map.items.as_deref(), optional, mode).await?
            } else if let Some(secret) = &source.secret {
                let optional = secret.optional.unwrap_or(false);
                self.secret_files(&secret.name, secret.items.as_deref(), optional, mode).await?
            } else if let Some(downward) = &source.downward_api {
                self.downward_files(downward.items.as_deref().unwrap_or_default(), mode)?
            } else if let Some(token) = &source.service_account_token {
                self.token(token, mode).await?
            } else {
                return Err(Error::pod(
                    "a projected volume source is not supported by this kubelet",
                ));
            };
            files.extend(part);
        }
        Ok(files)
    }

    async fn map_files(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: bool,
        mode: u32,
    ) -> Result<Files> {
        match self.volumes.objects.config_map(self.namespace(), name).await {
            Ok(map) => select(&bytes_of_map(&map), items, optional, mode, "config"),
            Err(error) if optional && error.is_not_found() => Ok(Files::new()),
            Err(error) => Err(error),
        }
    }

    async fn secret_files(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: bool,
        mode: u32,
    ) -> Result<Files> {
        match self.volumes.objects.secret(self.namespace(), name).await {
            Ok(secret) => select(&bytes_of_secret(&secret), items, optional, mode, "secret"),
            Err(error) if optional && error.is_not_found() => Ok(Files::new()),
            Err(error) => Err(error),
        }
    }

    fn downward_files(&self, items: &[DownwardAPIVolumeFile], mode: u32) -> Result<Files> {
        let Facts { pod, pod_ips, host_ips, allocatable } = *self.facts;
        let mut files = Files::new();
        for item in items {
            let text = if let Some(field) = &item.field_ref {
                fields::field(pod, &field.field_path, pod_ips, host_ips)?
            } else if let Some(resource) = &item.resource_field_ref {
                fields::resource(resource, pod, None, allocatable)?
            } else {
                String::new()
            };
            let mode = item.mode.map_or(mode, |mode| self::mode(Some(mode)));
            files.insert(item.path.clone(), File { data: text.into_bytes(), mode, owner: None });
        }
        Ok(files)
    }

    async fn token(&self, source: &ServiceAccountTokenProjection, mode: u32) -> Result<Files> {
        let seconds = source.expiration_seconds.unwrap_or(3600);
        let audience = source.audience.as_deref().filter(|audience| !audience.is_empty());
        let pod = self.facts.pod;
        let text = self.volumes.token(pod, self.volume, &source.path, audience, seconds).await?;
        // The one user that all containers are, or the group that owns the volume, can read it: others need not.
        let owner = self.volumes.fs_user(pod);
        let mine = owner.is_some() || self.volumes.fs_group(pod).is_some();
        let file = File { data: text.into_bytes(), mode: if mine { 0o600 } else { mode }, owner };
        Ok(Files::from([(source.path.clone(), file)]))
    }
}

fn mode(mode: Option<i32>) -> u32 {
    u32::try_from(mode.unwrap_or(DEFAULT_MODE)).unwrap_or(0o644) & 0o777
}

fn bytes_of_map(map: &ConfigMap) -> BTreeMap<&str, &[u8]> {
    let text = map.data.iter().flatten().map(|(key, text)| (key.as_str(), text.as_bytes()));
    let binary = map.binary_data.iter().flatten();
    text.chain(binary.map(|(key, ByteString(bytes))| (key.as_str(), bytes.as_slice()))).collect()
}

fn bytes_of_secret(secret: &Secret) -> BTreeMap<&str, &[u8]> {
    let data = secret.data.iter().flatten();
    data.map(|(key, ByteString(bytes))| (key.as_str(), bytes.as_slice())).collect()
}

fn select(
    data: &BTreeMap<&str, &[u8]>,
    items: Option<&[KeyToPath]>,
    optional: bool,
    mode: u32,
    kind: &str,
) -> Result<Files> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        let files = data.iter().map(|(key, bytes)| {
            ((*key).to_owned(), File { data: bytes.to_vec(), mode, owner: None })
        });
        return Ok(files.collect());
    };
    let mut files = Files::new();
    for item in items {
        match data.get(item.key.as_str()) {
            Some(bytes) => {
                let mode = item.mode.map_or(mode, |mode| self::mode(Some(mode)));
                files.insert(item.path.clone(), File { data: bytes.to_vec(), mode, owner: None });
            }
            None if optional => {}
            None => {
                let article = if kind == "config" { "configmap references" } else { "references" };
                return Err(Error::pod(format!("{article} non-existent {kind} key: {}", item.key)));
            }
        }
    }
    Ok(files)
}
