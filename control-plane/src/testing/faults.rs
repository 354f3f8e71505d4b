//! What goes wrong in a cluster, by plan.

use jiff::SignedDuration;
use kubeplane_clock::{SharedClock, watch};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

/// A year: no clock is further off by plan, in milliseconds.
const MOST_SKEWED: u64 = 365 * 86_400_000;
/// The user whose requests no plan disturbs: the test itself.
pub(super) const ADMIN: &str = "kubernetes-admin";
/// Who writes when nobody asked.
pub(super) const SERVER: &str = "system:apiserver";

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// An update or patch is answered with 409, as if another write had come first.
    Conflict,
    /// A request is not carried out, and its sender hears nothing.
    RequestLost,
    /// A request is carried out, and its sender hears nothing.
    AnswerLost,
    /// A watch ends after this many pieces of its answer.
    WatchDropped {
        /// How many come through.
        after: u64,
    },
    /// The history of the store is gone: who watches an older revision has to list anew.
    Compaction,
    /// The store does not carry out a call, and says so.
    StoreFailure,
    /// The store takes longer.
    StoreDelay(Duration),
    /// The API server stops and starts again; the request is not carried out. The others that are under way get no answer:
    /// writes that it had begun it completes, as it does when it is told to stop, and everything else it drops.
    Restart,
    /// The way between the user and the API server is cut for so long: watches end, requests fail. Those under way fail,
    /// too, though what they had begun to write is written.
    Partition(Duration),
    /// A part's clock is off by so much.
    Skew(SignedDuration),
}

/// How often which [`Fault`] strikes: probabilities from 0 to 1, of each request or each call of the store.
///
/// Whether a request is struck depends on the seed, on who sends it, and on how many that user sent before: one
/// component's misfortune does not depend on how fast another runs.
///
/// What strikes requests, which is conflicts, timeouts, dropped watches, restarts and partitions, strikes the clients
/// in this process: [`client_as`](super::TestCluster::client_as), and the cluster's own parts, whose users
/// [`Faults::cut`] names. What strikes the store, which is compactions, failures and delays, strikes whoever asked for
/// what the store is to do, also over a socket.
///
/// ```
/// use kubeplane::testing::FaultPlan;
/// use std::time::Duration;
///
/// let plan = FaultPlan::seeded(7).conflicts(0.1).dropped_watches(0.2).slow_store(0.05, Duration::from_millis(20));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct FaultPlan {
    seed: u64,
    conflicts: f64,
    lost_requests: f64,
    lost_answers: f64,
    dropped_watches: f64,
    compactions: f64,
    store_failures: f64,
    slow_store: f64,
    delay: Duration,
    restarts: f64,
    partitions: f64,
    parted_for: Duration,
    skews: Duration,
    users: Vec<String>,
}

impl FaultPlan {
    /// Nothing goes wrong yet.
    pub fn seeded(seed: u64) -> Self {
        Self {
            seed,
            conflicts: 0.0,
            lost_requests: 0.0,
            lost_answers: 0.0,
            dropped_watches: 0.0,
            compactions: 0.0,
            store_failures: 0.0,
            slow_store: 0.0,
            delay: Duration::ZERO,
            restarts: 0.0,
            partitions: 0.0,
            parted_for: Duration::ZERO,
            skews: Duration::ZERO,
            users: Vec::new(),
        }
    }

    /// So many updates and patches conflict.
    pub fn conflicts(mut self, probability: f64) -> Self {
        self.conflicts = probability;
        self
    }

    /// So many requests but watches time out: half of them carried out, half of them not.
    pub fn timeouts(mut self, probability: f64) -> Self {
        (self.lost_requests, self.lost_answers) = (probability / 2.0, probability / 2.0);
        self
    }

    /// So many watches end soon.
    pub fn dropped_watches(mut self, probability: f64) -> Self {
        self.dropped_watches = probability;
        self
    }

    /// With so many writes the history is gone.
    pub fn compactions(mut self, probability: f64) -> Self {
        self.compactions = probability;
        self
    }

    /// So many calls of the store fail; none was carried out.
    pub fn failing_store(mut self, probability: f64) -> Self {
        self.store_failures = probability;
        self
    }

