//! From what figures ask for to what is done: limits, rates and the memory of earlier recommendations.

use k8s_openapi::api::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscalerBehavior};
use std::time::Duration;

#[derive(Debug, Clone, Copy)]
struct Recommendation {
    replicas: i32,
    at: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Scaled {
    by: i32,
    at: Duration,
}

/// What is remembered of one autoscaler.
#[derive(Debug, Default)]
pub(super) struct Memory {
    recommendations: Vec<Recommendation>,
    ups: Vec<Scaled>,
    downs: Vec<Scaled>,
}

/// What a decision keeps to, and how many replicas there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) min: i32,
    pub(super) max: i32,
    pub(super) current: i32,
    /// How long the highest recommendation counts when nothing else is said.
    pub(super) stabilization: Duration,
}

/// A reason and a message.
pub(super) type Why = (&'static str, &'static str);

const IN_RANGE: Why = ("DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_FEW: Why =
    ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const TOO_MANY: Why =
    ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const UP_LIMIT: Why =
    ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: Why = (
    "ScaleDownLimit",
    "the desired replica count is decreasing faster than the maximum scale rate",
);
const UP_STABLE: Why = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const DOWN_STABLE: Why = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const READY: Why = ("ReadyForNewScale", "recommended size matches current size");

/// What is done, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) replicas: i32,
    /// What earlier recommendations have to do with it.
    pub(super) stable: Why,
    /// Which limit it met.
    pub(super) limit: Why,
    /// Whether it met one.
    pub(super) limited: bool,
}

impl Memory {
    /// The first state seen counts like a recommendation.
    pub(super) fn begin(&mut self, replicas: i32, now: Duration) {
        if self.recommendations.is_empty() {
            self.recommendations.push(Recommendation { replicas, at: now });
        }
    }

    fn remember(&mut self, replicas: i32, now: Duration, is_old: impl Fn(&Recommendation) -> bool) {
        let new = Recommendation { replicas, at: now };
        match self.recommendations.iter_mut().rev().find(|old| is_old(old)) {
            Some(old) => *old = new,
            None => self.recommendations.push(new),
        }
    }

    /// Without rules of its own an autoscaler may double, and goes down with the highest of five minutes.
    pub(super) fn decide(&mut self, wanted: i32, bounds: Bounds, now: Duration) -> Decision {
        let cutoff = now.saturating_sub(bounds.stabilization);
        let recent = self.recommendations.iter().filter(|old| old.at >= cutoff);
        let stable = recent.map(|old| old.replicas).fold(wanted, i32::max);
        self.remember(wanted, now, |old| old.at < cutoff);
        let rate = bounds.current.saturating_mul(2).max(4);
        let (most, reached) =
            if bounds.max > rate { (rate, UP_LIMIT) } else { (bounds.max, TOO_MANY) };
        let (replicas, limit) = if stable < bounds.min {
            (bounds.min, TOO_FEW)
        } else if stable > most {
            (most, reached)
        } else {
            (stable, IN_RANGE)
        };
        let why = if stable == wanted { READY } else { DOWN_STABLE };
        Decision { replicas, stable: why, limit, limited: replicas != stable }
    }

    /// With rules of its own.
    pub(super) fn decide_by(
        &mut self,
        behavior: &HorizontalPodAutoscalerBehavior,
        wanted: i32,
        bounds: Bounds,
        now: Duration,
    ) -> Decision {
        let (up, down) = (rules(behavior.scale_up.as_ref()), rules(behavior.scale_down.as_ref()));
        let window = |rules: &HPAScalingRules, default: Duration| {
            let seconds = rules.stabilization_window_seconds;
            let window = seconds.and_then(|seconds| u64::try_from(seconds).ok());
            now.checked_sub(window.map_or(default, Duration::from_secs))
        };
        let since = [window(&up, Duration::ZERO), window(&down, bounds.stabilization)];
        // A window longer than the time there has been has no beginning.
        let within = |at: Duration, since: Option<Duration>| since.is_none_or(|since| at > since);
        let (mut lowest, mut highest) = (wanted, wanted);
        for old in &self.recommendations {
            if within(old.at, since[0]) {
                lowest = lowest.min(old.replicas);
            }
            if within(old.at, since[1]) {
                highest = highest.max(old.replicas);
            }
        }
        let stable = bounds.current.max(lowest).min(highest);
        self.remember(wanted, now, |old| {
            since.iter().all(|since| since.is_some_and(|since| old.at < since))
        });
        let why = match () {
            () if stable == wanted => READY,
            () if wanted >= bounds.current => UP_STABLE,
            () => DOWN_STABLE,
        };
        let (replicas, limit) = self.at_rate(stable, bounds, [&up, &down], now);
        Decision { replicas, stable: why, limit, limited: replicas != stable }
    }

