//! The picture of a cluster, in a browser.

mod browser;

use crate::{cluster::Ground, kubectl::Kubectl, parts::default_kubectl, raw::Raw};
use browser::Browser;
use kubeplane::{
    component_routes::ComponentRoutes,
    credentials::{SCHEDULER, component_user},
    prelude::*,
    telemetry::{Health, Probe},
    testing::{ClusterParts, TestCluster},
    ui::Ui,
};
use std::{convert::Infallible, path::Path, sync::Arc};

/// Files as a browser asks for them, and nothing more for whoever is not known.
#[tokio::test(flavor = "multi_thread")]
async fn the_files_are_open_and_what_they_show_is_not() {
    let ground = Ground::simulated();
    let cluster = ground.start();
    let nobody = Raw::anonymous(&cluster).await;
    let page = nobody.get("/ui/").await;
    assert_eq!(page.code, 200);
    for script in page.text.split('"').filter(|part| part.starts_with("/ui/")) {
        assert_eq!(nobody.get(script).await.code, 200, "{script}");
    }
    for closed in ["/ui/trace/default/web", "/ui/other", "/ui/main.js/x", "/components/"] {
        nobody.get(closed).await.refused(403, "Forbidden", &["system:anonymous"]);
    }
    let admin = Raw::admin(&cluster).await;
    admin.get("/ui/other").await.refused(404, "NotFound", &[]);
    let index = admin.get("/components/").await.json();
    let rows = index["components"].as_array().unwrap().iter();
    let names: Vec<_> = rows.map(|row| (row["name"].clone(), row["healthy"].clone())).collect();
    let expected = ["kube-controller-manager", "kube-scheduler", "kubelet"];
    assert_eq!(names, expected.map(|name| (name.into(), true.into())), "{index}");
    admin.get("/ui/trace/default/none").await.refused(404, "NotFound", &["\"none\" not found"]);
}

/// A token of someone who may do everything.
fn token(kubectl: &Kubectl) -> String {
    kubectl.ok(&["create", "serviceaccount", "looker", "-n", "kube-system"]);
    kubectl.ok(&[
        "create",
        "clusterrolebinding",
        "looker",
        "--clusterrole=cluster-admin",
        "--serviceaccount=kube-system:looker",
    ]);
    kubectl.ok(&["create", "token", "looker", "-n", "kube-system"]).trim().to_owned()
}

