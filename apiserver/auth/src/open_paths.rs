use async_trait::async_trait;
use kubeplane_core::auth::{Attributes, Authorizer, Decision, UserInfo, UserRule};
use std::collections::BTreeSet;

/// Lets everybody ask for some paths that name no resource, by any method; has no opinion on others. It is for what says
/// nothing of the cluster, as a webhook whose callers show no credentials, or the files of a web page.
///
/// ```
/// use kubeplane_auth::OpenPaths;
/// use kubeplane_core::auth::{Attributes, Authorizer, Decision, UserInfo};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let open = OpenPaths::new(["/convert"]);
/// let asked = Attributes { path: "/convert".to_owned(), verb: "post".to_owned(), ..Attributes::default() };
/// assert!(matches!(open.authorize(&asked).await, Decision::Allow(_)));
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct OpenPaths(BTreeSet<String>);

impl OpenPaths {
    /// Exactly these, and nothing below them.
    pub fn new<P: Into<String>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self(paths.into_iter().map(Into::into).collect())
    }
}

#[async_trait]
impl Authorizer for OpenPaths {
    async fn authorize(&self, request: &Attributes) -> Decision {
        match !request.is_resource() && self.0.contains(&request.path) {
            true => Decision::Allow("the path is open to all".to_owned()),
            false => Decision::NoOpinion(String::new()),
        }
    }

    /// None: nobody has it as a right of his own.
    async fn rules(&self, _user: &UserInfo, _namespace: &str) -> (Vec<UserRule>, bool) {
        (Vec::new(), false)
    }
}