    fn at_rate(
        &self,
        wanted: i32,
        bounds: Bounds,
        [up, down]: [&HPAScalingRules; 2],
        now: Duration,
    ) -> (i32, Why) {
        if wanted > bounds.current {
            let rate = self.up_limit(bounds.current, up, now).max(bounds.current);
            let (most, why) =
                if bounds.max > rate { (rate, UP_LIMIT) } else { (bounds.max, TOO_MANY) };
            if wanted > most {
                return (most, why);
            }
        } else if wanted < bounds.current {
            let rate = self.down_limit(bounds.current, down, now).min(bounds.current);
            let (least, why) =
                if bounds.min < rate { (rate, DOWN_LIMIT) } else { (bounds.min, TOO_FEW) };
            if wanted < least {
                return (least, why);
            }
        }
        (wanted, IN_RANGE)
    }

    /// The replicas there were when a period began.
    fn at_start(&self, current: i32, seconds: i32, now: Duration) -> i32 {
        let period = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        let change = |scaled: &[Scaled]| -> i32 {
            let recent = scaled
                .iter()
                .filter(|one| now.checked_sub(period).is_none_or(|cutoff| one.at > cutoff));
            recent.map(|one| one.by).fold(0, i32::saturating_add)
        };
        current.saturating_sub(change(&self.ups)).saturating_add(change(&self.downs))
    }

    fn up_limit(&self, current: i32, rules: &HPAScalingRules, now: Duration) -> i32 {
        let limits = rules.policies.iter().flatten().map(|policy| {
            let start = self.at_start(current, policy.period_seconds, now);
            match policy.type_.as_str() {
                "Percent" => {
                    let grown = f64::from(start) * (1.0 + f64::from(policy.value) / 100.0);
                    truncated(grown.ceil())
                }
                _ => start.saturating_add(policy.value),
            }
        });
        match rules.select_policy.as_deref() {
            Some("Disabled") => current,
            Some("Min") => limits.min().unwrap_or(i32::MAX),
            _ => limits.max().unwrap_or(i32::MIN),
        }
    }

    fn down_limit(&self, current: i32, rules: &HPAScalingRules, now: Duration) -> i32 {
        let limits = rules.policies.iter().flatten().map(|policy| {
            let start = self.at_start(current, policy.period_seconds, now);
            match policy.type_.as_str() {
                "Percent" => truncated(f64::from(start) * (1.0 - f64::from(policy.value) / 100.0)),
                _ => start.saturating_sub(policy.value),
            }
        });
        match rules.select_policy.as_deref() {
            Some("Disabled") => current,
            Some("Min") => limits.max().unwrap_or(i32::MIN),
            _ => limits.min().unwrap_or(i32::MAX),
        }
    }

    /// Remembers what was done, for as long as a rule asks.
    pub(super) fn scaled(
        &mut self,
        behavior: &HorizontalPodAutoscalerBehavior,
        from: i32,
        to: i32,
        now: Duration,
    ) {
        let (events, rules) = match to > from {
            true => (&mut self.ups, &behavior.scale_up),
            false => (&mut self.downs, &behavior.scale_down),
        };
        let periods = rules.iter().flat_map(|rules| rules.policies.iter().flatten());
        let longest = periods.map(|policy| policy.period_seconds).max().unwrap_or_default();
        let longest = Duration::from_secs(u64::try_from(longest).unwrap_or_default());
        events.retain(|old| now.checked_sub(longest).is_none_or(|cutoff| old.at >= cutoff));
        let by = i32::try_from(to.abs_diff(from)).unwrap_or(i32::MAX);
        events.push(Scaled { by, at: now });
    }
}

fn rules(rules: Option<&HPAScalingRules>) -> HPAScalingRules {
    rules.cloned().unwrap_or_default()
}

