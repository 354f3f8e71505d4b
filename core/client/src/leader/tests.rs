use super::*;
use http::{Method, Request, Response};
use kube::client::Body;
use kubeplane_clock::{Clock, PausedClock};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// One Lease behind an API that compares versions.
#[derive(Default)]
struct Server {
    lease: Mutex<Option<Value>>,
    version: Mutex<u64>,
}

impl Server {
    fn answer(&self, method: &Method, sent: Option<Value>) -> (u16, Value) {
        let refuse = |code: u16, reason: &str| {
            (code, json!({"status": "Failure", "code": code, "reason": reason, "message": reason}))
        };
        let mut lease = self.lease.lock();
        if *method == Method::GET {
            return lease.clone().map_or_else(|| refuse(404, "NotFound"), |lease| (200, lease));
        }
        let version = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
        let Some(mut next) = sent else { return refuse(400, "BadRequest") };
        match lease.as_ref() {
            Some(_) if *method == Method::POST => return refuse(409, "AlreadyExists"),
            Some(present) if version(present) != version(&next) => return refuse(409, "Conflict"),
            _ => {}
        }
        let mut number = self.version.lock();
        *number += 1;
        next["metadata"]["resourceVersion"] = json!(number.to_string());
        *lease = Some(next.clone());
        (200, next)
    }

    /// A client that does not get through while `cut` is on.
    fn client(self: &Arc<Self>, cut: Arc<AtomicBool>) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (server, cut) = (server.clone(), cut.clone());
            async move {
                if cut.load(Ordering::SeqCst) {
                    std::future::pending::<()>().await;
                }
                let method = request.method().clone();
                let body = request.into_body().collect_bytes().await?;
                let (code, answer) = server.answer(&method, serde_json::from_slice(&body).ok());
                let response = Response::builder()
                    .status(code)
                    .body(Body::from(answer.to_string().into_bytes()))?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(response)
            }
        });
        kube::Client::new(service, "default")
    }
}

/// When a candidate began and ceased to lead.
#[derive(Debug, Default)]
struct Reign {
    began: Mutex<Option<Duration>>,
    ended: Mutex<Option<Duration>>,
}

struct Candidate {
    reign: Arc<Reign>,
    cut: Arc<AtomicBool>,
    token: CancellationToken,
    task: tokio::task::JoinHandle<Result<()>>,
}

fn candidate(server: &Arc<Server>, clock: &PausedClock, name: &str) -> Candidate {
    let (reign, cut) = (Arc::new(Reign::default()), Arc::new(AtomicBool::new(false)));
    let config = LeaseConfig::new("ns", "lease", name);
    let elector = LeaderElector::new(server.client(cut.clone()), Arc::new(clock.clone()), config);
    let token = CancellationToken::new();
    let (seen, clock) = (reign.clone(), clock.clone());
    let task = tokio::spawn(elector.run(token.clone(), move |leading| async move {
        *seen.began.lock() = Some(clock.elapsed());
        leading.cancelled().await;
        *seen.ended.lock() = Some(clock.elapsed());
    }));
    Candidate { reign, cut, token, task }
}

async fn pass(clock: &PausedClock, seconds: u64) {
    for _ in 0..seconds * 4 {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_millis(250));
    }
}

#[tokio::test]
async fn a_leader_that_is_cut_off_stops_before_another_begins() {
    let (server, clock) =
        (Arc::new(Server::default()), PausedClock::starting_at(jiff::Timestamp::UNIX_EPOCH));
    let first = candidate(&server, &clock, "first");
    pass(&clock, 5).await;
    let second = candidate(&server, &clock, "second");
    pass(&clock, 20).await;
    assert!(first.reign.began.lock().is_some());
    assert!(first.reign.ended.lock().is_none() && second.reign.began.lock().is_none());

    let cut_at = clock.elapsed();
    first.cut.store(true, Ordering::SeqCst);
    pass(&clock, 30).await;
    let ended = first.reign.ended.lock().expect("the first stopped");
    let began = second.reign.began.lock().expect("the second took over");
    assert!(ended < began, "{ended:?} {began:?}");
    assert!(ended <= cut_at + Duration::from_secs(10), "{cut_at:?} {ended:?}");
    assert!(matches!(first.task.await, Ok(Err(Error::LeadershipLost { .. }))));
    second.token.cancel();
    second.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_leader_that_ends_lets_the_next_in_at_once() {
    let (server, clock) =
        (Arc::new(Server::default()), PausedClock::starting_at(jiff::Timestamp::UNIX_EPOCH));
    let first = candidate(&server, &clock, "first");
    pass(&clock, 5).await;
    let second = candidate(&server, &clock, "second");
    pass(&clock, 5).await;
    first.token.cancel();
    pass(&clock, 1).await;
    first.task.await.unwrap().unwrap();
    pass(&clock, 5).await;
    assert!(second.reign.began.lock().is_some());
    let spec = server.lease.lock().clone().map(|lease| lease["spec"].clone()).unwrap_or_default();
    assert_eq!((&spec["holderIdentity"], &spec["leaseTransitions"]), (&json!("second"), &json!(1)));
}

#[tokio::test]
async fn a_lease_is_given_back_though_a_renewal_was_written_that_its_leader_gave_up() {
    let (server, clock) =
        (Arc::new(Server::default()), PausedClock::starting_at(jiff::Timestamp::UNIX_EPOCH));
    let first = candidate(&server, &clock, "first");
    pass(&clock, 5).await;
    let renewed = server.lease.lock().clone();
    assert_eq!(server.answer(&Method::PUT, renewed).0, 200);
    first.token.cancel();
    first.task.await.unwrap().unwrap();
    let lease = server.lease.lock().clone().unwrap_or_default();
    assert_eq!(lease["spec"]["holderIdentity"], "");
}
