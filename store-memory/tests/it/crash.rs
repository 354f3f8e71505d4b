//! `kill -9` of a process that writes: what was acknowledged is there afterwards, and nothing else.

use futures::StreamExt;
use kubeplane_store_memory::MemoryStore;
use kubeplane_store_trait::{
    BoxWatcher, Error, Event, Key, KeyRange, ListOptions, ReadAt, Revision, Store, WriteOptions,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};
use tokio::task::JoinSet;

const DIRECTORY: &str = "KUBEPLANE_TEST_DIRECTORY";
const ROUND: &str = "KUBEPLANE_TEST_ROUND";
const WRITERS: usize = 8;

/// Every other round snapshots all the time; in the others the history of the whole round is kept.
fn open(path: &Path, round: u64) -> MemoryStore {
    let snapshot_after = if round.is_multiple_of(2) { 8 * 1024 } else { 1 << 30 };
    let builder = MemoryStore::builder().path(path).snapshot_after(snapshot_after);
    builder.relaxed(["relaxed/"]).open().unwrap()
}

/// One line, whole: the parent must not see a part of it.
fn say(line: String) {
    std::io::stdout().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Runs in the child: writes for ever, and says on its output what it tries, what was acknowledged and what a
/// watcher sees.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of the test below"]
async fn child() {
    let round: u64 = std::env::var(ROUND).unwrap().parse().unwrap();
    let store = open(std::env::var(DIRECTORY).unwrap().as_ref(), round);
    let start = store.revision().await.unwrap();
    say(format!("seen {start}"));
    let mut watcher = store.watch(&KeyRange::all(), start).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Some(batch) = watcher.next().await {
            let batch = batch.unwrap();
            batch.events.iter().for_each(|event| say(format!("event {}", told(event))));
            say(format!("seen {}", batch.through));
        }
    });
    for writer in 0..WRITERS {
        tasks.spawn(write(store.clone(), writer, round));
    }
    tasks.join_all().await;
}

async fn write(store: MemoryStore, writer: usize, round: u64) {
    let mut random = StdRng::seed_from_u64(round * 100 + writer as u64);
    for turn in 0_u64.. {
        let kind = if writer.is_multiple_of(2) { "strict" } else { "relaxed" };
        let name = format!("{kind}/{writer}/{}", random.random_range(0..20));
        let key = Key::new(name.clone()).unwrap();
        let current = store.get(&key, ReadAt::Latest).await.unwrap().entry;
        let delete = current.is_some() && random.random_bool(0.2);
        let value = if delete { "-".to_owned() } else { format!("{round}.{writer}.{turn}") };
        say(format!("try {name} {value}"));
        let options = WriteOptions::default();
        let bytes = value.clone().into();
        let revision = match current {
            Some(entry) if delete => store.delete(&key, entry.revision).await.unwrap().revision,
            Some(entry) => store.update(&key, bytes, entry.revision, options).await.unwrap(),
            None => store.create(&key, bytes, options).await.unwrap(),
        };
        say(format!("ack {name} {value} {revision}"));
    }
}

/// Name, value (`-` for a deletion) and revision.
fn told(event: &Event) -> String {
    match event {
        Event::Put { entry, .. } => {
            let value = String::from_utf8_lossy(&entry.value);
            format!("{} {value} {}", entry.key, entry.revision)
        }
        Event::Delete { key, revision, .. } => format!("{key} - {revision}"),
        other => panic!("{other:?}"),
    }
}

/// What is known of a store from outside.
#[derive(Default)]
struct Known {
    /// The acknowledged value of each entry.
    values: BTreeMap<String, String>,
    /// The value that was under way to an entry when its writer died.
    tried: BTreeMap<String, String>,
    /// The changes of the round by revision: those acknowledged, and those a watcher saw.
    acknowledged: BTreeMap<u64, String>,
    events: Vec<(u64, String)>,
    seen: u64,
    latest: u64,
}

