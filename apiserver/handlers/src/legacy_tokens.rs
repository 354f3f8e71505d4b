use jiff::tz::TimeZone;
use kubeplane_apiserver::Api;
use kubeplane_auth::UsedTokens;
use kubeplane_core::{
    GroupResource, Object,
    auth::{GROUP_MASTERS, UserInfo},
    status::ApiResult,
};
use serde_json::json;
use std::time::Duration;

/// How often it is written down which tokens were used.
const PERIOD: Duration = Duration::from_secs(30);
/// The ConfigMap that says since when that is done.
const TRACKING: &str = "kube-apiserver-legacy-service-account-token-tracking";
const NAMESPACE: &str = "kube-system";

/// Writes down on their Secrets when service account tokens were used that are kept there, and since when this is
/// done at all, as long as the server runs: who cleans up goes by it.
pub fn track_legacy_tokens(api: &Api, used: UsedTokens) {
    let own = api.clone();
    api.spawn(async move {
        loop {
            own.clock().sleep(PERIOD).await;
            if let Err(error) = write(&own, &used).await {
                tracing::warn!(%error, "it cannot be written down which tokens were used");
            }
        }
    });
}

async fn write(api: &Api, used: &UsedTokens) -> ApiResult<()> {
    let today = api.clock().now().to_zoned(TimeZone::UTC).date().to_string();
    let maps = GroupResource::new("", "configmaps");
    if api.reader().get(&maps, NAMESPACE, TRACKING).await?.is_none() {
        let map = json!({"metadata": {"name": TRACKING, "namespace": NAMESPACE},
            "data": {"since": today}});
        let map = Object::from_value(map).unwrap_or_default();
        let user = UserInfo::new("system:apiserver", [GROUP_MASTERS]);
        match api.create(&maps, NAMESPACE, map, &user).await {
            Err(error) if error.reason() != "AlreadyExists" => return Err(error),
            _ => {}
        }
    }
    for (namespace, name) in used.take() {
        let label = |secret: &mut Object| {
            secret.set(&["metadata", "labels", UsedTokens::LABEL], today.as_str());
            Ok(())
        };
        let secrets = GroupResource::new("", "secrets");
        if let Err(error) = api.update_with(&secrets, &namespace, &name, label).await {
            tracing::debug!(namespace, name, %error, "a Secret cannot be labelled");
        }
    }
    Ok(())
}
