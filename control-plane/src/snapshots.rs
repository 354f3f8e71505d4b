//! Snapshots of the embedded store through the API server, which is the only door to it.

use async_trait::async_trait;
use axum::body::Body as Stream;
use http::{Method, Response, header, request::Parts};
use kubeplane_apiserver::{
    Api, Route,
    body::{self, Body},
};
use kubeplane_core::status::{ApiError, ApiResult};
use kubeplane_store_memory::MemoryStore;

/// `GET /snapshot`: the file of a [`Snapshot`](kubeplane_store_memory::Snapshot) of everything stored, secrets too.
/// Writers go on while it is sent.
///
/// It is a path like any other to authorization: members of `system:masters` may, and whoever a rule gives `get`
/// on the path; no bootstrap role but `cluster-admin` does.
#[derive(Debug)]
pub struct SnapshotRoute {
    store: MemoryStore,
}

impl SnapshotRoute {
    /// Its path.
    pub const PATH: &'static str = "/snapshot";

    /// For this store.
    #[must_use]
    pub fn new(store: MemoryStore) -> Self {
        Self { store }
    }
}

#[async_trait]
impl Route for SnapshotRoute {
    async fn serve(&self, _api: &Api, head: &Parts, _body: Body) -> ApiResult<Response<Body>> {
        if head.uri.path() != Self::PATH {
            return Err(ApiError::no_such_path());
        }
        if head.method != Method::GET {
            return Err(ApiError::method_not_allowed());
        }
        let chunks = self.store.snapshot().chunks().map(Ok::<_, std::io::Error>);
        let stream = Stream::from_stream(futures::stream::iter(chunks));
        Response::builder()
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(body::boxed(stream))
            .map_err(ApiError::internal)
    }
}
