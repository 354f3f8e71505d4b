use super::super::{
    connection::Call,
    fixture::{self, pods},
    meter::{Sample, each, measure},
    server::Server,
};
use super::Plan;
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

const LISTS: usize = 8;
/// How many lists are begun and not read.
const HELD: usize = 16;
/// In that time a server has sent ahead what it sends to one who does not read.
const SETTLING: Duration = Duration::from_secs(2);

/// Fills the namespace, and tells what the pods take beside their JSON.
pub(crate) async fn fill(server: &Server, plan: &Plan) -> Result<()> {
    fixture::fill(server, plan.pods, plan.concurrency).await?;
    let resident = server.resident();
    let size = server.connection().succeed(Call::get(pods())).await?.size;
    let times = resident as f64 / size.max(1) as f64;
    eprintln!(
        "{:<24} {:<10} {} MiB resident with {} pods, {times:.2} times their JSON",
        "",
        server.name,
        resident >> 20,
        plan.pods
    );
    Ok(())
}

/// Lists in JSON that nobody reads; what each adds to the server's memory is told beside the table.
pub(crate) async fn held(server: &Server, _: &Plan) -> Result<Sample> {
    measure(server, async {
        let (mut latencies, mut lists) = (Vec::new(), Vec::new());
        let resident = server.resident();
        for _ in 0..HELD {
            let connection = server.another().await?;
            let start = Instant::now();
            let list = connection.open_stream(Call::get(pods())).await?;
            ensure!(list.status().is_success(), "a list answered with {}", list.status());
            latencies.push(start.elapsed());
            lists.push((connection, list));
        }
        tokio::time::sleep(SETTLING).await;
        let each = server.resident().saturating_sub(resident) / HELD as u64;
        eprintln!("{:<24} {:<10} {each} bytes for each list in flight", "", server.name);
        Ok((lists.len(), latencies))
    })
    .await
}

pub(crate) async fn json(server: &Server, plan: &Plan) -> Result<Sample> {
    lists(server, plan, Call::get(pods())).await
}

pub(crate) async fn protobuf(server: &Server, plan: &Plan) -> Result<Sample> {
    lists(server, plan, Call::get(pods()).accept("application/vnd.kubernetes.protobuf")).await
}

pub(crate) async fn metadata(server: &Server, plan: &Plan) -> Result<Sample> {
    let kind = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    lists(server, plan, Call::get(pods()).accept(kind)).await
}

/// Lists that match nothing.
pub(crate) async fn selector(server: &Server, _: &Plan) -> Result<Sample> {
    // Few at once: the original's limit of requests in flight answers more of them with 504 on a small machine.
    each(server, 48, 2, |connection, _| async move {
        let call = Call::get(format!("{}?labelSelector=app%3Dnone", pods()));
        connection.succeed(call).await.map(drop)
    })
    .await
}

/// The whole list in pages of 500.
pub(crate) async fn paged(server: &Server, plan: &Plan) -> Result<Sample> {
    measure(server, async {
        let (mut latencies, mut token, mut size) = (Vec::new(), String::new(), 0);
        loop {
            let start = Instant::now();
            let path = format!("{}?limit=500&continue={token}", pods());
            let answer = server.connection().succeed(Call::get(path)).await?;
            latencies.push(start.elapsed());
            size += answer.size;
            match continuation(&answer.start) {
                Some(next) => token = next,
                None => break,
            }
        }
        ensure!(size > plan.pods * 1024, "the pages hold {size} bytes");
        Ok((latencies.len(), latencies))
    })
    .await
}

/// The token in the head of a list.
fn continuation(head: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(head);
    let (_, after) = text.split_once("\"continue\":\"")?;
    let (token, _) = after.split_once('"')?;
    (!token.is_empty()).then(|| token.to_owned())
}

async fn lists(server: &Server, plan: &Plan, call: Call) -> Result<Sample> {
    let least = plan.pods * 128;
    each(server, LISTS, 1, |connection, _| {
        let call = call.clone();
        async move {
            let answer = connection.succeed(call).await.context("a list")?;
            ensure!(answer.size > least, "a list of {} bytes", answer.size);
            Ok(())
        }
    })
    .await
}
