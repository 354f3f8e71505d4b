//! The volumes of pods: directories under the data directory, filled and kept up to date.

pub(crate) mod atomic;
pub(crate) mod content;
pub(crate) mod host_path;
pub(crate) mod local;
pub(crate) mod ownership;
pub(crate) mod sub_path;
pub(crate) mod tmpfs;

use crate::{
    Error, Result,
    api::{Objects, Token},
    spec,
};
use content::Content;
use k8s_openapi::{
    api::core::v1::{EmptyDirVolumeSource, PersistentVolumeClaimVolumeSource, Pod, Volume},
    apimachinery::pkg::api::resource::Quantity,
};
use kubeplane_clock::SharedClock;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    net::IpAddr,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Volumes of a pod by name, as paths on this machine.
pub(crate) type Mounted = BTreeMap<String, PathBuf>;

/// What the contents of volumes may tell of the pod and its node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) pod_ips: &'a [String],
    pub(crate) host_ips: &'a [IpAddr],
    pub(crate) allocatable: &'a BTreeMap<String, Quantity>,
}

/// A volume that could not be made.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) volume: String,
    pub(crate) error: Error,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TokenKey {
    uid: String,
    volume: String,
    path: String,
}

/// Makes and removes the volumes of all pods.
#[derive(Debug)]
pub(crate) struct Volumes {
    root: PathBuf,
    /// Where volumes are that are directories of this node.
    local: PathBuf,
    objects: Arc<dyn Objects>,
    clock: SharedClock,
    /// May mount and change owners.
    privileged: bool,
    tokens: Mutex<HashMap<TokenKey, (Token, Duration)>>,
}

impl Volumes {
    pub(crate) fn new(
        data_dir: &Path,
        objects: Arc<dyn Objects>,
        clock: SharedClock,
        privileged: bool,
    ) -> Self {
        let (root, local) = (data_dir.join("pods"), local::root(data_dir));
        Self { root, local, objects, clock, privileged, tokens: Mutex::default() }
    }

