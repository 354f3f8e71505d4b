use crate::{
    client::Client,
    compact,
    failure::{self, OutOfRange, out_of_range},
    generated::{
        etcdserverpb::{Compare, RangeRequest, RequestOp, TxnRequest, TxnResponse},
        mvccpb::KeyValue,
    },
    lease::Leases,
    options::{ConnectError, EtcdOptions, chain},
    version::Version,
    watch::{self, compaction_point},
    wire::{self, ZERO},
};
use async_trait::async_trait;
use bytes::Bytes;
use kubeplane_store_trait::{
    BoxWatcher, Capabilities, Deleted, Error, Key, KeyRange, ListOptions, Page, Read, ReadAt,
    Result, Revision, Store, StoreStatus, WriteOptions,
};
use parking_lot::Mutex;
use std::time::Duration;
use tokio::task::JoinSet;
use tonic::Status;

/// etcd takes requests of 1.5 MiB; a transaction carries the key three times beside the value.
const MAX_VALUE: usize = 1_572_864 - 4 * Key::MAX_LEN;

/// A store on etcd. Keys are used as given; the revision of an entry is its `mod_revision`.
///
/// It forgets history by itself, together with all other servers on the same etcd (see
/// [`EtcdOptions::compaction`]), for which it writes the key `compact_rev_key`.
#[derive(Debug)]
pub struct EtcdStore {
    client: Client,
    leases: Leases,
    compacts: bool,
    /// Ended with the store.
    _compactor: Mutex<JoinSet<()>>,
}

impl EtcdStore {
    /// Connects, and asks for the version. Lost connections are made again by themselves.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(options: EtcdOptions) -> std::result::Result<Self, ConnectError> {
        let client = Client::new(&options)?;
        let status = client.status().await.map_err(|status| ConnectError::Unreachable {
            endpoints: options.endpoints.clone(),
            reason: chain(&status),
        })?;
        if let Some(user) = &options.user {
            client.token().await.map_err(|status| ConnectError::User {
                user: user.name.clone(),
                reason: chain(&status),
            })?;
        }
        if !Version::parse(&status.version).orders_progress() {
            tracing::info!(
                version = %status.version,
                "this etcd answers progress requests too early; bookmarks are confirmed first"
            );
        }
        let mut compactor = JoinSet::new();
        if let Some(interval) = options.compaction {
            compactor.spawn(compact::run(client.clone(), interval));
        }
        let compacts = options.compaction.is_some();
        let leases = Leases::new(options.clock);
        Ok(Self { client, leases, compacts, _compactor: Mutex::new(compactor) })
    }

    /// Reads; returns what was found, how many there are in all, and the revision.
    async fn range(
        &self,
        request: RangeRequest,
        at: ReadAt,
    ) -> Result<(Vec<KeyValue>, u64, Revision)> {
        let response = match self.client.range(request).await {
            Ok(response) => response,
            Err(status) => return Err(self.read_error(&status, at).await),
        };
        let revision = match at {
            ReadAt::Latest => wire::header_revision(response.header.as_ref()),
            ReadAt::Exact(revision) => revision,
        };
        Ok((response.kvs, u64::try_from(response.count).unwrap_or(0), revision))
    }

    async fn read_error(&self, status: &Status, at: ReadAt) -> Error {
        let ReadAt::Exact(requested) = at else {
            return failure::read(status);
        };
        match out_of_range(status) {
            Some(OutOfRange::Compacted) => self.client.compacted(requested).await,
            Some(OutOfRange::Future) => self.client.future(requested).await,
            None => failure::read(status),
        }
    }

    /// Does `then` if `compare` holds, and reads the key if not.
    async fn txn(
        &self,
        key: &Key,
        compare: Compare,
        then: RequestOp,
    ) -> std::result::Result<TxnResponse, Status> {
        let request = TxnRequest {
            compare: vec![compare],
            success: vec![then],
            failure: vec![wire::else_get(key)],
        };
        self.client.txn(request).await
    }

    /// Puts the value if `compare` holds. A lease that ended before its time is replaced once.
    async fn put(
        &self,
        key: &Key,
        value: Bytes,
        compare: Compare,
        ttl: Option<Duration>,
    ) -> Result<TxnResponse> {
        let size = value.len();
        if size > MAX_VALUE {
            return Err(Error::TooLarge { size, limit: MAX_VALUE });
        }
        let lease = self.leases.lease(&self.client, ttl).await?;
        let put = wire::put(key, value.clone(), lease);
        let status = match self.txn(key, compare.clone(), put).await {
            Ok(response) => return Ok(response),
            Err(status) if lease != 0 && failure::is_lease_gone(&status) => {
                self.leases.forget(lease);
                let lease = self.leases.lease(&self.client, ttl).await?;
                match self.txn(key, compare, wire::put(key, value, lease)).await {
                    Ok(response) => return Ok(response),
                    Err(status) => status,
                }
            }
            Err(status) => status,
        };
        if failure::is_too_large(&status) {
            // It takes less than by default; how much, it does not say.
            return Err(Error::TooLarge { size, limit: size.saturating_sub(1) });
        }
        Err(failure::write(&status))
    }

    /// The conflict of an expected revision that no entry can have, and that etcd takes for "absent".
    async fn never_written(&self, key: &Key) -> Error {
        match self.get(key, ReadAt::Latest).await {
            Ok(read) => Error::Conflict { key: key.clone(), current: read.entry },
            Err(error) => error,
        }
    }
}

