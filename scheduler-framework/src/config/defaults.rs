use super::types::{ClientConnection, Configuration, LeaderElection, SchedulerProfile};
use serde::{Deserialize, Deserializer};
use std::time::Duration;

impl Default for LeaderElection {
    fn default() -> Self {
        Self {
            leader_elect: None,
            lease_duration: Duration::ZERO,
            renew_deadline: Duration::ZERO,
            retry_period: Duration::ZERO,
            resource_lock: String::new(),
            resource_name: String::new(),
            resource_namespace: String::new(),
        }
    }
}

fn or_text(text: &mut String, default: &str) {
    if text.is_empty() {
        default.clone_into(text);
    }
}

fn or_seconds(duration: &mut Duration, seconds: u64) {
    if duration.is_zero() {
        *duration = Duration::from_secs(seconds);
    }
}

impl Configuration {
    /// Nothing is said.
    pub(super) fn unset() -> Self {
        Self {
            parallelism: None,
            leader_election: LeaderElection::default(),
            client_connection: ClientConnection::default(),
            enable_profiling: None,
            enable_contention_profiling: None,
            percentage_of_nodes_to_score: None,
            pod_initial_backoff_seconds: None,
            pod_max_backoff_seconds: None,
            profiles: Vec::new(),
            extenders: Vec::new(),
            delay_cache_until_active: false,
        }
    }

    /// Says what was not said.
    pub(super) fn set_defaults(&mut self) {
        self.parallelism.get_or_insert(16);
        if self.profiles.is_empty() {
            self.profiles.push(SchedulerProfile::default());
        }
        if let [only] = &mut *self.profiles {
            only.scheduler_name.get_or_insert_with(|| "default-scheduler".into());
        }
        self.percentage_of_nodes_to_score.get_or_insert(0);
        let election = &mut self.leader_election;
        election.leader_elect.get_or_insert(true);
        or_seconds(&mut election.lease_duration, 15);
        or_seconds(&mut election.renew_deadline, 10);
        or_seconds(&mut election.retry_period, 2);
        or_text(&mut election.resource_lock, "leases");
        or_text(&mut election.resource_name, "kube-scheduler");
        or_text(&mut election.resource_namespace, "kube-system");
        let connection = &mut self.client_connection;
        or_text(&mut connection.content_type, "application/vnd.kubernetes.protobuf");
        if connection.qps == 0.0 {
            connection.qps = 50.0;
        }
        if connection.burst == 0 {
            connection.burst = 100;
        }
        self.pod_initial_backoff_seconds.get_or_insert(1);
        self.pod_max_backoff_seconds.get_or_insert(10);
        let profiling = *self.enable_profiling.get_or_insert(true);
        if profiling {
            self.enable_contention_profiling.get_or_insert(true);
        }
    }
}

/// A duration as Go writes it: `1h2m3.5s`, `300ms`.
pub(super) fn duration<'de, D: Deserializer<'de>>(source: D) -> Result<Duration, D::Error> {
    let text = Option::<String>::deserialize(source)?.unwrap_or_default();
    if text.is_empty() {
        return Ok(Duration::ZERO);
    }
    parse(&text)
}

/// As [`duration`], where none may be given.
pub(super) fn maybe_duration<'de, D: Deserializer<'de>>(
    source: D,
) -> Result<Option<Duration>, D::Error> {
    Option::<String>::deserialize(source)?.map(|text| parse(&text)).transpose()
}

/// No negative ones: they are never allowed where this is used.
fn parse<E: serde::de::Error>(text: &str) -> Result<Duration, E> {
    let nanoseconds = kubeplane_core::duration::parse(text).map_err(E::custom)?;
    let negative = |_| E::custom(format!("time: invalid duration {text:?}"));
    u64::try_from(nanoseconds).map(Duration::from_nanos).map_err(negative)
}

#[cfg(test)]
mod tests {
    use super::parse;
    use std::time::Duration;

    #[test]
    fn durations_are_gos() {
        let read = |text| parse::<serde_json::Error>(text).map_err(|error| error.to_string());
        assert_eq!(read("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(read("-1s"), Err("time: invalid duration \"-1s\"".to_owned()));
        assert_eq!(read("5"), Err("time: missing unit in duration \"5\"".to_owned()));
    }
}
