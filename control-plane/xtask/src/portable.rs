//! The check of portability: what only Linux has is asked for where other systems have an answer, too.

use anyhow::bail;
use std::{fs, path::Path, process::Command};

/// What only Linux has.
const ONLY_LINUX: [&str; 4] = ["os::linux::", "rustix::mount", "netlink::", "\"/proc/"];
/// The node's own crates, for which `/proc` is a matter of what runs on the node.
const OF_NODES: [&str; 3] = ["kubelet/src/", "proxy/src/", "runtime-cri/src/"];
/// Files that take it well when `/proc` is not there.
const WITHOUT_PROC: [&str; 2] = ["core/telemetry/src/process.rs", "examples/load/server.rs"];

/// Names the lines that would not build or not work elsewhere. Tests and tools of the workspace do not count.
pub(crate) fn run() -> anyhow::Result<()> {
    let listed =
        Command::new("git").args(["ls-files", "-co", "--exclude-standard", "*.rs"]).output()?;
    let mut broken = Vec::new();
    for path in String::from_utf8_lossy(&listed.stdout).lines() {
        if is_checked(path) && Path::new(path).exists() {
            let text = fs::read_to_string(path)?;
            broken.extend(bound(path, &text, is_guarded(path)));
        }
    }
    if broken.is_empty() {
        return Ok(());
    }
    bail!("only on Linux, without `#[cfg(target_os = \"linux\")]`:\n  {}", broken.join("\n  "))
}

fn is_checked(path: &str) -> bool {
    let part = |name: &str| path.split('/').any(|part| part == name);
    !(part("tests") || part("benches") || part("xtask") || path.ends_with("/tests.rs"))
        && (path.contains("/src/") || path.starts_with("examples/"))
}

/// Whether the file is a module `linux` that its parent has on Linux only.
fn is_guarded(path: &str) -> bool {
    let Some(parent) = path.strip_suffix("/linux.rs") else { return false };
    let parent = fs::read_to_string(format!("{parent}.rs")).unwrap_or_default();
    parent.contains("#[cfg(target_os = \"linux\")]\nmod linux;")
}

/// The lines of a file that only Linux understands.
fn bound(path: &str, text: &str, guarded: bool) -> Vec<String> {
    let proc_is_well =
        WITHOUT_PROC.contains(&path) || OF_NODES.iter().any(|own| path.starts_with(own));
    let is_bound = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        ONLY_LINUX.iter().any(|what| {
            let excused = guarded || what.contains("/proc/") && proc_is_well;
            !excused && code.contains(what)
        })
    };
    // Tests stand at the end.
    let code = text.lines().enumerate().take_while(|(_, line)| *line != "#[cfg(test)]");
    code.filter(|(_, line)| is_bound(line))
        .map(|(number, line)| format!("{path}:{}: {}", number + 1, line.trim()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{bound, is_checked};

    #[test]
    fn what_only_linux_has_is_found() {
        let found = |path: &str, text: &str| bound(path, text, false).len();
        assert_eq!(
            found("core/src/a.rs", "use rustix::mount::mount;\nfs::read(\"/proc/stat\");"),
            2
        );
        assert_eq!(
            found("core/src/a.rs", "// as std::os::linux has it\n#[cfg(test)]\n\"/proc/\""),
            0
        );
        assert_eq!(found("kubelet/src/a.rs", "fs::read(\"/proc/stat\");\nuse rustix::mount;"), 1);
        assert_eq!(bound("kubelet/src/a/linux.rs", "use rustix::mount;", true).len(), 0);
    }

    #[test]
    fn tests_and_tools_may_be_of_linux() {
        let checked = ["core/src/a.rs", "control-plane/src/testing.rs", "examples/a.rs"];
        assert!(checked.into_iter().all(is_checked));
        let free = ["core/tests/it/a.rs", "core/src/a/tests.rs", "control-plane/xtask/src/a.rs"];
        assert!(!free.into_iter().any(is_checked));
    }
}
