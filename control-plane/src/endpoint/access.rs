use http::{HeaderMap, StatusCode, header};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, api::PostParams};
use std::fmt;

/// Lets the API server say who may read a path: bearer tokens by TokenReview, rights by
/// SubjectAccessReview.
#[derive(Clone)]
pub struct DelegatedAccess {
    client: kube::Client,
}

impl fmt::Debug for DelegatedAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DelegatedAccess")
    }
}

impl DelegatedAccess {
    /// Asks through this client.
    #[must_use]
    pub fn new(client: kube::Client) -> Self {
        Self { client }
    }

    /// Whether the sender of these headers may GET `path`.
    ///
    /// # Errors
    /// The status to refuse with, and why.
    pub async fn check(&self, headers: &HeaderMap, path: &str) -> Result<(), (StatusCode, String)> {
        let refused = || (StatusCode::UNAUTHORIZED, "Unauthorized\n".to_owned());
        let failed = |error: kube::Error| (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"));
        let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(refused)?;
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.to_owned(), ..Default::default() },
            ..Default::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let review = reviews.create(&PostParams::default(), &review).await.map_err(failed)?;
        let status = review.status.unwrap_or_default();
        if status.authenticated != Some(true) {
            return Err(refused());
        }
        let user = status.user.unwrap_or_default();
        let access = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: user.username.clone(),
                uid: user.uid,
                groups: user.groups,
                extra: user.extra,
                non_resource_attributes: Some(NonResourceAttributes {
                    path: Some(path.to_owned()),
                    verb: Some("get".into()),
                }),
                ..Default::default()
            },
            ..Default::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let access = reviews.create(&PostParams::default(), &access).await.map_err(failed)?;
        if access.status.is_some_and(|status| status.allowed) {
            return Ok(());
        }
        let name = user.username.unwrap_or_default();
        Err((StatusCode::FORBIDDEN, format!("forbidden: User {name:?} cannot get path {path:?}\n")))
    }
}
