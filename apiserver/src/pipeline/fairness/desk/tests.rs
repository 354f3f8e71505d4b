use super::*;
use futures::FutureExt;
use jiff::Timestamp;
use kubeplane_clock::PausedClock;

const ONE_QUEUE: Option<Queuing> = queuing(1, 1, 4);

const fn queuing(queues: usize, hand: usize, length: usize) -> Option<Queuing> {
    Some(Queuing { queues, hand, length })
}

fn desk(levels: &[(&str, Limits)]) -> (Arc<Desk>, Arc<PausedClock>) {
    let clock = Arc::new(PausedClock::starting_at(Timestamp::UNIX_EPOCH));
    let desk = Desk::new(clock.clone(), FlowMetrics::default());
    let levels = levels.iter().map(|(name, limits)| (Arc::from(*name), *limits)).collect();
    desk.configure(&levels);
    (desk, clock)
}

fn alone(nominal: usize, queuing: Option<Queuing>) -> Limits {
    Limits { exempt: false, nominal, kept: nominal, most: nominal, widest: 0, queuing }
}

fn ask(desk: &Arc<Desk>, level: &str, hash: u64) -> Turn {
    ask_wide(desk, level, hash, Width::ONE)
}

fn ask_wide(desk: &Arc<Desk>, level: &str, hash: u64, width: Width) -> Turn {
    let (info, user) = (Arc::default(), Arc::new(UserInfo::anonymous()));
    let asked = Asked { schema: Arc::from("s"), by: None, info, user, hash, width };
    desk.ask(&Arc::from(level), asked)
}

fn used(desk: &Arc<Desk>, level: &str) -> usize {
    desk.look(|levels| levels[level].used)
}

fn current(desk: &Arc<Desk>, level: &str) -> usize {
    desk.look(|levels| levels[level].current)
}

fn seated(turn: Turn) -> Seat {
    match turn {
        Turn::Now(seat) => seat,
        other => panic!("{other:?}"),
    }
}

fn waiting(turn: Turn) -> impl Future<Output = Seat> + Unpin {
    match turn {
        Turn::Later(waiting) => Box::pin(waiting.seat()),
        other => panic!("{other:?}"),
    }
}

