use super::*;
use crate::{Containers, Images, Sandboxes, Streaming};
use kubeplane_clock::{Clock, PausedClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[cfg(feature = "conformance")]
mod conformance {
    use crate::{ContainerRuntime, SimulatedOptions, SimulatedRuntime, conformance::Factory};
    use async_trait::async_trait;
    use std::{path::PathBuf, sync::Arc};

    struct Simulated {
        directory: tempfile::TempDir,
    }

    #[async_trait]
    impl Factory for Simulated {
        async fn runtime(&self) -> Arc<dyn ContainerRuntime> {
            let clock = kubeplane_clock::real();
            Arc::new(SimulatedRuntime::new(clock, SimulatedOptions::default()))
        }

        fn image(&self) -> String {
            "busybox:1.36".to_owned()
        }

        fn directory(&self) -> PathBuf {
            self.directory.path().to_owned()
        }
    }

    crate::conformance!(Simulated { directory: tempfile::tempdir().unwrap() });
}

/// A runtime on a clock that stands still, with one container.
struct Bench {
    clock: PausedClock,
    runtime: SimulatedRuntime,
    container: ContainerId,
}

async fn bench(
    policy: &str,
    command: &[&str],
    change: impl FnOnce(&mut v1::ContainerConfig),
) -> Bench {
    let options = SimulatedOptions { stop_delay: Duration::from_secs(5), ..Default::default() };
    bench_with(options, policy, command, change).await
}

async fn bench_with(
    options: SimulatedOptions,
    policy: &str,
    command: &[&str],
    change: impl FnOnce(&mut v1::ContainerConfig),
) -> Bench {
    let clock = PausedClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    let runtime = SimulatedRuntime::new(Arc::new(clock.clone()), options);
    let spec = v1::ImageSpec { image: "app".to_owned(), ..Default::default() };
    runtime.pull_image(&spec, None, None).await.unwrap();
    let sandbox_config = v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata { name: "pod".to_owned(), ..Default::default() }),
        annotations: [(RESTART_POLICY_ANNOTATION.to_owned(), policy.to_owned())].into(),
        ..Default::default()
    };
    let sandbox = runtime.run_sandbox(sandbox_config.clone(), "").await.unwrap();
    let mut config = v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: "main".to_owned(), attempt: 0 }),
        image: Some(spec),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        ..Default::default()
    };
    change(&mut config);
    let container = runtime.create_container(&sandbox, config, sandbox_config).await.unwrap();
    runtime.start_container(&container).await.unwrap();
    Bench { clock, runtime, container }
}

impl Bench {
    async fn status(&self) -> v1::ContainerStatus {
        self.runtime.container_status(&self.container).await.unwrap()
    }