impl Known {
    fn line(&mut self, line: &str) -> bool {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["try", name, value] => {
                self.tried.insert(name.into(), value.into());
            }
            ["ack", name, value, revision] => {
                let revision = revision.parse().unwrap();
                self.tried.remove(name);
                self.values.insert(name.into(), value.into());
                self.acknowledged.insert(revision, format!("{name} {value}"));
                return true;
            }
            ["event", name, value, revision] => {
                self.events.push((revision.parse().unwrap(), format!("{name} {value}")));
            }
            ["seen", through] => self.seen = through.parse().unwrap(),
            _ => {}
        }
        false
    }

    /// Lets a child write until it has acknowledged so much, then kills it.
    fn live_through(&mut self, directory: &Path, round: u64, acks: usize) {
        self.acknowledged.clear();
        self.events.clear();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["crash::child", "--exact", "--ignored", "--nocapture"])
            .env(DIRECTORY, directory)
            .env(ROUND, round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut left = acks;
        for line in output.lines() {
            left = left.saturating_sub(usize::from(self.line(&line.unwrap())));
            if left == 0 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert_eq!(left, 0, "the child ended by itself");
    }

    async fn check(&mut self, store: &MemoryStore) {
        let page = store.list(&KeyRange::all(), ListOptions::default()).await.unwrap();
        let found: BTreeMap<_, _> = page
            .entries
            .iter()
            .map(|entry| (entry.key.to_string(), String::from_utf8(entry.value.to_vec()).unwrap()))
            .collect();
        let names: Vec<_> = self.values.keys().chain(self.tried.keys()).cloned().collect();
        for name in found.keys() {
            assert!(names.contains(name), "{name} was invented");
        }
        for name in names {
            let now = found.get(&name).map_or("-", String::as_str);
            let acknowledged = self.values.get(&name).map_or("-", String::as_str);
            let tried = self.tried.get(&name).map(String::as_str);
            let expected = now == acknowledged || Some(now) == tried;
            assert!(expected, "{name} is {now}, not {acknowledged} or {tried:?}");
            self.values.insert(name, now.to_owned());
        }
        self.tried.clear();
        assert!(self.acknowledged.keys().all(|revision| *revision > self.latest));
        let last = self.acknowledged.keys().next_back().copied().unwrap_or(self.latest);
        assert!(page.revision.0 >= last, "revisions went back");
        let shown = self.events.iter().map(|(revision, _)| *revision).max().unwrap_or(0);
        let shown = shown.max(self.seen);
        assert!(page.revision.0 >= shown, "a watcher was shown {shown}, and it is gone");
        self.latest = page.revision.0;
    }

    /// Goes on with the watch that died; then every acknowledged change was seen, once and in order. Where not `all` the
    /// history need be there, the watch may be refused as compacted: then that holds for what was seen before.
    async fn resume(&mut self, store: &MemoryStore, all: bool) {
        // What the dead watcher was told without the end of its batch comes again.
        self.events.retain(|(revision, _)| *revision <= self.seen);
        match store.watch(&KeyRange::all(), Revision(self.seen)).await {
            Ok(watcher) => self.read(watcher).await,
            Err(Error::Compacted { oldest, .. }) if !all => assert!(oldest.0 > self.seen),
            Err(error) => panic!("after {}: {error}", self.seen),
        }
        assert!(self.events.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0), "a gap");
        let events: BTreeMap<_, _> = self.events.drain(..).collect();
        for (revision, what) in self.acknowledged.range(..=self.seen) {
            assert_eq!(events.get(revision), Some(what), "not seen at {revision}");
        }
        self.seen = self.latest;
    }

    /// Reads the rest: all that was written.
    async fn read(&mut self, mut watcher: BoxWatcher) {
        while self.seen < self.latest {
            let batch = watcher.next().await.unwrap().unwrap();
            for event in &batch.events {
                let told = told(event);
                let (what, revision) = told.rsplit_once(' ').unwrap();
                self.events.push((revision.parse().unwrap(), what.to_owned()));
            }
            self.seen = batch.through.0;
        }
    }
}

#[tokio::test]
async fn acknowledged_writes_survive_kill_9() {
    let rounds = if std::env::var("KUBEPLANE_LONG").is_ok() { 200 } else { 20 };
    let directory = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(7);
    let mut known = Known::default();
    for round in 0..rounds {
        known.live_through(directory.path(), round, random.random_range(1..800));
        let store = open(directory.path(), round);
        known.check(&store).await;
        known.resume(&store, !round.is_multiple_of(2)).await;
        store.close().await;
    }
}
