use super::connection::Connection;
use anyhow::{Context, Result};
use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

/// The kernel's clock ticks a second, as `/proc` counts them.
const TICKS: u64 = 100;

/// A server under load.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    connections: Vec<Connection>,
    next: AtomicUsize,
    config: kube::Config,
    processes: Vec<u32>,
}

impl Server {
    /// From `NAME=KUBECONFIG[,PID...]`.
    pub(crate) async fn connect(text: &str, connections: usize) -> Result<Self> {
        let (name, rest) = text.split_once('=').context("a server is NAME=KUBECONFIG[,PID...]")?;
        let mut parts = rest.split(',');
        let path = parts.next().unwrap_or_default();
        let processes = parts.map(str::parse).collect::<Result<_, _>>().context("a PID")?;
        let kubeconfig = kube::config::Kubeconfig::read_from(path)?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?;
        let mut server = Self {
            name: name.to_owned(),
            connections: Vec::new(),
            next: AtomicUsize::new(0),
            config,
            processes,
        };
        for _ in 0..connections.max(1) {
            server.connections.push(server.another().await?);
        }
        Ok(server)
    }

    /// A connection of the pool, in turn.
    pub(crate) fn connection(&self) -> &Connection {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        &self.connections[turn % self.connections.len()]
    }

    /// A connection that is not in the pool.
    pub(crate) async fn another(&self) -> Result<Connection> {
        Connection::open(&self.config).await
    }

    /// The CPU time its processes have used, user's and system's.
    pub(crate) fn cpu(&self) -> Duration {
        let ticks: u64 = self.processes.iter().filter_map(|process| ticks(*process)).sum();
        Duration::from_millis(ticks * 1000 / TICKS)
    }

    /// The memory its processes have resident, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        self.processes.iter().filter_map(|process| resident(*process)).sum()
    }
}

fn ticks(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The command's name, in parentheses, may hold spaces.
    let (_, after) = text.rsplit_once(')')?;
    let mut fields = after.split_whitespace().skip(11);
    let (user, system) = (fields.next()?, fields.next()?);
    Some(user.parse::<u64>().ok()? + system.parse::<u64>().ok()?)
}

fn resident(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}
