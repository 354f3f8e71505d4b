use super::{setup, supervise};
use crate::cli::{self, ApiserverArgs};
use kubeplane::{ControlPlane, DataDir, api::ApiOptions, telemetry::Metrics};

pub(super) async fn run(args: ApiserverArgs) -> anyhow::Result<()> {
    let data = DataDir::lock(&args.api.data_dir, "kubeplane apiserver")?;
    eprintln!("kubeplane apiserver: data in {}", data.path().display());
    let metrics = Metrics::new().with_process();
    let options = ApiOptions { metrics, flags: cli::flags(), ..ApiOptions::default() };
    let setup = setup::prepare(&args.api, data.path(), options, args.nodes.clone()).await?;
    let mut plane = ControlPlane::new()
        .with(setup.api)
        .with(setup.announcement)
        .with(setup.bootstrap)
        .with(setup.custom)
        .with(setup.aggregation)
        .with(setup.type_checking)
        .with(setup.renewal);
    if let Some(storage) = setup.local_storage {
        plane = plane.with(storage);
    }
    supervise(plane).await?;
    drop(data);
    Ok(())
}
