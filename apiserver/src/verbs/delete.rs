use super::Call;
use crate::{
    body::Body,
    decode,
    options::DeleteOptions,
    output::{self, Accepted, Offer},
    write::{Removed, State},
};
use http::{Response, StatusCode};
use kubeplane_core::{
    Definition,
    status::{ApiResult, Details, success},
};

/// Core kinds, and whole groups, that answer a delete with the object as it was.
const RETURNED: [&str; 8] = [
    "namespaces",
    "persistentvolumeclaims",
    "persistentvolumes",
    "pods",
    "podtemplates",
    "resourcequotas",
    "serviceaccounts",
    "services",
];
const RETURNED_GROUPS: [&str; 2] = ["resource.k8s.io", "storage.k8s.io"];

/// Deletes one object.
pub(super) async fn serve(call: Call) -> ApiResult<Response<Body>> {
    let accepted = Accepted::of(&call.head, Offer::forms(call.definition()))?;
    let body = call.read_body().await?;
    let sent = decode::options(&call.head.headers, &body)?;
    let options = DeleteOptions::parse(&call.query(), sent)?;
    let sent = options.sent();
    let writer = call.writer(options.dry_run, None, &sent);
    let orphan_dependents = options.orphan_dependents;
    let removed = writer.delete(&call.info.name, options).await?;
    let waits = removed.state != State::Gone;
    let code = if waits && orphan_dependents == Some(false) {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    if removed.state == State::Marked || returns_object(call.definition()) {
        let shape = call.resource.cache().shape();
        return output::entity(
            &accepted,
            shape,
            code,
            &removed.value,
            Some(removed.revision),
            call.now,
        );
    }
    Ok(output::status(&call.head, code, &success(Some(details(&call, &removed)))))
}

fn returns_object(definition: &Definition) -> bool {
    let group = definition.kind.group.as_ref();
    RETURNED_GROUPS.contains(&group) && definition.plural != "csistoragecapacities"
        || (group.is_empty() && RETURNED.contains(&definition.plural.as_ref()))
}

fn details(call: &Call, removed: &Removed) -> Details {
    let resource = call.resource.group_resource();
    Details {
        name: removed.object.name().to_owned(),
        group: resource.group.to_string(),
        kind: resource.resource.to_string(),
        uid: removed.object.uid().to_owned(),
        ..Details::default()
    }
}
