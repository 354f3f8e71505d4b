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

/// The error of a call that changes nothing.
pub(crate) fn read(status: &Status) -> Error {
    match status.code() {
        Code::DataLoss => Error::Corrupt { reason: status.message().to_owned() },
        _ => Error::Unavailable { reason: reason(status) },
    }
}

/// The error of a call that may have changed something.
pub(crate) fn write(status: &Status) -> Error {
    let refused = match status.code() {
        // Answered before anything was proposed to the cluster.
        Code::InvalidArgument
        | Code::ResourceExhausted
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::NotFound
        | Code::Unimplemented => true,
        Code::Unavailable => {
            status.message() == "etcdserver: no leader"
                || status.message() == "etcdserver: not capable"
        }
        _ => false,
    };
    if refused || is_unsent(status) || status.code() == Code::DataLoss {
        return read(status);
    }
    Error::Indeterminate { reason: reason(status) }
}

fn reason(status: &Status) -> String {
    match status.source() {
        Some(source) => format!("{:?}: {}", status.code(), chain(source)),
        None => format!("{:?}: {}", status.code(), status.message()),
    }
}