#[expect(clippy::cast_possible_truncation, reason = "the conversion saturates, which is wanted")]
fn truncated(value: f64) -> i32 {
    value as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn behavior(value: serde_json::Value) -> HorizontalPodAutoscalerBehavior {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn without_rules_it_may_double_and_waits_before_it_goes_down() {
        let mut memory = Memory::default();
        let bounds = |current| Bounds { min: 2, max: 100, current, stabilization: at(300) };
        memory.begin(5, at(1000));
        let first = memory.decide(40, bounds(5), at(1000));
        assert_eq!((first.replicas, first.limit.0, first.limited), (10, "ScaleUpLimit", true));
        let later = memory.decide(3, bounds(10), at(1015));
        assert_eq!((later.replicas, later.stable.0), (20, "ScaleDownStabilized"));
        let much_later = memory.decide(1, bounds(10), at(1400));
        assert_eq!((much_later.replicas, much_later.limit.0), (2, "TooFewReplicas"));
        assert_eq!(much_later.stable.0, "ReadyForNewScale");
    }

    #[test]
    fn how_long_it_waits_is_for_the_settings_to_say() {
        let bounds = |seconds| Bounds { min: 1, max: 100, current: 10, stabilization: at(seconds) };
        let rules = behavior(json!({"scaleDown": {"selectPolicy": "Max", "policies": [
            {"type": "Percent", "value": 100, "periodSeconds": 15}]}}));
        for (seconds, replicas) in [(300, 10), (30, 3)] {
            let mut memory = Memory::default();
            memory.begin(10, at(1000));
            assert_eq!(memory.decide(3, bounds(seconds), at(1060)).replicas, replicas);
            let mut memory = Memory::default();
            memory.begin(10, at(1000));
            let by_rules = memory.decide_by(&rules, 3, bounds(seconds), at(1060));
            assert_eq!(by_rules.replicas, replicas);
        }
    }

    #[test]
    fn rules_limit_how_fast_it_goes_up() {
        let rules = behavior(json!({
            "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
                {"type": "Pods", "value": 4, "periodSeconds": 60},
                {"type": "Percent", "value": 50, "periodSeconds": 60}]},
            "scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
                {"type": "Percent", "value": 10, "periodSeconds": 60}]}}));
        let mut memory = Memory::default();
        let bounds = |current| Bounds { min: 1, max: 1000, current, stabilization: at(300) };
        let first = memory.decide_by(&rules, 100, bounds(10), at(5000));
        assert_eq!((first.replicas, first.limit.0), (15, "ScaleUpLimit"));
        memory.scaled(&rules, 10, 15, at(5000));
        assert_eq!(memory.decide_by(&rules, 100, bounds(15), at(5015)).replicas, 15);
        assert_eq!(memory.decide_by(&rules, 100, bounds(15), at(5061)).replicas, 23);
        let down = memory.decide_by(&rules, 1, bounds(100), at(6000));
        assert_eq!((down.replicas, down.limit.0), (90, "ScaleDownLimit"));
        memory.scaled(&rules, 100, 90, at(6000));
        assert_eq!(memory.decide_by(&rules, 1, bounds(90), at(6030)).replicas, 90);
    }

    #[test]
    fn rules_wait_for_recommendations_to_settle() {
        let rules = behavior(json!({
            "scaleUp": {"stabilizationWindowSeconds": 60, "selectPolicy": "Max", "policies": [
                {"type": "Percent", "value": 900, "periodSeconds": 60}]},
            "scaleDown": {"stabilizationWindowSeconds": 60, "selectPolicy": "Disabled", "policies": [
                {"type": "Percent", "value": 10, "periodSeconds": 60}]}}));
        let mut memory = Memory::default();
        let bounds = |current| Bounds { min: 1, max: 1000, current, stabilization: at(300) };
        memory.begin(10, at(5000));
        let first = memory.decide_by(&rules, 20, bounds(10), at(5001));
        assert_eq!((first.replicas, first.stable.0), (10, "ScaleUpStabilized"));
        assert_eq!(memory.decide_by(&rules, 20, bounds(10), at(5062)).replicas, 20);
        // Going down is switched off.
        let down = memory.decide_by(&rules, 1, bounds(20), at(7000));
        assert_eq!((down.replicas, down.limit.0), (20, "ScaleDownLimit"));
    }
}
