use crate::harness::{CRDS, Server};
use serde_json::Value;

#[tokio::test]
async fn real() {
    let mut files: Vec<_> = std::fs::read_dir("/tmp/gw").unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    for file in files {
        let server = Server::start().await;
        let text = std::fs::read_to_string(&file).unwrap();
        for doc in text.split("\n---\n") {
            let Ok(crd) = kubeplane_core::yaml::parse(doc.as_bytes()) else { println!("YAML {file:?}"); continue };
            if crd["kind"] != "CustomResourceDefinition" { continue; }
            let (code, answer) = server.send("POST", CRDS, crd.clone()).await;
            println!("{} {} {}", file.display(), crd["metadata"]["name"], code);
            if code != 201 { println!("  {}", answer["message"].as_str().unwrap_or_default().chars().take(3000).collect::<String>()); continue; }
            let path = format!("{CRDS}/{}", crd["metadata"]["name"].as_str().unwrap());
            server.until(&path, |_, crd| crate::harness::condition(crd, "Established") == "True").await;
        }
    }
    let _ = Value::Null;
}
