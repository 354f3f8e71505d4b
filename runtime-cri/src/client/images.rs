use super::CriClient;
use crate::{Error, ImageRef, Images, Result, v1};
use async_trait::async_trait;
use tonic::Request;

#[async_trait]
impl Images for CriClient {
    async fn pull_image(
        &self,
        image: &v1::ImageSpec,
        auth: Option<v1::AuthConfig>,
        sandbox: Option<v1::PodSandboxConfig>,
    ) -> Result<ImageRef> {
        let message =
            v1::PullImageRequest { image: Some(image.clone()), auth, sandbox_config: sandbox };
        let reference =
            self.image_service().pull_image(Request::new(message)).await?.into_inner().image_ref;
        if reference.is_empty() {
            return Err(Error::internal("the runtime gave the image no reference"));
        }
        Ok(reference.into())
    }

    async fn image_status(&self, image: &v1::ImageSpec) -> Result<Option<v1::Image>> {
        let message = v1::ImageStatusRequest { image: Some(image.clone()), verbose: false };
        Ok(self.image_service().image_status(self.request(message)).await?.into_inner().image)
    }

    async fn list_images(&self, filter: v1::ImageFilter) -> Result<Vec<v1::Image>> {
        let request = self.request(v1::ListImagesRequest { filter: Some(filter) });
        Ok(self.image_service().list_images(request).await?.into_inner().images)
    }

    async fn remove_image(&self, image: &v1::ImageSpec) -> Result<()> {
        let request = self.request(v1::RemoveImageRequest { image: Some(image.clone()) });
        self.image_service().remove_image(request).await?;
        Ok(())
    }

    async fn image_fs_info(&self) -> Result<v1::ImageFsInfoResponse> {
        let request = self.request(v1::ImageFsInfoRequest {});
        Ok(self.image_service().image_fs_info(request).await?.into_inner())
    }
}
