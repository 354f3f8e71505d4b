//! A serving certificate that is asked for through the API, and asked for anew before it ends.

use crate::{
    certificates::{LONGEST, SHORTEST, Wanted, ask, rotation},
    host::Host,
};
use kubeplane_pki::{LiveIdentity, Request, Usage, inspect};
use std::{sync::Arc, time::Duration};

const SIGNER: &str = "kubernetes.io/kubelet-serving";
/// The share of a certificate's time after which there is to be another.
const SHARE: f64 = 0.8;

/// Keeps a certificate of the cluster's authority in `served`.
pub(super) async fn keep(host: Arc<Host>, served: Arc<LiveIdentity>) {
    let mut pause = SHORTEST;
    loop {
        match renew(&host, &served).await {
            Ok(left) => {
                pause = SHORTEST;
                host.clock.sleep(left).await;
            }
            Err(why) => {
                tracing::warn!(why, "there is no serving certificate of the cluster yet");
                host.clock.sleep(pause).await;
                pause = (pause * 2).min(LONGEST);
            }
        }
    }
}

/// Asks for a certificate and serves with it; how long until there must be another.
async fn renew(host: &Host, served: &LiveIdentity) -> Result<Duration, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let node = &host.config.node_name;
    let request = Request::new(format!("system:node:{node}"), Usage::Server)
        .organization("system:nodes")
        .names([node])
        .addresses(host.config.node_ips.iter().copied());
    let wanted = Wanted { signer: SIGNER, purpose: "server auth", request };
    let identity = ask(&host.client, &*host.clock, &wanted).await?;
    let info = inspect(&identity.certificate).map_err(|error| text(&error))?;
    served.set(identity).map_err(|error| text(&error))?;
    let due = rotation(&info, SHARE);
    Ok(Duration::try_from(due.duration_since(host.clock.now())).unwrap_or_default())
}
