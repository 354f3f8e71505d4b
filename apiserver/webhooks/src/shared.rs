use crate::{
    MutatingAdmissionPolicy, MutatingAdmissionWebhook, ValidatingAdmissionPolicy,
    ValidatingAdmissionWebhook, equivalents::Equivalents, metrics::Counters,
};
use kubeplane_apiserver::{Api, Registry};
use kubeplane_cel::Environment;
use kubeplane_clock::{Seed, SharedClock};
use kubeplane_core::auth::Authorizer;
use kubeplane_outbound::Clients;
use kubeplane_telemetry::Metrics;
use rustls::crypto::CryptoProvider;
use serde_json::Value;
use std::{
    fmt,
    sync::{Arc, OnceLock},
};

/// A struct as Go writes it in JSON: its fields in this order, fit for HTML.
pub(crate) fn struct_json(fields: &[(&str, Value)]) -> String {
    let each: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    let text = format!("{{{}}}", each.join(","));
    text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// What the steps need of their surroundings.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where time comes from.
    pub clock: SharedClock,
    /// Where chance comes from.
    pub seed: Seed,
    /// Where calls and refusals are counted.
    pub metrics: Metrics,
    /// What TLS to webhooks is made of.
    pub provider: Arc<CryptoProvider>,
}

impl Default for Options {
    /// The machine's clock, chance that cannot be predicted, metrics of its own, aws-lc-rs.
    fn default() -> Self {
        Self {
            clock: kubeplane_clock::real(),
            seed: Seed::random(),
            metrics: Metrics::new(),
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
        }
    }
}

/// The four admission steps that read their rules from the API, and what they share. Clones share it too.
#[derive(Debug, Clone)]
pub struct Extensions(Arc<Shared>);

/// Connections, compiled expressions and counters of all steps.
pub(crate) struct Shared {
    pub(crate) clock: SharedClock,
    pub(crate) seed: Seed,
    pub(crate) environment: Environment,
    pub(crate) clients: Clients,
    pub(crate) counters: Counters,
    server: OnceLock<Server>,
}

/// What is there once the server is built.
pub(crate) struct Server {
    pub(crate) registry: Arc<Registry>,
    pub(crate) authorizer: Arc<dyn Authorizer>,
    pub(crate) equivalents: Equivalents,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("clients", &self.clients).finish_non_exhaustive()
    }
}

impl Shared {
    /// The server, when it is attached.
    pub(crate) fn server(&self) -> Option<&Server> {
        self.server.get()
    }
}

impl Extensions {
    /// Steps for one server.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self(Arc::new(Shared {
            clients: Clients::new(options.provider, options.seed.clone()),
            counters: Counters::new(&options.metrics),
            clock: options.clock,
            seed: options.seed,
            environment: Environment::new(),
            server: OnceLock::new(),
        }))
    }

    /// Lets the steps know the built server: other versions of what is written, kinds of parameters, and who
    /// may do what. Before that, they know none. A second call does nothing.
    pub fn attach(&self, api: &Api) {
        let server = Server {
            registry: api.registry().clone(),
            authorizer: api.authorizer().clone(),
            equivalents: Equivalents::default(),
        };
        // Only the first server counts.
        let _ = self.0.server.set(server);
    }

    /// The step `MutatingAdmissionPolicy`.
    #[must_use]
    pub fn mutating_policies(&self) -> MutatingAdmissionPolicy {
        MutatingAdmissionPolicy::new(self.0.clone())
    }

    /// The step `MutatingAdmissionWebhook`.
    #[must_use]
    pub fn mutating_webhooks(&self) -> MutatingAdmissionWebhook {
        MutatingAdmissionWebhook::new(self.0.clone())
    }

    /// The step `ValidatingAdmissionPolicy`.
    #[must_use]
    pub fn validating_policies(&self) -> ValidatingAdmissionPolicy {
        ValidatingAdmissionPolicy::new(self.0.clone())
    }

    /// The step `ValidatingAdmissionWebhook`.
    #[must_use]
    pub fn validating_webhooks(&self) -> ValidatingAdmissionWebhook {
        ValidatingAdmissionWebhook::new(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structs_keep_the_order_of_their_fields() {
        let fields =
            [("webhook", "a<b".into()), ("configuration", "c".into()), ("ok", true.into())];
        let wanted = r#"{"webhook":"a\u003cb","configuration":"c","ok":true}"#;
        assert_eq!(struct_json(&fields), wanted);
    }
}
