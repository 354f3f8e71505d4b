use crate::cluster::{Cluster, eventually};
use k8s_openapi::api::coordination::v1::Lease;
use kubeplane_client::{LeaderElector, LeaseConfig};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;

fn quick(identity: &str) -> LeaseConfig {
    LeaseConfig {
        // Longer than any test waits: who follows was let, and who leads is not late however busy the machine is.
        lease_duration: Duration::from_secs(180),
        renew_deadline: Duration::from_secs(120),
        retry_period: Duration::from_millis(100),
        ..LeaseConfig::new("default", "election", identity)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_leads_and_the_other_follows_when_it_gives_up() {
    let cluster = Cluster::bare().await;
    let leaders = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let candidate = |name: &'static str| {
        let elector =
            LeaderElector::new(cluster.client.clone(), kubeplane_clock::real(), quick(name));
        let (leaders, most) = (leaders.clone(), most.clone());
        let token = CancellationToken::new();
        let task = tokio::spawn(elector.run(token.clone(), move |leading| async move {
            let now = leaders.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            leading.cancelled().await;
            leaders.fetch_sub(1, Ordering::SeqCst);
        }));
        (token, task)
    };
    let holder = || async {
        let lease = cluster.api::<Lease>().get_opt("election").await.unwrap();
        let holder =
            lease.and_then(|lease| lease.spec?.holder_identity).filter(|holder| !holder.is_empty());
        holder.ok_or_else(|| "nobody".to_owned())
    };
    let first = candidate("first");
    assert_eq!(eventually("someone leads", holder).await, "first");
    let second = candidate("second");
    first.0.cancel();
    first.1.await.unwrap().unwrap();
    eventually("the other follows", || async {
        let holder = holder().await?;
        if holder == "second" { Ok(()) } else { Err(holder) }
    })
    .await;
    second.0.cancel();
    second.1.await.unwrap().unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 1, "never two at once");
    let lease = cluster.api::<Lease>().get("election").await.unwrap();
    assert_eq!(lease.spec.and_then(|spec| spec.lease_transitions), Some(1));
}
