use super::*;
use futures::FutureExt;

fn desk(levels: &[(&str, Limits)]) -> Arc<Desk> {
    let desk = Arc::new(Desk::default());
    let levels = levels.iter().map(|(name, limits)| (Arc::from(*name), *limits)).collect();
    desk.configure(&levels);
    desk
}

fn alone(nominal: usize, queue: usize) -> Limits {
    Limits { nominal, kept: nominal, most: nominal, queue }
}

fn ask(desk: &Arc<Desk>, level: &str, flow: &str) -> Turn {
    desk.ask(&Arc::from(level), || flow.to_owned())
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

#[test]
fn flows_of_a_level_take_turns_and_its_queue_ends() {
    let desk = desk(&[("small", alone(1, 4))]);
    let seat = seated(ask(&desk, "small", "a"));
    let mut first = waiting(ask(&desk, "small", "a"));
    let mut second = waiting(ask(&desk, "small", "a"));
    let mut third = waiting(ask(&desk, "small", "a"));
    let mut other = waiting(ask(&desk, "small", "b"));
    assert!(matches!(ask(&desk, "small", "c"), Turn::Never(_)));
    assert!((&mut first).now_or_never().is_none());

    drop(seat);
    let seat = (&mut first).now_or_never().expect("the first of the first flow");
    drop(seat);
    let seat = (&mut other).now_or_never().expect("the other flow before the rest of the first");
    assert!((&mut second).now_or_never().is_none());
    drop(seat);
    let seat = (&mut second).now_or_never().expect("then the first flow again");
    drop(seat);
    assert!((&mut third).now_or_never().is_some());
}

#[test]
fn who_stops_waiting_leaves_neither_a_place_nor_a_seat_behind() {
    let desk = desk(&[("small", alone(1, 1))]);
    let seat = seated(ask(&desk, "small", "a"));
    drop(waiting(ask(&desk, "small", "a")));
    let told_but_gone = waiting(ask(&desk, "small", "a"));
    drop(seat);
    drop(told_but_gone);
    let seat = seated(ask(&desk, "small", "a"));
    drop(seat);
    assert!(desk.0.lock().values().all(|level| level.used == 0 && level.queued == 0));
}

#[test]
fn idle_seats_are_borrowed_but_not_those_that_are_kept() {
    let lends = Limits { nominal: SEATS / 2, kept: SEATS / 2 - 2, most: SEATS, queue: 0 };
    let desk = desk(&[("borrower", lends), ("lender", lends)]);
    let borrowed: Vec<_> =
        (0..SEATS / 2 + 2).map(|_| seated(ask(&desk, "borrower", "a"))).collect();
    assert!(matches!(ask(&desk, "borrower", "a"), Turn::Never(_)));
    let own = seated(ask(&desk, "lender", "a"));
    drop(borrowed);
    drop(own);
    let _again = seated(ask(&desk, "borrower", "a"));
}

#[test]
fn more_seats_are_given_to_those_who_wait() {
    let desk = desk(&[("small", alone(1, 1))]);
    let _seat = seated(ask(&desk, "small", "a"));
    let mut next = waiting(ask(&desk, "small", "a"));
    assert!((&mut next).now_or_never().is_none());
    desk.configure(&BTreeMap::from([(Arc::from("small"), alone(2, 1))]));
    assert!((&mut next).now_or_never().is_some());
}
