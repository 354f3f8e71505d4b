//! The ledger of the original's integration tests: what it names is there, and every line says something.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const LEDGER: &str = include_str!("ledger.tsv");

/// Where the original's source is unpacked, if somebody wants to know whether the ledger is complete.
const SOURCE: &str = "KUBERNETES_SOURCE";

#[derive(Default)]
struct Folder {
    count: usize,
    tests: BTreeMap<String, String>,
}

/// The folders of the ledger; panics over a line that makes no sense.
fn read() -> BTreeMap<String, Folder> {
    let mut folders = BTreeMap::<String, Folder>::new();
    let mut current = None;
    for line in LEDGER.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(head) = line.strip_prefix("= ") {
            let (name, count) = head.split_once(' ').expect("= FOLDER COUNT");
            let folder = Folder { count: count.parse().unwrap(), tests: BTreeMap::new() };
            assert!(folders.insert(name.to_owned(), folder).is_none(), "{name} is there twice");
            current = Some(name.to_owned());
            continue;
        }
        let folder = folders.get_mut(current.as_ref().expect("a folder comes first")).unwrap();
        let (test, rest) = line.split_once('\t').unwrap_or_else(|| panic!("{line:?} says nothing"));
        let before = folder.tests.insert(test.to_owned(), rest.to_owned());
        assert!(before.is_none(), "{test} is there twice");
    }
    folders
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The functions of a Rust file that are tests.
fn tests_of(file: &Path) -> BTreeSet<String> {
    let text =
        fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut tests = BTreeSet::new();
    let mut marked = false;
    for line in text.lines().map(str::trim_start) {
        if line.starts_with("#[") {
            marked |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        } else if marked {
            let name = line.trim_start_matches("async ").strip_prefix("fn ");
            tests.extend(
                name.and_then(|name| name.split_once('(')).map(|(name, _)| name.to_owned()),
            );
            marked = false;
        }
    }
    tests
}

fn file_of(name: &str) -> PathBuf {
    match name.ends_with(".rs") {
        true => workspace().join(name),
        false => workspace().join(format!("controllers/tests/it/{name}.rs")),
    }
}

#[test]
fn every_scenario_has_a_test_or_a_reason() {
    let mut files = BTreeMap::new();
    for (name, folder) in read() {
        assert_eq!(folder.tests.len(), folder.count, "{name}: some test is missing");
        for (test, rest) in folder.tests {
            if let Some(reason) = rest.strip_prefix('-') {
                assert!(reason.trim().len() > 10, "{name}/{test}: why not?");
                continue;
            }
            for own in rest.split_whitespace() {
                let (file, function) =
                    own.split_once('#').unwrap_or_else(|| panic!("{own}: FILE#TEST"));
                let known =
                    files.entry(file.to_owned()).or_insert_with(|| tests_of(&file_of(file)));
                assert!(known.contains(function), "{name}/{test}: there is no test {own}");
            }
        }
    }
}

/// The test functions of a folder of Go files.
fn original(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(original(&path));
        } else if path.to_string_lossy().ends_with("_test.go") {
            for line in fs::read_to_string(&path).unwrap().lines() {
                let name = line.strip_prefix("func ").and_then(|rest| rest.split_once('('));
                let name = name.map(|(name, _)| name.to_owned());
                found.extend(
                    name.filter(|name| name.starts_with("Test") || name.starts_with("Benchmark")),
                );
            }
        }
    }
    found
}

#[test]
#[ignore = "needs the original's source in KUBERNETES_SOURCE"]
fn the_ledger_is_complete() {
    let source =
        std::env::var(SOURCE).expect("KUBERNETES_SOURCE says where the original's source is");
    for (name, folder) in read() {
        let theirs = original(&Path::new(&source).join("test/integration").join(&name));
        let ours: BTreeSet<_> = folder.tests.into_keys().collect();
        assert_eq!(ours, theirs, "{name}");
    }
}
