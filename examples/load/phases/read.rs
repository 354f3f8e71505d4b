use super::super::{
    connection::Call,
    fixture::pods,
    meter::{Sample, each, measure},
    server::Server,
};
use super::Plan;
use anyhow::{Context, Result, ensure};
use std::time::Instant;

const LISTS: usize = 8;

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
