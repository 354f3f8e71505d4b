//! The audit log, as the command line wants it.

use crate::cli::AuditArgs;
use anyhow::Context as _;
use kubeplane::{
    apiserver::audit::{AuditFile, AuditLog, FileOptions, SinkOptions},
    audit_webhook::AuditWebhook,
    clock::SharedClock,
};
use std::{fs, sync::Arc};

/// Reads the policy and opens what it is for; `None` when there is to be no audit log.
pub(super) fn log(args: &AuditArgs, clock: &SharedClock) -> anyhow::Result<Option<Arc<AuditLog>>> {
    let Some(policy) = &args.audit_policy_file else { return Ok(None) };
    let named = || format!("--audit-policy-file {}", policy.display());
    let policy = fs::read_to_string(policy).with_context(named)?.parse().with_context(named)?;
    let (to_file, to_server) = (&args.log, &args.webhook);
    if to_file.audit_log_path.is_none() && to_server.audit_webhook_config_file.is_none() {
        return Ok(None);
    }
    let mut log = AuditLog::of(policy);
    if let Some(path) = &to_file.audit_log_path {
        let options = FileOptions {
            path: path.clone(),
            max_age_days: to_file.audit_log_maxage,
            max_backups: to_file.audit_log_maxbackup,
            max_size_mib: to_file.audit_log_maxsize,
            compress: to_file.audit_log_compress,
        };
        let file = AuditFile::open(options, clock.clone())
            .with_context(|| format!("--audit-log-path {}", path.display()))?;
        let options = SinkOptions {
            mode: to_file.audit_log_mode,
            buffer: to_file.audit_log_batch_buffer_size,
            truncation: to_file.truncation(),
        };
        log = log.sink("log", file, options)?;
    }
    if let Some(path) = &to_server.audit_webhook_config_file {
        let webhook = AuditWebhook::open(path, clock.clone(), to_server.options())
            .with_context(|| format!("--audit-webhook-config-file {}", path.display()))?;
        let options = SinkOptions {
            mode: to_server.audit_webhook_mode,
            buffer: to_server.audit_webhook_batch_buffer_size,
            truncation: to_server.truncation(),
        };
        log = log.sink("webhook", webhook, options)?;
    }
    Ok(Some(Arc::new(log)))
}