    /// Lets everything run that can run without time.
    async fn settle(&self) {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_sleep_ends_on_the_cluster_clock() {
    let bench = bench("Always", &["sleep", "90"], |_| {}).await;
    bench.settle().await;
    bench.clock.advance(Duration::from_secs(89));
    bench.settle().await;
    assert_eq!(bench.status().await.state(), v1::ContainerState::ContainerRunning);
    bench.clock.advance(Duration::from_secs(1));
    bench.settle().await;
    let status = bench.status().await;
    assert_eq!((status.state(), status.exit_code), (v1::ContainerState::ContainerExited, 0));
    assert_eq!(status.finished_at - status.started_at, 90_000_000_000);
}

#[tokio::test]
async fn unknown_commands_run_on_or_end_by_restart_policy() {
    for (policy, ends) in [("Always", false), ("Never", true), ("OnFailure", true)] {
        let bench = bench(policy, &["nginx"], |_| {}).await;
        bench.settle().await;
        bench.clock.advance(Duration::from_secs(1));
        bench.settle().await;
        let ended = bench.status().await.state() == v1::ContainerState::ContainerExited;
        assert_eq!(ended, ends, "{policy}");
    }
}

#[tokio::test]
async fn the_delay_after_which_unknown_commands_end_is_as_set() {
    let options = SimulatedOptions { exit_delay: Duration::from_secs(5), ..Default::default() };
    let bench = bench_with(options, "Never", &["/app/migrate"], |_| {}).await;
    bench.settle().await;
    bench.clock.advance(Duration::from_secs(4));
    bench.settle().await;
    assert_eq!(bench.status().await.state(), v1::ContainerState::ContainerRunning);
    bench.clock.advance(Duration::from_secs(2));
    bench.settle().await;
    let status = bench.status().await;
    assert_eq!(status.state(), v1::ContainerState::ContainerExited);
    assert_eq!((status.exit_code, status.reason.as_str()), (0, "Completed"));
}

#[tokio::test]
async fn a_script_goes_as_far_as_its_first_unknown_command() {
    for (script, code) in [("true && nginx", None), ("false && nginx; exit 3", Some(3))] {
        let bench = bench("Always", &["sh", "-c", script], |_| {}).await;
        bench.settle().await;
        let status = bench.status().await;
        let exited = status.state() == v1::ContainerState::ContainerExited;
        assert_eq!(exited.then_some(status.exit_code), code, "{script}");
    }
}

#[tokio::test]
async fn a_slow_process_is_killed_when_the_grace_is_over() {
    for (grace, code) in [(3, 137), (10, 0)] {
        let bench = bench("Always", &[], |_| {}).await;
        bench.settle().await;
        let (runtime, id) = (bench.runtime.clone(), bench.container.clone());
        let stop = tokio::spawn(async move {
            runtime.stop_container(&id, Duration::from_secs(grace)).await.unwrap();
        });
        bench.settle().await;
        for _ in 0..grace.min(5) {
            assert!(!stop.is_finished());
            bench.clock.advance(Duration::from_secs(1));
            bench.settle().await;
        }
        stop.await.unwrap();
        assert_eq!(bench.status().await.exit_code, code);
        assert_eq!(bench.clock.elapsed(), Duration::from_secs(grace.min(5)));
    }
}

#[tokio::test]
async fn exec_runs_known_commands_and_says_why_it_does_not_run_others() {
    let bench = bench("Always", &[], |_| {}).await;
    let exec = async |command: &[&str]| {
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        let answer = bench.runtime.exec_sync(&bench.container, &command, None).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (answer.exit_code, text(&answer.stdout), text(&answer.stderr))
    };
    assert_eq!(
        exec(&["sh", "-c", "echo a && false || echo b"]).await,
        (0, "a\nb\n".into(), String::new())
    );
    let (code, out, err) = exec(&["ls", "/"]).await;
    assert_eq!((code, out.as_str()), (127, ""));
    assert!(err.contains("simulated runtime") && err.contains("\"ls\""), "{err}");
    let (code, _, err) = exec(&["cat", "/etc/shadow"]).await;
    assert_eq!(
        (code, err.as_str()),
        (1, "cat: can't open '/etc/shadow': No such file or directory\n")
    );
}

#[tokio::test]
async fn exec_streams_input_and_output() {
    let bench = bench("Always", &[], |_| {}).await;
    let request = v1::ExecRequest {
        container_id: bench.container.to_string(),
        cmd: vec!["cat".to_owned()],
        stdin: true,
        stdout: true,
        ..Default::default()
    };
    let Streaming::InProcess(mut streams) = bench.runtime.exec(request).await.unwrap() else {
        panic!("not in process")
    };
    let mut stdin = streams.stdin.take().unwrap();
    stdin.write_all(b"through and back").await.unwrap();
    drop(stdin);
    let mut text = String::new();
    streams.stdout.take().unwrap().read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "through and back");
    assert_eq!(streams.exit.await.unwrap(), 0);
}

#[tokio::test]
async fn attach_reaches_the_main_process() {
    let bench = bench("Always", &["sh", "-c", "cat; exit 4"], |config| {
        config.stdin = true;
        config.stdin_once = true;
    })
    .await;
    bench.settle().await;
    let request = v1::AttachRequest {
        container_id: bench.container.to_string(),
        stdin: true,
        stdout: true,
        ..Default::default()
    };
    let Streaming::InProcess(mut streams) = bench.runtime.attach(request).await.unwrap() else {
        panic!("not in process")
    };
    let mut stdin = streams.stdin.take().unwrap();
    stdin.write_all(b"hello").await.unwrap();
    drop(stdin);
    let mut text = String::new();
    streams.stdout.take().unwrap().read_to_string(&mut text).await.unwrap();
    assert_eq!((text.as_str(), streams.exit.await.unwrap()), ("hello", 4));
}

#[tokio::test]
async fn who_has_said_everything_leaves_a_process_that_goes_on_listening() {
    let bench = bench("Always", &["cat"], |config| config.stdin = true).await;
    bench.settle().await;
    for words in ["one\n", "two\n"] {
        let request = v1::AttachRequest {
            container_id: bench.container.to_string(),
            stdin: true,
            stdout: true,
            ..Default::default()
        };
        let Streaming::InProcess(mut streams) = bench.runtime.attach(request).await.unwrap() else {
            panic!("not in process")
        };
        let mut stdin = streams.stdin.take().unwrap();
        let mut stdout = streams.stdout.take().unwrap();
        stdin.write_all(words.as_bytes()).await.unwrap();
        let mut back = [0; 4];
        stdout.read_exact(&mut back).await.unwrap();
        assert_eq!(back, words.as_bytes());
        drop(stdin);
        assert_eq!(stdout.read(&mut back).await.unwrap(), 0);
        assert_eq!(streams.exit.await.unwrap(), 0);
    }
    let status = bench.runtime.container_status(&bench.container).await.unwrap();
    assert_eq!(status.state(), v1::ContainerState::ContainerRunning);
}

#[tokio::test]
async fn events_tell_of_every_change() {
    let clock: SharedClock = Arc::new(PausedClock::starting_at(jiff::Timestamp::UNIX_EPOCH));
    let runtime = SimulatedRuntime::new(clock, SimulatedOptions::default());
    let events = runtime.events().await.unwrap();
    let spec = v1::ImageSpec { image: "app".to_owned(), ..Default::default() };
    runtime.pull_image(&spec, None, None).await.unwrap();
    let config = v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata::default()),
        ..Default::default()
    };
    let sandbox = runtime.run_sandbox(config.clone(), "").await.unwrap();
    let container = v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata::default()),
        image: Some(spec),
        command: vec!["true".to_owned()],
        ..Default::default()
    };
    let id = runtime.create_container(&sandbox, container, config).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    let mut events = events;
    let mut next = async || events.next().await.unwrap().unwrap();
    let mut kinds = Vec::new();
    for _ in 0..3 {
        kinds.push(next().await.container_event_type());
    }
    runtime.remove_container(&id).await.unwrap();
    kinds.push(next().await.container_event_type());
    use v1::ContainerEventType as Kind;
    assert_eq!(
        kinds,
        [
            Kind::ContainerCreatedEvent,
            Kind::ContainerStartedEvent,
            Kind::ContainerStoppedEvent,
            Kind::ContainerDeletedEvent
        ]
    );
}

