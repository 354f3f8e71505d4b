//! Jobs whose changes are seen long after those of their pods.

use crate::{
    job_scenes::{active, counted, counts, end, ends_as, job, no_finalizers},
    world::{JOB, POD, World},
};
use async_trait::async_trait;
use futures::StreamExt;
use kubeplane_client::{
    ClientSource, InformerSource, Informers, Listed, Query, Result, SourceEvents,
};
use kubeplane_clock::{Seed, SharedClock};
use kubeplane_controllers::{BuiltinOptions, Manager, Selection, builtin};
use kubeplane_core::component::{Component, lifecycle};
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// By so much each change of a Job is late.
const LATE: Duration = Duration::from_millis(300);

#[derive(Debug)]
struct Late(ClientSource);

#[async_trait]
impl InformerSource for Late {
    async fn list(&self, query: &Query, at_least: &str) -> Result<Listed> {
        self.0.list(query, at_least).await
    }

    async fn watch(&self, query: &Query, after: &str, limit: Duration) -> Result<SourceEvents> {
        let events = self.0.watch(query, after, limit).await?;
        if query.resource.plural != "jobs" {
            return Ok(events);
        }
        let late = events.then(|event| async move {
            tokio::time::sleep(LATE).await;
            event
        });
        Ok(late.boxed())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_seen_late_has_one_pod_and_counts_it_once() {
    for (code, kind, reason, expected) in [
        (0, "Complete", "CompletionsReached", [0, 1, 0, 0]),
        (1, "Failed", "BackoffLimitExceeded", [0, 0, 1, 0]),
    ] {
        let world = World::bare().await;
        let clock: SharedClock = Arc::new(world.clock.clone());
        let client = world.cluster.client.clone();
        let source = Arc::new(Late(ClientSource::new(client.clone())));
        let manager = Manager::builder(client)
            .informers(Informers::from_source(source, clock.clone(), Seed::new(1)))
            .clock(clock.clone())
            .select(Selection::parse("job-controller"))
            .add_all(builtin(&BuiltinOptions::new(clock, "the root")))
            .build()
            .unwrap();
        let (life, mut supervision) = lifecycle();
        let running = tokio::spawn(Box::new(manager).run(life));
        assert!(supervision.became_ready().await);
        world.make_spec(JOB, "work", job(json!({"backoffLimit": 0}))).await;
        counted(&world, [1, 0, 0, 0]).await;
        end(&world, &active(&world).await[0], code).await;
        let done = ends_as(&world, kind, reason).await;
        assert_eq!(counts(&done), expected);
        no_finalizers(&world).await;
        assert_eq!(world.list(POD).await.len(), 1);
        supervision.stop();
        running.await.unwrap().unwrap();
    }
}
