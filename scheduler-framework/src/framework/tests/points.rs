//! Who is asked at which point, and what is skipped.

use super::*;
use crate::{
    Filter, FilterVerdict, Objection, Permit, PermitVerdict, PostBind, PreBind, PreBindVerdict,
    PreFilter, PreScore, PreScoreVerdict, PrioritySort, Reserve, Score,
};
use kubeplane_clock::Clock;
use std::time::Duration;

/// What was asked of whom, in order.
type Book = Arc<Mutex<Vec<String>>>;

/// What is special in how somebody answers.
type Habits = &'static [&'static str];

/// Why some fail.
const NO_INK: &str = "no ink";

/// Serves every point, writes down that it is asked, and answers by its habits.
#[derive(Debug)]
struct Scribe {
    name: &'static str,
    habits: Habits,
    book: Book,
}

/// What a scribe keeps until the pod is bound, and until it has a node.
struct Lasting;
struct Brief;

impl Scribe {
    fn note(&self, point: &str) {
        self.book.lock().push(format!("{} {point}", self.name));
    }

    fn does(&self, habit: &str) -> bool {
        self.habits.contains(&habit)
    }
}

impl SchedulerPlugin for Scribe {
    fn name(&self) -> &'static str {
        self.name
    }

    fn as_pre_filter(&self) -> Option<&dyn PreFilter> {
        Some(self)
    }

    fn as_filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }

    fn as_pre_score(&self) -> Option<&dyn PreScore> {
        Some(self)
    }

    fn as_score(&self) -> Option<&dyn Score> {
        Some(self)
    }

    fn as_reserve(&self) -> Option<&dyn Reserve> {
        Some(self)
    }

    fn as_permit(&self) -> Option<&dyn Permit> {
        Some(self)
    }

    fn as_pre_bind(&self) -> Option<&dyn PreBind> {
        Some(self)
    }

    fn as_bind(&self) -> Option<&dyn Bind> {
        Some(self)
    }

    fn as_post_bind(&self) -> Option<&dyn PostBind> {
        Some(self)
    }
}

impl PreFilter for Scribe {
    fn pre_filter(&self, state: &mut CycleState, _: &PodInfo, _: &Snapshot) -> PreFilterVerdict {
        self.note("PreFilter");
        state.insert(Lasting);
        state.insert_until_placed(Brief);
        for only in ["a", "b", "c"] {
            if self.does(only) {
                return PreFilterVerdict::Nodes(BTreeSet::from([only.to_owned()]));
            }
        }
        if self.does("fail PreFilter") {
            return PreFilterVerdict::Error(NO_INK.to_owned());
        }
        if self.does("skip Filter") { PreFilterVerdict::Skip } else { PreFilterVerdict::Continue }
    }
}

impl Filter for Scribe {
    fn filter(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> FilterVerdict {
        self.note(&format!("Filter {}", node.name()));
        assert!(state.value::<Lasting>().is_some() && state.value::<Brief>().is_some());
        if self.does("fail Filter") {
            return FilterVerdict::Error(NO_INK.to_owned());
        }
        FilterVerdict::Fits
    }
}

impl PreScore for Scribe {
    fn pre_score(&self, _: &mut CycleState, _: &PodInfo, _: &[Arc<NodeInfo>]) -> PreScoreVerdict {
        self.note("PreScore");
        if self.does("fail PreScore") {
            return PreScoreVerdict::Error(NO_INK.to_owned());
        }
        if self.does("skip Score") { PreScoreVerdict::Skip } else { PreScoreVerdict::Continue }
    }
}

impl Score for Scribe {
    fn score(&self, _: &CycleState, _: &PodInfo, node: &NodeInfo) -> i64 {
        self.note(&format!("Score {}", node.name()));
        i64::from(node.name() == "b")
    }

    fn normalize(&self, _: &CycleState, _: &PodInfo, scores: &mut [i64]) {
        self.note(&format!("NormalizeScore {scores:?}"));
        let most = if self.does("exaggerate") { 1000 } else { 100 };
        scores.iter_mut().for_each(|score| *score *= most);
    }

