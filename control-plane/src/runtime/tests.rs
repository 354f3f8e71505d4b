use super::*;
use rustix::{process::geteuid, thread::set_thread_res_uid};
use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    thread,
};

/// Whom nothing belongs to.
const NOBODY: u32 = 65534;

/// A directory everybody may look into.
fn open_directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    directory
}

/// What is said of the runtime behind a socket to a user without rights; it must be a simulated one.
fn told(socket: &Path) -> String {
    let socket = socket.to_owned();
    let asked = thread::spawn(move || {
        // Root is never refused, so this thread is not root any more.
        if geteuid().is_root() {
            let nobody = rustix::process::Uid::from_raw(NOBODY);
            set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = SimulatedOptions::default();
        runtime.block_on(auto(&socket, kubeplane_clock::real(), options))
    });
    let found = asked.join().unwrap();
    assert!(!found.real, "{}", found.description);
    let why = found.description.strip_prefix("simulated, no real containers (");
    why.and_then(|why| why.strip_suffix(')')).unwrap().to_owned()
}

#[test]
fn what_does_not_listen_is_said_to_be_absent_or_closed() {
    let home = open_directory();
    let absent = home.path().join("absent.sock");
    assert_eq!(told(&absent), format!("there is no {}", absent.display()));

    let file = home.path().join("file");
    fs::write(&file, "").unwrap();
    let left = home.path().join("left.sock");
    drop(UnixListener::bind(&left).unwrap());
    for path in [file, left] {
        // Only what may be connected to says that nobody is there.
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        let why = told(&path);
        let start = format!("{} cannot be used: ", path.display());
        assert!(why.starts_with(&start) && why.contains("Connection refused"), "{why}");
    }
}

#[test]
fn a_socket_that_may_not_be_used_is_told_from_one_that_is_not_there() {
    let home = open_directory();
    let closed = home.path().join("closed.sock");
    let _listener = UnixListener::bind(&closed).unwrap();
    fs::set_permissions(&closed, Permissions::from_mode(0o000)).unwrap();
    let why = told(&closed);
    let start = format!("{} cannot be used: ", closed.display());
    assert!(why.starts_with(&start) && why.contains("Permission denied"), "{why}");

    let private = home.path().join("private");
    fs::create_dir(&private).unwrap();
    fs::set_permissions(&private, Permissions::from_mode(0o000)).unwrap();
    let hidden = private.join("containerd.sock");
    let why = told(&hidden);
    fs::set_permissions(&private, Permissions::from_mode(0o700)).unwrap();
    let start = format!("{} cannot be read: ", hidden.display());
    assert!(why.starts_with(&start) && why.contains("Permission denied"), "{why}");
}

#[test]
fn who_listens_and_says_nothing_does_not_hold_up_the_start() {
    let home = open_directory();
    let silent = home.path().join("silent.sock");
    let _listener = UnixListener::bind(&silent).unwrap();
    fs::set_permissions(&silent, Permissions::from_mode(0o666)).unwrap();
    let expected = format!("{} cannot be used: it does not answer", silent.display());
    assert_eq!(told(&silent), expected);
}

#[tokio::test]
async fn a_socket_that_was_named_is_not_replaced_by_a_simulation() {
    let home = open_directory();
    let absent = home.path().join("absent.sock");
    let named = RuntimeChoice::Cri(absent.clone());
    let clock = kubeplane_clock::real();
    let error = find_with(&named, clock.clone(), SimulatedOptions::default()).await.unwrap_err();
    assert!(error.starts_with(&format!("{} cannot be used: ", absent.display())), "{error}");
    assert!(error.contains("No such file"), "{error}");
    let asked = find_with(&RuntimeChoice::Simulated, clock, SimulatedOptions::default()).await;
    assert_eq!(asked.unwrap().description, "simulated, no real containers (as asked)");
}
