//! A release of a chart with one of each kind that charts have, from its installation to its end.

use super::{Helm, ground, has};
use http::Request;
use kubeplane::testing::run;
use serde_json::{Value, json};
use std::path::Path;

const CONFIG: &str = "/api/v1/namespaces/docks/configmaps/web";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/docks/deployments/web";
const STORES: &str = "/apis/apps/v1/namespaces/docks/statefulsets/web";
const BOAT: &str = "/apis/harbour.example.com/v1/namespaces/docks/boats/web";
const JOBS: &str = "/apis/batch/v1/namespaces/docks/jobs";
const DEFINITION: &str =
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/boats.harbour.example.com";

/// A call about the release `web`.
struct Release<'a> {
    helm: &'a Helm,
    chart: String,
}

impl Release<'_> {
    /// Words of a line that changes it by the chart, and then some.
    fn line<'b>(&'b self, verb: &'b str, more: &[&'b str]) -> Vec<&'b str> {
        let line = [verb, "web", &self.chart, "--namespace=docks", "--timeout=60s"];
        line.iter().chain(more).copied().collect()
    }

    #[track_caller]
    fn ok(&self, verb: &str, more: &[&str]) -> String {
        self.helm.ok(&self.line(verb, more))
    }

    #[track_caller]
    fn fails(&self, verb: &str, more: &[&str]) -> String {
        self.helm.fails(&self.line(verb, more))
    }

    /// State and description of each revision.
    fn history(&self) -> Vec<(String, String)> {
        let all = self.helm.history("web", "docks").into_iter();
        all.zip(1..)
            .map(|((number, state, what), expected)| {
                assert_eq!(number, expected, "revisions are counted");
                (state, what)
            })
            .collect()
    }

    /// The page that is shown, and by what.
    async fn shows(&self, page: &str, revision: &str, image: &str) {
        let config = self.helm.get(CONFIG).await;
        assert_eq!(config["data"]["page"], page);
        assert_eq!(config["data"]["revision"], revision);
        assert_eq!(config["data"]["motto"], "ahoy");
        let deployment = self.helm.get(DEPLOYMENT).await;
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let variable = format!("PAGE_{}", page.to_uppercase());
        assert_eq!(container["env"], json!([{"name": variable, "value": "shown"}]));
        assert_eq!(container["image"], image);
        let strategy = if page == "one" { "RollingUpdate" } else { "Recreate" };
        assert_eq!(deployment["spec"]["strategy"]["type"], strategy);
        let boat = self.helm.get(BOAT).await;
        let (masts, flag) = if page == "one" { (2, "red") } else { (3, "white") };
        let expected = json!({"masts": masts, "flag": flag, "crew": [page]});
        assert_eq!(boat["spec"], expected, "the kind has a default");
    }

    async fn jobs(&self) -> Vec<String> {
        let list = self.helm.get(JOBS).await;
        let mut names: Vec<_> = list["items"].as_array().unwrap().iter().map(name).collect();
        names.sort();
        names
    }
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}

fn is_ready(deployment: &Value) -> bool {
    let (status, wanted) = (&deployment["status"], &deployment["spec"]["replicas"]);
    status["observedGeneration"] == deployment["metadata"]["generation"]
        && status["updatedReplicas"] == *wanted
        && status["readyReplicas"] == *wanted
        && status["replicas"] == *wanted
}

/// The chart's kind is unknown yet, and neither a check nor a dry run changes that.
async fn before(release: &Release<'_>) {
    let check = ["template", "web", &release.chart, "--validate", "--namespace=docks"];
    let unknown = release.helm.fails(&check);
    has(&unknown, "no matches for kind \"Boat\" in version \"harbour.example.com/v1\"");
    let dry = release.fails("install", &["--create-namespace", "--dry-run=server"]);
    has(&dry, "unable to get apiresource from unstructured: harbour.example.com/v1, Kind=Boat");
    assert_eq!(release.helm.find("/api/v1/namespaces/docks").await, None);
    assert_eq!(release.helm.find(DEFINITION).await, None);
}

