//! A provisioner whose volumes are directories of nodes.
//!
//! ```text
//!   claim with the scheduler's selected-node ──> PersistentVolume: local, for that node alone
//!   volume Released, policy Delete ──> annotation "remove" on the node ──> kubelet removes the directory
//!                                  <── annotation "removed"            <──┘
//! ```

mod make;
mod remove;

use crate::{Action, Context, Controller, Error, Sources};
use async_trait::async_trait;
use k8s_openapi::api::{
    core::v1::{Node, PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use kubeplane_client::ObjectKey;
use kubeplane_workload::storage::{LOCAL_VOLUME, PROVISIONED_BY, annotation, claim_class};

/// The provisioner of StorageClasses whose volumes are directories of nodes.
pub const LOCAL_PATH_PROVISIONER: &str = "kubeplane.dev/local-path";

/// Holds a volume back until its directory is gone.
const FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";

/// Makes volumes that are directories of the node where the first pod of their claim runs, and has the
/// directories removed when the volumes are to go.
#[derive(Debug)]
pub(super) struct LocalPath;

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Request {
    Claim(ObjectKey),
    Volume(String),
    Node(String),
}

#[async_trait]
impl Controller for LocalPath {
    type Request = Request;
    type Error = Error;

    fn name(&self) -> &'static str {
        "local-path-provisioner"
    }

    fn watches(&self, sources: &mut Sources<Request>) {
        let claims = sources.informer::<PersistentVolumeClaim>();
        // The class may be seen after the claims of it.
        sources.watch::<StorageClass>(move |change| {
            let class = change.object();
            if change.is_deleted() || class.provisioner != LOCAL_PATH_PROVISIONER {
                return Vec::new();
            }
            let all = claims.list();
            let asked = all.iter().filter(|claim| {
                make::is_asked(claim) && Some(claim_class(claim)) == class.metadata.name.as_deref()
            });
            asked.map(|claim| Request::Claim(ObjectKey::of(&**claim))).collect()
        });
        sources.watch::<PersistentVolumeClaim>(|change| {
            let claim = change.object();
            let ours = !change.is_deleted() && make::is_asked(claim);
            ours.then(|| Request::Claim(ObjectKey::of(&**claim))).into_iter().collect()
        });
        sources.watch::<PersistentVolume>(|change| {
            let meta = &change.object().metadata;
            let ours = annotation(meta, PROVISIONED_BY) == Some(LOCAL_PATH_PROVISIONER);
            let name = meta.name.clone().filter(|_| ours && !change.is_deleted());
            name.map(Request::Volume).into_iter().collect()
        });
        sources.watch::<Node>(|change| {
            let meta = &change.object().metadata;
            let marked = meta.annotations.iter().flatten();
            let mut volumes = marked.filter_map(|(key, _)| key.strip_prefix(LOCAL_VOLUME));
            if change.is_deleted() {
                return volumes.map(|name| Request::Volume(name.to_owned())).collect();
            }
            let any = volumes.next().is_some();
            meta.name.clone().filter(|_| any).map(Request::Node).into_iter().collect()
        });
    }

    async fn reconcile(&self, request: &Request, context: &Context) -> Result<Action, Error> {
        let informers = context.informers();
        match request {
            Request::Claim(key) => {
                let found = informers.of::<PersistentVolumeClaim>().get(&key.namespace, &key.name);
                if let Some(claim) = found.filter(|claim| make::is_asked(claim)) {
                    make::make(context, &claim).await?;
                }
            }
            Request::Volume(name) => {
                if let Some(volume) = informers.of::<PersistentVolume>().get("", name) {
                    remove::volume(context, &volume).await?;
                }
            }
            Request::Node(name) => {
                if let Some(node) = informers.of::<Node>().get("", name) {
                    remove::answers(context, &node).await?;
                }
            }
        }
        Ok(Action::Done)
    }
}
