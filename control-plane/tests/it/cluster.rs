//! The built binary as a process.

use crate::{
    kubectl::{Kubectl, SOON},
    parts::{Etcd, RealRuntime, default_kubectl, etcds, eventually, free_port},
    unprivileged::{command, with_containerd},
};
use kubeplane::runtime::CONTAINERD;
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};
use tempfile::TempDir;

/// How long a debug build may take until everything is ready, on a busy machine.
pub(crate) const START: Duration = Duration::from_secs(60);

/// How a cluster is started, and what it stands on.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) data: TempDir,
    pub(crate) etcd: Option<Etcd>,
    pub(crate) runtime: Option<RealRuntime>,
    port: u16,
    kubelet_port: u16,
    more: Vec<String>,
}

impl Ground {
    /// The embedded store and the simulated runtime.
    pub(crate) fn simulated() -> Self {
        Self {
            data: tempfile::tempdir().unwrap(),
            etcd: None,
            runtime: None,
            port: free_port(),
            kubelet_port: free_port(),
            more: Vec::new(),
        }
    }

    pub(crate) fn on_etcd(self) -> Self {
        let first = etcds().remove(0);
        self.on_etcd_of(&first)
    }

    pub(crate) fn on_etcd_of(self, program: &Path) -> Self {
        Self { etcd: Some(Etcd::start(program)), ..self }
    }

    /// For tests that run in a network namespace of their own.
    pub(crate) fn on_containerd(self) -> Self {
        Self { runtime: Some(RealRuntime::start()), ..self }
    }

    /// With further arguments.
    pub(crate) fn with(self, more: &[&str]) -> Self {
        Self { more: more.iter().map(|text| (*text).to_owned()).collect(), ..self }
    }

    pub(crate) fn kubelet_port(&self) -> u16 {
        self.kubelet_port
    }

    pub(crate) fn arguments(&self) -> Vec<String> {
        let host = if self.runtime.is_some() { "0.0.0.0" } else { "127.0.0.1" };
        let mut list = vec![
            "serve".to_owned(),
            format!("--data-dir={}", self.data.path().display()),
            format!("--listen={host}:{}", self.port),
            format!("--kubelet-listen={host}:{}", self.kubelet_port),
            "--node-name=node-1".to_owned(),
            "--log=info".to_owned(),
        ];
        match &self.runtime {
            None => list.push("--runtime=simulated".to_owned()),
            Some(real) => {
                list.push(format!("--runtime=cri={}", real.containerd.socket().display()));
                list.push(format!("--cni-conf-dir={}", real.cni.path().display()));
            }
        }
        if let Some(etcd) = &self.etcd {
            list.push(format!("--store=etcd={}", etcd.url()));
        }
        list.extend(self.more.iter().cloned());
        list
    }

    /// Starts the binary and waits until every component is ready.
    pub(crate) fn start(&self) -> Cluster {
        let socket = self.runtime.as_ref().map(|real| real.containerd.socket());
        self.started(Process::start(&self.arguments()), socket.as_deref())
    }

    /// Starts the binary where the real runtime is at containerd's usual place, without saying so: it is found.
    pub(crate) fn start_by_itself(&self) -> Cluster {
        let real = self.runtime.as_ref().expect("a real runtime");
        let own = self.arguments().into_iter().map(|argument| {
            if argument.starts_with("--runtime=") { "--runtime=auto".to_owned() } else { argument }
        });
        let line = std::iter::once(env!("CARGO_BIN_EXE_kubeplane").to_owned()).chain(own);
        let line = with_containerd(Some(&real.containerd.socket()), line.collect());
        self.started(Process::start_by(&mut command(&line)), Some(Path::new(CONTAINERD)))
    }

    /// Waits until every component is ready, the runtime with this socket, or a simulated one, being told of.
    fn started(&self, mut process: Process, socket: Option<&Path>) -> Cluster {
        process.wait_for_line("kubelet ready", START);
        let line = process.line("container runtime: ").expect("it says which runtime it found");
        match socket {
            Some(socket) => {
                let place = format!(" at {}", socket.display());
                assert!(line.starts_with("container runtime: containerd "), "{line}");
                assert!(line.ends_with(&place), "{line}");
            }
            None => {
                let start = "container runtime: simulated, no real containers (";
                assert!(line.starts_with(start), "{line}");
            }
        }
        let line = process.line("export KUBECONFIG=").expect("it says where the kubeconfig is");
        let kubeconfig = PathBuf::from(line.trim_start_matches("export KUBECONFIG="));
        Cluster { process, kubeconfig, url: format!("https://127.0.0.1:{}", self.port) }
    }
}

/// A running binary. Dropping it kills it, and prints its log if the test has failed.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    /// Ends with what the process says.
    reading: JoinHandle<()>,
}

impl Process {
    pub(crate) fn start(arguments: &[String]) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_kubeplane")).args(arguments))
    }

    /// Starts it by a command that becomes it, such as one that gives up its rights first.
    pub(crate) fn start_by(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (output, seen) = (child.stderr.take().unwrap(), lines.clone());
        let reading = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                seen.lock().unwrap().push(line);
            }
        });
        Self { child, lines, reading }
    }

    /// Returns when all that it said before its end was read: that takes a moment more.
    fn wait_for_last_words(&self) {
        eventually("its last words", SOON, || match self.reading.is_finished() {
            true => Ok(()),
            false => Err(self.log()),
        });
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has said so far.
    pub(crate) fn log(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// The first line that holds a text.
    pub(crate) fn line(&self, text: &str) -> Option<String> {
        self.lines.lock().unwrap().iter().find(|line| line.contains(text)).cloned()
    }

    pub(crate) fn wait_for_line(&mut self, text: &str, limit: Duration) -> String {
        eventually(text, limit, || {
            if let Some(line) = self.line(text) {
                return Ok(line);
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                self.wait_for_last_words();
                let said = self.line(text);
                return Ok(
                    said.unwrap_or_else(|| panic!("{status} before {text:?}:\n{}", self.log()))
                );
            }
            Err(self.log())
        })
    }

    pub(crate) fn wait_for_end(&mut self, limit: Duration) -> ExitStatus {
        let status =
            eventually("the end of the process", limit, || match self.child.try_wait().unwrap() {
                Some(status) => Ok(status),
                None => Err(self.log()),
            });
        self.wait_for_last_words();
        status
    }

    /// Asks it to stop, as Ctrl-C does.
    pub(crate) fn interrupt(&mut self) -> ExitStatus {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
        self.wait_for_end(Duration::from_secs(30))
    }

    /// Ends it without a chance to do anything, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let lines = self.lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let from = lines.len().saturating_sub(400);
            eprintln!("--- log of kubeplane\n{}\n---", lines[from..].join("\n"));
        }
    }
}

/// A cluster with every component ready.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) process: Process,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) url: String,
}

impl Cluster {
    /// The administrator at the default kubectl.
    pub(crate) fn kubectl(&self) -> Kubectl {
        self.kubectl_of(&default_kubectl())
    }

    pub(crate) fn kubectl_of(&self, program: &Path) -> Kubectl {
        Kubectl::new(program, &self.kubeconfig)
    }
}