async fn install(release: &Release<'_>) {
    let said = release.ok("install", &["--create-namespace", "--wait", "--wait-for-jobs"]);
    has(&said, "STATUS: deployed\nREVISION: 1\n");
    has(&said, "web 1 shows one in docks.");
    release.shows("one", "1", "quay:1").await;
    // What templates asked the server: it was rendered before the namespace was made, and after the definition was.
    let config = release.helm.get(CONFIG).await;
    let expected = json!({"page": "one", "motto": "ahoy", "revision": "1", "server": "1.36", "deployments": "true",
        "scaling": "true", "boats": "true", "planes": "false", "namespace": "unknown",
        "before": "nothing", "administrators": "ClusterRole", "fleet": "0"});
    assert_eq!(config["data"], expected);
    assert!(is_ready(&release.helm.get(DEPLOYMENT).await));
    assert_eq!(release.jobs().await, ["web-count", "web-post-install"]);
    let counted = release.helm.get(&format!("{JOBS}/web-count")).await;
    assert_eq!(counted["status"]["succeeded"], 1, "{counted}");
    let boat = release.helm.get(BOAT).await;
    let writer = &boat["metadata"]["managedFields"][0];
    assert_eq!((&writer["manager"], &writer["operation"]), (&json!("helm"), &json!("Update")));
    let again = release.fails("install", &[]);
    has(&again, "INSTALLATION FAILED: cannot re-use a name that is still in use");
    has(&release.ok("template", &["--validate", "--is-upgrade"]), "kind: Boat");
}

/// What there is of it, as it is listed for a user.
fn look(release: &Release<'_>) {
    let listed = release.helm.json(&["list", "--all-namespaces"]);
    let expected = [
        ("name", "web"),
        ("namespace", "docks"),
        ("revision", "1"),
        ("status", "deployed"),
        ("chart", "harbour-1.0.0"),
        ("app_version", "7"),
    ];
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert!(expected.iter().all(|(key, value)| listed[0][key] == *value), "{listed}");
    let shown = release.helm.ok(&["status", "web", "--namespace=docks", "--show-resources"]);
    let rows = [
        "==> v1/Deployment\nNAME   READY   UP-TO-DATE   AVAILABLE   AGE\nweb    2/2 ",
        "==> v1/StatefulSet\nNAME   READY   AGE\nweb    1/1 ",
        "==> v1/DaemonSet\nNAME   DESIRED   CURRENT   READY   UP-TO-DATE   AVAILABLE   NODE SELECTOR   AGE\nweb    2 ",
        "==> v1/Job\nNAME        STATUS     COMPLETIONS   DURATION   AGE\nweb-count   Complete   1/1 ",
        "==> v1/CronJob\nNAME   SCHEDULE ",
        "==> v1/PersistentVolumeClaim\nNAME   STATUS   VOLUME   CAPACITY   ACCESS MODES ",
        "==> v1/Ingress\nNAME   CLASS    HOSTS                 ADDRESS   PORTS   AGE\n\
            web    <none>   harbour.example.com             80 ",
        "==> v1/NetworkPolicy\nNAME   POD-SELECTOR   AGE\nweb    tier=store ",
        "==> v1/PodDisruptionBudget\nNAME   MIN AVAILABLE ",
        "==> v2/HorizontalPodAutoscaler\nNAME   REFERENCE ",
        "==> v1/Boat\nNAME   MASTS\nweb    2\n",
        "==> v1/Secret\nNAME   TYPE     DATA   AGE\nweb    Opaque   2 ",
        "==> v1/Service\nNAME   TYPE        CLUSTER-IP ",
        "==> v1/Pod(related)\nNAME ",
    ];
    for row in rows {
        has(&shown, row);
    }
    let all = release.helm.ok(&["get", "all", "web", "--namespace=docks"]);
    let parts = ["CHART: harbour", "# Source: harbour/templates/hooks.yaml", "kind: StatefulSet"];
    for part in parts {
        has(&all, part);
    }
}

const CHANGED: &str = "--set=page=two,image=quay:2";
const BROKEN: &str = "--set=page=two,image=quay:2,motto=yohoho,broken=true";

/// Another hand has scaled meanwhile, which the chart says nothing of.
async fn upgrade(release: &Release<'_>) {
    let body = json!({"spec": {"replicas": 2}}).to_string().into_bytes();
    let request = Request::patch(format!("{STORES}/scale"));
    let request = request.header("content-type", "application/merge-patch+json").body(body);
    let _: Value = release.helm.client.request(request.unwrap()).await.unwrap();
    let dry = release.ok("upgrade", &[CHANGED, "--install", "--dry-run=server"]);
    has(&dry, "before: one");
    has(&dry, "fleet: \"1\"");
    release.shows("one", "1", "quay:1").await;
    let wait = [CHANGED, "--install", "--atomic", "--wait", "--wait-for-jobs"];
    let said = release.ok("upgrade", &wait);
    has(&said, "Release \"web\" has been upgraded. Happy Helming!");
    release.shows("two", "2", "quay:2").await;
    assert!(is_ready(&release.helm.get(DEPLOYMENT).await));
    let stores = release.helm.get(STORES).await;
    assert_eq!(stores["spec"]["replicas"], 2);
    assert_eq!(stores["status"]["readyReplicas"], 2);
    let config = release.helm.get(CONFIG).await;
    assert_eq!(config["data"]["before"], "one");
    assert_eq!(config["data"]["namespace"], "Active");
}

