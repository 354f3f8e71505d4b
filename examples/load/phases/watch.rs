use super::super::{
    connection::{Answer, Call, Connection},
    fixture::{configmaps, pods},
    meter::{Sample, measure},
    server::Server,
};
use super::Plan;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::{StreamExt, future::try_join_all, stream};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Streams that one connection carries; servers allow 100 at the least.
const STREAMS: usize = 100;
const WRITES: usize = 20;

/// One write at a time to many watchers, each waiting until all have seen it; operations are deliveries.
pub(crate) async fn fan_out(server: &Server, plan: &Plan) -> Result<Sample> {
    let path = format!("{}/fan-out", configmaps());
    let writer = server.another().await?;
    writer.send(Call::delete(path.clone())).await?;
    let version = version(&writer.succeed(Call::get(configmaps())).await?)?;
    let resident = server.resident();
    let seen = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for first in (0..plan.watchers).step_by(STREAMS) {
        let connection = server.another().await?;
        let streams = (first..plan.watchers.min(first + STREAMS)).map(|_| {
            let connection = connection.clone();
            let path = format!("{}?watch=true&resourceVersion={version}", configmaps());
            async move { connection.open_stream(Call::get(path)).await }
        });
        let streams: Vec<_> = stream::iter(streams).buffer_unordered(16).collect().await;
        for stream in streams {
            tasks.spawn(count_lines(stream?.into_body(), seen.clone()));
        }
    }
    let each = server.resident().saturating_sub(resident) / plan.watchers.max(1) as u64;
    eprintln!("{:<24} {:<10} {each} bytes for each idle watch", "", server.name);
    let sample = measure(server, async {
        let mut latencies = Vec::new();
        for turn in 0..WRITES {
            let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "fan-out"},
                "data": {"turn": turn.to_string(), "text": "x".repeat(1024)}});
            let start = Instant::now();
            let call = match turn {
                0 => Call::post(configmaps(), value.to_string()),
                _ => Call::put(path.clone(), value.to_string()),
            };
            writer.succeed(call).await?;
            while seen.load(Ordering::Relaxed) < (turn + 1) * plan.watchers {
                ensure!(start.elapsed() < Duration::from_secs(60), "watchers do not see a write");
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
            latencies.push(start.elapsed());
        }
        Ok((WRITES * plan.watchers, latencies))
    })
    .await;
    tasks.shutdown().await;
    server.another().await?.send(Call::delete(path)).await?;
    sample
}

/// Counts the events of a watch, a line each.
async fn count_lines(mut body: Incoming, seen: Arc<AtomicUsize>) {
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        let lines = data.iter().filter(|byte| **byte == b'\n').count();
        seen.fetch_add(lines, Ordering::Relaxed);
    }
}

/// Informers that list and then watch, all at once; operations are pods received.
pub(crate) async fn sync(server: &Server, plan: &Plan) -> Result<Sample> {
    measure(server, async {
        let informers = (0..plan.informers).map(|_| async {
            let start = Instant::now();
            inform(server.another().await?, plan.pods).await?;
            Ok::<_, anyhow::Error>(start.elapsed())
        });
        let latencies = try_join_all(informers).await?;
        Ok((plan.informers * plan.pods, latencies))
    })
    .await
}

async fn inform(connection: Connection, pods_expected: usize) -> Result<()> {
    let path = format!("{}?resourceVersion=0", pods());
    let answer = connection.succeed(Call::get(path)).await?;
    ensure!(answer.size > pods_expected * 1024, "a list of {} bytes", answer.size);
    let version = version(&answer)?;
    let path = format!("{}?watch=true&resourceVersion={version}", pods());
    let response = connection.open_stream(Call::get(path)).await?;
    ensure!(response.status().is_success(), "a watch answered with {}", response.status());
    Ok(())
}

/// The resourceVersion of a list.
fn version(answer: &Answer) -> Result<String> {
    let head = String::from_utf8_lossy(&answer.start);
    head.split_once("\"resourceVersion\":\"")
        .and_then(|(_, after)| after.split_once('"'))
        .map(|(version, _)| version.to_owned())
        .context("a list without a resourceVersion")
}

/// One writer while informers sync; operations are its writes.
pub(crate) async fn write_during_sync(server: &Server, plan: &Plan) -> Result<Sample> {
    let writer = server.another().await?;
    let done = AtomicBool::new(false);
    measure(server, async {
        let informing = async {
            let informers =
                (0..plan.informers).map(|_| async { inform(server.another().await?, plan.pods).await });
            let result = try_join_all(informers).await;
            done.store(true, Ordering::Relaxed);
            result
        };
        let writing = async {
            let (mut latencies, mut turn) = (Vec::new(), 0_usize);
            while !done.load(Ordering::Relaxed) {
                let value = json!({"apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": {"name": format!("during-{turn}")}, "data": {"text": "x".repeat(512)}});
                let start = Instant::now();
                writer.succeed(Call::post(configmaps(), Bytes::from(value.to_string()))).await?;
                latencies.push(start.elapsed());
                turn += 1;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Ok::<_, anyhow::Error>(latencies)
        };
        let (informed, latencies) = tokio::join!(informing, writing);
        informed?;
        let latencies = latencies?;
        server.connection().send(Call::delete(configmaps())).await?;
        Ok((latencies.len(), latencies))
    })
    .await
}
