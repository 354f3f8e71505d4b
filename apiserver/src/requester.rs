//! Whom a piece of work is done for.

use kubeplane_core::auth::UserInfo;
use std::sync::Arc;

tokio::task_local! {
    static REQUESTER: Arc<UserInfo>;
}

/// Who asked for the write that the running task makes: for stores that tell writers apart, as a recorder does.
/// `None` outside of a request, when the server writes by itself, and for reads.
#[must_use]
pub fn requester() -> Option<Arc<UserInfo>> {
    REQUESTER.try_with(Clone::clone).ok()
}

pub(crate) async fn on_behalf<T>(user: Arc<UserInfo>, work: impl Future<Output = T>) -> T {
    REQUESTER.scope(user, work).await
}
