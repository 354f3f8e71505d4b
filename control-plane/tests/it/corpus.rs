//! What a create does not show, played against an API server: updates, the four patches, ownership, subresources,
//! reads, watches and deletions of every kind, with the answers an original 1.36 gave.
//!
//! ```text
//!   data/*.jsonl ─ kinds and their cases ─> Player ─ requests ─> an API server
//!                                              │                     │
//!   data/known.jsonl ─ differences with a reason ─> compare <─ Normal (names, uids, revisions, times blanked)
//! ```
//!
//! A case is a row of steps with names of its own, in a namespace of its own. An answer is recorded as what it changes in
//! the object of the answer before it, the first as what it changes in the kind's `created`. Revisions and uids are
//! numbered as they are first seen, so that a write that should have changed nothing is seen.
//!
//! `KUBEPLANE_CORPUS_KUBECONFIG` plays them against another server, as an original without controllers;
//! `KUBEPLANE_CORPUS_ANSWERS` adds the answers to a file, for new cases; `KUBEPLANE_CORPUS_ONLY` plays only those whose
//! kind and case hold that text. Without either, and without
//! `KUBEPLANE_CORPUS_ALL`, one in ten is played: of each case other kinds, of each kind other cases.

mod difference;
mod normal;
mod player;

use difference::{Difference, Known, differences};
use futures::{StreamExt, stream};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use kubeplane::testing::TestCluster;
use kubeplane_core::auth::{GROUP_AUTHENTICATED, GROUP_MASTERS, UserInfo};
use player::{Player, Run};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write,
    fs,
    io::Write as _,
    path::PathBuf,
    sync::Arc,
    time::SystemTime,
};

/// Cases under way at a time; most of them wait for a watch to end.
const AT_ONCE: usize = 96;

/// A kind, and what its cases share.
#[derive(Debug)]
pub(crate) struct Kind {
    /// As in `apps/v1/Deployment`.
    pub(crate) name: String,
    /// The collection, with `{ns}` if it is in a namespace.
    pub(crate) path: String,
    /// The name of an object, with `{n}`.
    pub(crate) object: String,
    /// Objects of this kind are named by addresses.
    pub(crate) addresses: bool,
    /// What the cases create.
    pub(crate) base: Value,
    /// The answer to that.
    pub(crate) created: Value,
}

/// One case in this many is played when nothing else is asked for.
const SPREAD: usize = 10;

#[derive(Debug)]
struct Case {
    kind: Arc<Kind>,
    name: String,
    steps: Vec<Value>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/corpus/data")
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

fn lines(path: PathBuf) -> Vec<Value> {
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    text.lines().map(line).collect()
}

fn cases() -> Vec<Case> {
    let only = env::var("KUBEPLANE_CORPUS_ONLY").unwrap_or_default();
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.file_name().is_some_and(|name| name != "known.jsonl"));
    let asked = ["ONLY", "ALL", "KUBECONFIG"].map(|name| format!("KUBEPLANE_CORPUS_{name}"));
    let spread = if asked.iter().any(|name| env::var_os(name).is_some()) { 1 } else { SPREAD };
    let (mut kinds, mut number) = (0, 0);
    let mut cases = Vec::new();
    for file in files.collect::<BTreeSet<_>>() {
        let mut kind = None;
        for line in lines(file) {
            if line.get("kind").is_some() {
                (kinds, number) = (kinds + 1, 0);
                kind = Some(Arc::new(Kind {
                    name: text(&line, "kind"),
                    path: text(&line, "path"),
                    object: text(&line, "object"),
                    addresses: line["addresses"] == true,
                    base: line["base"].clone(),
                    created: line["created"].clone(),
                }));
                continue;
            }
            let kind = kind.clone().expect("a kind before its cases");
            let name = text(&line, "case");
            number += 1;
            let drawn = (number + kinds) % spread == 0;
            if drawn && format!("{} {name}", kind.name).contains(&only) {
                let steps = line["steps"].as_array().cloned().unwrap_or_default();
                cases.push(Case { kind, name, steps });
            }
        }
    }
    cases
}

/// Names that no earlier run at the same server had.
fn run_of(number: usize, fresh: u128) -> Run {
    let letters: String = [fresh, fresh / 26, fresh / 676]
        .map(|part| char::from(b'a' + u8::try_from(part % 26).unwrap_or_default()))
        .iter()
        .collect();
    let octet = fresh % 200 + 20;
    Run {
        number: format!("{letters}{number:04}"),
        // One digit, so that no other begins with it.
        address: format!(
            "10.{}.{}.{}",
            octet + (number as u128) / 1500,
            number / 6 % 250,
            number % 6 + 4
        ),
    }
}

