//! The order of functions in the `kubeplane` program: those that a start runs stand together, so that it maps few pages.
//!
//! The kernel maps 64 KiB of a program around each page that is touched. What `serve` runs until it is idle is a tenth of
//! the program and lies all over it; gathered, it takes a fifth of the memory. `control-plane/build.rs` hands the list to
//! the linker. Names carry a hash of the compiler's and the dependencies' versions: a name that is not there is passed
//! over, so an old list is only worth less.

use anyhow::{Context as _, bail, ensure};
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Lines},
    path::Path,
    process::{ChildStderr, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const PROGRAM: &str = "target/release/kubeplane";
const LIST: &str = "control-plane/layout/x86_64-linux-gnu.txt";
/// The last line of a start.
const STARTED: &str = "kubelet ready";
/// How long a start may take under valgrind, about a hundred times as long as without.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long what an idle cluster does now and then is watched.
const IDLE: Duration = Duration::from_secs(60);

/// Builds the program, runs it under valgrind, and writes the list.
pub(crate) fn run() -> anyhow::Result<()> {
    succeed(Command::new("cargo").args(["build", "--release", "--package", "kubeplane"]))?;
    let scratch = Path::new("target/layout");
    fs::remove_dir_all(scratch).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    fs::create_dir_all(scratch)?;
    let trace = scratch.join("callgrind");
    let mut child = Command::new("valgrind")
        .args(["--tool=callgrind", "--demangle=no"])
        .arg(format!("--callgrind-out-file={}", trace.display()))
        .args([PROGRAM, "serve", "--runtime=simulated", "--listen=127.0.0.1:0"])
        .arg(format!("--data-dir={}", scratch.join("data").display()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("valgrind is needed")?;
    let mut printed = child.stderr.take().map(|output| BufReader::new(output).lines());
    let started = wait_for(&mut printed, STARTED);
    if started.is_ok() {
        thread::sleep(IDLE);
    }
    succeed(Command::new("kill").args(["-INT", &child.id().to_string()]))?;
    child.wait()?;
    drop(printed);
    started?;
    let symbols = output(Command::new("nm").arg(PROGRAM))?;
    let known = functions(&symbols);
    let trace = fs::read_to_string(&trace)?;
    let list: BTreeSet<&str> = executed(&trace).filter(|name| known.contains(name)).collect();
    ensure!(!list.is_empty(), "nothing of {PROGRAM} was seen to run");
    let list: Vec<_> = list.into_iter().collect();
    if let Some(folder) = Path::new(LIST).parent() {
        fs::create_dir_all(folder)?;
    }
    Ok(fs::write(LIST, list.join("\n") + "\n")?)
}

/// Reads what the program prints until a line of it is there.
fn wait_for(printed: &mut Option<Lines<BufReader<ChildStderr>>>, line: &str) -> anyhow::Result<()> {
    let begin = Instant::now();
    for read in printed.iter_mut().flatten() {
        if read? == line {
            return Ok(());
        }
        ensure!(begin.elapsed() < PATIENCE, "{line:?} did not come");
    }
    bail!("{PROGRAM} ended before it said {line:?}")
}

/// The functions named in callgrind's file: `fn=(ID) NAME` and `cfn=(ID) NAME`, the name only where it is new.
fn executed(trace: &str) -> impl Iterator<Item = &str> {
    trace.lines().filter_map(|line| {
        let named = line.strip_prefix("fn=(").or_else(|| line.strip_prefix("cfn=("))?;
        let (_, name) = named.split_once(") ")?;
        // Recursion has a number behind a quote.
        Some(name.split('\'').next().unwrap_or(name))
    })
}

/// The functions in what `nm` prints: address, letter, name.
fn functions(symbols: &str) -> BTreeSet<&str> {
    let split = symbols.lines().filter_map(|line| line.rsplit_once(' '));
    let functions = split.filter(|(rest, _)| rest.ends_with(['t', 'T', 'w', 'W']));
    functions.map(|(_, name)| name).collect()
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_that_ran_are_named_once() {
        let trace = "fl=(1) a.rs\nfn=(2) one\n1 2\ncfn=(3) two'2\ncalls=1 2\nfn=(2)\n";
        assert_eq!(executed(trace).collect::<Vec<_>>(), ["one", "two"]);
    }

    #[test]
    fn only_functions_are_placed() {
        let symbols = "0000 T one\n0000 d data\n                 U missing\n0000 t two\n";
        assert_eq!(functions(symbols), ["one", "two"].into());
    }
}
