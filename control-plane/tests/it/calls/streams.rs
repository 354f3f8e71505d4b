//! `logs`, `exec`, `attach`, `run -i` and `port-forward`: through the API server to the kubelet.

use super::World;
use crate::{
    kubectl::{Going, SOON, both},
    network::NODE_ADDRESS,
    parts::eventually,
};
use serde_json::json;
use std::{
    cell::RefCell,
    ffi::OsStr,
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    time::Duration,
};

pub(super) fn all(world: &World<'_>) {
    let carrier = Carrier::of(world);
    logs(world);
    exec(world, carrier);
    attach(world, carrier);
    terminal(world);
    if world.real.is_some() {
        forward(world, carrier);
        traffic(world);
    } else {
        let line = ["port-forward", "-n", "web", "deployment/web", ":8080"];
        let (_, said) = world.kubectl.fails(&line);
        assert!(said.contains("the simulated runtime forwards no ports"), "{said}");
    }
}

/// From here on a kubectl tells how it streams.
const CHATTY: &str = "-v=4";

/// How a kubectl streams. One whose WebSocket is refused goes on over SPDY, and says so to whoever asks only.
#[derive(Debug, Clone, Copy)]
struct Carrier {
    minor: u32,
}

impl Carrier {
    fn of(world: &World<'_>) -> Self {
        Self { minor: world.kubectl.minor() }
    }

    /// With WebSockets where this kubectl has them; from 1.31 on it takes them by itself.
    fn wishes(self, command: &mut Command) {
        if self.minor < 31 {
            command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "true");
            command.env("KUBECTL_PORT_FORWARD_WEBSOCKETS", "true");
        }
    }

    /// What a chatty call prints that must take the best way there is.
    #[track_caller]
    fn called(self, world: &World<'_>, line: &[&str], input: &str) -> String {
        let mut command = world.kubectl.command(line);
        self.wishes(&mut command);
        let (out, said) = both(&mut command, input);
        assert!(!said.contains("RemoteCommand fallback"), "{line:?}: {said}");
        // Told once the server has agreed to it; SPDY has no fifth version.
        assert_eq!(said.contains("v5.channel.k8s.io"), self.minor >= 29, "{line:?}: {said}");
        out
    }
}

fn logs(world: &World<'_>) {
    let pod = world.pods().remove(0);
    let line = format!("{pod} says hello to world\n");
    let read = |line: &[&str]| world.kubectl.ok(line);
    assert_eq!(read(&["logs", "-n", "web", &pod]), line);
    assert_eq!(read(&["logs", "-n", "web", &pod, "-c", "web", "--tail=1"]), line);
    assert_eq!(read(&["logs", "-n", "web", &pod, "--tail=0"]), "");
    let stamped = read(&["logs", "-n", "web", &pod, "--timestamps"]);
    assert!(stamped.starts_with("20") && stamped.ends_with(&line), "{stamped}");
    let all = read(&["logs", "-n", "web", "-l", "app=web", "--prefix"]);
    assert_eq!(all.matches(" says hello to world\n").count(), 3, "{all}");
    let (_, said) = world.kubectl.fails(&["logs", "-n", "web", &pod, "-c", "nobody"]);
    assert!(said.contains("container nobody is not valid for pod"), "{said}");

    // A log is followed while it grows, and ends with its pod.
    let script = "echo one; sleep 1; echo two; sleep 3600";
    let run = [
        "run",
        "-n",
        "web",
        "talker",
        "--image=busybox:1.36",
        "--restart=Never",
        "--",
        "sh",
        "-c",
        script,
    ];
    assert_eq!(world.kubectl.ok(&run), "pod/talker created\n");
    world.kubectl.ok(&[
        "wait",
        "-n",
        "web",
        "pod/talker",
        "--for=condition=Ready",
        "--timeout=30s",
    ]);
    let mut following = world.kubectl.start(&["logs", "-n", "web", "-f", "talker"]);
    following.until("both lines", |text| text == "one\ntwo\n");
    world.kubectl.ok(&["delete", "pod", "-n", "web", "talker", "--grace-period=1"]);
    following.wait_for_end();
}