async fn play(client: Client, fresh: u128) -> Vec<Difference> {
    let tasks = cases().into_iter().enumerate().map(|(number, case)| {
        let client = client.clone();
        tokio::spawn(async move {
            let mut player = Player::new(client, case.kind.clone(), &run_of(number, fresh));
            let answers = player.play(&case.steps).await;
            record(&case, &answers);
            differences(&case.kind, &case.name, &case.steps, &answers)
        })
    });
    let results = stream::iter(tasks).buffered(AT_ONCE);
    results.map(|result| result.unwrap()).concat().await
}

/// Adds the answers of a case to the file they are wanted in.
fn record(case: &Case, answers: &[Value]) {
    let Some(path) = env::var_os("KUBEPLANE_CORPUS_ANSWERS") else { return };
    let line = json!({"kind": case.kind.name, "case": case.name, "answers": answers});
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    // In one piece, as others write too.
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// One line a kind, what is different, and what of that was not known.
fn report(differences: &[Difference], known: &[Known]) -> (String, usize) {
    let mut kinds: BTreeMap<String, [usize; 4]> = BTreeMap::new();
    let mut cases: BTreeMap<(String, String), [bool; 3]> = BTreeMap::new();
    for case in cases_of_all() {
        cases.insert(case, [false; 3]);
    }
    let mut text = String::new();
    let mut new = 0;
    for difference in differences {
        let listed = known.iter().find(|known| known.covers(difference));
        let case = cases.entry((difference.kind.clone(), difference.case.clone())).or_default();
        let state = if difference.in_message { 0 } else { 1 + usize::from(listed.is_none()) };
        case[state] = true;
        if difference.in_message && env::var_os("KUBEPLANE_CORPUS_MESSAGES").is_none() {
            continue;
        }
        if listed.is_none() {
            new += usize::from(!difference.in_message);
            writeln!(text, "{difference}").unwrap();
        }
    }
    for ((kind, _), [message, known, new]) in cases {
        let counts = kinds.entry(kind).or_default();
        counts[3] += 1;
        match (new, known, message) {
            (true, ..) => counts[2] += 1,
            (_, true, _) => counts[1] += 1,
            (..) => counts[0] += 1,
        }
    }
    writeln!(text, " same known other of all").unwrap();
    let mut sum = [0; 4];
    for (kind, counts) in kinds {
        let [same, known, new, all] = counts;
        writeln!(text, "{same:5} {known:5} {new:5} {all:6} {kind}").unwrap();
        sum = [0, 1, 2, 3].map(|index| sum[index] + counts[index]);
    }
    let messages = differences.iter().filter(|difference| difference.in_message).count();
    writeln!(
        text,
        "{:5} {:5} {:5} {:6} in all; {messages} messages differ",
        sum[0], sum[1], sum[2], sum[3]
    )
    .unwrap();
    (text, new)
}

/// Who asked the original.
fn asking() -> UserInfo {
    let user = UserInfo::new("admin", [GROUP_MASTERS, GROUP_AUTHENTICATED]);
    UserInfo { uid: "1".to_owned(), ..user }
}

fn cases_of_all() -> Vec<(String, String)> {
    cases().into_iter().map(|case| (case.kind.name.clone(), case.name)).collect()
}

#[test]
fn answers_as_the_original_does() {
    let known: Vec<_> = lines(folder().join("known.jsonl")).iter().map(Known::read).collect();
    let elsewhere = env::var_os("KUBEPLANE_CORPUS_KUBECONFIG").map(PathBuf::from);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let found = runtime.block_on(async {
        if let Some(file) = &elsewhere {
            let file = Kubeconfig::read_from(file).unwrap();
            let options = KubeConfigOptions::default();
            let mut config = Config::from_custom_kubeconfig(file, &options).await.unwrap();
            // Answers are wanted as they come.
            config.default_retry = false;
            let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
            return play(Client::try_from(config).unwrap(), now.into()).await;
        }
        let cluster = TestCluster::start().await.unwrap();
        let found = play(cluster.client_as(asking()), 0).await;
        cluster.stop().await.unwrap();
        found
    });
    let (text, new) = report(&found, &known);
    println!("{text}");
    assert_eq!(new, 0, "differences that known.jsonl does not list:\n{text}");
    if elsewhere.is_none() && env::var_os("KUBEPLANE_CORPUS_ALL").is_some() {
        let gone = |known: &&Known| !found.iter().any(|difference| known.covers(difference));
        let gone: Vec<_> = known.iter().filter(gone).collect();
        assert!(gone.is_empty(), "known.jsonl lists what is the same now: {gone:#?}");
    }
}
