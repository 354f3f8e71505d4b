//! What containers said when they ended.

use crate::{
    observed::{Observed, ObservedPod, State},
    spec,
};
use k8s_openapi::api::core::v1::Pod;
use kubeplane_runtime_cri::LogLine;
use std::{
    fs,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

/// What one container may say.
const MAX_BYTES: usize = 4096;
/// What all containers of a pod may say together.
const MAX_TOTAL: usize = 12 << 10;
const MAX_LOG_BYTES: usize = 2048;
const MAX_LOG_LINES: usize = 80;

/// Sets the messages of ended containers from their files, or from the ends of their logs.
pub(crate) fn fill(observed: &mut ObservedPod, pod: &Pod, log_dir: &Path) {
    let count = spec::containers(pod).len()
        + spec::init_containers(pod).len()
        + spec::ephemeral_containers(pod).len();
    let limit = MAX_TOTAL / count.max(1);
    for container in &mut observed.containers {
        if container.state != State::Exited {
            continue;
        }
        let own = message(container, log_dir);
        let mut text = match (own.is_empty(), container.message.is_empty()) {
            (true, _) => container.message.clone(),
            (false, true) => own,
            (false, false) => format!("{}: {own}", container.message),
        };
        text.truncate(floor(&text, limit));
        container.message = text;
    }
}

fn floor(text: &str, limit: usize) -> usize {
    (0..=limit.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn message(container: &Observed, log_dir: &Path) -> String {
    let mount = container.mounts.iter().find(|m| m.container_path == container.message_path);
    let file = mount.map(|mount| tail(Path::new(&mount.host_path), MAX_BYTES));
    let text = file.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let from_log = container.message_policy == "FallbackToLogsOnError"
        && text.is_empty()
        && container.exit_code != 0;
    if !from_log {
        return text;
    }
    let given = Path::new(&container.log_path);
    let path = if given.is_absolute() { given.to_path_buf() } else { log_dir.join(given) };
    last_lines(&tail(&path, 4 * MAX_LOG_BYTES))
}

fn tail(path: &Path, limit: usize) -> Vec<u8> {
    let read = || {
        let mut file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        let from = length.saturating_sub(u64::try_from(limit).unwrap_or(u64::MAX));
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    read().unwrap_or_default()
}

fn last_lines(log: &[u8]) -> String {
    let lines: Vec<LogLine<'_>> =
        log.split(|byte| *byte == b'\n').filter_map(LogLine::parse).collect();
    let mut text = String::new();
    for line in &lines[lines.len().saturating_sub(MAX_LOG_LINES)..] {
        text.push_str(&String::from_utf8_lossy(line.text));
        if line.tag == kubeplane_runtime_cri::LogTag::Full {
            text.push('\n');
        }
    }
    let from = text.len().saturating_sub(MAX_LOG_BYTES);
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    text.split_off(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_log_is_the_message_when_asked_for() {
        let log = b"2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:01Z stderr F two\n";
        assert_eq!(last_lines(log), "one\ntwo\n");
        let cut = last_lines(&log[10..]);
        assert_eq!(cut, "two\n");
        let text = "ä".repeat(10);
        assert_eq!(floor(&text, 5), 4);
    }
}
