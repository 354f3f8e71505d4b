//! What Jobs told of their pods, against the pods.

use super::{name, number, owners, player::Play, text};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The highest numbers that the statuses of Jobs ever told, against the pods that ever ended, by the history of writes.
pub(super) fn over_counted(play: &Play) -> Vec<String> {
    #[derive(Default)]
    struct Counted {
        name: String,
        succeeded: i64,
        failed: i64,
        indexed: bool,
    }
    let mut jobs = BTreeMap::<String, Counted>::new();
    let mut ended = BTreeMap::<String, [BTreeSet<String>; 2]>::new();
    for write in play.cluster.history().writes() {
        let Ok(object) = serde_json::from_slice::<Value>(&write.value) else { continue };
        let uid = text(&object, "/metadata/uid").to_owned();
        if write.key.starts_with("/registry/jobs/") {
            let job = jobs.entry(uid).or_default();
            job.name = name(&object);
            job.indexed = text(&object, "/spec/completionMode") == "Indexed";
            job.succeeded = job.succeeded.max(number(&object, "/status/succeeded"));
            job.failed = job.failed.max(number(&object, "/status/failed"));
        } else if write.key.starts_with("/registry/pods/") {
            let going = object.pointer("/metadata/deletionTimestamp").is_some();
            for owner in owners(&object).filter(|owner| owner["kind"] == "Job") {
                let sets = ended.entry(text(owner, "/uid").to_owned()).or_default();
                let index =
                    text(&object, "/metadata/labels/batch.kubernetes.io~1job-completion-index");
                match text(&object, "/status/phase") {
                    "Succeeded" if !index.is_empty() => drop(sets[0].insert(index.to_owned())),
                    "Succeeded" => drop(sets[0].insert(uid.clone())),
                    "Failed" => drop(sets[1].insert(uid.clone())),
                    _ if going => drop(sets[1].insert(uid.clone())),
                    _ => {}
                }
            }
        }
    }
    let mut wrong = Vec::new();
    for (uid, job) in jobs {
        let sets = ended.remove(&uid).unwrap_or_default();
        let most = [sets[0].len() as i64, sets[1].len() as i64];
        if job.succeeded > most[0] || job.failed > most[1] {
            let Counted { name, succeeded, failed, indexed } = job;
            wrong.push(format!(
                "{name} counted {succeeded} and {failed}, but {most:?} ended (indexed: {indexed})"
            ));
        }
    }
    wrong
}