    fn try_score(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Result<i64, String> {
        match self.does("fail Score") && node.name() == "b" {
            true => Err(NO_INK.to_owned()),
            false => Ok(self.score(state, pod, node)),
        }
    }

    fn try_normalize(
        &self,
        state: &CycleState,
        pod: &PodInfo,
        scores: &mut [i64],
    ) -> Result<(), String> {
        if self.does("fail NormalizeScore") {
            return Err(NO_INK.to_owned());
        }
        self.normalize(state, pod, scores);
        Ok(())
    }
}

impl Reserve for Scribe {
    fn reserve(&self, _: &mut CycleState, _: &PodInfo, node: &str) -> Result<(), Objection> {
        self.note(&format!("Reserve {node}"));
        let why = "no room in the book".to_owned();
        if self.does("refuse Reserve") {
            return Err(Objection::Unschedulable(why));
        }
        if self.does("fail Reserve") { Err(why.into()) } else { Ok(()) }
    }

    fn unreserve(&self, _: &mut CycleState, _: &PodInfo, node: &str) {
        self.note(&format!("Unreserve {node}"));
    }
}

impl Permit for Scribe {
    fn permit(&self, _: &mut CycleState, _: &PodInfo, _: &str) -> PermitVerdict {
        self.note("Permit");
        if self.does("fail Permit") {
            return PermitVerdict::Error("no ink".to_owned());
        }
        let waits = [("wait 10", 10), ("wait 90", 90), ("wait long", 100_000)];
        let waits = waits.into_iter().find(|(habit, _)| self.does(habit));
        waits.map_or(PermitVerdict::Allow, |(_, most)| {
            PermitVerdict::Wait(Duration::from_secs(most))
        })
    }
}

#[async_trait::async_trait]
impl PreBind for Scribe {
    fn preflight(&self, _: &CycleState, _: &PodInfo, _: &str) -> PreBindVerdict {
        if self.does("skip PreBind") { PreBindVerdict::Skip } else { PreBindVerdict::Needed }
    }

    fn allows_parallel(&self, _: &CycleState, _: &PodInfo, _: &str) -> bool {
        self.does("share PreBind")
    }

