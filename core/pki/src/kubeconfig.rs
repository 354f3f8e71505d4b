use crate::{Error, Identity, Result, write_private};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A kubeconfig of one cluster, one user and one context.
#[derive(Debug, Clone)]
pub struct Kubeconfig {
    /// The cluster's name.
    pub cluster: String,
    /// The API server, as in `https://127.0.0.1:6443`.
    pub server: String,
    /// The authority that signed the server's certificate, PEM; empty for those of the machine.
    pub authority: String,
    /// The user's name in this file.
    pub user: String,
    /// How the user shows who they are.
    pub credentials: KubeconfigUser,
}

/// How a kubeconfig's user shows who they are.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum KubeconfigUser {
    /// By a client certificate.
    Certificate(Identity),
    /// By a bearer token.
    Token(String),
    /// By a client certificate in a file with its key, both PEM, which may be renewed there.
    File(PathBuf),
}

#[derive(Serialize)]
struct Named<'a, T> {
    name: &'a str,
    #[serde(flatten)]
    value: T,
}

#[derive(Serialize)]
struct File<'a> {
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    kind: &'static str,
    clusters: [Named<'a, ClusterEntry<'a>>; 1],
    contexts: [Named<'a, ContextEntry<'a>>; 1],
    #[serde(rename = "current-context")]
    current_context: &'a str,
    preferences: Empty,
    users: [Named<'a, UserEntry>; 1],
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct ClusterEntry<'a> {
    cluster: ClusterBody<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ClusterBody<'a> {
    #[serde(skip_serializing_if = "String::is_empty")]
    certificate_authority_data: String,
    server: &'a str,
}

#[derive(Serialize)]
struct ContextEntry<'a> {
    context: ContextBody<'a>,
}

#[derive(Serialize)]
struct ContextBody<'a> {
    cluster: &'a str,
    user: &'a str,
}

#[derive(Serialize)]
struct UserEntry {
    user: UserBody,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "kebab-case")]
struct UserBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    client_certificate: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_key: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_certificate_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_key_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

impl Kubeconfig {
    /// The name of its context, as in `kubernetes-admin@kubernetes`.
    #[must_use]
    pub fn context(&self) -> String {
        format!("{}@{}", self.user, self.cluster)
    }

    /// As YAML.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn to_yaml(&self) -> Result<String> {
        let context = self.context();
        let user = match &self.credentials {
            KubeconfigUser::Certificate(identity) => UserBody {
                client_certificate_data: Some(STANDARD.encode(&identity.certificate)),
                client_key_data: Some(STANDARD.encode(&identity.key)),
                ..UserBody::default()
            },
            KubeconfigUser::Token(token) => {
                UserBody { token: Some(token.clone()), ..UserBody::default() }
            }
            KubeconfigUser::File(file) => UserBody {
                client_certificate: Some(file.clone()),
                client_key: Some(file.clone()),
                ..UserBody::default()
            },
        };
        let cluster = ClusterBody {
            certificate_authority_data: STANDARD.encode(&self.authority),
            server: &self.server,
        };
        let file = File {
            api_version: "v1",
            kind: "Config",
            clusters: [Named { name: &self.cluster, value: ClusterEntry { cluster } }],
            contexts: [Named {
                name: &context,
                value: ContextEntry {
                    context: ContextBody { cluster: &self.cluster, user: &self.user },
                },
            }],
            current_context: &context,
            preferences: Empty {},
            users: [Named { name: &self.user, value: UserEntry { user } }],
        };
        serde_saphyr::to_string(&file).map_err(|error| Error::Kubeconfig(error.to_string()))
    }

    /// Writes it to a file that only its owner may read.
    ///
    /// # Errors
    /// When it cannot be encoded or written.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_private(path, &self.to_yaml()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_reads_back_as_yaml() {
        let file = Kubeconfig {
            cluster: "kubernetes".into(),
            server: "https://127.0.0.1:6443".into(),
            authority: "pem".into(),
            user: "kubernetes-admin".into(),
            credentials: KubeconfigUser::Token("t".into()),
        };
        let yaml = file.to_yaml().unwrap();
        let read: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!(read["current-context"], "kubernetes-admin@kubernetes");
        assert_eq!(read["clusters"][0]["cluster"]["server"], "https://127.0.0.1:6443");
        assert_eq!(read["clusters"][0]["name"], "kubernetes");
        assert_eq!(read["users"][0]["user"]["token"], "t");
    }

    #[test]
    fn a_kubeconfig_names_the_file_of_a_certificate_that_is_renewed() {
        let file = Kubeconfig {
            cluster: "default".into(),
            server: "https://127.0.0.1:6443".into(),
            authority: String::new(),
            user: "node".into(),
            credentials: KubeconfigUser::File("/pki/current.pem".into()),
        };
        let read: serde_json::Value = serde_saphyr::from_str(&file.to_yaml().unwrap()).unwrap();
        let user = serde_json::json!({"client-certificate": "/pki/current.pem", "client-key": "/pki/current.pem"});
        assert_eq!(read["users"][0]["user"], user);
        let cluster = &read["clusters"][0]["cluster"];
        assert_eq!(cluster, &serde_json::json!({"server": "https://127.0.0.1:6443"}));
    }
}