fn exec(world: &World<'_>, carrier: Carrier) {
    let pod = world.pods().remove(0);
    let run = |command: &[&str]| {
        let line: Vec<&str> =
            ["exec", "-n", "web", &pod, "--"].iter().chain(command).copied().collect();
        world.kubectl.ok(&line)
    };
    let chatty = ["exec", CHATTY, "-n", "web", &pod, "--", "echo", "hi"];
    assert_eq!(carrier.called(world, &chatty, ""), "hi\n");
    assert_eq!(run(&["sh", "-c", "echo \"$POD_NAME\""]), format!("{pod}\n"));
    assert_eq!(run(&["cat", "/www/index.html"]), "hello, world\n");
    let script = ["sh", "-c", "echo $GREETING"];
    let line = [&["exec", "-n", "web", "deployment/web", "-c", "web", "--"], &script[..]].concat();
    let said = world.kubectl.ok(&line);
    assert_eq!(said, "hello\n");
    let piped =
        world.kubectl.ok_with(&["exec", "-i", "-n", "web", &pod, "--", "cat"], "over and back\n");
    assert_eq!(piped, "over and back\n");
    let big = "0123456789abcdef\n".repeat(20_000);
    let back = world.kubectl.ok_with(&["exec", "-i", "-n", "web", &pod, "--", "cat"], &big);
    assert!(back == big, "{} bytes of {}", back.len(), big.len());
    let (code, said) =
        world.kubectl.fails(&["exec", "-n", "web", &pod, "--", "sh", "-c", "echo no >&2; exit 3"]);
    assert_eq!((code, said.as_str()), (3, "no\ncommand terminated with exit code 3\n"));
    if world.real.is_none() {
        let (code, said) = world.kubectl.fails(&["exec", "-n", "web", &pod, "--", "ls", "/"]);
        assert_eq!(code, 127);
        assert!(said.contains("simulated runtime cannot run"), "{said}");
    }
}

/// `run -i` takes part in a pod from its start to its end; `attach` as often as somebody likes.
fn attach(world: &World<'_>, carrier: Carrier) {
    let run = [
        "run",
        "-n",
        "web",
        "typed",
        "--image=busybox:1.36",
        "--restart=Never",
        "-i",
        "--rm",
        "--",
        "cat",
    ];
    let said = world.kubectl.ok_with(&run, "over\nand back\n");
    assert!(
        said.starts_with("over\nand back\n") && said.contains("pod \"typed\" deleted"),
        "{said}"
    );

    let container = json!({"name": "c", "image": "busybox:1.36", "imagePullPolicy": "IfNotPresent",
        "command": ["cat"], "stdin": true});
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "listener", "namespace": "web"}, "spec": {"containers": [container]}});
    let created = world.kubectl.ok_with(&["create", "-f", "-"], &pod.to_string());
    assert_eq!(created, "pod/listener created\n");
    let ready = "--for=condition=Ready";
    world.kubectl.ok(&["wait", "-n", "web", "pod/listener", ready, "--timeout=30s"]);
    for words in ["first\n", "second\n"] {
        let line = ["attach", "-n", "web", "-i", "listener"];
        let (attached, input) = world.kubectl.start_with_input(&line);
        let input = RefCell::new(input);
        attached.until(&format!("{words:?} comes back"), |said| {
            // A runtime may take input before it passes output on, so once need not be enough. A kubectl that has
            // ended has said why.
            let _ = input.borrow_mut().write_all(words.as_bytes());
            said.contains(words)
        });
    }
    // At the end of its input kubectl leaves; the container goes on.
    let chatty = ["attach", CHATTY, "-n", "web", "-i", "listener"];
    carrier.called(world, &chatty, "third\n");
    let log = ["logs", "-n", "web", "listener"];
    world.kubectl.until(&log, "what all of them said", |log| {
        log.starts_with("first\n") && log.contains("\nsecond\n") && log.ends_with("\nthird\n")
    });
    world.kubectl.ok(&["delete", "pod", "-n", "web", "listener", "--grace-period=1"]);
    let (_, said) = world.kubectl.fails(&["attach", "-n", "web", "-i", "listener"]);
    assert_eq!(said, "Error from server (NotFound): pods \"listener\" not found\n");
}

