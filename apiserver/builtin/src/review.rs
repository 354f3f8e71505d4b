//! Kinds that are asked, not stored: reviews of tokens and of access.

use crate::row::{CREATE, Row};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, Strategy, definition::Context, field::Errors};
use serde_json::Value;

mod validation;

const AUTHENTICATION: Row = Row { group: "authentication.k8s.io", verbs: CREATE, ..Row::CLUSTER };
const AUTHORIZATION: Row = Row { group: "authorization.k8s.io", verbs: CREATE, ..Row::CLUSTER };

/// All of them.
pub(crate) fn definitions() -> Vec<Definition> {
    let row = |row: &Row, kind, plural, check: fn(&Object) -> Errors| {
        Row { kind, plural, ..*row }.define(Review(check))
    };
    let local = Row { scope: Row::NAMESPACED.scope, ..AUTHORIZATION };
    vec![
        row(&AUTHENTICATION, "SelfSubjectReview", "selfsubjectreviews", |_| Errors::new()),
        row(&AUTHENTICATION, "TokenReview", "tokenreviews", |_| Errors::new()),
        row(&local, "LocalSubjectAccessReview", "localsubjectaccessreviews", validation::local),
        row(&AUTHORIZATION, "SelfSubjectAccessReview", "selfsubjectaccessreviews", validation::own),
        row(&AUTHORIZATION, "SelfSubjectRulesReview", "selfsubjectrulesreviews", |_| Errors::new()),
        row(&AUTHORIZATION, "SubjectAccessReview", "subjectaccessreviews", validation::subject),
    ]
}

/// A review and what is wrong with one; the answer is the server's.
#[derive(Debug)]
struct Review(fn(&Object) -> Errors);

impl Strategy for Review {
    fn validate(&self, _context: &Context<'_>, object: &Object) -> Errors {
        self.0(object)
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        vec![object.name().into(), crate::table::age(object, now)]
    }
}
