//! An unmodified Helm against a cluster in this process whose nodes are simulated: what a user of charts sees. The words it
//! passes on are those that the original was seen to answer it with.

mod failures;
mod release;
mod rights;

use crate::{clients::installed, kubectl::SOON};
use http::Request;
use kube::Client;
use kubeplane::testing::{TestCluster, TestClusterBuilder};
use serde_json::Value;
use std::{
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// Jobs are soon done, and say something.
const SIMULATION: &str = "
kind: Nodes
spec: {count: 2}
---
kind: PodStages
spec: {runFor: 100ms, logs: {lines: [high tide]}}
";

/// A cluster that Helm can wait for.
fn ground() -> TestClusterBuilder {
    let simulation = SIMULATION.parse().unwrap();
    TestCluster::builder().controllers().scheduler().simulation(simulation).listen()
}

/// The administrator at Helm, with a home of his own. Its calls block; the cluster goes on meanwhile, on threads of its own.
struct Helm {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: TempDir,
    driver: &'static str,
    client: Client,
}

impl Helm {
    fn new(cluster: &TestCluster) -> Self {
        Self {
            program: installed("KUBEPLANE_HELM", "helm/bin/helm"),
            kubeconfig: cluster.kubeconfig().unwrap().to_owned(),
            home: tempfile::tempdir().unwrap(),
            driver: "secret",
            client: cluster.client(),
        }
    }

    fn output(&self, line: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        // What is set for the user's own Helm is not meant for this one.
        command.env_clear().env("HOME", self.home.path()).env("KUBECONFIG", &self.kubeconfig);
        command.env("HELM_DRIVER", self.driver).args(line).stdin(Stdio::null());
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// What a call prints that must succeed, and what it says beside that.
    #[track_caller]
    fn both(&self, line: &[&str]) -> (String, String) {
        let output = self.output(line);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "helm {line:?}: {}\n{out}\n{err}", output.status);
        (out, err)
    }

    #[track_caller]
    fn ok(&self, line: &[&str]) -> String {
        self.both(line).0
    }

    #[track_caller]
    fn json(&self, line: &[&str]) -> Value {
        let line: Vec<&str> = line.iter().copied().chain(["--output=json"]).collect();
        serde_json::from_str(&self.ok(&line)).unwrap()
    }

    /// What a call complains of that must fail.
    #[track_caller]
    fn fails(&self, line: &[&str]) -> String {
        let output = self.output(line);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(!output.status.success(), "helm {line:?} succeeded:\n{out}\n{err}");
        err
    }

    /// Number, state and description of each revision of a release.
    #[track_caller]
    fn history(&self, release: &str, namespace: &str) -> Vec<(u64, String, String)> {
        let list = self.json(&["history", release, "--namespace", namespace]);
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        let revisions = list.as_array().unwrap().iter().map(|own| {
            (own["revision"].as_u64().unwrap(), word(&own["status"]), word(&own["description"]))
        });
        revisions.collect()
    }

    /// Writes a chart with one template, over the one that had this name, and returns where it is.
    fn chart(&self, name: &str, template: &str) -> String {
        let chart = self.home.path().join("charts").join(name);
        fs::create_dir_all(chart.join("templates")).unwrap();
        let about = format!("apiVersion: v2\nname: {name}\nversion: 1.0.0\n");
        fs::write(chart.join("Chart.yaml"), about).unwrap();
        fs::write(chart.join("templates/all.yaml"), template).unwrap();
        chart.to_str().unwrap().to_owned()
    }

    /// What is there at a path, past Helm.
    async fn find(&self, path: &str) -> Option<Value> {
        let request = Request::get(path).body(Vec::new()).unwrap();
        match self.client.request(request).await {
            Ok(found) => Some(found),
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    async fn get(&self, path: &str) -> Value {
        self.find(path).await.unwrap_or_else(|| panic!("{path} is not there"))
    }

    /// Looks until it is as wished.
    async fn until(&self, path: &str, wish: impl Fn(&Value) -> bool) {
        let wished = async {
            while !wish(&self.get(path).await) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(SOON, wished).await;
        waited.unwrap_or_else(|_| panic!("{path} is not as wished within {SOON:?}"));
    }

    /// Somebody else makes an object.
    async fn make(&self, collection: &str, object: &Value) {
        let body = object.to_string().into_bytes();
        let request = Request::post(collection).header("content-type", "application/json");
        let request = request.body(body).unwrap();
        let _: Value = self.client.request(request).await.unwrap();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Holds a text against what is to be in it.
#[track_caller]
fn has(said: &str, words: &str) {
    assert!(said.contains(words), "not {words:?} but:\n{said}");
}
