//! Namespaces of pods and of a client, and sockets in them.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::{
    fs::File,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    process::Command,
    thread,
    time::Duration,
};

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Runs a command line that must succeed.
pub(crate) fn sh(line: &str) {
    let words: Vec<_> = line.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output().expect(line);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The node: this namespace. `client` (192.0.2.2) lies outside, `pod1` (10.244.0.11) and `pod2` (10.244.0.12) on it.
pub(crate) fn build() {
    // The names of namespaces are kept here; the mount is private to this process.
    std::fs::create_dir_all("/run/netns").unwrap();
    sh("mount -t tmpfs tmpfs /run/netns");
    sh("ip link set lo up");
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
    attach("client", "192.0.2.1/24", "192.0.2.2/24", "192.0.2.1");
    attach_v6("client", 9);
    for number in [1, 2] {
        let pod = format!("pod{number}");
        let host = format!("10.244.{number}.1/24");
        attach(&pod, &host, &format!("10.244.{number}.10/24"), host.trim_end_matches("/24"));
        attach_v6(&pod, number);
        serve(&pod);
    }
    // Only the node knows what a service address is, yet its own traffic needs some way out.
    sh("ip route add 10.96.0.0/16 via 192.0.2.2");
    sh("ip route add fd96::/112 via fd00:9::10");
}

fn attach(name: &str, host: &str, address: &str, gateway: &str) {
    sh(&format!("ip netns add {name}"));
    sh(&format!("ip link add {name} type veth peer name eth0 netns {name}"));
    sh(&format!("ip addr add {host} dev {name}"));
    sh(&format!("ip link set {name} up"));
    sh(&format!("ip -n {name} addr add {address} dev eth0"));
    sh(&format!("ip -n {name} link set lo up"));
    sh(&format!("ip -n {name} link set eth0 up"));
    sh(&format!("ip -n {name} route add default via {gateway}"));
}

/// The second family of a namespace: `fd00:<network>::10`, behind `fd00:<network>::1`.
fn attach_v6(name: &str, network: u8) {
    sh(&format!("ip addr add fd00:{network}::1/64 dev {name} nodad"));
    sh(&format!("ip -n {name} addr add fd00:{network}::10/64 dev eth0 nodad"));
    sh(&format!("ip -n {name} route add default via fd00:{network}::1"));
}

/// Moves this thread, and those it starts.
fn enter(namespace: &str) {
    if !namespace.is_empty() {
        let file = File::open(format!("/run/netns/{namespace}")).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }
}

/// Answers on TCP and UDP port 8080 with the pod's name and the client's address.
fn serve(pod: &str) {
    let pod = pod.to_owned();
    let started = thread::spawn(move || {
        enter(&pod);
        let tcp = TcpListener::bind("[::]:8080").unwrap();
        let udp = UdpSocket::bind("[::]:8080").unwrap();
        let name = pod.clone();
        thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.unwrap();
                let peer = stream.peer_addr().unwrap().ip().to_canonical();
                let _ = write!(stream, "{name} {peer}");
            }
        });
        thread::spawn(move || {
            let mut buffer = [0; 64];
            loop {
                let (_, peer) = udp.recv_from(&mut buffer).unwrap();
                let _ = udp.send_to(format!("{pod} {}", peer.ip().to_canonical()).as_bytes(), peer);
            }
        });
    });
    started.join().unwrap();
}

/// An answer: the pod, and whom it saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) pod: String,
    pub(crate) source: String,
}

fn within<T: Send + 'static>(
    namespace: &str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let namespace = namespace.to_owned();
    let thread = thread::spawn(move || {
        enter(&namespace);
        work()
    });
    thread.join().unwrap()
}

fn parse(text: &str) -> io::Result<Answer> {
    let (pod, source) = text.split_once(' ').ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(Answer { pod: pod.to_owned(), source: source.to_owned() })
}

/// Connects from a namespace (empty: the node).
pub(crate) fn tcp(from: &str, to: &str) -> io::Result<Answer> {
    let to: SocketAddr = to.parse().unwrap();
    within(from, move || {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        parse(&text)
    })
}

/// Sends a datagram from a namespace (empty: the node), each time from another port.
pub(crate) fn udp(from: &str, to: &str) -> io::Result<Answer> {
    let to: SocketAddr = to.parse().unwrap();
    within(from, move || {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(to)?;
        socket.send(b"?")?;
        let mut buffer = [0; 128];
        let length = socket.recv(&mut buffer)?;
        parse(&String::from_utf8_lossy(&buffer[..length]))
    })
}

/// A client on the node that sends all its datagrams from one port.
#[derive(Clone)]
pub(crate) struct Flow(std::sync::Arc<UdpSocket>);

impl Flow {
    pub(crate) fn to(address: &str) -> Self {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        socket.connect(address).unwrap();
        Self(std::sync::Arc::new(socket))
    }

    pub(crate) fn ask(&self) -> io::Result<Answer> {
        self.0.send(b"?")?;
        let mut buffer = [0; 128];
        let length = self.0.recv(&mut buffer)?;
        parse(&String::from_utf8_lossy(&buffer[..length]))
    }
}
