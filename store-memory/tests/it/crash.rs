//! `kill -9` of a process that writes: what was acknowledged is there afterwards.

use kubeplane_store_memory::MemoryStore;
use kubeplane_store_trait::{Error, Key, ReadAt, Revision, Store, WriteOptions};
use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};
use tokio::task::JoinSet;

const DIRECTORY: &str = "KUBEPLANE_TEST_DIRECTORY";
const ROUND: &str = "KUBEPLANE_TEST_ROUND";

fn open(path: impl AsRef<std::path::Path>) -> MemoryStore {
    MemoryStore::builder().path(path).snapshot_after(8 * 1024).open().unwrap()
}

/// Runs in the child: writes for ever, and says on its output what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of the test below"]
async fn child() {
    let store = open(std::env::var(DIRECTORY).unwrap());
    let round = std::env::var(ROUND).unwrap();
    let mut tasks = JoinSet::new();
    for writer in 0..8 {
        let (store, round) = (store.clone(), round.clone());
        tasks.spawn(async move {
            for write in 0_u64.. {
                let name = format!("{round}/{writer}/{write}");
                let key = Key::new(name.clone()).unwrap();
                let options = WriteOptions::default();
                let revision = store.create(&key, name.clone().into(), options).await.unwrap();
                writeln!(std::io::stdout(), "ack {name} {revision}").unwrap();
            }
        });
    }
    tasks.join_all().await;
}

#[tokio::test]
async fn acknowledged_writes_survive_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["crash::child", "--exact", "--ignored", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .env(ROUND, round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acks = 0;
        while let Some(Ok(line)) = lines.next() {
            if let Some(ack) = line.strip_prefix("ack ") {
                let (name, revision) = ack.split_once(' ').unwrap();
                acknowledged.push((name.to_owned(), Revision(revision.parse().unwrap())));
                acks += 1;
            }
            if acks == 500 + round * 37 {
                child.kill().unwrap();
            }
        }
        assert!(acks >= 500, "the child wrote only {acks}");
        child.wait().unwrap();
        let store = open(directory.path());
        for (name, revision) in &acknowledged {
            let read = store.get(&Key::new(name.clone()).unwrap(), ReadAt::Latest).await.unwrap();
            let entry = read.entry.unwrap_or_else(|| panic!("{name} was acknowledged and lost"));
            assert_eq!((&entry.revision, &*entry.value), (revision, name.as_bytes()));
        }
        let taken = Key::new(acknowledged[0].0.clone()).unwrap();
        let again = store.create(&taken, "x".into(), WriteOptions::default()).await;
        assert!(matches!(again, Err(Error::Exists { .. })));
    }
}
