//! What containers want done after their start and before their end.

use crate::{
    host::Host,
    http_get::{self, Target},
    spec::PodId,
};
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};
use kubeplane_runtime_cri::ContainerId;
use std::time::Duration;

/// Runs one hook to its end.
///
/// # Errors
/// The message that tells what failed.
///
/// # Cancellation
/// Dropping the future gives the hook up; a command in the container may go on.
pub(crate) async fn run(
    host: &Host,
    pod: &Pod,
    container: &Container,
    id: &ContainerId,
    handler: &LifecycleHandler,
    pod_ip: &str,
) -> Result<(), String> {
    let at = format!("for Container {:?} in Pod \"{}\" failed", container.name, PodId::of(pod));
    if let Some(exec) = &handler.exec {
        let command = exec.command.clone().unwrap_or_default();
        let shown = command.join(" ");
        return match host.runtime.exec_sync(id, &command, None).await {
            Ok(done) if done.exit_code == 0 => Ok(()),
            Ok(done) => {
                let mut output = done.stdout.to_vec();
                output.extend_from_slice(&done.stderr);
                Err(format!(
                    "Exec lifecycle hook ([{shown}]) {at} - error: command '{shown}' exited with \
                     {}, message: {:?}",
                    done.exit_code,
                    String::from_utf8_lossy(&output)
                ))
            }
            Err(error) => {
                Err(format!("Exec lifecycle hook ([{shown}]) {at} - error: {error}, message: \"\""))
            }
        };
    }
    if let Some(action) = &handler.http_get {
        if !host.runtime.network_is_real() {
            return Ok(());
        }
        let path = action.path.as_deref().unwrap_or_default();
        let failed = |error: String| format!("HTTP lifecycle hook ({path}) {at} - error: {error}");
        let target = Target::of(action, container, pod_ip).map_err(failed)?;
        let headers = http_get::headers(action, "kube-lifecycle/1.36");
        return http_get::get(&target, &headers).await.map(|_| ()).map_err(failed);
    }
    if let Some(sleep) = &handler.sleep {
        let seconds = u64::try_from(sleep.seconds).unwrap_or(0);
        host.clock.sleep(Duration::from_secs(seconds)).await;
        return Ok(());
    }
    Err("Cannot run handler: invalid handler".to_owned())
}
