//! What etcd's refusals mean: for the caller, and for what is tried next.

use crate::options::chain;
use kubeplane_store_trait::Error;
use std::error::Error as _;
use tonic::{Code, Status};

/// What etcd answers when a revision is gone or not there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutOfRange {
    Compacted,
    Future,
}

pub(crate) fn out_of_range(status: &Status) -> Option<OutOfRange> {
    match status.message() {
        "etcdserver: mvcc: required revision has been compacted" => Some(OutOfRange::Compacted),
        "etcdserver: mvcc: required revision is a future revision" => Some(OutOfRange::Future),
        _ => None,
    }
}

/// Whether no member was reached, so that nothing can have happened.
pub(crate) fn is_unsent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Whether the member has no leader to pass a call on to, so that nothing has happened; one may be elected soon.
pub(crate) fn has_no_leader(status: &Status) -> bool {
    matches!(status.message(), "etcdserver: no leader" | "raft proposal dropped")
}

/// Whether etcd has no room left. The write that fills it up is applied all the same, and answered so; those after
/// it are not, and are answered alike.
fn is_full(status: &Status) -> bool {
    status.message() == "etcdserver: mvcc: database space exceeded"
}

/// Whether the connection, or the time, ran out under a call.
pub(crate) fn is_cut_off(status: &Status) -> bool {
    status.source().is_some()
        || matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded)
        || status.message() == "etcdserver: server stopped"
}

/// Whether a call that may be repeated might do better elsewhere or later.
pub(crate) fn is_worth_another_member(status: &Status) -> bool {
    let passing = matches!(
        status.code(),
        Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::Aborted
    );
    passing || is_cut_off(status) || has_no_leader(status)
}

/// Whether another token is needed. Told before anything is done, or while it is refused.
pub(crate) fn is_stale_token(status: &Status) -> bool {
    is_stale_token_reason(status.message())
}

/// The same, of what a watch is ended with: in 3.4 nothing but a denial.
pub(crate) fn is_stale_token_reason(reason: &str) -> bool {
    const STALE: [&str; 3] = [
        "etcdserver: invalid auth token",
        "etcdserver: revision of auth store is old",
        "etcdserver: user name is empty",
    ];
    STALE.iter().any(|stale| reason.ends_with(stale))
}

pub(crate) fn is_denied_reason(reason: &str) -> bool {
    reason.ends_with("etcdserver: permission denied")
}

pub(crate) fn has_no_users(status: &Status) -> bool {
    status.message() == "etcdserver: authentication is not enabled"
}

/// Whether the lease of a put has ended; nothing was put.
pub(crate) fn is_lease_gone(status: &Status) -> bool {
    status.message() == "etcdserver: requested lease not found"
}

/// Whether the request was larger than etcd takes.
pub(crate) fn is_too_large(status: &Status) -> bool {
    status.message() == "etcdserver: request is too large"
        || (status.code() == Code::ResourceExhausted
            && status.message().contains("message larger than max"))
}

/// The error of a call that changes nothing.
pub(crate) fn read(status: &Status) -> Error {
    match status.code() {
        Code::DataLoss => Error::Corrupt { reason: status.message().to_owned() },
        _ => Error::Unavailable { reason: reason(status) },
    }
}

/// The error of a call that may have changed something.
pub(crate) fn write(status: &Status) -> Error {
    // What etcd itself answers has no source. What became of the connection has one, and some of it looks alike:
    // HTTP/2's ENHANCE_YOUR_CALM is a `ResourceExhausted`, its INADEQUATE_SECURITY a `PermissionDenied`.
    let answered = status.source().is_none();
    let refused = match status.code() {
        // Answered before anything was proposed to the cluster, or instead of applying it.
        Code::InvalidArgument
        | Code::ResourceExhausted
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::NotFound
        | Code::Unimplemented => true,
        Code::Unavailable => status.message() == "etcdserver: not capable",
        _ => false,
    };
    let refused = answered && refused && !is_full(status);
    let surely_not = refused || has_no_leader(status) || is_unsent(status);
    if surely_not || status.code() == Code::DataLoss {
        return read(status);
    }
    Error::Indeterminate { reason: reason(status) }
}

fn reason(status: &Status) -> String {
    let known = match status.message() {
        "etcdserver: mvcc: database space exceeded" => {
            "etcd is out of space (NOSPACE): compact, defragment and disarm the alarm, or raise its quota"
        }
        "etcdserver: no leader" => "etcd has no leader",
        "etcdserver: permission denied" => "etcd does not permit this to the user",
        _ => match status.source() {
            Some(source) => return format!("{:?}: {}", status.code(), chain(source)),
            None => return format!("{:?}: {}", status.code(), status.message()),
        },
    };
    format!("{known} ({})", status.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_whether_anything_can_have_happened() {
        use Code::*;
        for (code, message, surely_not) in [
            (Unavailable, "etcdserver: no leader", true),
            (Unknown, "raft proposal dropped", true),
            (ResourceExhausted, "etcdserver: mvcc: database space exceeded", false),
            (ResourceExhausted, "etcdserver: too many requests", true),
            (PermissionDenied, "etcdserver: permission denied", true),
            (InvalidArgument, "etcdserver: revision of auth store is old", true),
            (Unauthenticated, "etcdserver: invalid auth token", true),
            (NotFound, "etcdserver: requested lease not found", true),
            (Unavailable, "etcdserver: request timed out", false),
            (Unavailable, "etcdserver: leader changed", false),
            (Unavailable, "etcdserver: server stopped", false),
            (
                Unavailable,
                "etcdserver: request timed out, possibly due to previous leader failure",
                false,
            ),
            (DeadlineExceeded, "context deadline exceeded", false),
            (Cancelled, "Timeout expired", false),
            (Unknown, "transport error", false),
        ] {
            let error = write(&Status::new(code, message));
            let told = matches!(error, Error::Unavailable { .. });
            assert_eq!(told, surely_not, "{message}: {error}");
        }
    }

    #[test]
    fn what_became_of_the_connection_says_nothing_about_the_write() {
        use Code::*;
        for code in [
            InvalidArgument,
            ResourceExhausted,
            PermissionDenied,
            Unauthenticated,
            FailedPrecondition,
            OutOfRange,
            NotFound,
            Unimplemented,
            Unavailable,
        ] {
            let mut status = Status::new(code, "h2 protocol error: http2 error");
            status.set_source(std::sync::Arc::new(std::io::Error::other("reset")));
            let error = write(&status);
            assert!(matches!(error, Error::Indeterminate { .. }), "{code:?}: {error}");
            assert!(matches!(read(&status), Error::Unavailable { .. }), "{code:?}");
        }
    }

    #[test]
    fn a_full_etcd_is_told_from_a_large_request() {
        let full =
            Status::new(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");
        assert!(!is_too_large(&full));
        assert!(write(&full).to_string().contains("NOSPACE"));
        for (code, message) in [
            (Code::InvalidArgument, "etcdserver: request is too large"),
            (Code::ResourceExhausted, "grpc: received message larger than max (9 vs. 4)"),
        ] {
            assert!(is_too_large(&Status::new(code, message)), "{message}");
        }
    }
}
