//! What the examples that serve something look like to an unmodified kubectl.

use crate::{conversion_webhook, extension_apiserver};
use kubeplane::{
    core::component::{Component, Supervision, lifecycle},
    prelude::*,
    testing::TestCluster,
};
use serde_json::Value;
use std::{process::Stdio, time::Duration};
use tokio::{io::AsyncWriteExt, process::Command};

struct Kubectl(TestCluster);

impl Kubectl {
    async fn run(&self, arguments: &[&str], input: &str) -> (bool, String) {
        let mut child = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(self.0.kubeconfig().unwrap())
            .arg("--cache-dir")
            .arg(self.0.directory().join("cache"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("kubectl");
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        let output = child.wait_with_output().await.unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    async fn ok(&self, arguments: &[&str], input: &str) -> String {
        let (success, said) = self.run(arguments, input).await;
        assert!(success, "kubectl {arguments:?}: {said}");
        said
    }

    /// Asks again until the answer is as wanted.
    async fn until(&self, arguments: &[&str], wanted: impl Fn(bool, &str) -> bool) -> String {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let (success, said) = self.run(arguments, "").await;
            if wanted(success, &said) {
                return said;
            }
            assert!(tokio::time::Instant::now() < deadline, "kubectl {arguments:?}: {said}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Runs a server as long as what is returned lives; its port.
async fn listening(server: ApiServer) -> (u16, Serving) {
    let mut bound = server.bound();
    let (own, supervision) = lifecycle();
    tokio::spawn(Box::new(server).run(own));
    let port = bound.wait_for(Option::is_some).await.unwrap().unwrap().port();
    (port, Serving(supervision))
}

struct Serving(Supervision);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.stop();
    }
}

async fn cluster() -> Kubectl {
    Kubectl(TestCluster::builder().listen().start().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_converts_between_versions_through_the_webhook() {
    let kubectl = cluster().await;
    let (server, authority) = conversion_webhook::webhook().unwrap();
    let (port, _serving) = listening(server).await;
    let crd = conversion_webhook::definition(port, &authority).unwrap().to_string();
    kubectl.ok(&["apply", "-f", "-"], &crd).await;
    let established = ["wait", "--for=condition=Established", "crd/sheets.paper.example.com"];
    // It fails while there are no conditions at all.
    kubectl.until(&established, |success, _| success).await;
    let sheet = "apiVersion: paper.example.com/v2\nkind: Sheet\nmetadata: {name: card}\nspec: {width: 5, height: 2}\n";
    kubectl.ok(&["apply", "-f", "-"], sheet).await;
    let get = |version: &str, output: &str| {
        let resource = format!("sheets.{version}.paper.example.com");
        [String::from("get"), resource, "card".into(), "-o".into(), output.into()]
    };
    for (version, wanted) in [("v1", "5x2"), ("v2", "5 2")] {
        let path = if version == "v1" { "{.spec.size}" } else { "{.spec.width} {.spec.height}" };
        let arguments = get(version, &format!("jsonpath={path}"));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        assert_eq!(kubectl.ok(&arguments, "").await, wanted);
    }
    // Applied once more in the one version, changed in the other.
    kubectl.ok(&["apply", "-f", "-"], &sheet.replace("height: 2", "height: 7")).await;
    let patch = ["patch", "sheets.v1.paper.example.com", "card", "--type=merge", "-p"];
    kubectl.ok(&[&patch[..], &[r#"{"spec":{"size":"9x7"}}"#]].concat(), "").await;
    let said = kubectl.ok(&["get", "sheets.v2.paper.example.com", "card"], "").await;
    assert!(
        said.lines().nth(1).is_some_and(|row| row.split_whitespace().eq(["card", "9"])),
        "{said}"
    );
    let applied = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    let said = kubectl.ok(&applied, &sheet.replace("width: 5", "width: 1")).await;
    assert!(said.contains("serverside-applied"), "{said}");
    let bad = sheet.replace("v2", "v1").replace("width: 5, height: 2", "size: wide");
    let bad = bad.replace("name: card", "name: odd");
    kubectl.ok(&["create", "-f", "-"], &bad).await;
    let (success, said) = kubectl.run(&["get", "sheets.v2.paper.example.com", "odd"], "").await;
    let why = "Error from server: conversion webhook for paper.example.com/v1, Kind=Sheet failed: no size";
    assert!(!success && said.contains(why), "{said}");
    kubectl.0.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_uses_an_extension_api_server_as_any_other() {
    let kubectl = cluster().await;
    let (server, authority) = extension_apiserver::extension(&kubectl.0.client(), 0).await.unwrap();
    let (port, serving) = listening(server).await;
    let [service, api] = extension_apiserver::registration(port, &authority);
    kubectl.ok(&["apply", "-f", "-"], &api.to_string()).await;
    let column = |said: &str| said.lines().nth(1).unwrap_or_default().to_owned();
    let get = ["get", "apiservice", "v1.hello.example.com"];
    let said = kubectl.until(&get, |_, said| said.contains("ServiceNotFound")).await;
    assert!(column(&said).contains("False (ServiceNotFound)"), "{said}");
    let path = "/apis/hello.example.com/v1/greetings";
    let (success, said) = kubectl.run(&["get", "--raw", path], "").await;
    assert!(!success && said.contains("currently unable to handle the request"), "{said}");
    kubectl.ok(&["apply", "-f", "-"], &service.to_string()).await;
    let available =
        ["wait", "--for=condition=Available", "--timeout=60s", "apiservice/v1.hello.example.com"];
    kubectl.ok(&available, "").await;
    let listed = kubectl.until(&["api-resources", "--api-group=hello.example.com"], |_, said| {
        said.contains("greetings")
    });
    let listed = listed.await;
    assert!(
        column(&listed).split_whitespace().eq([
            "greetings",
            "hello.example.com/v1",
            "true",
            "Greeting"
        ]),
        "{listed}"
    );
    let greeting = "apiVersion: hello.example.com/v1\nkind: Greeting\nmetadata: {name: first}\ntext: good day\n";
    let said = kubectl.ok(&["apply", "-f", "-"], greeting).await;
    assert_eq!(said, "greeting.hello.example.com/first created\n");
    let said = kubectl.ok(&["get", "greetings"], "").await;
    assert!(column(&said).split_whitespace().eq(["first", "good", "day"]), "{said}");
    let shout = "/apis/hello.example.com/v1/namespaces/default/greetings/first/shout";
    assert!(kubectl.ok(&["get", "--raw", shout], "").await.contains("GOOD DAY!"));
    let said = kubectl.ok(&["explain", "greetings"], "").await;
    assert!(said.contains("GROUP:      hello.example.com"), "{said}");
    // The extension asks the server in front who may do what.
    let jane = ["--as=jane", "get", "greetings"];
    let (success, said) = kubectl.run(&jane, "").await;
    assert!(!success && said.contains("User \"jane\" cannot list resource"), "{said}");
    let role =
        ["create", "clusterrolebinding", "jane", "--clusterrole=cluster-admin", "--user=jane"];
    kubectl.ok(&role, "").await;
    kubectl.until(&jane, |success, _| success).await;
    // Watches come through, and both forms of OpenAPI.
    let watch = ["get", "greetings", "-w", "--request-timeout=2s", "-o", "name"];
    kubectl.until(&watch, |_, said| said.contains("greeting.hello.example.com/first")).await;
    let swagger =
        kubectl.until(&["get", "--raw", "/openapi/v2"], |_, said| said.contains(path)).await;
    assert!(serde_json::from_str::<Value>(&swagger).is_ok());
    let index = kubectl.ok(&["get", "--raw", "/openapi/v3"], "").await;
    assert!(index.contains("apis/hello.example.com/v1"), "{index}");
    drop(serving);
    kubectl.ok(&["annotate", "service", "hello", "again=1"], "").await;
    let said = kubectl.until(&get, |_, said| said.contains("FailedDiscoveryCheck")).await;
    assert!(column(&said).contains("False (FailedDiscoveryCheck)"), "{said}");
    kubectl.ok(&["delete", "apiservice", "v1.hello.example.com"], "").await;
    let gone = ["api-resources", "--api-group=hello.example.com", "--no-headers"];
    kubectl.until(&gone, |_, said| !said.contains("greetings")).await;
    kubectl.0.stop().await.unwrap();
}
