use super::{connection::Connection, server::Server};
use anyhow::Result;
use futures::{StreamExt, stream};
use std::time::{Duration, Instant};

/// What a phase did.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// Requests answered, or events delivered.
    pub(crate) operations: usize,
    pub(crate) elapsed: Duration,
    /// The server's own.
    pub(crate) cpu: Duration,
    /// From the shortest to the longest; empty when there is nothing to be said of single operations.
    pub(crate) latencies: Vec<Duration>,
    /// At its end, in bytes.
    pub(crate) resident: u64,
}

/// Measures `work`, which returns how many operations it did and their latencies.
pub(crate) async fn measure<W>(server: &Server, work: W) -> Result<Sample>
where
    W: Future<Output = Result<(usize, Vec<Duration>)>>,
{
    let (start, cpu) = (Instant::now(), server.cpu());
    let (operations, mut latencies) = work.await?;
    let elapsed = start.elapsed();
    latencies.sort_unstable();
    Ok(Sample {
        operations,
        elapsed,
        cpu: server.cpu().saturating_sub(cpu),
        latencies,
        resident: server.resident(),
    })
}

/// Does an operation for each index below `count`, `concurrency` of them at a time.
pub(crate) async fn each<F, O>(
    server: &Server,
    count: usize,
    concurrency: usize,
    operation: F,
) -> Result<Sample>
where
    F: Fn(Connection, usize) -> O,
    O: Future<Output = Result<()>>,
{
    measure(server, async {
        let mut latencies = Vec::with_capacity(count);
        let mut calls = stream::iter(0..count)
            .map(|index| {
                let call = operation(server.connection().clone(), index);
                async move {
                    let start = Instant::now();
                    call.await.map(|()| start.elapsed())
                }
            })
            .buffer_unordered(concurrency);
        while let Some(latency) = calls.next().await {
            latencies.push(latency?);
        }
        Ok((count, latencies))
    })
    .await
}