    /// So many calls of the store take `delay` longer.
    pub fn slow_store(mut self, probability: f64, delay: Duration) -> Self {
        (self.slow_store, self.delay) = (probability, delay);
        self
    }

    /// With so many requests the API server starts anew.
    pub fn restarts(mut self, probability: f64) -> Self {
        self.restarts = probability;
        self
    }

    /// With so many requests but watches the way between the user and the API server is cut for `lasting`, of the
    /// cluster's time.
    pub fn partitions(mut self, probability: f64, lasting: Duration) -> Self {
        (self.partitions, self.parted_for) = (probability, lasting);
        self
    }

    /// The clock of each part is off by up to `most`, forward or back, as long as the plan is in force; parts are named
    /// as [`skew`](super::TestClusterBuilder::skew) has them. The cluster's own clock, which the API server goes by,
    /// is right.
    pub fn skews(mut self, most: Duration) -> Self {
        self.skews = most;
        self
    }

    /// Only requests of this user are struck, or of all whose names begin so, with a `*` at the end. May be said
    /// several times; without it it is everybody but the cluster's administrator and the API server itself.
    pub fn only(mut self, user: impl Into<String>) -> Self {
        self.users.push(user.into());
        self
    }

    fn concerns(&self, user: &str) -> bool {
        match self.users.is_empty() {
            true => user != ADMIN && user != SERVER,
            false => self.users.iter().any(|pattern| matches(pattern, user)),
        }
    }

    fn request(&self, request: &Asked<'_>, count: u64) -> Option<Fault> {
        let mut chance = Chance::new(self.seed, "request", request.user, count);
        if request.watch {
            let after = chance.below(4);
            return chance.strikes(self.dropped_watches).then_some(Fault::WatchDropped { after });
        }
        if request.changes && chance.strikes(self.conflicts) {
            return Some(Fault::Conflict);
        }
        let rest = [
            (self.lost_requests, Fault::RequestLost),
            (self.lost_answers, Fault::AnswerLost),
            (self.restarts, Fault::Restart),
            (self.partitions, Fault::Partition(self.parted_for)),
        ];
        rest.into_iter()
            .find(|(probability, _)| chance.strikes(*probability))
            .map(|(_, fault)| fault)
    }

    fn call(&self, user: &str, count: u64, writes: bool) -> Option<Fault> {
        let mut chance = Chance::new(self.seed, "store", user, count);
        if chance.strikes(self.store_failures) {
            return Some(Fault::StoreFailure);
        }
        if chance.strikes(self.slow_store) {
            return Some(Fault::StoreDelay(self.delay));
        }
        (writes && chance.strikes(self.compactions)).then_some(Fault::Compaction)
    }
}

impl FaultPlan {
    fn skew(&self, part: &str) -> SignedDuration {
        let most = u64::try_from(self.skews.as_millis()).unwrap_or(u64::MAX).min(MOST_SKEWED);
        let drawn = Chance::new(self.seed, "skew", part, 0).below(2 * most + 1);
        SignedDuration::from_millis(drawn.cast_signed() - most.cast_signed())
    }
}

fn matches(pattern: &str, user: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => user.starts_with(prefix),
        None => pattern == user,
    }
}

/// A short stream of chance made from words: the same everywhere, whatever came before.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64, what: &str, user: &str, count: u64) -> Self {
        let mut state = seed ^ 0xcbf2_9ce4_8422_2325;
        for byte in what.bytes().chain([0]).chain(user.bytes()).chain(count.to_le_bytes()) {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self(state)
    }

    /// SplitMix64.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn strikes(&mut self, probability: f64) -> bool {
        let drawn = u32::try_from(self.next() >> 32).unwrap_or(u32::MAX);
        f64::from(drawn) < probability * (f64::from(u32::MAX) + 1.0)
    }
}

/// A request as a plan sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) user: &'a str,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) watch: bool,
    /// It updates or patches.
    pub(super) changes: bool,
}

