//! Forgets history, by one of the servers that share an etcd.
//!
//! The protocol is that of the original, so that its servers and ours can stand side by side. The version of one
//! key is the time: who steps it first compacts through the revision seen one interval before, the others learn
//! from their refusal and wait for the next interval.

use crate::{
    client::Client,
    failure::{self, OutOfRange, out_of_range},
    generated::etcdserverpb::{
        Compare, PutRequest, RangeRequest, RequestOp, TxnRequest, compare, request_op, response_op,
    },
    generated::mvccpb::KeyValue,
    wire,
};
use bytes::Bytes;
use kubeplane_store_trait::{Result, Revision};
use std::time::Duration;

/// The key whose version is the time, and whose value is the revision compacted through.
const KEY: &[u8] = b"compact_rev_key";

/// Compacts once in every interval, unless another server did.
pub(crate) async fn run(client: Client, interval: Duration) {
    let mut compactor = Compactor { client, time: 0, through: Revision(0) };
    loop {
        compactor.client.clock().sleep(interval).await;
        if let Err(error) = compactor.step().await {
            tracing::warn!(%error, "etcd not compacted");
        }
    }
}

struct Compactor {
    client: Client,
    /// The version of the key as this server knows it.
    time: i64,
    /// The revision one interval ago.
    through: Revision,
}

impl Compactor {
    async fn step(&mut self) -> Result<()> {
        let through = self.through;
        let request = TxnRequest {
            compare: vec![at_version(self.time)],
            success: vec![put(through)],
            failure: vec![read()],
        };
        let response = self.client.txn(request).await.map_err(|status| failure::write(&status))?;
        let now = wire::header_revision(response.header.as_ref());
        if !response.succeeded {
            let found = response.responses.into_iter().next().and_then(|one| one.response);
            self.time = found.and_then(version).unwrap_or(0);
            self.through = now;
            return Ok(());
        }
        self.time += 1;
        self.through = now;
        if through == Revision(0) {
            return Ok(());
        }
        match self.client.compact(through).await {
            Ok(()) => tracing::debug!(%through, "etcd compacted"),
            Err(status) if out_of_range(&status) == Some(OutOfRange::Compacted) => {}
            Err(status) => return Err(failure::write(&status)),
        }
        Ok(())
    }
}

fn version(response: response_op::Response) -> Option<i64> {
    match response {
        response_op::Response::ResponseRange(range) => {
            range.kvs.first().map(|kv: &KeyValue| kv.version)
        }
        _ => None,
    }
}

fn at_version(version: i64) -> Compare {
    Compare {
        result: compare::CompareResult::Equal.into(),
        target: compare::CompareTarget::Version.into(),
        key: Bytes::from_static(KEY),
        target_union: Some(compare::TargetUnion::Version(version)),
    }
}

fn put(through: Revision) -> RequestOp {
    let put = PutRequest {
        key: Bytes::from_static(KEY),
        value: through.to_string().into(),
        ..PutRequest::default()
    };
    RequestOp { request: Some(request_op::Request::RequestPut(put)) }
}

fn read() -> RequestOp {
    let range = RangeRequest { key: Bytes::from_static(KEY), ..RangeRequest::default() };
    RequestOp { request: Some(request_op::Request::RequestRange(range)) }
}
