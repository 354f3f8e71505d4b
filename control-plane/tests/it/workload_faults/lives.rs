//! Processes of controllers that end with some write.

use futures::FutureExt;
use http::{Method, Request};
use kube::{Client, client::Body};
use kubeplane::{
    clock::Seed,
    controllers::{BuiltinOptions, Manager, builtin},
    core::{
        auth::{GROUP_AUTHENTICATED, UserInfo},
        component::{Component, lifecycle},
    },
    testing::TestCluster,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

/// How long one process of controllers lives: so many writes, the last of which is carried out or not.
#[derive(Debug)]
struct Life {
    left: AtomicU64,
    carries_out_last: bool,
    dead: AtomicBool,
    died: Notify,
}

impl Life {
    fn new(seed: &Seed) -> Self {
        Self {
            left: AtomicU64::new(1 + seed.below(60)),
            carries_out_last: seed.below(2) == 0,
            dead: AtomicBool::new(false),
            died: Notify::new(),
        }
    }

    /// Whether this write is the last.
    fn is_last(&self) -> bool {
        self.left.fetch_sub(1, Ordering::SeqCst) == 1
    }

    fn die(&self) {
        self.dead.store(true, Ordering::SeqCst);
        self.died.notify_one();
    }
}

/// A client of a process that may die: what it asks for after that is never answered.
fn mortal(inner: Client, life: Arc<Life>) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let (inner, life) = (inner.clone(), life.clone());
        async move {
            if life.dead.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            let last = *request.method() != Method::GET && life.is_last();
            if last && !life.carries_out_last {
                life.die();
                std::future::pending::<()>().await;
            }
            let answer = inner.send(request).await;
            if last {
                life.die();
                std::future::pending::<()>().await;
            }
            answer
        }
        .boxed()
    });
    Client::new(service, "default")
}

fn account(name: &str) -> UserInfo {
    UserInfo::new(
        format!("system:serviceaccount:kube-system:{name}"),
        ["system:serviceaccounts", "system:serviceaccounts:kube-system", GROUP_AUTHENTICATED],
    )
}

/// Runs controllers, one process after the other, until `healed`; the last one lives on. Counts those that died.
pub(super) async fn generations(
    cluster: TestCluster,
    seed: Seed,
    healed: Arc<AtomicBool>,
    deaths: Arc<AtomicU64>,
) {
    loop {
        let mut life = Life::new(&seed);
        if healed.load(Ordering::SeqCst) {
            life.left = AtomicU64::new(u64::MAX);
        }
        let life = Arc::new(life);
        let own = UserInfo::new("system:kube-controller-manager", [GROUP_AUTHENTICATED]);
        let (accounts, lives) = (cluster.clone(), life.clone());
        let manager = Manager::builder(mortal(cluster.client_as(own), life.clone()))
            .client_for(move |name| mortal(accounts.client_as(account(name)), lives.clone()))
            .clock(cluster.clock())
            .seed(seed.clone())
            .add_all(builtin(&BuiltinOptions::new(cluster.clock(), "the root")))
            .build()
            .unwrap();
        let (lifecycle, supervision) = lifecycle();
        let running = AbortOnDropHandle::new(tokio::spawn(Box::new(manager).run(lifecycle)));
        life.died.notified().await;
        deaths.fetch_add(1, Ordering::SeqCst);
        drop(running);
        drop(supervision);
    }
}