const REFUSED: &str = "failed to create resource: Service \"web-broken\" is invalid: \
    [spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive, \
    spec.ports[0].targetPort: Invalid value: 70000: must be between 1 and 65535, inclusive]";

/// An upgrade that fails goes back by itself, where that is wanted, and else stays where it came to.
async fn fail(release: &Release<'_>) {
    let said = release.fails("upgrade", &[BROKEN, "--atomic"]);
    has(&said, "release web failed, and has been rolled back due to atomic being set: ");
    has(&said, REFUSED);
    release.shows("two", "2", "quay:2").await;
    let said = release.fails("upgrade", &[BROKEN]);
    has(&said, &format!("UPGRADE FAILED: {REFUSED}"));
    // ConfigMaps come before Services.
    assert_eq!(release.helm.get(CONFIG).await["data"]["motto"], "yohoho");
    has(&release.helm.ok(&["status", "web", "--namespace=docks"]), "STATUS: failed\nREVISION: 5\n");
}

async fn roll_back(release: &Release<'_>) {
    let line = ["rollback", "web", "1", "--namespace=docks", "--wait", "--timeout=60s"];
    has(&release.helm.ok(&line), "Rollback was a success! Happy Helming!");
    release.shows("one", "1", "quay:1").await;
    assert!(is_ready(&release.helm.get(DEPLOYMENT).await));
    assert_eq!(release.helm.get(STORES).await["spec"]["replicas"], 2);
    let failed = format!("Upgrade \"web\" failed: {REFUSED}");
    let expected = [
        ("superseded", "Install complete"),
        ("superseded", "Upgrade complete"),
        ("failed", failed.as_str()),
        ("superseded", "Rollback to 2"),
        ("failed", failed.as_str()),
        ("deployed", "Rollback to 1"),
    ];
    let history = release.history();
    let history = history.iter().map(|(state, what)| (state.as_str(), what.as_str()));
    assert_eq!(history.collect::<Vec<_>>(), expected);
}

fn try_out(release: &Release<'_>) {
    let said = release.helm.ok(&["test", "web", "--namespace=docks", "--logs", "--timeout=60s"]);
    has(&said, "TEST SUITE:     web-reach\n");
    has(&said, "Phase:          Succeeded\n");
    has(&said, "POD LOGS: web-reach\nhigh tide\n");
}

/// Of what it made, hooks and the definition stay; and what it was, as long as that is wanted.
async fn uninstall(release: &Release<'_>) {
    let line = ["uninstall", "web", "--namespace=docks", "--wait", "--timeout=60s"];
    let kept: Vec<&str> = line.into_iter().chain(["--keep-history"]).collect();
    let kept = release.helm.ok(&kept);
    has(&kept, "release \"web\" uninstalled");
    for path in [CONFIG, DEPLOYMENT, STORES, BOAT, "/api/v1/persistentvolumes/web"] {
        assert_eq!(release.helm.find(path).await, None, "{path}");
    }
    assert_eq!(release.jobs().await, ["web-post-install"]);
    let pods = "/api/v1/namespaces/docks/pods?labelSelector=tier";
    release.helm.until(pods, |pods| pods["items"] == json!([])).await;
    assert!(release.helm.find(DEFINITION).await.is_some());
    let listed = release.helm.json(&["list", "--all", "--namespace=docks"]);
    assert_eq!(listed[0]["status"], "uninstalled", "{listed}");
    release.helm.ok(&line);
    let gone = release.helm.fails(&["status", "web", "--namespace=docks"]);
    has(&gone, "Error: release: not found");
    let secrets = release.helm.get("/api/v1/namespaces/docks/secrets").await;
    assert_eq!(secrets["items"], json!([]));
}

#[test]
fn a_chart_is_installed_upgraded_rolled_back_tested_and_uninstalled() {
    run(ground(), async |cluster| {
        let helm = Helm::new(&cluster);
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/helm/harbour");
        let release = Release { helm: &helm, chart: chart.to_str().unwrap().to_owned() };
        before(&release).await;
        install(&release).await;
        look(&release);
        upgrade(&release).await;
        fail(&release).await;
        roll_back(&release).await;
        try_out(&release);
        uninstall(&release).await;
    });
}