#[tokio::test]
async fn addresses_are_unique_and_host_network_has_none() {
    let runtime = SimulatedRuntime::new(kubeplane_clock::real(), SimulatedOptions::default());
    runtime.update_pod_cidr("10.200.1.0/24").await.unwrap();
    let run = async |name: &str, host: bool| {
        let options = v1::NamespaceOption {
            network: if host { v1::NamespaceMode::Node } else { v1::NamespaceMode::Pod }.into(),
            ..Default::default()
        };
        let security_context = Some(v1::LinuxSandboxSecurityContext {
            namespace_options: Some(options),
            ..Default::default()
        });
        let config = v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata { name: name.to_owned(), ..Default::default() }),
            linux: Some(v1::LinuxPodSandboxConfig { security_context, ..Default::default() }),
            ..Default::default()
        };
        let id = runtime.run_sandbox(config, "").await.unwrap();
        runtime.sandbox_status(&id).await.unwrap().network.unwrap().ip
    };
    assert_eq!(run("a", false).await, "10.200.1.2");
    assert_eq!(run("b", false).await, "10.200.1.3");
    assert_eq!(run("c", true).await, "");
}

#[tokio::test]
async fn images_of_unreachable_registries_and_bad_names_are_not_pulled() {
    let runtime = SimulatedRuntime::new(kubeplane_clock::real(), SimulatedOptions::default());
    let pull = async |name: &str| {
        let spec = v1::ImageSpec { image: name.to_owned(), ..Default::default() };
        runtime.pull_image(&spec, None, None).await
    };
    assert!(matches!(pull("Bad Name").await, Err(Error::InvalidArgument { .. })));
    assert!(matches!(pull("registry.invalid/app").await, Err(Error::Unavailable { .. })));
    assert!(pull("nginx").await.is_ok());
}