    /// The directory of everything the kubelet keeps of a pod.
    pub(crate) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root.join(uid)
    }

    fn volume_dir(&self, uid: &str, plugin: &str, name: &str) -> PathBuf {
        self.pod_dir(uid).join("volumes").join(format!("kubernetes.io~{plugin}")).join(name)
    }

    /// Makes every volume of the pod, or brings it up to date.
    ///
    /// # Errors
    /// The first volume that cannot be made; the others are made all the same.
    pub(crate) async fn mount(&self, facts: &Facts<'_>) -> Result<Mounted, Failure> {
        let mut mounted = Mounted::new();
        let mut failure = None;
        for volume in spec::spec(facts.pod).volumes.iter().flatten() {
            match self.mount_one(facts, volume).await {
                Ok(path) => {
                    mounted.insert(volume.name.clone(), path);
                }
                Err(error) if failure.is_none() => {
                    failure = Some(Failure { volume: volume.name.clone(), error });
                }
                Err(_) => {}
            }
        }
        failure.map_or(Ok(mounted), Err)
    }

    async fn mount_one(&self, facts: &Facts<'_>, volume: &Volume) -> Result<PathBuf> {
        let uid = facts.pod.metadata.uid.as_deref().unwrap_or_default();
        let dir = |plugin: &str| self.volume_dir(uid, plugin, &volume.name);
        let fs_group = self.fs_group(facts.pod);
        if let Some(source) = &volume.host_path {
            return host_path::prepare(&source.path, source.type_.as_deref().unwrap_or_default());
        }
        if let Some(source) = &volume.empty_dir {
            return self.empty_dir(dir("empty-dir"), source, fs_group);
        }
        if let Some(source) = &volume.persistent_volume_claim {
            return self.claim(facts.pod, source).await;
        }
        if volume.ephemeral.is_some() {
            let name = facts.pod.metadata.name.as_deref().unwrap_or_default();
            let claim_name = format!("{name}-{}", volume.name);
            let source = PersistentVolumeClaimVolumeSource { claim_name, read_only: None };
            return self.claim(facts.pod, &source).await;
        }
        let content = Content::new(self, facts, &volume.name);
        let (plugin, files) = if let Some(source) = &volume.config_map {
            ("configmap", content.config_map(source).await?)
        } else if let Some(source) = &volume.secret {
            ("secret", content.secret(source).await?)
        } else if let Some(source) = &volume.downward_api {
            ("downward-api", content.downward(source)?)
        } else if let Some(source) = &volume.projected {
            ("projected", content.projected(source).await?)
        } else {
            return Err(Error::pod("no volume plugin matched"));
        };
        let path = dir(plugin);
        let in_memory = plugin == "secret" || plugin == "projected";
        create_dir(&path)?;
        if in_memory && self.privileged {
            tmpfs::mount(&path, None)?;
        }
        atomic::write(&path, &files, fs_group)?;
        Ok(path)
    }

    /// The group that owns volumes, when this process may give files away.
    fn fs_group(&self, pod: &Pod) -> Option<u32> {
        let context = pod.spec.as_ref()?.security_context.as_ref()?;
        let group = u32::try_from(context.fs_group?).ok()?;
        self.privileged.then_some(group)
    }

    /// The user that all containers of a pod run as, when they say so and this process may give files away.
    fn fs_user(&self, pod: &Pod) -> Option<u32> {
        let spec = pod.spec.as_ref().filter(|_| self.privileged)?;
        let outer = spec.security_context.as_ref().and_then(|context| context.run_as_user);
        let init = spec.init_containers.iter().flatten();
        let own = init.chain(&spec.containers).map(|one| one.security_context.as_ref());
        let debug = spec.ephemeral_containers.iter().flatten();
        let all = own.chain(debug.map(|one| one.security_context.as_ref()));
        let mut users = all.map(|own| own.and_then(|own| own.run_as_user).or(outer));
        let first = users.next()??;
        if users.any(|user| user != Some(first)) {
            return None;
        }
        u32::try_from(first).ok()
    }

    fn empty_dir(
        &self,
        path: PathBuf,
        source: &EmptyDirVolumeSource,
        fs_group: Option<u32>,
    ) -> Result<PathBuf> {
        if path.exists() {
            return Ok(path);
        }
        create_dir(&path)?;
        if source.medium.as_deref() == Some("Memory") && self.privileged {
            let limit = source.size_limit.as_ref();
            let bytes = limit.map(|q| kubeplane_core::quantity::Quantity::from_api(q).value());
            tmpfs::mount(&path, bytes.filter(|bytes| *bytes > 0))?;
        }
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(&path, open).map_err(|error| Error::file(&path, error))?;
        if let Some(group) = fs_group {
            ownership::give_to_group(&path, group, false)?;
        }
        Ok(path)
    }

    async fn claim(
        &self,
        pod: &Pod,
        source: &PersistentVolumeClaimVolumeSource,
    ) -> Result<PathBuf> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let name = &source.claim_name;
        let claim = self.objects.claim(namespace, name).await?;
        let bound =
            claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
        let volume = claim.spec.and_then(|spec| spec.volume_name).filter(|name| !name.is_empty());
        let Some(volume) = volume.filter(|_| bound) else {
            return Err(Error::pod(format!("PVC {namespace}/{name} is not bound")));
        };
        let volume = self.objects.volume(&volume).await?.spec.unwrap_or_default();
        if let Some(source) = &volume.host_path {
            return host_path::prepare(&source.path, source.type_.as_deref().unwrap_or_default());
        }
        if let Some(source) = &volume.local {
            let path = local::prepare(&self.local, &source.path)?;
            if let Some(group) = self.fs_group(pod).filter(|group| !ownership::is_of(&path, *group))
            {
                ownership::give_to_group(&path, group, false)?;
            }
            return Ok(path);
        }
        Err(Error::pod("no volume plugin matched"))
    }

    /// A token for a file of a volume, asked for anew when it has lived most of its time.
    async fn token(
        &self,
        pod: &Pod,
        volume: &str,
        path: &str,
        audience: Option<&str>,
        seconds: i64,
    ) -> Result<String> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let key = TokenKey { uid, volume: volume.to_owned(), path: path.to_owned() };
        let now = self.clock.elapsed();
        if let Some((token, renew)) = self.tokens.lock().get(&key)
            && now < *renew
        {
            return Ok(token.text.clone());
        }
        let token = self.objects.token(pod, audience, seconds).await?;
        let lifetime = token.expires.saturating_sub(self.clock.now().as_second()).max(0);
        let lifetime = Duration::from_secs(u64::try_from(lifetime).unwrap_or(0));
        let renew = now + (lifetime * 4 / 5).min(Duration::from_secs(24 * 3600));
        let text = token.text.clone();
        self.tokens.lock().insert(key, (token, renew));
        Ok(text)
    }

    /// Removes every volume of a pod, and everything else kept of it.
    pub(crate) async fn remove(&self, uid: &str) -> Result<()> {
        self.tokens.lock().retain(|key, _| key.uid != uid);
        let dir = self.pod_dir(uid);
        let work = tokio::task::spawn_blocking(move || remove_tree(&dir));
        work.await.map_err(|error| Error::file(self.pod_dir(uid), io::Error::other(error)))?
    }

    /// The uids of all pods that something is kept of.
    pub(crate) fn known(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.root) else { return Vec::new() };
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }
}

fn remove_tree(dir: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    tmpfs::unmount_below(dir)?;
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file(dir, error)),
        _ => Ok(()),
    }
}

pub(crate) fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|error| Error::file(path, error))
}

/// Makes a directory that others than the owner and the group may not look into, with those above it.
pub(crate) fn create_closed_dir(path: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o750).create(path).map_err(|error| Error::file(path, error))
}

#[cfg(test)]
mod tests;
