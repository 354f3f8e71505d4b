//! The Service `kubernetes`, and the range its address is of.

use super::Bootstrap;
use kubeplane_core::{
    GroupResource, Object,
    status::{ApiError, ApiResult},
};
use serde_json::json;
use std::net::SocketAddr;

impl Bootstrap {
    /// Where the server is reached; waits for the port where it is a free one.
    pub(super) async fn address(&self) -> ApiResult<SocketAddr> {
        let mut address = self.options.address;
        if let Some(mut bound) = self.bound.clone() {
            let bound = *bound.wait_for(Option::is_some).await.map_err(ApiError::internal)?;
            address.set_port(bound.map_or(address.port(), |bound| bound.port()));
        }
        Ok(address)
    }

    /// The ServiceCIDR `kubernetes`, ready from the start; it gains the second range of a cluster that has one by now.
    pub(super) async fn ensure_service_range(&self) -> ApiResult<()> {
        const GROUP: &str = "networking.k8s.io";
        let ranges = self.options.service_ranges.iter().map(|range| range.trunc().to_string());
        let ranges: Vec<_> = ranges.collect();
        let object = json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ranges}});
        self.ensure(GROUP, "servicecidrs", "", object).await?;
        let resource = GroupResource::new(GROUP, "servicecidrs");
        let now = self.api.clock().now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let ready = json!([{"type": "Ready", "status": "True", "reason": "", "lastTransitionTime": now,
            "message": "Kubernetes default Service CIDR is ready"}]);
        let settled = |object: &Object| {
            object.is_deleting()
                || object.at(&["spec", "cidrs"]) == Some(&json!(ranges))
                    && object.at(&["status", "conditions"]).is_some()
        };
        if settled(&self.api.get(&resource, "", "kubernetes").await?) {
            return Ok(());
        }
        let change = |object: &mut Object| {
            let found = object.at(&["spec", "cidrs"]).and_then(|cidrs| cidrs.as_array());
            let grows =
                ranges.len() == 2 && found.is_some_and(|found| found[..] == [json!(ranges[0])]);
            if grows && !settled(object) {
                object.set(&["spec", "cidrs"], json!(ranges));
            }
            let own = object.at(&["spec", "cidrs"]) == Some(&json!(ranges));
            if own && object.at(&["status", "conditions"]).is_none() {
                object.set(&["status", "conditions"], ready.clone());
            }
            Ok::<_, ApiError>(())
        };
        self.api.update_with(&resource, "", "kubernetes", change).await.map(|_| ())
    }

    pub(super) async fn ensure_service(&self) -> ApiResult<()> {
        let (options, address) = (&self.options, self.address().await?);
        let labels = json!({"component": "apiserver", "provider": "kubernetes"});
        let service = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
            "spec": {"type": "ClusterIP", "clusterIP": options.service_address.to_string(), "sessionAffinity": "None",
                "ipFamilyPolicy": "SingleStack",
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": address.port()}]}});
        self.ensure("", "services", "default", service).await
    }
}