#[derive(Debug, Default)]
struct State {
    plan: Option<FaultPlan>,
    requests: BTreeMap<String, u64>,
    calls: BTreeMap<String, u64>,
    cut: BTreeSet<String>,
    /// Until when users are cut off by plan, on the cluster's clock.
    parted: BTreeMap<String, Duration>,
    /// By how much parts are off, as far as they asked.
    skewed: BTreeMap<String, SignedDuration>,
    struck: Vec<String>,
}

/// Lets things go wrong in a cluster while it runs; clones are of the same cluster.
#[derive(Clone)]
pub struct Faults {
    state: Arc<Mutex<State>>,
    /// Changes when somebody is cut off, or the server goes.
    cuts: watch::Sender<u64>,
    clock: SharedClock,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}

impl Faults {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self { state: Arc::default(), cuts: watch::Sender::new(0), clock }
    }

    /// From now on things go wrong by this plan and no other; requests are counted from zero.
    pub fn set(&self, plan: FaultPlan) {
        let mut state = self.state.lock();
        state.requests.clear();
        state.calls.clear();
        state.parted.clear();
        state.skewed.clear();
        state.plan = Some(plan);
    }

    /// From now on nothing goes wrong by plan. Who was [cut](Self::cut) off stays so.
    pub fn clear(&self) {
        let mut state = self.state.lock();
        state.parted.clear();
        state.skewed.clear();
        state.plan = None;
    }

    /// Cuts the way between this user and the API server. Its requests fail, also those under way, though what they had
    /// begun to write is written; its watches and whatever else is streamed to it end, and so do the connections that it
    /// took over, as for exec and port-forward. A `*` at the end stands for all whose names begin so:
    ///
    /// * the scheduler is `system:kube-scheduler`;
    /// * the controllers are `system:kube-controller-manager`, which reads, and `system:serviceaccount:kube-system:*`;
    /// * a node with a kubelet is `system:node:NAME`. The API server does not reach it either: logs, exec, attach,
    ///   port-forward, `nodes/proxy` and its figures fail for everybody, and those that are under way end;
    /// * a simulated node is `system:simulated-nodes:NAME` in everything that it writes, for itself and for its pods, and
    ///   `system:simulated-nodes` watches the pods of all of them. What the pods of a node that is cut off say and use the
    ///   API server does not tell either: logs fail, also those that are under way, and there are no figures;
    /// * [controllers of your own](super::TestClusterBuilder::controller) are `system:test-controllers`, and a component of
    ///   your own is whom it [asks as](super::ClusterParts::client_as).
    ///
    /// Clients over a socket are not cut off, nor is the way from the API server to webhooks and extension API servers or
    /// from the scheduler to extenders: these are servers of the test's own, which it can let fail.
    pub fn cut(&self, user: impl Into<String>) {
        self.state.lock().cut.insert(user.into());
        self.look_again();
    }

    /// Joins what was [cut](Self::cut), by the same name.
    pub fn heal(&self, user: &str) {
        self.state.lock().cut.remove(user);
    }

    /// What went wrong so far, a line each.
    #[must_use]
    pub fn struck(&self) -> Vec<String> {
        self.state.lock().struck.clone()
    }

    pub(super) fn is_cut(&self, user: &str) -> bool {
        let state = self.state.lock();
        state.cut.iter().any(|pattern| matches(pattern, user))
            || state.parted.get(user).is_some_and(|until| self.clock.elapsed() < *until)
    }

    /// Ends when this user is cut off, from now on.
    pub(super) fn cut_of(&self, user: String) -> impl Future<Output = ()> + Send + use<> {
        let (faults, mut cuts) = (self.clone(), self.cuts());
        async move { while !faults.is_cut(&user) && cuts.changed().await.is_ok() {} }
    }

    /// By how much a part's clock is off now.
    pub(super) fn skew_of(&self, part: &str, user: &str) -> SignedDuration {
        let mut state = self.state.lock();
        let State { plan, skewed, struck, .. } = &mut *state;
        let plan = plan.as_ref().filter(|plan| !plan.skews.is_zero() && plan.concerns(user));
        let Some(plan) = plan else { return SignedDuration::ZERO };
        if let Some(known) = skewed.get(part) {
            return *known;
        }
        let skew = plan.skew(part);
        skewed.insert(part.to_owned(), skew);
        struck.push(format!("{part}: {:?}", Fault::Skew(skew)));
        skew
    }

    /// Everybody who has something under way looks whether the other side is still there.
    pub(super) fn look_again(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    pub(super) fn cuts(&self) -> watch::Receiver<u64> {
        self.cuts.subscribe()
    }

    pub(super) fn of_request(&self, request: &Asked<'_>) -> Option<Fault> {
        let mut state = self.state.lock();
        let State { plan, requests, struck, parted, .. } = &mut *state;
        let plan = plan.as_ref().filter(|plan| plan.concerns(request.user))?;
        let count = next(requests, request.user);
        let fault = plan.request(request, count)?;
        let Asked { user, method, path, .. } = request;
        struck.push(format!("{user} {count}: {method} {path}: {fault:?}"));
        if let Fault::Partition(lasting) = fault {
            parted.insert((*user).to_owned(), self.clock.elapsed().saturating_add(lasting));
            drop(state);
            self.look_again();
        }
        Some(fault)
    }

    pub(super) fn of_call(&self, user: &str, operation: &str, writes: bool) -> Option<Fault> {
        let mut state = self.state.lock();
        let State { plan, calls, struck, .. } = &mut *state;
        let plan = plan.as_ref().filter(|plan| plan.concerns(user))?;
        let count = next(calls, user);
        let fault = plan.call(user, count, writes)?;
        struck.push(format!("{user} {count}: store {operation}: {fault:?}"));
        Some(fault)
    }
}