fn exact(at: ReadAt) -> i64 {
    match at {
        ReadAt::Latest => 0,
        // Nothing was written at revision 1, and zero would mean the latest.
        ReadAt::Exact(revision) => wire::number(revision).max(1),
    }
}

#[async_trait]
impl Store for EtcdStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { ttl: true, durable: true, max_value: MAX_VALUE }
    }

    async fn get(&self, key: &Key, at: ReadAt) -> Result<Read> {
        let request = RangeRequest { revision: exact(at), ..wire::get(key) };
        let (found, _, revision) = self.range(request, at).await?;
        Ok(Read { entry: found.into_iter().find_map(wire::entry), revision })
    }

    async fn list(&self, range: &KeyRange, options: ListOptions) -> Result<Page> {
        let bounds = wire::bounds(range);
        let empty = bounds.is_none();
        let (key, range_end) = bounds.unwrap_or((Bytes::from_static(ZERO), Bytes::new()));
        let limit = options.limit.map_or(0, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
        let count_only = options.count_only || options.limit == Some(0) || empty;
        let request = RangeRequest {
            key,
            range_end,
            limit,
            revision: exact(options.at),
            serializable: false,
            keys_only: options.keys_only,
            count_only,
        };
        let (found, count, revision) = self.range(request, options.at).await?;
        let remaining = if empty { 0 } else { count.saturating_sub(found.len() as u64) };
        let mut page = Page { revision, remaining, ..Page::default() };
        if options.keys_only {
            page.keys = wire::keys(found);
        } else {
            page.entries = found.into_iter().filter_map(wire::entry).collect();
        }
        Ok(page)
    }

    async fn create(&self, key: &Key, value: Bytes, options: WriteOptions) -> Result<Revision> {
        let response = self.put(key, value, wire::is_absent(key), options.ttl).await?;
        if response.succeeded {
            return Ok(wire::header_revision(response.header.as_ref()));
        }
        let current = wire::found(response.responses)
            .ok_or_else(|| Error::Unavailable { reason: "etcd left out a taken key".into() })?;
        Err(Error::Exists { key: key.clone(), current })
    }

    async fn update(
        &self,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision> {
        if expected == Revision(0) {
            return Err(self.never_written(key).await);
        }
        let response = self.put(key, value, wire::is_at(key, expected), options.ttl).await?;
        if response.succeeded {
            return Ok(wire::header_revision(response.header.as_ref()));
        }
        Err(Error::Conflict { key: key.clone(), current: wire::found(response.responses) })
    }

    async fn delete(&self, key: &Key, expected: Revision) -> Result<Deleted> {
        if expected == Revision(0) {
            return Err(self.never_written(key).await);
        }
        let response = self.txn(key, wire::is_at(key, expected), wire::delete(key)).await;
        let response = response.map_err(|status| failure::write(&status))?;
        let succeeded = response.succeeded;
        let revision = wire::header_revision(response.header.as_ref());
        let found = wire::found(response.responses);
        match (succeeded, found) {
            (true, Some(previous)) => Ok(Deleted { previous, revision }),
            (true, None) => {
                Err(Error::Indeterminate { reason: "etcd left out what it deleted".into() })
            }
            (false, current) => Err(Error::Conflict { key: key.clone(), current }),
        }
    }

    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<BoxWatcher> {
        watch::start(&self.client, range, after).await
    }

    async fn compact(&self, through: Revision) -> Result<()> {
        match self.client.compact(through).await {
            Ok(()) => Ok(()),
            Err(status) => Err(match out_of_range(&status) {
                Some(OutOfRange::Compacted) => self.client.compacted(through).await,
                Some(OutOfRange::Future) => self.client.future(through).await,
                None => failure::write(&status),
            }),
        }
    }

    fn compacts_itself(&self) -> bool {
        self.compacts
    }

    async fn revision(&self) -> Result<Revision> {
        self.client.latest().await
    }

    async fn status(&self) -> Result<StoreStatus> {
        let status = self.client.status().await.map_err(|status| failure::read(&status))?;
        let revision = self.client.latest().await?;
        let compacted = compaction_point(&self.client, Revision(0)).await?;
        let size = u64::try_from(status.db_size).unwrap_or(0);
        Ok(StoreStatus { revision, compacted, size, trouble: None })
    }
}
