//! The kinds to start from; what they are made of follows.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;
use std::collections::BTreeMap;

fn add<T: JsonSchema>(generator: &mut SchemaGenerator) {
    let _: Schema = generator.subschema_for::<T>();
}

/// The JSON schema of every definition reachable from the kinds, by OpenAPI name.
pub(super) fn definitions() -> BTreeMap<String, Value> {
    let mut generator = SchemaGenerator::default();
    for add in ROOTS {
        add(&mut generator);
    }
    generator.take_definitions(true).into_iter().collect()
}

const ROOTS: &[fn(&mut SchemaGenerator)] = &[
    add::<k8s_openapi::api::admissionregistration::v1::MutatingAdmissionPolicy>,
    add::<k8s_openapi::api::admissionregistration::v1::MutatingAdmissionPolicyBinding>,
    add::<k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration>,
    add::<k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy>,
    add::<k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding>,
    add::<k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration>,
    add::<k8s_openapi::api::apps::v1::ControllerRevision>,
    add::<k8s_openapi::api::apps::v1::DaemonSet>,
    add::<k8s_openapi::api::apps::v1::Deployment>,
    add::<k8s_openapi::api::apps::v1::ReplicaSet>,
    add::<k8s_openapi::api::apps::v1::StatefulSet>,
    add::<k8s_openapi::api::authentication::v1::SelfSubjectReview>,
    add::<k8s_openapi::api::authentication::v1::TokenRequest>,
    add::<k8s_openapi::api::authentication::v1::TokenReview>,
    add::<k8s_openapi::api::authorization::v1::LocalSubjectAccessReview>,
    add::<k8s_openapi::api::authorization::v1::SelfSubjectAccessReview>,
    add::<k8s_openapi::api::authorization::v1::SelfSubjectRulesReview>,
    add::<k8s_openapi::api::authorization::v1::SubjectAccessReview>,
    add::<k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler>,
    add::<k8s_openapi::api::autoscaling::v1::Scale>,
    add::<k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler>,
    add::<k8s_openapi::api::batch::v1::CronJob>,
    add::<k8s_openapi::api::batch::v1::Job>,
    add::<k8s_openapi::api::certificates::v1::CertificateSigningRequest>,
    add::<k8s_openapi::api::coordination::v1::Lease>,
    add::<k8s_openapi::api::core::v1::Binding>,
    add::<k8s_openapi::api::core::v1::ComponentStatus>,
    add::<k8s_openapi::api::core::v1::ConfigMap>,
    add::<k8s_openapi::api::core::v1::Endpoints>,
    add::<k8s_openapi::api::core::v1::Event>,
    add::<k8s_openapi::api::core::v1::LimitRange>,
    add::<k8s_openapi::api::core::v1::Namespace>,
    add::<k8s_openapi::api::core::v1::Node>,
    add::<k8s_openapi::api::core::v1::PersistentVolume>,
    add::<k8s_openapi::api::core::v1::PersistentVolumeClaim>,
    add::<k8s_openapi::api::core::v1::Pod>,
    add::<k8s_openapi::api::core::v1::PodTemplate>,
    add::<k8s_openapi::api::core::v1::ReplicationController>,
    add::<k8s_openapi::api::core::v1::ResourceQuota>,
    add::<k8s_openapi::api::core::v1::Secret>,
    add::<k8s_openapi::api::core::v1::Service>,
    add::<k8s_openapi::api::core::v1::ServiceAccount>,
    add::<k8s_openapi::api::discovery::v1::EndpointSlice>,
    add::<k8s_openapi::api::events::v1::Event>,
    add::<k8s_openapi::api::flowcontrol::v1::FlowSchema>,
    add::<k8s_openapi::api::flowcontrol::v1::PriorityLevelConfiguration>,
    add::<k8s_openapi::api::networking::v1::IPAddress>,
    add::<k8s_openapi::api::networking::v1::Ingress>,
    add::<k8s_openapi::api::networking::v1::IngressClass>,
    add::<k8s_openapi::api::networking::v1::NetworkPolicy>,
    add::<k8s_openapi::api::networking::v1::ServiceCIDR>,
    add::<k8s_openapi::api::node::v1::RuntimeClass>,
    add::<k8s_openapi::api::policy::v1::Eviction>,
    add::<k8s_openapi::api::policy::v1::PodDisruptionBudget>,
    add::<k8s_openapi::api::rbac::v1::ClusterRole>,
    add::<k8s_openapi::api::rbac::v1::ClusterRoleBinding>,
    add::<k8s_openapi::api::rbac::v1::Role>,
    add::<k8s_openapi::api::rbac::v1::RoleBinding>,
    add::<k8s_openapi::api::resource::v1::DeviceClass>,
    add::<k8s_openapi::api::resource::v1::ResourceClaim>,
    add::<k8s_openapi::api::resource::v1::ResourceClaimTemplate>,
    add::<k8s_openapi::api::resource::v1::ResourceSlice>,
    add::<k8s_openapi::api::resource::v1alpha3::DeviceTaintRule>,
    add::<k8s_openapi::api::resource::v1beta1::DeviceClass>,
    add::<k8s_openapi::api::resource::v1beta1::ResourceClaim>,
    add::<k8s_openapi::api::resource::v1beta1::ResourceClaimTemplate>,
    add::<k8s_openapi::api::resource::v1beta1::ResourceSlice>,
    add::<k8s_openapi::api::resource::v1beta2::DeviceClass>,
    add::<k8s_openapi::api::resource::v1beta2::DeviceTaintRule>,
    add::<k8s_openapi::api::resource::v1beta2::ResourceClaim>,
    add::<k8s_openapi::api::resource::v1beta2::ResourceClaimTemplate>,
    add::<k8s_openapi::api::resource::v1beta2::ResourceSlice>,
    add::<k8s_openapi::api::scheduling::v1::PriorityClass>,
    add::<k8s_openapi::api::scheduling::v1alpha2::PodGroup>,
    add::<k8s_openapi::api::scheduling::v1alpha2::Workload>,
    add::<k8s_openapi::api::storage::v1::CSIDriver>,
    add::<k8s_openapi::api::storage::v1::CSINode>,
    add::<k8s_openapi::api::storage::v1::CSIStorageCapacity>,
    add::<k8s_openapi::api::storage::v1::StorageClass>,
    add::<k8s_openapi::api::storage::v1::VolumeAttachment>,
    add::<k8s_openapi::api::storage::v1::VolumeAttributesClass>,
    add::<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>,
    add::<k8s_openapi::apimachinery::pkg::apis::meta::v1::DeleteOptions>,
    add::<k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector>,
    add::<k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta>,
    add::<k8s_openapi::apimachinery::pkg::apis::meta::v1::Status>,
    add::<k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService>,
];