fn text(selector: &str) -> String {
    format!("(document.querySelector({selector:?})?.innerText ?? '')")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_nodes_and_pods_live_and_where_they_came_from() {
    let ground = Ground::simulated();
    let cluster = ground.start();
    let kubectl = cluster.kubectl();
    let token = token(&kubectl);
    let mut browser = Browser::start().await;
    let blank = browser.screenshot().await;

    browser.open(&format!("{}/ui/", cluster.url)).await;
    browser.until("document.getElementById('sign-in')?.hidden === false").await;
    sign_in(&mut browser, "nonsense").await;
    browser.until(&format!("{}.includes('does not know')", text("#refused"))).await;
    sign_in(&mut browser, &token).await;
    browser.until(&format!("{}.includes('node-1')", text("#nodes"))).await;
    let who = browser.value(&text("#who")).await;
    assert_eq!(who, "system:serviceaccount:kube-system:looker");
    browser.until(&format!("/scheduler\\s+healthy/.test({})", text("#components"))).await;
    browser.until(&format!("{}.includes('API server: ping')", text("#components"))).await;
    browser.until(&format!("/kubelet\\s+healthy\\s+ok/.test({})", text("#components"))).await;
    let rows = browser.value(&text("#components")).await;
    let count = rows.as_str().unwrap().matches("scheduler").count();
    assert_eq!(count, 1, "one row for each: {rows}");

    // What comes while somebody looks is drawn without a reload.
    kubectl.ok(&["create", "deployment", "web", "--image=web", "--replicas=3"]);
    kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    browser
        .until("document.querySelectorAll('.pod.good[title^=\"default/web-\"]').length === 3")
        .await;
    let good = browser.value(GOOD_POD).await;
    let shot = browser.screenshot().await;
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("picture.png");
    std::fs::write(&file, &shot).unwrap();
    assert!(shot.starts_with(b"\x89PNG"), "a picture");
    assert!(shot.len() > 2 * blank.len(), "{} bytes, {} of nothing", shot.len(), blank.len());
    kubectl.ok(&["scale", "deployment/web", "--replicas=1"]);
    browser.until("document.querySelectorAll('.pod[title^=\"default/web-\"]').length === 1").await;

    // Its page has its events and what the scheduler made of it.
    browser.value("document.querySelector('.pod[title^=\"default/web-\"]').click()").await;
    browser.until(&format!("{}.includes('Scheduled')", text("#events"))).await;
    browser.until(&format!("/node-1 \\(best\\)\\s+fits/.test({})", text("#trace"))).await;
    browser.until(&format!("{}.includes('Owned by ReplicaSet web-')", text("#page"))).await;
    // Text is text.
    let pod = kubectl.ok(&["get", "pods", "-o", "jsonpath={.items[0].metadata.name}"]);
    let markup = "<img src=x onerror=alert(1)>";
    kubectl.ok(&["annotate", "pod", &pod, &format!("note={markup}")]);
    browser
        .until(&format!("document.querySelector('#page pre').textContent.includes({markup:?})"))
        .await;
    assert_eq!(browser.value("document.images.length").await, 0);

    // From the kinds, links lead to whatever there is.
    browser.follow("header a[href=\"#/kinds\"]").await;
    browser.follow("#kinds a[href=\"#/list/apis/apps/v1/deployments\"]").await;
    browser.follow("#objects a[href=\"#/apis/apps/v1/namespaces/default/deployments/web\"]").await;
    browser.until(&format!("/Replicas\\s+1 of 1 ready/.test({})", text("#page"))).await;
    browser.until(&format!("{}.includes('ScalingReplicaSet')", text("#events"))).await;
    browser.follow("header a[href=\"#/kinds\"]").await;
    browser.follow("#kinds a[href=\"#/list/api/v1/services\"]").await;
    browser.follow("#objects a[href=\"#/api/v1/namespaces/default/services/kubernetes\"]").await;
    browser.until(&format!("{} === 'default/kubernetes'", text("#page h1"))).await;

    let kept = "localStorage.length + sessionStorage.length + document.cookie.length";
    assert_eq!(browser.value(kept).await, 0, "the token is nowhere but in memory");
    let address = browser.value("location.href").await;
    assert!(!address.as_str().unwrap().contains(&token[..20]), "{address}");
    let fetched = "performance.getEntriesByType('resource').map((one) => new URL(one.name).origin)";
    let origins = browser.value(&format!("[...new Set({fetched})]")).await;
    assert_eq!(origins, serde_json::json!([cluster.url]), "nothing comes from elsewhere");
    assert_eq!(browser.complaints, [""; 0]);
    // What was drawn is seen.
    let pixel = Browser::start().await.pixel(&shot, &good[0], &good[1]).await;
    let colors =
        |value: &serde_json::Value| serde_json::from_value::<[i32; 3]>(value.clone()).unwrap();
    let mut apart = colors(&pixel).into_iter().zip(colors(&good[2]));
    assert!(apart.all(|(one, two)| (one - two).abs() <= 3), "{pixel} in the picture: {good}");
}

/// Where a pod is that runs, beside its name, and which color it has.
const GOOD_POD: &str = "(() => {
    const pod = document.querySelector('.pod.good[title^=\"default/web-\"]');
    const { left, top, height } = pod.getBoundingClientRect();
    const color = getComputedStyle(pod).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number);
    return [Math.round(left + 3), Math.round(top + height / 2), color];
})()";

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_one_namespace_sees_its_pods_and_their_events() {
    let ground = Ground::simulated();
    let cluster = ground.start();
    let kubectl = cluster.kubectl();
    kubectl.ok(&["create", "namespace", "team"]);
    kubectl.ok(&["create", "serviceaccount", "looker", "-n", "team"]);
    let (role, who) = ("--clusterrole=view", "--serviceaccount=team:looker");
    kubectl.ok(&["create", "rolebinding", "looker", "-n", "team", role, who]);
    let token = kubectl.ok(&["create", "token", "looker", "-n", "team"]).trim().to_owned();
    kubectl.ok(&["create", "deployment", "web", "-n", "team", "--image=web"]);
    kubectl.ok(&["rollout", "status", "deployment/web", "-n", "team", "--timeout=60s"]);
    let names = ["get", "pods", "-n", "team", "-o", "jsonpath={.items[0].metadata.name}"];
    let pod = kubectl.ok(&names);

    let mut browser = Browser::start().await;
    browser.open(&format!("{}/ui/", cluster.url)).await;
    browser.until("document.getElementById('sign-in')?.hidden === false").await;
    sign_in(&mut browser, &token).await;
    let told = "You may not list the nodes and pods of the whole cluster";
    browser.until(&format!("{}.includes({told:?})", text("#failures"))).await;
    // Of the components, too, what everybody may know.
    browser.until(&format!("{}.includes('API server: ping')", text("#components"))).await;
    let rows = browser.value(&text("#components")).await;
    assert!(!rows.as_str().unwrap().contains("scheduler"), "{rows}");
    browser.follow("#failures a[href=\"#/kinds\"]").await;
    browser.follow("#kinds a[href=\"#/list/api/v1/pods\"]").await;
    browser.until(&format!("{}.includes('forbidden')", text("#failures"))).await;
    browser
        .value(
            "document.querySelector('#narrow input').value = 'team'; \
             document.querySelector('#narrow').requestSubmit()",
        )
        .await;
    let link = format!("#objects a[href=\"#/api/v1/namespaces/team/pods/{pod}\"]");
    browser.follow(&link).await;
    browser.until(&format!("{}.includes('Scheduled')", text("#events"))).await;
    assert_eq!(browser.complaints, [""; 0]);
}