    async fn pre_bind(&self, _: &CycleState, _: &PodInfo, _: &str) -> Result<(), Objection> {
        self.note("PreBind");
        if self.does("never end") {
            std::future::pending::<()>().await;
        }
        if self.does("dawdle") {
            tokio::task::yield_now().await;
            self.note("PreBind done");
        }
        let why = "not on this page".to_owned();
        if self.does("refuse PreBind") { Err(Objection::Unschedulable(why)) } else { Ok(()) }
    }
}

#[async_trait::async_trait]
impl Bind for Scribe {
    async fn bind(&self, _: &CycleState, _: &PodInfo, _: &str) -> BindVerdict {
        self.note("Bind");
        if self.does("refuse Bind") {
            return BindVerdict::Unschedulable("not in this book".to_owned());
        }
        if self.does("skip Bind") { BindVerdict::Skip } else { BindVerdict::Bound }
    }
}

impl PostBind for Scribe {
    fn post_bind(&self, state: &CycleState, _: &PodInfo, node: &str) {
        self.note(&format!("PostBind {node}"));
        assert!(state.value::<Lasting>().is_some() && state.value::<Brief>().is_none());
    }
}

/// Scribes by name with their habits, their book, and the clock they wait by.
fn scribes(all: &[(&'static str, Habits)]) -> (Framework, Book, Arc<PausedClock>) {
    let book = Book::default();
    let clock = Arc::new(PausedClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
    let mut profile = Profile::empty("scribes").add(PrioritySort, 1);
    for &(name, habits) in all {
        profile = profile.add(Scribe { name, habits, book: book.clone() }, 1);
    }
    (Framework::new(profile, clock.clone(), Seed::new(7)).unwrap(), book, clock)
}

fn nodes() -> Snapshot {
    Snapshot::new(["a", "b"].map(|name| node(name, json!({}), "4")).to_vec())
}

#[tokio::test]
async fn every_point_is_asked_in_its_turn_but_for_what_is_skipped() {
    let skips: Habits = &["skip Filter", "skip Score", "skip PreBind", "skip Bind"];
    let (framework, book, _) = scribes(&[("one", skips), ("two", &[])]);
    let own = pod(json!({}), "1");
    let mut placement = framework.schedule(&own, &nodes()).await.unwrap();
    assert_eq!(placement.node, "b");
    let state = &mut placement.state;
    framework.reserve(state, &own, "b").unwrap();
    let permission = framework.permit(state, &own, "b").unwrap();
    framework.permitted(&own, permission).await.unwrap();
    framework.bind(state, &own, "b").await.unwrap();
    let expected = [
        "one PreFilter",
        "two PreFilter",
        "two Filter a",
        "two Filter b",
        "one PreScore",
        "two PreScore",
        "two Score a",
        "two Score b",
        "two NormalizeScore [0, 1]",
        "one Reserve b",
        "two Reserve b",
        "one Permit",
        "two Permit",
        "two PreBind",
        "one Bind",
        "two Bind",
        "one PostBind b",
        "two PostBind b",
    ];
    assert_eq!(*book.lock(), expected);
}

#[tokio::test]
async fn a_plugin_that_fails_is_named_as_by_the_original() {
    let invalid = "applying score defaultWeights on Score plugins: plugin \"one\" returns an invalid score 1000, it should in the range of [0, 100] after normalizing";
    let unscored = "running Score plugins: plugin \"one\" failed with: no ink";
    let unranged = "running Normalize on Score plugins: plugin \"one\" failed with: no ink";
    let cases: [(Habits, &str); 6] = [
        (&["fail PreFilter"], "running PreFilter plugin \"one\": no ink"),
        (&["fail Filter"], "running \"one\" filter plugin: no ink"),
        (&["fail PreScore"], "running PreScore plugin \"one\": no ink"),
        (&["fail Score"], unscored),
        (&["fail NormalizeScore"], unranged),
        (&["exaggerate"], invalid),
    ];
    for (habits, expected) in cases {
        let (framework, _, _) = scribes(&[("one", habits)]);
        let outcome = framework.schedule(&pod(json!({}), "1"), &nodes()).await;
        let Err(Failure::Error(told)) = outcome else { panic!("{habits:?}: {outcome:?}") };
        assert_eq!(told, expected);
    }
}

#[test]
fn a_reservation_that_fails_is_taken_back_by_all_the_last_first() {
    let (framework, book, _) = scribes(&[("one", &[]), ("two", &["fail Reserve"]), ("three", &[])]);
    let outcome = framework.reserve(&mut CycleState::new(), &pod(json!({}), "1"), "a");
    let why = "running Reserve plugin \"two\": no room in the book".to_owned();
    assert_eq!(outcome, Err(Setback::Failed(why)));
    let expected = [
        "one Reserve a",
        "two Reserve a",
        "three Unreserve a",
        "two Unreserve a",
        "one Unreserve a",
    ];
    assert_eq!(*book.lock(), expected);
}

#[test]
fn a_permission_that_fails_is_no_refusal_and_the_others_are_not_asked() {
    let all: [(&str, Habits); 3] =
        [("one", &["wait 10"]), ("two", &["fail Permit"]), ("three", &[])];
    let (framework, book, _) = scribes(&all);
    let outcome = framework.permit(&mut CycleState::new(), &pod(json!({}), "1"), "a");
    let why = "running Permit plugin \"two\": no ink".to_owned();
    assert_eq!(outcome.unwrap_err(), Setback::Failed(why));
    assert_eq!(*book.lock(), ["one Permit", "two Permit"]);
    assert!(framework.waiting().is_empty());
}

#[tokio::test]
async fn pods_that_plugins_narrow_to_nothing_are_told_so() {
    let cases: [(Habits, Habits, &str); 2] = [
        (&["a"], &["b"], "node(s) didn't satisfy plugin(s) [one two] simultaneously."),
        (&["c"], &[], "2 node(s) didn't satisfy plugin(s) [one]."),
    ];
    for (first, second, why) in cases {
        let (framework, book, _) = scribes(&[("one", first), ("two", second)]);
        let outcome = framework.schedule(&pod(json!({}), "1"), &nodes()).await;
        let Err(Failure::Unschedulable(told)) = outcome else { panic!("it fits nowhere") };
        assert_eq!(told.to_string(), format!("0/2 nodes are available: {why}"));
        assert!(!book.lock().iter().any(|own| own.contains(" Filter")), "no node is looked at");
    }
}

/// What becomes of a pod that two scribes hold back, one for ten seconds, one for ninety.
async fn waiting(meanwhile: impl AsyncFnOnce(&Framework, &PausedClock)) -> Result<(), Setback> {
    let (framework, _, clock) = scribes(&[("one", &["wait 10"]), ("two", &["wait 90"])]);
    let (own, mut state) = (pod(json!({}), "1"), CycleState::new());
    let permission = framework.permit(&mut state, &own, "a").unwrap();
    assert_eq!(framework.waiting(), [own.uid()]);
    let permitted = framework.permitted(&own, permission);
    let (outcome, ()) = tokio::join!(permitted, meanwhile(&framework, clock.as_ref()));
    assert!(framework.waiting().is_empty());
    outcome
}

/// How long it is until somebody's time has come, once somebody waits for it.
async fn next(clock: &PausedClock) -> Duration {
    loop {
        match clock.next_wake() {
            Some(next) => return next,
            None => tokio::task::yield_now().await,
        }
    }
}

/// Lets so much time pass.
async fn pass(clock: &PausedClock) {
    clock.advance(next(clock).await);
    tokio::task::yield_now().await;
}

#[tokio::test]
async fn a_waiting_pod_is_bound_when_all_who_hold_it_back_let_it_go() {
    let allowed = waiting(async |framework, _| {
        assert!(framework.allow("u", "two"));
        assert_eq!(framework.waiting(), ["u"], "the other holds it still");
        assert!(framework.allow("u", "one"));
        assert!(!framework.allow("u", "one"), "it does not wait any more");
    });
    assert_eq!(allowed.await, Ok(()));
    let refused = waiting(async |framework, _| assert!(framework.reject("u", "not today")));
    let why = "not today".to_owned();
    assert_eq!(refused.await, Err(Setback::Rejected { plugin: "one", why }));
    let preempted = waiting(async |framework, _| assert!(framework.preempt("u")));
    let why = "waiting on permit for pod: preempted".to_owned();
    assert_eq!(preempted.await, Err(Setback::Failed(why)));
}

#[tokio::test]
async fn a_waiting_pod_is_refused_when_the_patience_of_one_ends_who_still_holds_it_back() {
    let late = |plugin: &'static str, waited: &str| {
        let why = format!("rejected due to timeout after waiting {waited} at plugin {plugin}");
        Err(Setback::Rejected { plugin, why })
    };
    assert_eq!(waiting(async |_, clock| pass(clock).await).await, late("one", "10s"));
    let outcome = waiting(async |framework, clock| {
        assert_eq!(next(clock).await, Duration::from_secs(10));
        assert!(framework.allow("u", "one"));
        pass(clock).await;
        assert_eq!(clock.elapsed(), Duration::from_secs(10));
        assert_eq!(framework.waiting(), ["u"], "the patience of the other does not end yet");
        pass(clock).await;
    });
    assert_eq!(outcome.await, late("two", "1m30s"));
    let (framework, _, clock) = scribes(&[("one", &["wait long"])]);
    let own = pod(json!({}), "1");
    let permission = framework.permit(&mut CycleState::new(), &own, "a").unwrap();
    let (outcome, ()) = tokio::join!(framework.permitted(&own, permission), pass(&clock));
    assert_eq!(outcome, late("one", "15m0s"), "nobody may have it wait for longer");
}

#[tokio::test]
async fn a_pod_that_nobody_binds_fails() {
    let (framework, book, _) = scribes(&[("one", &["skip Bind"])]);
    let (own, state) = (pod(json!({}), "1"), CycleState::new());
    let outcome = framework.bind(&state, &own, "a").await;
    assert_eq!(outcome, Err(Setback::Failed("no plugin bound the pod".to_owned())));
    assert_eq!(*book.lock(), ["one PreBind", "one Bind"], "it is not told of as bound");
}

#[tokio::test]
async fn a_pod_that_a_plugin_will_not_have_counts_as_refused_by_it_until_it_is_made_ready() {
    let refused = |why: &str| Err(Setback::Refused(why.to_owned()));
    let own = pod(json!({}), "1");
    let (framework, _, _) = scribes(&[("one", &[]), ("two", &["refuse Reserve"])]);
    let outcome = framework.reserve(&mut CycleState::new(), &own, "a");
    let why = "no room in the book".to_owned();
    assert_eq!(outcome, Err(Setback::Rejected { plugin: "two", why }));
    let (framework, book, _) = scribes(&[("one", &[]), ("two", &["refuse PreBind"])]);
    let outcome = framework.bind(&CycleState::new(), &own, "a").await;
    assert_eq!(outcome, refused("not on this page"));
    assert_eq!(*book.lock(), ["one PreBind", "two PreBind"]);
    let (framework, book, _) =
        scribes(&[("one", &["skip Bind"]), ("two", &["refuse Bind"]), ("three", &[])]);
    let outcome = framework.bind(&CycleState::new(), &own, "a").await;
    assert_eq!(outcome, refused("not in this book"));
    assert!(!book.lock().iter().any(|own| own == "three Bind"), "nobody else may bind it");
}

#[tokio::test]
async fn neighbours_that_allow_it_prepare_a_pod_at_once() {
    const SHARE: Habits = &["share PreBind", "dawdle"];
    const ALONE: Habits = &["dawdle"];
    let in_turn = ["one PreBind", "one PreBind done", "two PreBind", "two PreBind done"];
    let at_once = ["one PreBind", "two PreBind", "one PreBind done", "two PreBind done"];
    let pair = |first: Habits, second: Habits| vec![("one", first), ("two", second)];
    let parted = |between: Habits| vec![("one", SHARE), ("other", between), ("two", SHARE)];
    let cases = [
        (pair(SHARE, SHARE), at_once),
        (pair(SHARE, ALONE), in_turn),
        (pair(ALONE, SHARE), in_turn),
        (parted(&["share PreBind", "skip PreBind"]), at_once),
        (parted(&["skip PreBind"]), in_turn),
    ];
    for (plugins, expected) in cases {
        let (framework, book, _) = scribes(&plugins);
        framework.prepare(&CycleState::new(), &pod(json!({}), "1"), "a").await.unwrap();
        assert_eq!(*book.lock(), expected, "{plugins:?}");
    }
}

#[tokio::test]
async fn the_first_objection_ends_what_is_done_beside_it() {
    let refuses: Habits = &["share PreBind", "dawdle", "refuse PreBind"];
    let (framework, book, _) = scribes(&[("one", refuses), ("two", &["share PreBind", "dawdle"])]);
    let outcome = framework.bind(&CycleState::new(), &pod(json!({}), "1"), "a").await;
    let why = "not on this page".to_owned();
    assert_eq!(outcome, Err(Setback::Refused(why)));
    assert_eq!(*book.lock(), ["one PreBind", "two PreBind", "one PreBind done"]);
}

/// What becomes of a pod for which a plugin works without end, until that is ended so.
async fn ended(end: fn(&Framework)) -> Result<(), Setback> {
    let (framework, _, _) = scribes(&[("one", &["never end"])]);
    let (own, state) = (pod(json!({}), "1"), CycleState::new());
    let meanwhile = async {
        tokio::task::yield_now().await;
        end(&framework);
    };
    let (outcome, ()) = tokio::join!(framework.prepare(&state, &own, "a"), meanwhile);
    outcome
}

#[tokio::test]
async fn what_is_done_for_a_pod_ends_when_it_is_gone_or_another_takes_its_place() {
    let failed = |why: &str| {
        let why = format!("running PreBind plugin \"one\": {why}");
        Err(Setback::Failed(why))
    };
    assert_eq!(ended(|own| own.abandon("u")).await, failed("pod does not exist any more"));
    let preempted = ended(|own| assert!(own.preempt("u"))).await;
    assert_eq!(preempted, failed("preempted by DefaultPreemption"));
}
