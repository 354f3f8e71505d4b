mod limited;

pub use limited::{LimitedResources, LimitedResourcesError};

use super::refuse;
use async_trait::async_trait;
use jiff::Timestamp;
use kubeplane_clock::SharedClock;
use kubeplane_core::{
    Definition, GroupResource, Object,
    admission::{Admission, Does, Operation, Request},
    quantity::Quantity,
    status::{ApiError, ApiResult},
};
use kubeplane_workload::{
    quota::{Evaluator, amounts},
    resources::Resources,
};
use serde_json::{Map, Value};
use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::Arc,
};
use tokio::sync::{Mutex, MutexGuard};

/// How many namespaces are charged at once at most.
const TURNS: usize = 64;

/// Charges what is written to the ResourceQuotas of its namespace, and refuses what would exceed one.
///
/// A write is charged before it is stored, in the quota's status, with the store's compare-and-swap: of
/// writes that come together, also through several servers, no more pass than the quota has room for. What
/// a write that then fails was charged, and what deleted objects took, is given back by whoever counts anew.
#[derive(Debug)]
pub struct ResourceQuota {
    clock: SharedClock,
    /// The same for every server, as everything that decides who waits for whom.
    hasher: BuildHasherDefault<DefaultHasher>,
    /// Writes into one namespace wait for each other here, not on the store's conflicts.
    turns: Vec<Mutex<()>>,
    limited: LimitedResources,
}

impl ResourceQuota {
    /// Tells pods that are overdue by this clock.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        let turns = std::iter::repeat_with(|| Mutex::new(())).take(TURNS).collect();
        let limited = LimitedResources::default();
        Self { clock, hasher: BuildHasherDefault::default(), turns, limited }
    }

    /// Refuses also what takes of these without a quota that limits it.
    #[must_use]
    pub fn limiting(self, limited: LimitedResources) -> Self {
        Self { limited, ..self }
    }

    async fn turn(&self, namespace: &str) -> Option<MutexGuard<'_, ()>> {
        let hash = usize::try_from(self.hasher.hash_one(namespace) % (TURNS as u64)).ok()?;
        Some(self.turns.get(hash)?.lock().await)
    }
}

fn quotas() -> GroupResource {
    GroupResource::new("", "resourcequotas")
}

#[async_trait]
impl Admission for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn does(&self) -> Does {
        Does::Validates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, _subresource: &str) -> bool {
        matches!(operation, Operation::Create | Operation::Update) && definition.is_namespaced()
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let Some(object) = request.object.as_deref().filter(|_| !request.namespace.is_empty())
        else {
            return Ok(());
        };
        let Some(evaluator) = Evaluator::of(&request.definition.resource()) else { return Ok(()) };
        let concerned =
            evaluator.handles(request.operation, request.subresource, Some(object), request.old);
        if !concerned || request.reader.revision(&quotas()).is_none() {
            return Ok(());
        }
        let present = in_force(request).await?;
        let matching: Vec<_> =
            present.iter().filter(|quota| evaluator.matches(quota, object)).collect();
        if matching.is_empty() && self.limited.is_empty() {
            return Ok(());
        }
        let usage = evaluator.usage(object, self.clock.now());
        let write = Write { request, object, evaluator, usage, now: self.clock.now() };
        // Whatever must be said for one quota is asked before another is looked at for room.
        for quota in &matching {
            write.constrained(quota)?;
        }
        if !self.limited.is_empty() && write.takes_more(&matching) {
            write.is_limited(&self.limited, &present, &matching)?;
        }
        if matching.is_empty() {
            return Ok(());
        }
        let _turn = self.turn(request.namespace).await;
        write.charge_all(&present).await
    }
}