/// How many there were before.
fn next(counts: &mut BTreeMap<String, u64>, user: &str) -> u64 {
    let count = counts.entry(user.to_owned()).or_default();
    *count += 1;
    *count - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(user: &str) -> Asked<'_> {
        Asked { user, method: "PUT", path: "/x", watch: false, changes: true }
    }

    fn faults(plan: &FaultPlan, users: &[&str]) -> Vec<String> {
        let faults = Faults::new(kubeplane_clock::real());
        faults.set(plan.clone());
        for user in users {
            faults.of_request(&asked(user));
        }
        let mut struck = faults.struck();
        struck.sort();
        struck
    }

    #[test]
    fn what_happens_to_one_does_not_depend_on_others() {
        let plan = FaultPlan::seeded(3).conflicts(0.5);
        let apart = faults(&plan, &["a", "a", "a", "a", "b", "b", "b", "b"]);
        let mixed = faults(&plan, &["b", "a", "a", "b", "a", "b", "b", "a"]);
        assert_eq!(apart, mixed);
        assert!(!apart.is_empty() && apart.len() < 8, "{apart:?}");
        assert_ne!(
            apart,
            faults(&FaultPlan::seeded(4).conflicts(0.5), &["a", "a", "a", "a", "b", "b", "b", "b"])
        );
    }

    #[test]
    fn a_probability_is_about_what_it_says() {
        let plan = FaultPlan::seeded(1).conflicts(0.25);
        let count = faults(&plan, &["a"; 2000]).len();
        assert!((400..600).contains(&count), "{count}");
    }

    #[test]
    fn clocks_are_off_by_chance_and_no_further_than_said() {
        let plan = FaultPlan::seeded(1).skews(Duration::from_secs(3));
        let skews: BTreeSet<_> = (0..50).map(|part| plan.skew(&format!("node-{part}"))).collect();
        let most = SignedDuration::from_secs(3);
        assert!(skews.iter().all(|skew| skew.abs() <= most), "{skews:?}");
        assert!(skews.iter().any(SignedDuration::is_negative), "{skews:?}");
        assert!(skews.iter().any(SignedDuration::is_positive), "{skews:?}");
        assert_eq!(plan.skew("node-1"), plan.clone().conflicts(0.5).skew("node-1"));
    }

    #[test]
    fn plans_spare_the_administrator_and_whom_they_do_not_name() {
        let plan = FaultPlan::seeded(1).conflicts(1.0);
        assert!(faults(&plan, &[ADMIN]).is_empty());
        let plan = plan.only("system:node:*");
        assert_eq!(faults(&plan, &["system:node:a", "jane"]).len(), 1);
    }
}
