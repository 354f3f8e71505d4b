//! FlowSchemas and PriorityLevelConfigurations, read once for all requests until one of them changes.

use super::{
    desk::{Asked, Limits, Queuing, SEATS},
    estimate::Width,
    rules::Rule,
};
use crate::{cache::Snapshot, info::RequestInfo, metrics::FlowMetrics};
use http::HeaderValue;
use kubeplane_core::{
    Object,
    auth::{GROUP_MASTERS, UserInfo},
};
use prometheus_client::metrics::counter::Counter;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, sync::Arc};

/// What a plan was read from: revision and epoch of both caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen([u64; 4]);

impl Seen {
    pub(super) fn of([schemas, levels]: &[Arc<Snapshot>; 2]) -> Self {
        Self([schemas.changed.0, schemas.epoch, levels.changed.0, levels.epoch])
    }
}

/// Which requests belong where. The default one lets administrators through and treats all others alike.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) seen: Option<Seen>,
    schemas: Vec<Schema>,
    pub(super) limits: BTreeMap<Arc<str>, Limits>,
}

/// The requests of one FlowSchema.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) name: Arc<str>,
    precedence: i64,
    /// Where its level has queues to choose from: what tells its flows apart, and the beginning of their hash.
    flows: Option<(Option<By>, Sha256)>,
    rules: Vec<Rule>,
    pub(super) level: Arc<str>,
    pub(super) exempt: bool,
    /// Seats that one request may have; zero for as many as any.
    pub(super) widest: usize,
    pub(super) answer: Option<Placed>,
    pub(super) dispatched: Counter,
}

/// What tells flows of one schema apart.
#[derive(Debug, Clone, Copy)]
pub(super) enum By {
    User,
    Namespace,
}

/// The uids of a schema and its level, which answers carry.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) schema: HeaderValue,
    pub(crate) level: HeaderValue,
}

impl By {
    /// What is the same for all requests of a flow.
    pub(super) fn distinguisher<'r>(self, info: &'r RequestInfo, user: &'r UserInfo) -> &'r str {
        match self {
            Self::User => &user.name,
            Self::Namespace => &info.namespace,
        }
    }
}

impl Schema {
    /// A request as it asks for a seat.
    pub(super) fn asked(&self, info: Arc<RequestInfo>, user: Arc<UserInfo>, width: Width) -> Asked {
        let flow = self.flows.as_ref().map(|(by, hash)| {
            let own = by.map_or("", |by| by.distinguisher(&info, &user));
            (*by, hash_of(hash.clone().chain_update(own)))
        });
        let (by, hash) = flow.unwrap_or_default();
        Asked { schema: self.name.clone(), by, info, user, hash, width }
    }
}

/// The hash of a schema's flows, without what tells them apart.
fn schema_hash(name: &str) -> Sha256 {
    Sha256::new().chain_update(name).chain_update([0_u8])
}

