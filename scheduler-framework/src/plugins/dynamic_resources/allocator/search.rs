use super::super::{
    capacity::consumed,
    constraint::Constraint,
    devices::Capacity,
    pools::{Standing, devices},
};
use super::{
    Arc, At, RESULTS_MAX, ResourceClaim, Slot, Trouble, View, Wish, counters::Counters, key,
};
use crate::plugins::dynamic_resources::request::Request;
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

/// How often it is looked at the clock.
const CHECKED: u64 = 64;

/// A device that is given to a claim.
#[derive(Debug, Clone)]
pub(super) struct Picked<'a> {
    pub(super) at: At,
    pub(super) request: Request<'a>,
    /// What is consumed of one that several may share.
    pub(super) shares: Option<Capacity>,
    /// Whether it took counters.
    counted: bool,
}

/// Which device of which wish is looked for.
#[derive(Debug, Clone, Copy, Default)]
struct Step {
    slot: Slot,
    device: usize,
}

enum Stop {
    /// Too many devices for one claim: another alternative may want fewer.
    Exceeded,
    Trouble(Trouble),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// The search for devices: one after the other, in all orders that differ, until one combination suits all.
pub(super) struct Search<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) claims: &'a [Arc<ResourceClaim>],
    /// By claim and request.
    pub(super) wishes: Vec<Vec<Vec<Wish<'a>>>>,
    /// Which alternative was taken, by claim and request.
    pub(super) chosen: Vec<Vec<usize>>,
    constraints: Vec<Vec<Constraint<'a>>>,
    /// The claims that are about to get a device.
    taking: HashMap<At, BTreeSet<usize>>,
    /// What they are about to consume of shared ones.
    consuming: HashMap<At, Vec<Capacity>>,
    counters: HashMap<usize, Counters>,
    pub(super) picked: Vec<Vec<Picked<'a>>>,
    steps: u64,
    began: Duration,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        view: &'a View<'a>,
        claims: &'a [Arc<ResourceClaim>],
    ) -> Result<Self, Trouble> {
        let (mut wishes, mut constraints) = (Vec::new(), Vec::new());
        for (number, claim) in claims.iter().enumerate() {
            let own = view.wishes(claim, number)?;
            let fewest =
                |all: &Vec<Wish<'_>>| all.iter().map(|wish| wish.count).min().unwrap_or_default();
            let least = own.iter().map(fewest).fold(0, usize::saturating_add);
            if least > RESULTS_MAX {
                return Err(Trouble::Wrong(format!(
                    "claim {}: number of requested devices {least} exceeds the claim limit of {RESULTS_MAX}",
                    key(claim)
                )));
            }
            constraints.push(view.constraints(claim)?);
            wishes.push(own);
        }
        let limit = view.allocator.limit.as_ref();
        Ok(Self {
            view,
            claims,
            chosen: wishes.iter().map(|own| vec![0; own.len()]).collect(),
            picked: vec![Vec::new(); wishes.len()],
            wishes,
            constraints,
            taking: HashMap::new(),
            consuming: HashMap::new(),
            counters: HashMap::new(),
            steps: 0,
            began: limit.map(|(clock, _)| clock.elapsed()).unwrap_or_default(),
        })
    }

    /// Whether all claims got what they want.
    pub(super) fn run(&mut self) -> Result<bool, Trouble> {
        match self.advance(Step::default(), false, At::default()) {
            Ok(done) => Ok(done),
            Err(Stop::Exceeded) => Ok(false),
            Err(Stop::Trouble(trouble)) => Err(trouble),
        }
    }

    fn check_time(&mut self) -> Result<(), Stop> {
        self.steps += 1;
        let Some((clock, most)) = &self.view.allocator.limit else { return Ok(()) };
        let late = self.steps.is_multiple_of(CHECKED)
            && !most.is_zero()
            && clock.elapsed().saturating_sub(self.began) > *most;
        if late { Err(Trouble::Timeout.into()) } else { Ok(()) }
    }

    /// Finds the device of a step and all after it. `within` says that an alternative has been settled on; devices
    /// of one request are looked for from `start`, so that each set of them is tried once.
    fn advance(&mut self, step: Step, within: bool, start: At) -> Result<bool, Stop> {
        self.check_time()?;
        let Slot { claim, request, alternative } = step.slot;
        let Some(requests) = self.wishes.get(claim) else { return Ok(true) };
        let Some(alternatives) = requests.get(request) else {
            let next = Slot { claim: claim + 1, ..Slot::default() };
            let rest = self.advance(Step { slot: next, device: 0 }, false, At::default());
            // An earlier claim could do with fewer.
            return if matches!(rest, Err(Stop::Exceeded)) { Ok(false) } else { rest };
        };
        let wish = &alternatives[alternative];
        if !within && wish.request.parent.is_some() {
            let count = alternatives.len();
            return self.choose(step, count);
        }
        let (count, all) = (wish.count, wish.request.wants_all());
        if all && wish.all.is_empty() {
            return Ok(false);
        }
        if step.device >= count {
            let next = Slot { claim, request: request + 1, alternative: 0 };
            return self.advance(Step { slot: next, device: 0 }, false, At::default());
        }
        if self.picked[claim].len() + count - step.device > RESULTS_MAX {
            return Err(Stop::Exceeded);
        }
        if all {
            let at = wish.all[step.device];
            return self.attempt(step, at, true, within, At::default());
        }
        self.look(step, within, start)
    }

    /// The first alternative that works.
    fn choose(&mut self, step: Step, count: usize) -> Result<bool, Stop> {
        let mut all_exceeded = true;
        for alternative in 0..count {
            let slot = Slot { alternative, ..step.slot };
            match self.advance(Step { slot, ..step }, true, At::default()) {
                Err(Stop::Exceeded) => continue,
                Ok(false) => {}
                Ok(true) => {
                    self.chosen[slot.claim][slot.request] = alternative;
                    return Ok(true);
                }
                Err(trouble) => return Err(trouble),
            }
            all_exceeded = false;
        }
        if all_exceeded { Err(Stop::Exceeded) } else { Ok(false) }
    }

    fn look(&mut self, step: Step, within: bool, start: At) -> Result<bool, Stop> {
        let view = self.view;
        for pool in start.pool..view.pools.len() {
            if view.pools[pool].standing != Standing::Usable {
                continue;
            }
            let from = if pool == start.pool { start.slice } else { 0 };
            for slice in from..view.pools[pool].slices.len() {
                let first = (pool, slice) == (start.pool, start.slice);
                let from = if first { start.device } else { 0 };
                for device in from..devices(&view.pools[pool].slices[slice]).len() {
                    let at = At { pool, slice, device };
                    if !self.is_free(step.slot, at) || !self.suits(step.slot, at)? {
                        continue;
                    }
                    let next = At { device: device + 1, ..at };
                    if self.attempt(step, at, false, within, next)? {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    fn wish(&self, slot: Slot) -> &Wish<'a> {
        &self.wishes[slot.claim][slot.request][slot.alternative]
    }

    fn suits(&self, slot: Slot, at: At) -> Result<bool, Trouble> {
        let wish = self.wish(slot);
        self.view.suits(slot, &wish.request, &wish.class, &self.claims[slot.claim], at)
    }

    /// Whether nobody else has the device; administrators look at those of others, too.
    fn is_free(&self, slot: Slot, at: At) -> bool {
        let takers = self.taking.get(&at);
        if self.wish(slot).request.admin {
            return takers.is_none_or(|own| !own.contains(&slot.claim));
        }
        let (id, allocator) =
            (self.view.pools[at.pool].id(&self.view.device(at).name), self.view.allocator);
        let taken = match allocator.gates.shares {
            true => allocator.allocated.is_taken(id),
            false => allocator.allocated.is_used(id),
        };
        !taken && takers.is_none_or(BTreeSet::is_empty)
    }

    /// Tries it with one device, and takes it back if that leads nowhere.
    fn attempt(
        &mut self,
        step: Step,
        at: At,
        must: bool,
        within: bool,
        next: At,
    ) -> Result<bool, Stop> {
        if !self.take(step.slot, at, must)? {
            return Ok(false);
        }
        let rest = self.advance(Step { device: step.device + 1, ..step }, within, next);
        if !matches!(rest, Ok(true)) {
            self.give_back(step.slot);
        }
        rest
    }

    /// Takes a device, if it is free and goes with the others.
    fn take(&mut self, slot: Slot, at: At, must: bool) -> Result<bool, Trouble> {
        let view = self.view;
        let (device, request) = (view.device(at), self.wish(slot).request);
        let (pool, gates) = (&view.pools[at.pool], view.allocator.gates);
        let shared = gates.shares && device.allow_multiple_allocations == Some(true);
        if !self.is_free(slot, at) || !self.has_room(slot, at) {
            return Ok(false);
        }
        let in_use = || {
            view.allocator.allocated.consumed(pool.id(&device.name)).is_some()
                || self.consuming.get(&at).is_some_and(|own| !own.is_empty())
        };
        let counts = device.consumes_counters.as_ref().is_some_and(|own| !own.is_empty());
        if counts && !gates.parts {
            return Ok(false);
        }
        let counted = counts && !(shared && in_use());
        if counted {
            let counters = self.counters.entry(at.pool);
            let counters =
                counters.or_insert_with(|| Counters::new(pool, &view.allocator.allocated));
            if !counters.take(device) {
                return Ok(false);
            }
        }
        let goes = (!gates.taints || request.tolerates(device.taints.as_ref()))
            && self.constrained(slot, at, request, must)?;
        if !goes {
            if let Some(counters) = self.counters.get_mut(&at.pool).filter(|_| counted) {
                counters.give_back(device);
            }
            return Ok(false);
        }
        let none = std::collections::BTreeMap::new();
        let offered = device.capacity.as_ref().unwrap_or(&none);
        let shares = shared.then(|| consumed(request.capacity(), offered));
        match &shares {
            Some(shares) => self.consuming.entry(at).or_default().push(shares.clone()),
            None => drop(self.taking.entry(at).or_default().insert(slot.claim)),
        }
        self.picked[slot.claim].push(Picked { at, request, shares, counted });
        Ok(true)
    }

    fn has_room(&self, slot: Slot, at: At) -> bool {
        let more = self.consuming.get(&at).map(|all| {
            let mut sum = Capacity::new();
            for (name, amount) in all.iter().flatten() {
                sum.entry(name.clone()).or_default().add(amount);
            }
            sum
        });
        self.view.has_room(&self.wish(slot).request, at, more.as_ref())
    }

    /// Whether a device satisfies all constraints of its claim, which then know it.
    fn constrained(
        &mut self,
        slot: Slot,
        at: At,
        request: Request<'a>,
        must: bool,
    ) -> Result<bool, Trouble> {
        let (view, device) = (self.view, self.view.device(at));
        let pool = &view.pools[at.pool];
        let all = &mut self.constraints[slot.claim];
        let failed = all.iter_mut().position(|own| !own.add(&request, &pool.driver, device));
        let Some(failed) = failed else { return Ok(true) };
        all[..failed].iter_mut().for_each(|own| own.remove(&request));
        if must {
            let (claim, name) = (key(&self.claims[slot.claim]), request.name);
            let id = pool.id(&device.name);
            return Err(Trouble::Wrong(format!(
                "claim {claim}, request {name}: cannot add device {id} because a claim constraint would not be satisfied"
            )));
        }
        Ok(false)
    }

    /// Gives back what a claim took last.
    fn give_back(&mut self, slot: Slot) {
        let Some(last) = self.picked[slot.claim].pop() else { return };
        self.constraints[slot.claim].iter_mut().for_each(|own| own.remove(&last.request));
        if last.shares.is_some() {
            self.consuming.get_mut(&last.at).and_then(Vec::pop);
        } else if let Some(takers) = self.taking.get_mut(&last.at) {
            takers.remove(&slot.claim);
        }
        if let Some(counters) = self.counters.get_mut(&last.at.pool).filter(|_| last.counted) {
            counters.give_back(self.view.device(last.at));
        }
    }
}
