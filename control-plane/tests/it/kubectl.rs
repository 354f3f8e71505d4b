//! An unmodified kubectl with a home of its own.

use crate::parts::eventually;
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};
use tempfile::TempDir;

/// Between two calls for the same.
const PAUSE: Duration = Duration::from_millis(150);

/// How long a change may take to be seen.
pub(crate) const SOON: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: TempDir,
}

impl Kubectl {
    /// Takes a copy of the kubeconfig, for some calls change it.
    pub(crate) fn new(program: &Path, kubeconfig: &Path) -> Self {
        let home = tempfile::tempdir().unwrap();
        let own = home.path().join("kubeconfig");
        std::fs::copy(kubeconfig, &own).unwrap();
        Self { program: program.to_owned(), kubeconfig: own, home }
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn command(&self, line: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(line).env("KUBECONFIG", &self.kubeconfig).env("HOME", self.home.path());
        command.env("TMPDIR", self.home.path());
        command.env_remove("KUBE_EDITOR").stdin(Stdio::null());
        command
    }

    pub(crate) fn output(&self, line: &[&str]) -> Output {
        self.command(line).output().unwrap()
    }

    /// What a call prints that must succeed.
    #[track_caller]
    pub(crate) fn ok(&self, line: &[&str]) -> String {
        let output = self.output(line);
        let (out, err) = texts(&output);
        assert!(output.status.success(), "kubectl {line:?}: {}\n{out}\n{err}", output.status);
        out
    }

    /// Like [`Kubectl::ok`], with input.
    #[track_caller]
    pub(crate) fn ok_with(&self, line: &[&str], input: &str) -> String {
        both(&mut self.command(line), input).0
    }

    /// The minor version, as 33 of 1.33.
    #[track_caller]
    pub(crate) fn minor(&self) -> u32 {
        let said = self.json(&["version", "--client"]);
        let whole = said["clientVersion"]["gitVersion"].as_str().unwrap_or_default();
        let minor = whole.split('.').nth(1).and_then(|minor| minor.parse().ok());
        minor.unwrap_or_else(|| panic!("it does not tell its version: {said}"))
    }

    /// The exit code and what a call complains of that must fail.
    #[track_caller]
    pub(crate) fn fails(&self, line: &[&str]) -> (i32, String) {
        let output = self.output(line);
        let (out, err) = texts(&output);
        assert!(!output.status.success(), "kubectl {line:?} succeeded:\n{out}\n{err}");
        (output.status.code().unwrap_or(-1), err)
    }

    /// Calls until what is printed is as wished.
    #[track_caller]
    pub(crate) fn until(&self, line: &[&str], what: &str, wish: impl Fn(&str) -> bool) -> String {
        eventually(&format!("kubectl {line:?}: {what}"), SOON, || {
            let output = self.output(line);
            let (out, err) = texts(&output);
            if output.status.success() && wish(&out) {
                return Ok(out);
            }
            // A call takes a core for longer than a look at anything else does.
            std::thread::sleep(PAUSE);
            Err(format!("{out}{err}"))
        })
    }

    /// Waits until a CustomResourceDefinition is established. One that has no conditions at all, as it has none at first
    /// here and at the original, ends a kubectl that waits for one of them.
    #[track_caller]
    pub(crate) fn wait_for_kind(&self, definition: &str) {
        let name = format!("crd/{definition}");
        let line = ["wait", "--for=condition=Established", &name, "--timeout=30s"];
        self.until(&line, "it is established", |_| true);
    }

    /// An object or a list.
    #[track_caller]
    pub(crate) fn json(&self, line: &[&str]) -> Value {
        let line: Vec<&str> = line.iter().copied().chain(["--output=json"]).collect();
        serde_json::from_str(&self.ok(&line)).unwrap()
    }

    /// Starts a call that goes on.
    pub(crate) fn start(&self, line: &[&str]) -> Going {
        Going::start(&mut self.command(line))
    }

    /// Like [`Kubectl::start`], with input that goes on.
    pub(crate) fn start_with_input(&self, line: &[&str]) -> (Going, ChildStdin) {
        let mut command = self.command(line);
        let mut going = Going::start(command.stdin(Stdio::piped()));
        let input = going.child.stdin.take().unwrap();
        (going, input)
    }
}

/// What a call with input that must succeed prints, and what it says beside that.
#[track_caller]
pub(crate) fn both(command: &mut Command, input: &str) -> (String, String) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    (out, err)
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// A call that goes on in the background; ended when dropped.
#[derive(Debug)]
pub(crate) struct Going {
    child: Child,
    said: Arc<Mutex<String>>,
    /// They end with what it says.
    reading: [JoinHandle<()>; 2],
}

impl Going {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let reading = [
            listen(child.stdout.take().unwrap(), said.clone()),
            listen(child.stderr.take().unwrap(), said.clone()),
        ];
        Self { child, said, reading }
    }

    /// Waits until what it has said so far is as wished.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, wish: impl Fn(&str) -> bool) -> String {
        eventually(what, SOON, || {
            let said = self.said.lock().unwrap().clone();
            if wish(&said) { Ok(said) } else { Err(said) }
        })
    }

    /// Waits for its own end.
    #[track_caller]
    pub(crate) fn wait_for_end(&mut self) -> String {
        eventually("the end of kubectl", SOON, || {
            let ended = self.child.try_wait().unwrap().is_some();
            // What it said last is read a moment later.
            let read = self.reading.iter().all(JoinHandle::is_finished);
            if ended && read { Ok(()) } else { Err(self.said.lock().unwrap().clone()) }
        });
        self.said.lock().unwrap().clone()
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(from: impl Read + Send + 'static, into: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = String::new();
        while from.read_line(&mut line).is_ok_and(|read| read > 0) {
            into.lock().unwrap().push_str(&line);
            line.clear();
        }
    })
}

/// Whether a table has a row with these cells at its start.
pub(crate) fn has_row(table: &str, cells: &[&str]) -> bool {
    table.lines().any(|line| {
        let mut words = line.split_whitespace();
        cells.iter().all(|cell| words.next() == Some(cell))
    })
}

/// The first column of a table without its heading.
pub(crate) fn first_column(table: &str) -> Vec<String> {
    table.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}
