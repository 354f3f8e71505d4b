use super::{SimulatedRuntime, hex, reference::Reference};
use crate::{Error, ImageRef, Images, Result, v1};
use async_trait::async_trait;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// What every image is said to weigh, in bytes.
const SIZE: u64 = 1 << 20;

/// One image in memory; several names may be of one image.
#[derive(Debug, Default)]
pub(super) struct Image {
    tags: BTreeSet<String>,
    digests: BTreeSet<String>,
}

impl Image {
    fn message(&self, id: &str) -> v1::Image {
        v1::Image {
            id: id.to_owned(),
            repo_tags: self.tags.iter().cloned().collect(),
            repo_digests: self.digests.iter().cloned().collect(),
            size: SIZE,
            spec: Some(v1::ImageSpec { image: id.to_owned(), ..Default::default() }),
            ..Default::default()
        }
    }
}

impl SimulatedRuntime {
    /// The id of an image that is present, by id or by name.
    pub(super) fn image_id(&self, name: &str) -> Option<String> {
        let state = self.inner.state.lock();
        if state.images.contains_key(name) {
            return Some(name.to_owned());
        }
        let full = Reference::parse(name).ok()?.full();
        let mut images = state.images.iter();
        images
            .find(|(_, image)| image.tags.contains(&full) || image.digests.contains(&full))
            .map(|(id, _)| id.clone())
    }

    /// What an image of this id is called: by a tag, or else by its digest.
    pub(super) fn image_name(&self, id: &str) -> Option<String> {
        let state = self.inner.state.lock();
        let image = state.images.get(id)?;
        image.tags.first().or_else(|| image.digests.first()).cloned()
    }
}

fn name(spec: &v1::ImageSpec) -> &str {
    &spec.image
}

#[async_trait]
impl Images for SimulatedRuntime {
    async fn pull_image(
        &self,
        image: &v1::ImageSpec,
        _auth: Option<v1::AuthConfig>,
        _sandbox: Option<v1::PodSandboxConfig>,
    ) -> Result<ImageRef> {
        let reference = Reference::parse(name(image))?;
        let full = reference.full();
        if reference.is_unreachable() {
            return Err(Error::Unavailable {
                message: format!(
                    "failed to pull and unpack image {full:?}: registry {:?} cannot be reached",
                    reference.registry
                ),
                source: None,
            });
        }
        let id = match &reference.digest {
            Some(digest) => digest.clone(),
            None => format!("sha256:{}", hex(&Sha256::digest(full.as_bytes()))),
        };
        let mut state = self.inner.state.lock();
        let image = state.images.entry(id.clone()).or_default();
        image.digests.insert(format!("{}@{id}", reference.name()));
        if reference.digest.is_none() {
            image.tags.insert(full);
        }
        Ok(ImageRef::from(id))
    }

    async fn image_status(&self, image: &v1::ImageSpec) -> Result<Option<v1::Image>> {
        let Some(id) = self.image_id(name(image)) else {
            return Ok(None);
        };
        let state = self.inner.state.lock();
        Ok(state.images.get(&id).map(|image| image.message(&id)))
    }

    async fn list_images(&self, filter: v1::ImageFilter) -> Result<Vec<v1::Image>> {
        let wanted = filter.image.filter(|spec| !spec.image.is_empty());
        if let Some(spec) = wanted {
            return Ok(self.image_status(&spec).await?.into_iter().collect());
        }
        let state = self.inner.state.lock();
        Ok(state.images.iter().map(|(id, image)| image.message(id)).collect())
    }

    async fn remove_image(&self, image: &v1::ImageSpec) -> Result<()> {
        if let Some(id) = self.image_id(name(image)) {
            self.inner.state.lock().images.remove(&id);
        }
        Ok(())
    }

    async fn image_fs_info(&self) -> Result<v1::ImageFsInfoResponse> {
        let images = self.inner.state.lock().images.len() as u64;
        let usage = v1::FilesystemUsage {
            timestamp: self.now(),
            fs_id: Some(v1::FilesystemIdentifier { mountpoint: "/".to_owned() }),
            used_bytes: Some(v1::UInt64Value { value: images * SIZE }),
            inodes_used: Some(v1::UInt64Value { value: images }),
        };
        Ok(v1::ImageFsInfoResponse {
            image_filesystems: vec![usage.clone()],
            container_filesystems: vec![usage],
        })
    }
}