fn refused(turn: Turn) -> &'static str {
    match turn {
        Turn::Never(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn queues_take_turns_and_end() {
    // With a hand of one a flow has the queue that its hash says.
    let (desk, _clock) = desk(&[("small", alone(1, queuing(2, 1, 3)))]);
    let seat = seated(ask(&desk, "small", 0));
    let mut first = waiting(ask(&desk, "small", 0));
    let mut second = waiting(ask(&desk, "small", 0));
    let mut third = waiting(ask(&desk, "small", 0));
    assert_eq!(refused(ask(&desk, "small", 0)), "queue-full");
    let mut other = waiting(ask(&desk, "small", 1));
    assert!((&mut first).now_or_never().is_none());

    // The first queue has been served once, so that the other one is earlier.
    drop(seat);
    let seat = (&mut other).now_or_never().expect("the queue that was not served yet");
    drop(seat);
    let seat = (&mut first).now_or_never().expect("then the first of the other one");
    drop(seat);
    let seat = (&mut second).now_or_never().expect("and its next");
    assert!((&mut third).now_or_never().is_none());
    drop(seat);
    assert!((&mut third).now_or_never().is_some());
}

#[test]
fn a_flow_stands_in_the_shortest_queue_of_its_hand() {
    let (desk, _clock) = desk(&[("small", alone(1, queuing(4, 2, 1)))]);
    let _seat = seated(ask(&desk, "small", 6));
    // The hand of 6 is the third queue and the second, that of 10 the third and the fourth.
    let _first = waiting(ask(&desk, "small", 6));
    let _second = waiting(ask(&desk, "small", 6));
    assert_eq!(refused(ask(&desk, "small", 6)), "queue-full");
    let _other = waiting(ask(&desk, "small", 10));
    assert_eq!(refused(ask(&desk, "small", 10)), "queue-full");
    let standing = desk.look(|levels| {
        let queues = levels["small"].queues.iter();
        queues.map(|(index, queue)| (*index, queue.waiting().len())).collect::<Vec<_>>()
    });
    assert_eq!(standing, [(1, 1), (2, 1), (3, 1)]);
}

#[test]
fn a_queue_whose_requests_take_long_is_served_after_others() {
    let (desk, clock) = desk(&[("small", alone(1, queuing(2, 1, 9)))]);
    let long = seated(ask(&desk, "small", 0));
    let mut slow = waiting(ask(&desk, "small", 0));
    let mut quick: Vec<_> = (0..3).map(|_| waiting(ask(&desk, "small", 1))).collect();
    clock.advance(Duration::from_secs(1));
    drop(long);
    for next in &mut quick {
        assert!((&mut slow).now_or_never().is_none());
        drop(next.now_or_never().expect("what is quick"));
    }
    assert!((&mut slow).now_or_never().is_some());
}

#[test]
fn who_stops_waiting_leaves_neither_a_place_nor_a_seat_behind() {
    let (desk, _clock) = desk(&[("small", alone(1, ONE_QUEUE))]);
    let seat = seated(ask(&desk, "small", 0));
    drop(waiting(ask(&desk, "small", 0)));
    let told_but_gone = waiting(ask(&desk, "small", 0));
    drop(seat);
    drop(told_but_gone);
    let seat = seated(ask(&desk, "small", 0));
    drop(seat);
    desk.look(|levels| {
        let level = &levels["small"];
        assert_eq!((level.used, level.waiting, level.queues.len()), (0, 0, 0));
        assert_eq!((level.counts.dispatched, level.counts.cancelled), (3, 1));
    });
}

#[test]
fn seats_are_lent_every_ten_seconds_but_not_those_that_are_kept() {
    let half = SEATS / 2;
    let lends = Limits { kept: half - 100, most: half + 60, ..alone(half, None) };
    let (desk, clock) = desk(&[("borrower", lends), ("lender", lends)]);
    assert_eq!((current(&desk, "borrower"), current(&desk, "lender")), (half, half));
    let own: Vec<_> = (0..half).map(|_| seated(ask(&desk, "borrower", 0))).collect();
    assert_eq!(refused(ask(&desk, "borrower", 0)), "concurrency-limit");

    // It has wanted all of its seats for a whole period, and the other one none.
    clock.advance(Duration::from_secs(10));
    let borrowed: Vec<_> = (0..60).map(|_| seated(ask(&desk, "borrower", 0))).collect();
    assert_eq!(refused(ask(&desk, "borrower", 0)), "concurrency-limit", "it may not borrow more");
    assert_eq!((current(&desk, "borrower"), current(&desk, "lender")), (half + 60, half - 60));

    // What the other one wants it gets back with the next adjustment.
    let _lent: Vec<_> = (0..half - 60).map(|_| seated(ask(&desk, "lender", 0))).collect();
    assert_eq!(refused(ask(&desk, "lender", 0)), "concurrency-limit");
    drop((own, borrowed));
    clock.advance(Duration::from_secs(10));
    let _again = seated(ask(&desk, "lender", 0));
}

#[tokio::test]
async fn who_waits_gets_seats_that_are_lent_though_nobody_else_comes() {
    let lends = Limits { kept: 0, most: 20, ..alone(10, ONE_QUEUE) };
    let (desk, clock) = desk(&[("busy", lends), ("idle", lends)]);
    desk.attend();
    let seats = current(&desk, "busy");
    let _own: Vec<_> = (0..seats).map(|_| seated(ask(&desk, "busy", 0))).collect();
    let next = tokio::spawn(waiting(ask(&desk, "busy", 0)));
    while clock.next_wake().is_none() {
        tokio::task::yield_now().await;
    }
    clock.advance(Duration::from_secs(10));
    let _seat = next.await.unwrap();
}

#[test]
fn wide_requests_take_so_many_seats() {
    let (desk, _clock) = desk(&[("small", alone(10, queuing(2, 1, 9)))]);
    let wide = |seats| Width { seats, ..Width::ONE };
    let six = seated(ask_wide(&desk, "small", 0, wide(6)));
    assert_eq!(used(&desk, "small"), 6);
    let mut five = waiting(ask_wide(&desk, "small", 0, wide(5)));
    // Nobody passes the one whose turn it is.
    let mut one = waiting(ask(&desk, "small", 0));
    assert!((&mut five).now_or_never().is_none() && (&mut one).now_or_never().is_none());
    drop(six);
    let five = (&mut five).now_or_never().expect("the next in line");
    let one = (&mut one).now_or_never().expect("and the one behind it");
    assert_eq!(used(&desk, "small"), 6);

    // Who is wider than the level is served alone.
    let mut all = waiting(ask_wide(&desk, "small", 1, wide(12)));
    drop(five);
    assert!((&mut all).now_or_never().is_none());
    drop(one);
    let _all = (&mut all).now_or_never().expect("nobody else is served");
    assert_eq!(used(&desk, "small"), 12);
}

#[test]
fn seats_linger_after_a_write_that_many_watch() {
    let (desk, clock) = desk(&[("small", alone(4, ONE_QUEUE))]);
    let linger = Duration::from_millis(5);
    let write = Width { last: 3, linger, ..Width::ONE };
    let seat = seated(ask_wide(&desk, "small", 0, write));
    assert_eq!(used(&desk, "small"), 3);
    drop(seat);
    let shown = desk.look(|levels| (levels["small"].used, levels["small"].executing));
    assert_eq!(shown, (3, 0), "it is answered, and its seats are not free yet");
    let mut next = waiting(ask_wide(&desk, "small", 0, write));
    clock.advance(linger);
    assert!(desk.next_due().is_none(), "nobody waits any more");
    assert!((&mut next).now_or_never().is_some());
    clock.advance(linger);
    let _more = seated(ask(&desk, "small", 0));
    assert_eq!(used(&desk, "small"), 1);

    // More seats than the level has are as many of its own for longer.
    let (desk, clock) = self::desk(&[("small", alone(2, ONE_QUEUE))]);
    let write = Width { last: 8, linger, ..Width::ONE };
    drop(seated(ask_wide(&desk, "small", 0, write)));
    clock.advance(linger * 4 - Duration::from_millis(1));
    let mut next = waiting(ask(&desk, "small", 0));
    assert!((&mut next).now_or_never().is_none());
    clock.advance(Duration::from_millis(1));
    let _due = desk.next_due();
    assert!((&mut next).now_or_never().is_some());
}

#[test]
fn exempt_levels_are_only_counted() {
    let exempt = Limits { exempt: true, ..alone(0, None) };
    let (desk, _clock) = desk(&[("exempt", exempt), ("small", alone(1, ONE_QUEUE))]);
    let seats: Vec<_> = (0..SEATS + 1).map(|_| seated(ask(&desk, "exempt", 0))).collect();
    let _own = seated(ask(&desk, "small", 0));
    assert_eq!(desk.look(|levels| levels["exempt"].used), seats.len());
    drop(seats);
    assert_eq!(desk.look(|levels| levels["exempt"].unqueued.len()), 0);
}

#[test]
fn more_seats_are_given_to_those_who_wait() {
    let (desk, _clock) = desk(&[("small", alone(1, ONE_QUEUE))]);
    let _seat = seated(ask(&desk, "small", 0));
    let mut next = waiting(ask(&desk, "small", 0));
    assert!((&mut next).now_or_never().is_none());
    desk.configure(&BTreeMap::from([(Arc::from("small"), alone(2, ONE_QUEUE))]));
    assert!((&mut next).now_or_never().is_some());
}

#[test]
fn a_level_that_is_no_more_ends_with_those_who_are_in_it() {
    let (desk, _clock) = desk(&[("small", alone(1, ONE_QUEUE))]);
    let seat = seated(ask(&desk, "small", 0));
    desk.configure(&BTreeMap::new());
    assert!(desk.look(|levels| levels["small"].ending));
    drop(seat);
    assert!(desk.look(BTreeMap::is_empty));
}
