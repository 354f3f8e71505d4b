//! Between the contract's words and the wire's.

use crate::generated::{
    etcdserverpb::{
        Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, ResponseHeader,
        ResponseOp, compare, request_op, response_op,
    },
    mvccpb,
};
use bytes::Bytes;
use kubeplane_store_trait::{Entry, Event, Key, KeyRange, Keys, Revision};

/// The lowest key there is; as a range's end it means "no end".
pub(crate) const ZERO: &[u8] = &[0];

pub(crate) fn revision(value: i64) -> Revision {
    Revision(u64::try_from(value).unwrap_or(0))
}

pub(crate) fn number(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

pub(crate) fn header_revision(header: Option<&ResponseHeader>) -> Revision {
    header.map_or(Revision(0), |header| revision(header.revision))
}

/// The wire's key and end for a range; `None` when no key can lie in it.
pub(crate) fn bounds(range: &KeyRange) -> Option<(Bytes, Bytes)> {
    let start =
        if range.start().is_empty() { Bytes::from_static(ZERO) } else { range.start().clone() };
    match range.end() {
        Some(end) if *end <= start => None,
        Some(end) => Some((start, end.clone())),
        None => Some((start, Bytes::from_static(ZERO))),
    }
}

/// An entry; `None` for one without a key, which etcd never stores.
pub(crate) fn entry(kv: mvccpb::KeyValue) -> Option<Entry> {
    Some(Entry {
        key: Key::new(kv.key)?,
        value: kv.value,
        revision: revision(kv.mod_revision),
        created: revision(kv.create_revision),
    })
}

/// What was found without values.
pub(crate) fn keys(found: Vec<mvccpb::KeyValue>) -> Keys {
    let size = found.iter().map(|kv| kv.key.len()).sum();
    let mut keys = Keys::with_capacity(found.len(), size);
    for Entry { key, revision, created, .. } in found.into_iter().filter_map(entry) {
        keys.push(&key, revision, created);
    }
    keys
}

pub(crate) fn event(event: mvccpb::Event) -> Option<Event> {
    let deleted = event.r#type() == mvccpb::event::EventType::Delete;
    let previous = event.prev_kv.and_then(entry);
    let kv = event.kv?;
    if deleted {
        let revision = revision(kv.mod_revision);
        return Some(Event::Delete { key: Key::new(kv.key)?, previous, revision });
    }
    Some(Event::Put { entry: entry(kv)?, previous })
}

pub(crate) fn get(key: &Key) -> RangeRequest {
    RangeRequest { key: key.as_bytes().clone(), ..RangeRequest::default() }
}

pub(crate) fn is_absent(key: &Key) -> Compare {
    Compare {
        result: compare::CompareResult::Equal.into(),
        target: compare::CompareTarget::Create.into(),
        key: key.as_bytes().clone(),
        target_union: Some(compare::TargetUnion::CreateRevision(0)),
    }
}

pub(crate) fn is_at(key: &Key, expected: Revision) -> Compare {
    Compare {
        result: compare::CompareResult::Equal.into(),
        target: compare::CompareTarget::Mod.into(),
        key: key.as_bytes().clone(),
        target_union: Some(compare::TargetUnion::ModRevision(number(expected))),
    }
}

pub(crate) fn put(key: &Key, value: Bytes, lease: i64) -> RequestOp {
    let put = PutRequest { key: key.as_bytes().clone(), value, lease, prev_kv: false };
    RequestOp { request: Some(request_op::Request::RequestPut(put)) }
}

pub(crate) fn delete(key: &Key) -> RequestOp {
    let key = key.as_bytes().clone();
    let delete = DeleteRangeRequest { key, range_end: Bytes::new(), prev_kv: true };
    RequestOp { request: Some(request_op::Request::RequestDeleteRange(delete)) }
}

pub(crate) fn else_get(key: &Key) -> RequestOp {
    RequestOp { request: Some(request_op::Request::RequestRange(get(key))) }
}

/// The entry that a transaction's one operation read or deleted.
pub(crate) fn found(responses: Vec<ResponseOp>) -> Option<Entry> {
    match responses.into_iter().next()?.response? {
        response_op::Response::ResponseRange(range) => range.kvs.into_iter().next().and_then(entry),
        response_op::Response::ResponseDeleteRange(range) => {
            range.prev_kvs.into_iter().next().and_then(entry)
        }
        response_op::Response::ResponsePut(_) => None,
    }
}
