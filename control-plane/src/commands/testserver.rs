use super::supervise;
use crate::cli::{SimulateArgs, SimulationArgs, TestserverArgs};
use anyhow::Context as _;
use kubeplane::{
    ControlPlane,
    client::KubeconfigClients,
    shutdown_signal,
    simulated::{SimulatedNodes, Simulation},
    testing::TestCluster,
};
use std::{
    fs,
    io::{self, Read as _, Write as _},
};
use tokio::sync::oneshot;

/// Ends the kubeconfig on the standard output, as it ends a document of YAML.
const END: &str = "...";

pub(super) async fn run(args: TestserverArgs) -> anyhow::Result<()> {
    let mut builder = TestCluster::builder()
        .listen_on(args.listen)
        .nodes(args.nodes)
        .simulation(simulation(&args.simulation)?);
    if let Some(names) = &args.controllers {
        builder = builder.controllers_named(names);
    }
    if args.scheduler {
        builder = builder.scheduler();
    }
    if let Some(seed) = args.seed {
        builder = builder.seed(seed);
    }
    let cluster = builder.start().await?;
    let file = cluster.kubeconfig().context("the server does not listen")?;
    let kubeconfig = fs::read_to_string(file)?;
    if let Some(copy) = &args.kubeconfig {
        kubeplane::pki::write_private(copy, &kubeconfig)?;
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{}\n{END}", kubeconfig.trim_end())?;
    out.flush()?;
    drop(out);
    tokio::select! {
        () = input_closed() => {}
        () = shutdown_signal() => {}
    }
    cluster.stop().await?;
    Ok(())
}

/// Ends when there is nothing more to read from the standard input.
async fn input_closed() {
    let (closed, is_closed) = oneshot::channel();
    // The runtime would wait for a read of its own to end.
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while matches!(io::stdin().lock().read(&mut buffer), Ok(1..)) {}
        // Nobody waits any more if a signal came first.
        let _ = closed.send(());
    });
    let _ = is_closed.await;
}

pub(super) async fn simulate(args: SimulateArgs) -> anyhow::Result<()> {
    let simulation = simulation(&args.simulation)?;
    let clients = KubeconfigClients::open(&args.kubeconfig, kubeplane::clock::real()).await?;
    eprintln!("simulating {} nodes", simulation.node_count());
    let nodes = SimulatedNodes::builder(clients.client(), simulation).build()?;
    supervise(ControlPlane::new().with(clients.reload()).with(nodes)).await
}

fn simulation(args: &SimulationArgs) -> anyhow::Result<Simulation> {
    let mut simulation = match args.simulated_nodes {
        0 => Simulation::default(),
        count => Simulation::of_nodes(count),
    };
    for file in &args.simulation {
        let named = || format!("{}", file.display());
        let text = fs::read_to_string(file).with_context(named)?;
        simulation = simulation.and(text.parse::<Simulation>().with_context(named)?);
    }
    Ok(simulation)
}
