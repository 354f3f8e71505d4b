//! Requests that no kubectl would send.

use crate::cluster::Cluster;
use http_body_util::BodyExt;
use kube::{
    Client, Config,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;
use std::path::Path;

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) warnings: Vec<String>,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// That it is a failure of this code and reason whose message holds these texts; gives the Status.
    #[track_caller]
    pub(crate) fn refused(&self, code: u16, reason: &str, message: &[&str]) -> Value {
        let status = self.json();
        assert_eq!((self.code, &status["kind"]), (code, &"Status".into()), "{}", self.text);
        assert_eq!(status["apiVersion"], "v1");
        assert_eq!(status["status"], "Failure");
        assert_eq!(status["code"], code);
        assert_eq!(status["reason"], reason, "{}", self.text);
        let said = status["message"].as_str().unwrap();
        for part in message {
            assert!(said.contains(part), "{part:?} in {said:?}");
        }
        status
    }
}

/// An answer as the bytes it came in.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) code: u16,
    pub(crate) content: String,
    pub(crate) body: Vec<u8>,
}

/// Sends requests as one user.
#[derive(Clone)]
pub(crate) struct Raw(Client);

impl Raw {
    pub(crate) async fn admin(cluster: &Cluster) -> Self {
        Self::of(&cluster.kubeconfig).await
    }

    /// The user of a kubeconfig.
    pub(crate) async fn of(kubeconfig: &Path) -> Self {
        Self(Client::try_from(config(kubeconfig).await).unwrap())
    }

    /// Who shows nothing.
    pub(crate) async fn anonymous(cluster: &Cluster) -> Self {
        let mut config = config(&cluster.kubeconfig).await;
        config.auth_info = kube::config::AuthInfo::default();
        Self(Client::try_from(config).unwrap())
    }

    /// Who shows a token.
    pub(crate) async fn with_token(cluster: &Cluster, token: &str) -> Self {
        let mut config = config(&cluster.kubeconfig).await;
        config.auth_info = kube::config::AuthInfo::default();
        config.auth_info.token = Some(token.to_owned().into());
        Self(Client::try_from(config).unwrap())
    }

    /// The same user at another server.
    pub(crate) async fn elsewhere(kubeconfig: &Path, url: &str, with_credentials: bool) -> Self {
        let mut config = config(kubeconfig).await;
        config.cluster_url = url.parse().unwrap();
        // A kubelet's certificate is for its own name.
        config.accept_invalid_certs = true;
        if !with_credentials {
            config.auth_info = kube::config::AuthInfo::default();
        }
        Self(Client::try_from(config).unwrap())
    }

    /// At this address, which must show a certificate that the kubeconfig's authority signed for it.
    pub(crate) async fn believing(kubeconfig: &Path, url: &str) -> Self {
        let mut config = config(kubeconfig).await;
        config.cluster_url = url.parse().unwrap();
        Self(Client::try_from(config).unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None, Vec::new()).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.send("POST", path, Some("application/json"), body.into()).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, Some("application/json"), body.to_string().into_bytes()).await
    }

    /// Sends exactly these headers, and reads the answer to its end.
    pub(crate) async fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Exchange {
        let mut request = http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.0.send(request.body(Body::from(body)).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let content = head.headers.get("content-type");
        let content = content.map(|value| value.to_str().unwrap().to_owned());
        Exchange {
            code: head.status.as_u16(),
            content: content.unwrap_or_default(),
            body: body.collect().await.unwrap().to_bytes().to_vec(),
        }
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        content: Option<&str>,
        body: Vec<u8>,
    ) -> Answer {
        let mut request =
            http::Request::builder().method(method).uri(path).header("accept", "application/json");
        if let Some(content) = content {
            request = request.header("content-type", content);
        }
        let response = self.0.send(request.body(Body::from(body)).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let warnings = head.headers.get_all("warning").iter();
        let warnings = warnings.map(|value| value.to_str().unwrap().to_owned()).collect();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            code: head.status.as_u16(),
            warnings,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }
}

async fn config(path: &Path) -> Config {
    let file = Kubeconfig::read_from(path).unwrap();
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap()
}