fn hash_of(hash: Sha256) -> u64 {
    let bytes = hash.finalize();
    bytes.iter().take(8).rev().fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

impl Plan {
    pub(super) fn of(seen: Seen, snapshots: &[Arc<Snapshot>; 2], metrics: &FlowMetrics) -> Self {
        let [schemas, levels] = snapshots;
        let levels: BTreeMap<Arc<str>, Object> =
            objects(levels).map(|level| (Arc::from(level.name()), level)).collect();
        let limits = limits(&levels);
        let widened = |schema: Object| {
            let mut read = read(&schema, &levels, metrics)?;
            read.widest = limits.get(&read.level).map_or(0, |limits| limits.widest);
            Some(read)
        };
        let mut schemas: Vec<_> = objects(schemas).filter_map(widened).collect();
        schemas.sort_by(|a: &Schema, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        Self { seen: Some(seen), schemas, limits }
    }

    /// The first schema that is about a request.
    pub(super) fn schema(&self, info: &RequestInfo, user: &UserInfo) -> Option<&Schema> {
        let mut schemas = self.schemas.iter();
        schemas.find(|schema| schema.rules.iter().any(|rule| rule.matches(info, user)))
    }

    /// Whether a request that no schema is about is served at once.
    pub(super) fn is_exempt(user: &UserInfo) -> bool {
        user.is_in(GROUP_MASTERS)
    }
}

fn objects(snapshot: &Snapshot) -> impl Iterator<Item = Object> {
    snapshot.rows.values().filter_map(|row| row.decoded(row.revision).ok())
}

fn is_exempt(level: &Object) -> bool {
    level.text(&["spec", "type"]) == "Exempt"
}

/// A schema; `None` while its level is not there.
fn read(
    schema: &Object,
    levels: &BTreeMap<Arc<str>, Object>,
    metrics: &FlowMetrics,
) -> Option<Schema> {
    let named = schema.text(&["spec", "priorityLevelConfiguration", "name"]);
    let (level, object) = levels.get_key_value(named)?;
    let uid = |object: &Object| HeaderValue::from_str(object.uid()).ok();
    let answer = uid(schema).zip(uid(object)).map(|(schema, level)| Placed { schema, level });
    let rules = schema.at(&["spec", "rules"]).and_then(Value::as_array);
    let precedence = schema.at(&["spec", "matchingPrecedence"]).and_then(Value::as_i64);
    Some(Schema {
        name: Arc::from(schema.name()),
        precedence: precedence.unwrap_or_default(),
        flows: queuing(object).filter(|queuing| queuing.queues > 1).map(|_| {
            let by = match schema.text(&["spec", "distinguisherMethod", "type"]) {
                "ByUser" => Some(By::User),
                "ByNamespace" => Some(By::Namespace),
                _ => None,
            };
            (by, schema_hash(schema.name()))
        }),
        rules: rules.into_iter().flatten().map(Rule::of).collect(),
        level: level.clone(),
        exempt: is_exempt(object),
        widest: 0,
        answer,
        dispatched: metrics.dispatched(schema.name(), level),
    })
}

/// What each level may have, as its share of all seats.
fn limits(levels: &BTreeMap<Arc<str>, Object>) -> BTreeMap<Arc<str>, Limits> {
    let own = |level: &Object, field: &str| {
        let kind = if is_exempt(level) { "exempt" } else { "limited" };
        number(level.at(&["spec", kind, field]))
    };
    let shares = |level: &Object| own(level, "nominalConcurrencyShares").unwrap_or_default();
    let all: usize = levels.values().map(shares).sum::<usize>().max(1);
    let of_level = |level: &Object| {
        let nominal = SEATS.saturating_mul(shares(level)).div_ceil(all);
        let percent = |percent: usize| nominal.saturating_mul(percent).saturating_add(50) / 100;
        let lent = percent(own(level, "lendablePercent").unwrap_or_default());
        let borrowed = own(level, "borrowingLimitPercent").map_or(SEATS, percent);
        let queuing = queuing(level);
        Limits {
            exempt: is_exempt(level),
            nominal,
            kept: nominal.saturating_sub(lent),
            most: nominal.saturating_add(borrowed),
            widest: queuing.map_or(0, |queuing| widest(nominal, queuing.hand)),
            queuing,
        }
    };
    levels.iter().map(|(name, level)| (name.clone(), of_level(level))).collect()
}

/// Seats that one request of a level may have: so few that one flow, with all its queues, leaves some to others.
fn widest(nominal: usize, hand: usize) -> usize {
    nominal.saturating_mul(15).div_ceil(100).min(nominal / hand.max(1)).max(1)
}

/// Where requests of a level wait, if they do.
fn queuing(level: &Object) -> Option<Queuing> {
    let field = |field: &str| {
        let path = ["spec", "limited", "limitResponse", "queuing", field];
        number(level.at(&path)).unwrap_or_default()
    };
    let queuing = Queuing {
        queues: field("queues"),
        hand: field("handSize"),
        length: field("queueLengthLimit"),
    };
    let queues = level.text(&["spec", "limited", "limitResponse", "type"]) == "Queue";
    (queues && !is_exempt(level) && queuing.queues > 0).then_some(queuing)
}

fn number(value: Option<&Value>) -> Option<usize> {
    value.and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn seats_are_shared_out_as_the_levels_say() {
        let level = |name: &str, spec: Value| {
            let object = json!({"metadata": {"name": name}, "spec": spec});
            (Arc::from(name), Object::from_value(object).unwrap())
        };
        let queuing = json!({"queues": 4, "handSize": 2, "queueLengthLimit": 10});
        let levels = BTreeMap::from([
            level("exempt", json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0}})),
            level(
                "a",
                json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 30,
                "lendablePercent": 33, "limitResponse": {"type": "Queue", "queuing": queuing}}}),
            ),
            level(
                "b",
                json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 10,
                "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}}}),
            ),
        ]);
        let found = limits(&levels);
        let queuing = Some(Queuing { queues: 4, hand: 2, length: 10 });
        let (most, widest) = (450 + SEATS, 68);
        let a = Limits { exempt: false, nominal: 450, kept: 301, most, widest, queuing };
        let (most, widest) = (150, 0);
        let b = Limits { exempt: false, nominal: 150, kept: 150, most, widest, queuing: None };
        assert_eq!((found["a"], found["b"]), (a, b));
        assert!(found["exempt"].exempt);
    }

    #[test]
    fn a_request_gets_a_part_of_its_level_at_most() {
        assert_eq!(
            [(245, 6), (40, 6), (13, 1), (0, 1)].map(|(nominal, hand)| widest(nominal, hand)),
            [37, 6, 2, 1]
        );
    }

    #[test]
    fn flows_are_hashed_as_by_the_original() {
        // The first bytes of the digest of the name, a zero byte and the user's name, the last of them first.
        let jane = hash_of(schema_hash("workload").chain_update("jane"));
        assert_eq!(jane, 4_464_681_852_969_050_044);
    }
}
