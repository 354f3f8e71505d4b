//! The audit log, as the command line wants it.

use crate::cli::AuditArgs;
use anyhow::Context as _;
use kubeplane::{
    apiserver::audit::{AuditFile, AuditLog, AuditSink, FileOptions},
    audit_webhook::AuditWebhook,
    clock::SharedClock,
};
use std::{fs, sync::Arc};

/// Reads the policy and opens what it is for; `None` when there is to be no audit log.
pub(super) fn log(args: &AuditArgs, clock: &SharedClock) -> anyhow::Result<Option<Arc<AuditLog>>> {
    let Some(policy) = &args.audit_policy_file else { return Ok(None) };
    let named = || format!("--audit-policy-file {}", policy.display());
    let policy = fs::read_to_string(policy).with_context(named)?.parse().with_context(named)?;
    let mut sinks: Vec<Box<dyn AuditSink>> = Vec::new();
    if let Some(path) = &args.audit_log_path {
        let options = FileOptions {
            path: path.clone(),
            max_age_days: args.audit_log_maxage,
            max_backups: args.audit_log_maxbackup,
            max_size_mib: args.audit_log_maxsize,
        };
        let file = AuditFile::open(options, clock.clone())
            .with_context(|| format!("--audit-log-path {}", path.display()))?;
        sinks.push(Box::new(file));
    }
    if let Some(path) = &args.audit_webhook_config_file {
        let webhook = AuditWebhook::open(path, clock.clone())
            .with_context(|| format!("--audit-webhook-config-file {}", path.display()))?;
        sinks.push(Box::new(webhook));
    }
    match sinks.is_empty() {
        true => Ok(None),
        false => Ok(Some(Arc::new(AuditLog::new(policy, sinks)?))),
    }
}
