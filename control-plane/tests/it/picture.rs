//! The picture of a cluster, in a browser.

mod browser;

use crate::{cluster::Ground, kubectl::Kubectl, raw::Raw};
use browser::Browser;
use std::path::Path;

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
    for closed in ["/ui/trace/default/web", "/ui/other", "/ui/main.js/x"] {
        nobody.get(closed).await.refused(403, "Forbidden", &["system:anonymous"]);
    }
    let admin = Raw::admin(&cluster).await;
    admin.get("/ui/other").await.refused(404, "NotFound", &[]);
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

    // What comes while somebody looks is drawn without a reload.
    kubectl.ok(&["create", "deployment", "web", "--image=web", "--replicas=3"]);
    kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    browser
        .until("document.querySelectorAll('.pod.good[title^=\"default/web-\"]').length === 3")
        .await;
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

    let kept = "localStorage.length + sessionStorage.length + document.cookie.length";
    assert_eq!(browser.value(kept).await, 0, "the token is nowhere but in memory");
    let address = browser.value("location.href").await;
    assert!(!address.as_str().unwrap().contains(&token[..20]), "{address}");
    assert_eq!(browser.complaints, [""; 0]);
}

async fn sign_in(browser: &mut Browser, token: &str) {
    browser
        .value(&format!(
            "document.getElementById('token').value = {token:?}; document.querySelector('#sign-in button').click()"
        ))
        .await;
}
