use super::{setup, supervise};
use crate::cli::ApiserverArgs;
use kubeplane::{ControlPlane, api::ApiOptions};

pub(super) async fn run(args: ApiserverArgs) -> anyhow::Result<()> {
    let setup = setup::prepare(&args.api, ApiOptions::default(), args.nodes.clone()).await?;
    eprintln!("kubeplane apiserver: data in {}", setup.data_dir.display());
    let plane = ControlPlane::new()
        .with(setup.api)
        .with(setup.announcement)
        .with(setup.bootstrap)
        .with(setup.custom);
    supervise(plane).await
}
