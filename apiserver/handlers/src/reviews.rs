//! The review kinds: questions to the API server that are answered, not stored.

mod access;
mod rules;
mod subject;
mod tokens;

pub use access::{AccessReview, ReviewKind};
pub use rules::SelfSubjectRulesReview;
pub use subject::SelfSubjectReview;
pub use tokens::TokenReview;

use kubeplane_core::{Object, auth::UserInfo};
use serde_json::{Value, json};

/// A user as the authentication API prints it; `None` stays out.
fn user_info(user: &UserInfo) -> Value {
    let mut value = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        value["uid"] = user.uid.as_str().into();
    }
    if !user.extra.is_empty() {
        value["extra"] = json!(user.extra);
    }
    value
}

/// An object of the same kind that says nothing.
fn blank(sent: &Object) -> Object {
    let mut object = Object::default();
    object.set(&["kind"], sent.kind());
    object.set(&["apiVersion"], sent.api_version());
    object.set(&["metadata"], json!({}));
    object
}