/// At a terminal of 40 rows and 100 columns.
fn terminal(world: &World<'_>) {
    let pod = world.pods().remove(0);
    let wanted = if world.real.is_some() { "40 100" } else { "hi" };
    // The size follows the start of the command.
    let script = "n=0; while [ \"$(stty size 2>/dev/null)\" != '40 100' ] && [ $n -lt 300 ]; do \
                  n=$((n + 1)); sleep 0.1; done; stty size";
    let inside = if world.real.is_some() { script } else { "echo hi" };
    let call = world.kubectl.command(&["exec", "-it", "-n", "web", &pod, "--", "sh", "-c", inside]);
    let words = std::iter::once(call.get_program()).chain(call.get_args());
    let words: Vec<String> = words.map(quoted).collect();
    let line = format!("stty rows 40 cols 100; exec {}", words.join(" "));
    let mut outside = Command::new("script");
    outside.args(["-qec", &line, "/dev/null"]).env("SHELL", "/bin/sh");
    for (name, value) in call.get_envs() {
        match value {
            Some(value) => outside.env(name, value),
            None => outside.env_remove(name),
        };
    }
    outside.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut typing = outside.spawn().unwrap();
    // Whoever sits there says nothing, and stays.
    let keyboard = typing.stdin.take();
    let output = typing.wait_with_output().unwrap();
    drop(keyboard);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {said}", output.status);
    assert!(said.lines().any(|row| row.trim() == wanted), "{said:?}");
}

/// A word as shells take it for itself.
fn quoted(word: &OsStr) -> String {
    format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"))
}

/// Port-forward, also over WebSocket.
fn forward(world: &World<'_>, carrier: Carrier) {
    const LISTENS: &str = "Forwarding from 127.0.0.1:";
    let line = ["port-forward", CHATTY, "-n", "web", "deployment/web", ":8080"];
    let mut command = world.kubectl.command(&line);
    carrier.wishes(&mut command);
    let forward = Going::start(&mut command);
    let tunnelled = |text: &str| text.contains("negotiated protocol: ");
    let said = forward.until("forwarding", |text| {
        text.contains(LISTENS) && (carrier.minor < 30 || tunnelled(text))
    });
    assert!(!said.contains("fallback to secondary dialer"), "{said}");
    assert_eq!(tunnelled(&said), carrier.minor >= 30, "{said}");
    let port = said.split(LISTENS).nth(1).unwrap().split_whitespace().next().unwrap();
    for _ in 0..2 {
        let answer = fetch(&format!("127.0.0.1:{port}"), SOON).unwrap();
        assert!(answer.ends_with("hello, world\n"), "{answer}");
    }
}

/// The Service from the node, at its address and at a port of the node.
fn traffic(world: &World<'_>) {
    let proxy = ["get", "--raw", "/components/kube-proxy/readyz"];
    world.kubectl.until(&proxy, "the proxy is ready", |said| said == "ok");
    let path = "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}";
    let address = world.kubectl.ok(&["get", "service", "-n", "web", "web", "-o", path]);
    answers("the Service", &address);

    let path = "jsonpath={.spec.ports[0].nodePort}";
    let expose = ["expose", "-n", "web", "deployment/web", "--name=outside", "--type=NodePort"];
    let ports = ["--port=80", "--target-port=8080", "-o", path];
    let port = world.kubectl.ok(&[&expose[..], &ports[..]].concat());
    answers("the port of the node", &format!("{NODE_ADDRESS}:{port}"));
    world.kubectl.ok(&["delete", "service", "-n", "web", "outside"]);
}

#[track_caller]
fn answers(who: &str, address: &str) {
    let answer = eventually(&format!("{who} answers"), SOON, || {
        fetch(address, TRY).map_err(|error| format!("{address}: {error}"))
    });
    assert!(answer.ends_with("hello, world\n"), "{answer}");
}

/// How long one of several tries may take.
const TRY: Duration = Duration::from_secs(2);

fn fetch(address: &str, limit: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address.parse().unwrap(), limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
