use super::{
    Factory,
    bench::{Bench, done, image_spec},
};
use crate::v1;

pub(super) async fn a_present_image_is_found_by_name_and_listed(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let image = done(bench.runtime.image_status(&image_spec(&bench.image))).await;
    let image = image.expect("the image");
    assert!(image.size > 0 && !image.id.is_empty());
    let same = done(bench.runtime.image_status(&image_spec(&image.id))).await;
    assert_eq!(same.map(|same| same.id), Some(image.id.clone()));
    let all = done(bench.runtime.list_images(v1::ImageFilter::default())).await;
    assert!(all.iter().any(|one| one.id == image.id));
    done(bench.runtime.image_fs_info()).await;
}

pub(super) async fn a_missing_image_is_no_error(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let missing = image_spec("registry.invalid/not-here:v1");
    assert!(done(bench.runtime.image_status(&missing)).await.is_none());
    done(bench.runtime.remove_image(&missing)).await;
}
