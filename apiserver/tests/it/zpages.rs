//! What the server tells of itself at `/statusz` and `/flagz`.

use crate::harness::{Answer, Server};
use kubeplane_clock::PausedClock;
use kubeplane_core::features::Features;
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

async fn asked(server: &Server, path: &str, accept: &str) -> Answer {
    server.call("GET", path, &[("accept", accept)], b"").await
}

#[tokio::test]
async fn the_status_is_text_for_people_and_an_object_for_programs() {
    let clock = Arc::new(PausedClock::starting_at("2026-11-02T08:05:09Z".parse().unwrap()));
    let own = clock.clone();
    let server = Server::with(move |builder| builder.clock(own));
    clock.advance(Duration::from_secs(3723));
    for accept in ["", "*/*", "text/plain", "text/*", "application/cbor, text/plain;q=0.1"] {
        let answer = asked(&server, "/statusz", accept).await;
        assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8", "{accept}");
        let lines: Vec<&str> = answer.text.lines().collect();
        assert_eq!(lines[1], "apiserver statusz");
        assert!(lines[4].starts_with("Started"), "{}", answer.text);
        assert!(lines[4].ends_with(" Mon Nov  2 08:05:09 UTC 2026"), "{}", answer.text);
        assert!(lines[5].ends_with(" 1 hr 02 min 03 sec"), "{}", answer.text);
        let paths = " /flagz /healthz /livez /metrics /readyz /statusz /version";
        assert!(lines[9].starts_with("Paths") && lines[9].ends_with(paths), "{}", answer.text);
    }
    let kind = "application/json;as=Statusz;v=v1beta1;g=config.k8s.io";
    let answer = asked(&server, "/statusz", kind).await;
    let sent = "application/json;g=config.k8s.io;v=v1beta1;as=Statusz";
    assert_eq!(answer.headers["content-type"], sent);
    assert!(answer.warnings().is_empty());
    assert!(answer.text.starts_with("{\"kind\":\"Statusz\",\"apiVersion\":\"config.k8s.io/v1beta1\",\"metadata\":{\"name\":\"apiserver\"},\"startTime\":\"2026-11-02T08:05:09Z\",\"uptimeSeconds\":3723,\"goVersion\":"), "{}", answer.text);
    assert_eq!(answer.expect(200)["emulationVersion"], "1.36");
    let yaml = "application/yaml;as=Statusz;v=v1alpha1;g=config.k8s.io";
    let answer = asked(&server, "/statusz", yaml).await;
    assert!(answer.text.starts_with("apiVersion: config.k8s.io/v1alpha1\n"), "{}", answer.text);
    let old =
        "299 - \"This version of the statusz endpoint is deprecated. Please use a newer version.\"";
    assert_eq!(answer.warnings(), [old]);
}

#[tokio::test]
async fn flags_are_told_with_their_values() {
    let flags = [("v", "2"), ("feature-gates", "A=true")];
    let flags: BTreeMap<_, _> =
        flags.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let server = Server::with(move |builder| builder.flags(flags));
    let text = asked(&server, "/flagz", "text/plain").await.text;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[1], "apiserver flagz");
    assert!(lines[3].starts_with("feature-gates") && lines[3].ends_with("A=true"), "{text}");
    assert!(lines[4].starts_with('v') && lines[4].ends_with('2'), "{text}");
    let kind = "application/json;as=Flagz;v=v1beta1;g=config.k8s.io";
    let object = asked(&server, "/flagz", kind).await.expect(200);
    assert_eq!(object["flags"], json!({"feature-gates": "A=true", "v": "2"}));
}

#[tokio::test]
async fn other_forms_are_refused_and_nothing_is_there_without_the_gates() {
    let server = Server::start();
    let said = "only the following media types are accepted: application/json, application/yaml, text/plain";
    for accept in [
        "application/json",
        "application/*",
        "application/vnd.kubernetes.protobuf",
        "application/json;as=Flagz;v=v1beta1;g=config.k8s.io",
        "application/json;as=Statusz;v=v1;g=config.k8s.io",
        "text/plain;as=Statusz;v=v1beta1;g=config.k8s.io",
    ] {
        let answer = asked(&server, "/statusz", accept).await;
        assert_eq!(answer.headers["content-type"], "application/json", "{accept}");
        assert_eq!((answer.code.as_u16(), answer.message().as_str()), (406, said), "{accept}");
    }
    assert_eq!(server.get("/statusz/more").await.text, "404 page not found\n");
    let off: Features = "ComponentStatusz=false,ComponentFlagz=false".parse().unwrap();
    let server = Server::with(|builder| builder.features(off));
    for path in ["/statusz", "/flagz"] {
        assert_eq!(server.get(path).await.text, "404 page not found\n");
    }
}