/// The quotas of the namespace. Those whose limits do not count yet as far as the cache has seen are read anew: whoever
/// was told that they do may rely on it.
async fn in_force(request: &Request<'_>) -> ApiResult<Vec<Arc<Object>>> {
    let (reader, namespace) = (request.reader, request.namespace);
    let listed = reader.list(&quotas(), namespace).await?.items;
    let mut all = Vec::with_capacity(listed.len());
    for quota in listed {
        if amounts(&quota, &["spec", "hard"]) == amounts(&quota, &["status", "hard"]) {
            all.push(quota);
        } else {
            all.extend(reader.get_fresh(&quotas(), namespace, quota.name()).await?);
        }
    }
    Ok(all)
}

/// What is written and what it takes.
struct Write<'a> {
    request: &'a Request<'a>,
    object: &'a Object,
    evaluator: Evaluator,
    usage: Resources,
    now: Timestamp,
}

impl Write<'_> {
    /// Charges every quota, or none.
    async fn charge_all(&self, present: &[Arc<Object>]) -> ApiResult<()> {
        let mut charged: Vec<(&str, Resources)> = Vec::new();
        for quota in present {
            let result = match self.request.dry_run {
                true => self.try_on(quota).await.map(|()| Resources::new()),
                false => self.charge(quota.name()).await,
            };
            match result {
                Ok(taken) => charged.push((quota.name(), taken)),
                Err(refused) => {
                    for (name, taken) in charged {
                        self.give_back(name, &taken).await;
                    }
                    return Err(refused);
                }
            }
        }
        Ok(())
    }

    async fn try_on(&self, quota: &Object) -> ApiResult<()> {
        let namespace = self.request.namespace;
        let fresh = self.request.reader.get_fresh(&quotas(), namespace, quota.name()).await?;
        fresh.map_or(Ok(()), |quota| self.to_charge(&quota).map(drop))
    }

    /// Charges one quota as it is stored; returns what it was charged with.
    async fn charge(&self, name: &str) -> ApiResult<Resources> {
        let mut taken = Resources::new();
        let mut change = |quota: &mut Object| {
            taken = self.to_charge(quota)?;
            book(quota, &taken, |used, amount| used.add(amount));
            Ok(())
        };
        let (updater, namespace) = (self.request.updater, self.request.namespace);
        match updater.update(&quotas(), namespace, name, &mut change).await {
            Ok(_) => Ok(taken),
            // It was deleted meanwhile: nothing limits the write any more.
            Err(error) if error.code() == http::StatusCode::NOT_FOUND => Ok(Resources::new()),
            Err(error) => Err(error),
        }
    }

    async fn give_back(&self, name: &str, taken: &Resources) {
        let mut change = |quota: &mut Object| {
            book(quota, taken, |used, amount| used.sub(amount));
            Ok(())
        };
        let (updater, namespace) = (self.request.updater, self.request.namespace);
        let given = updater.update(&quotas(), namespace, name, &mut change).await;
        if let Err(error) = given {
            tracing::warn!(namespace, quota = name, %error, "a refused write stays charged until it is counted anew");
        }
    }

    /// What this write takes of a quota.
    fn to_charge(&self, quota: &Object) -> ApiResult<Resources> {
        if !self.evaluator.matches(quota, self.object) {
            return Ok(Resources::new());
        }
        self.constrained(quota)?;
        let (name, hard) = (quota.name(), amounts(quota, &["status", "hard"]));
        let used = amounts(quota, &["status", "used"]);
        let limited = self.limited(&hard);
        if limited.iter().any(|limited| !used.contains_key(*limited)) {
            let resources = limited.join(",");
            return Err(
                self.refuse(format!("status unknown for quota: {name}, resources: {resources}"))
            );
        }
        let negative: Vec<&str> = self
            .usage
            .iter()
            .filter(|(_, amount)| amount.sign() < 0)
            .map(|(name, _)| name.as_str())
            .collect();
        if !negative.is_empty() {
            let why = format!("quota usage is negative for resource(s): {}", negative.join(","));
            return Err(self.refuse(why));
        }
        let asked: Resources = self
            .more_than_before(quota)
            .into_iter()
            .filter(|(name, _)| hard.contains_key(name))
            .collect();
        let exceeded = |(name, amount): &(&String, &Quantity)| {
            let mut sum = used.get(*name).cloned().unwrap_or_default();
            sum.add(amount);
            hard.get(*name).is_some_and(|limit| sum > *limit)
        };
        let over: Vec<&String> = asked.iter().filter(exceeded).map(|(name, _)| name).collect();
        if over.is_empty() || self.request.subresource == "status" {
            return Ok(asked);
        }
        let [asked, used, hard] = [&asked, &used, &hard].map(|list| shown(list, &over));
        let why =
            format!("exceeded quota: {name}, requested: {asked}, used: {used}, limited: {hard}");
        Err(self.refuse(why))
    }

    /// What a quota limits of such objects.
    fn limited<'h>(&self, hard: &'h Resources) -> Vec<&'h str> {
        hard.keys().map(String::as_str).filter(|name| self.evaluator.counts(name)).collect()
    }

    /// Whether the object says what a quota that it falls under limits.
    fn constrained(&self, quota: &Object) -> ApiResult<()> {
        let hard = amounts(quota, &["status", "hard"]);
        let checked = self.evaluator.check(&self.limited(&hard), self.object);
        checked.map_err(|why| self.refuse(format!("failed quota: {}: {why}", quota.name())))
    }

    /// Whether it takes more than before of one of these quotas, or at all where there are none.
    fn takes_more(&self, matching: &[&Arc<Object>]) -> bool {
        if matching.is_empty() {
            return !self.more_than(self.request.old).is_empty();
        }
        matching.iter().any(|quota| !self.more_than_before(quota).is_empty())
    }

    /// Holds that quotas limit what may not be taken otherwise.
    fn is_limited(
        &self,
        limited: &LimitedResources,
        present: &[Arc<Object>],
        matching: &[&Arc<Object>],
    ) -> ApiResult<()> {
        let mut names = limited.names(&self.request.definition.resource(), &self.usage);
        for quota in matching {
            let hard = amounts(quota, &["status", "hard"]);
            names.retain(|name| !self.limited(&hard).contains(name));
        }
        if !names.is_empty() {
            let names: Vec<_> = names.into_iter().collect();
            let why = format!("insufficient quota to consume: {}", names.join(","));
            return Err(self.refuse(why));
        }
        let open = limited.open_scopes(&self.evaluator, self.object, present);
        if open.is_empty() {
            return Ok(());
        }
        // The original gives no reason here.
        let why = format!("insufficient quota to match these scopes: [{}]", open.join(" "));
        Err(ApiError::new(http::StatusCode::INTERNAL_SERVER_ERROR, "", why))
    }

    /// What the object takes now and did not before, if the quota counted it before.
    fn more_than_before(&self, quota: &Object) -> Resources {
        self.more_than(self.request.old.filter(|old| self.evaluator.matches(quota, old)))
    }

    /// What the object takes and this one did not.
    fn more_than(&self, old: Option<&Object>) -> Resources {
        let mut more = self.usage.clone();
        if let Some(old) = old {
            for (name, before) in self.evaluator.usage(old, self.now) {
                if let Some(amount) = more.get_mut(&name) {
                    amount.sub(&before);
                }
            }
        }
        more.retain(|_, amount| amount.sign() > 0);
        more
    }

    fn refuse(&self, why: String) -> ApiError {
        refuse(self.request, why)
    }
}

/// Changes what is noted as used.
fn book(quota: &mut Object, taken: &Resources, change: impl Fn(&mut Quantity, &Quantity)) {
    if taken.is_empty() {
        return;
    }
    let used: &mut Map<String, Value> = quota.map_at_mut(&["status", "used"]);
    for (name, amount) in taken {
        let noted = used.get(name).map(Quantity::from_json);
        let mut sum = noted.and_then(Result::ok).unwrap_or_default();
        change(&mut sum, amount);
        used.insert(name.clone(), sum.to_string().into());
    }
}

fn shown(list: &Resources, names: &[&String]) -> String {
    let parts = names.iter().filter_map(|name| Some(format!("{name}={}", list.get(*name)?)));
    parts.collect::<Vec<_>>().join(",")
}
