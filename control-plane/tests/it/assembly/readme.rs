use kubeplane::{api::standard_bootstrap, controllers::{BuiltinOptions, builtin}, credentials::*, prelude::*};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address: std::net::SocketAddr = "127.0.0.1:6443".parse()?;
    let options = ApiOptions { listen: Some(address), ..ApiOptions::default() };
    let credentials = Credentials::open("data/pki".as_ref(), &[], &[address.ip()], options.clock.now())?;
    credentials.admin_kubeconfig("https://127.0.0.1:6443").write("data/admin.kubeconfig".as_ref())?;

    let store = std::sync::Arc::new(MemoryStore::open("data/store")?);        // or EtcdStore, or yours
    let api = standard_api_server(store, &credentials, &options)?;            // or ApiServer::builder(store)
    let bootstrap = standard_bootstrap(&api, &credentials, &options, address)?;
    let own = BuiltinOptions::new(options.clock.clone(), credentials.authority());
    let manager = Manager::builder(api.client_as(component_user(CONTROLLER_MANAGER)))
        .add_all(builtin(&own))
        .add(MyController)                                                    // yours
        .build()?;
    let scheduler = Scheduler::builder(api.client_as(component_user(SCHEDULER))).build()?;
    let plane = ControlPlane::new().with(api).with(bootstrap).with(manager).with(scheduler);
    Ok(plane.run_until(shutdown_signal()).await?)
}