async fn sign_in(browser: &mut Browser, token: &str) {
    browser
        .value(&format!(
            "document.getElementById('token').value = {token:?}; document.querySelector('#sign-in button').click()"
        ))
        .await;
}

/// A cluster with the pages, a component that is not well, and a check of the API server that fails.
async fn ailing() -> TestCluster {
    let (ui, components) = (Ui::new(), ComponentRoutes::new());
    let (well, ill) = (Health::new(), Health::new());
    well.add("ping", Probe::Both, || Ok(()));
    ill.add("sync-rules", Probe::Both, || Err("no nftables here".to_owned()));
    components.add("kubelet", well);
    components.add("kube-proxy", ill);
    let mut options = ApiOptions::default();
    options.health.add("own-part", Probe::Ready, || Err("not yet".to_owned()));
    options.routes.push((ComponentRoutes::PATH.to_owned(), Arc::new(components)));
    let pages = ui.clone();
    let traces = move |parts: &ClusterParts| {
        Ok::<_, Infallible>(ui.traces(parts.client_as(component_user(SCHEDULER))))
    };
    let builder = TestCluster::builder().options(options).api(move |server| pages.install(server));
    let builder = builder.controllers().scheduler().simulated_nodes(2).component(traces);
    builder.listen().start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_what_is_not_well_and_why_a_pod_has_no_node() {
    let cluster = ailing().await;
    let kubeconfig = cluster.kubeconfig().unwrap();
    let file = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
    let url = file.clusters[0].cluster.as_ref().unwrap().server.clone().unwrap();
    let kubectl = Kubectl::new(&default_kubectl(), kubeconfig);
    let wish = r#"--overrides={"apiVersion": "v1", "spec": {"nodeSelector": {"disk": "none"}}}"#;
    kubectl.ok(&["run", "lost", "--image=lost", wish]);
    let token = token(&kubectl);

    let mut browser = Browser::start().await;
    browser.open(&format!("{url}/ui/")).await;
    browser.until("document.getElementById('sign-in')?.hidden === false").await;
    sign_in(&mut browser, &token).await;
    for row in [
        "kube-proxy\\s+unhealthy\\s+sync-rules",
        "kubelet\\s+healthy\\s+ok",
        "API server: own-part\\s+unhealthy",
        "API server: ping\\s+healthy",
    ] {
        browser.until(&format!("/{row}/.test({})", text("#components"))).await;
    }
    let marked = "[...document.querySelectorAll('#components td.bad')].length";
    assert_eq!(browser.value(marked).await, 2, "these two and no other");

    browser.until(&format!("{}.includes('No node')", text("#nodes"))).await;
    browser.follow(".pod.busy[title=\"default/lost: Pending\"]").await;
    let refusal = "NodeAffinity: node(s) didn't match Pod's node affinity/selector";
    for node in ["simulated-1", "simulated-2"] {
        let row = format!("{node}\\s+does not fit[^\\n]*");
        browser.until(&format!("/{row}/.test({})", text("#trace"))).await;
    }
    browser.until(&format!("{}.split({refusal:?}).length > 2", text("#trace"))).await;
    browser.until(&format!("{}.includes('FailedScheduling')", text("#events"))).await;
    assert_eq!(browser.complaints, [""; 0]);
    drop(browser);
    cluster.stop().await.unwrap();
}
