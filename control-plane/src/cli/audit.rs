//! Flags of the audit log, with the original's names.

use clap::{ArgAction, Args};
use kubeplane::{
    apiserver::audit::{Mode, Truncation},
    audit_webhook::{AuditWebhookOptions, Throttle},
};
use std::{path::PathBuf, time::Duration};

/// What is recorded of requests, and where.
#[derive(Debug, Clone, Args)]
pub(crate) struct AuditArgs {
    /// A file with an audit.k8s.io/v1 Policy.
    #[arg(long, value_name = "FILE")]
    pub(crate) audit_policy_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) log: AuditLogArgs,
    #[command(flatten)]
    pub(crate) webhook: AuditWebhookArgs,
}

/// The file.
#[derive(Debug, Clone, Args)]
pub(crate) struct AuditLogArgs {
    /// Where events go, a line of JSON each; - for the standard output.
    #[arg(long, value_name = "FILE", requires = "audit_policy_file")]
    pub(crate) audit_log_path: Option<PathBuf>,
    /// After how many days files that were put away are removed; 0 for never.
    #[arg(long, value_name = "DAYS", default_value_t = 0)]
    pub(crate) audit_log_maxage: u32,
    /// How many files that were put away are kept; 0 for all.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(crate) audit_log_maxbackup: usize,
    /// How many MiB the file holds before it is put away; 0 for 100.
    #[arg(long, value_name = "MIB", default_value_t = 0)]
    pub(crate) audit_log_maxsize: u64,
    /// Compress files that are put away, with gzip.
    #[arg(long)]
    pub(crate) audit_log_compress: bool,
    /// How requests wait for the file: blocking (until what is recorded of them is written), blocking-strict (and are
    /// refused when it cannot be), or batch (not at all; events that it does not keep up with are lost).
    #[arg(long, value_name = "MODE", default_value = "blocking", value_parser = mode)]
    pub(crate) audit_log_mode: Mode,
    /// How many events wait for the file at most.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    pub(crate) audit_log_batch_buffer_size: usize,
    /// Take what was sent and answered out of events that are too large for the file, and lose those that still are.
    #[arg(long)]
    pub(crate) audit_log_truncate_enabled: bool,
    /// How large an event may be then, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = Truncation::default().max_event_size)]
    pub(crate) audit_log_truncate_max_event_size: usize,
    /// How many bytes are sent at once then; the file takes one event at a time.
    #[arg(long, value_name = "BYTES", default_value_t = Truncation::default().max_batch_size)]
    pub(crate) audit_log_truncate_max_batch_size: usize,
}

/// The server.
#[derive(Debug, Clone, Args)]
pub(crate) struct AuditWebhookArgs {
    /// A kubeconfig of a server that events are posted to, many at once.
    #[arg(long, value_name = "FILE", requires = "audit_policy_file")]
    pub(crate) audit_webhook_config_file: Option<PathBuf>,
    /// How requests wait for that server: batch (not at all), blocking (until what is recorded of them was taken), or
    /// blocking-strict (and are refused when it was not).
    #[arg(long, value_name = "MODE", default_value = "batch", value_parser = mode)]
    pub(crate) audit_webhook_mode: Mode,
    /// How many events wait to be posted; more are lost.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    pub(crate) audit_webhook_batch_buffer_size: usize,
    /// The most events posted at once.
    #[arg(long, value_name = "COUNT", default_value_t = 400)]
    pub(crate) audit_webhook_batch_max_size: usize,
    /// How long events wait for others to be posted with.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) audit_webhook_batch_max_wait: Duration,
    /// Post no more often than the next two say.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set, num_args = 0..=1,
        require_equals = true, default_missing_value = "true")]
    pub(crate) audit_webhook_batch_throttle_enable: bool,
    /// How often a second to post in the long run.
    #[arg(long, value_name = "COUNT", default_value_t = 10.0)]
    pub(crate) audit_webhook_batch_throttle_qps: f64,
    /// How often to post at once after a while without.
    #[arg(long, value_name = "COUNT", default_value_t = 15)]
    pub(crate) audit_webhook_batch_throttle_burst: u32,
    /// How long to wait before posting again what was not taken.
    #[arg(long, alias = "audit-webhook-batch-initial-backoff", value_name = "DURATION", default_value = "10s",
        value_parser = duration)]
    pub(crate) audit_webhook_initial_backoff: Duration,
    /// Take what was sent and answered out of events that are too large to post, and lose those that still are.
    #[arg(long)]
    pub(crate) audit_webhook_truncate_enabled: bool,
    /// How large an event may be then, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = Truncation::default().max_event_size)]
    pub(crate) audit_webhook_truncate_max_event_size: usize,
    /// How many bytes are posted at once then.
    #[arg(long, value_name = "BYTES", default_value_t = Truncation::default().max_batch_size)]
    pub(crate) audit_webhook_truncate_max_batch_size: usize,
}

impl AuditLogArgs {
    /// What becomes of large events.
    pub(crate) fn truncation(&self) -> Option<Truncation> {
        self.audit_log_truncate_enabled.then_some(Truncation {
            max_event_size: self.audit_log_truncate_max_event_size,
            max_batch_size: self.audit_log_truncate_max_batch_size,
        })
    }
}

impl AuditWebhookArgs {
    /// What becomes of large events.
    pub(crate) fn truncation(&self) -> Option<Truncation> {
        self.audit_webhook_truncate_enabled.then_some(Truncation {
            max_event_size: self.audit_webhook_truncate_max_event_size,
            max_batch_size: self.audit_webhook_truncate_max_batch_size,
        })
    }

    /// How events are posted.
    pub(crate) fn options(&self) -> AuditWebhookOptions {
        let throttle = Throttle {
            per_second: self.audit_webhook_batch_throttle_qps,
            burst: self.audit_webhook_batch_throttle_burst,
        };
        AuditWebhookOptions {
            mode: self.audit_webhook_mode,
            buffer: self.audit_webhook_batch_buffer_size,
            batch: self.audit_webhook_batch_max_size,
            batch_bytes: self.truncation().map_or(usize::MAX, |limits| limits.max_batch_size),
            wait: self.audit_webhook_batch_max_wait,
            throttle: self.audit_webhook_batch_throttle_enable.then_some(throttle),
            pause: self.audit_webhook_initial_backoff,
        }
    }
}

fn mode(text: &str) -> Result<Mode, String> {
    Mode::parse(text).ok_or_else(|| "it is none of batch, blocking and blocking-strict".to_owned())
}

/// As Go writes it: `30s`, `1m30s`.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Result<jiff::SignedDuration, _> = text.parse();
    parsed.and_then(Duration::try_from).map_err(|error| error.to_string())
}
