use crate::harness::Server;
use async_trait::async_trait;
use http::{Response, StatusCode};
use kubeplane_apiserver::{Api, Body, CutOff, Finish, Route, WriteHook, body};
use kubeplane_core::{
    Object,
    auth::{Attributes, Authorizer, Decision},
    features::Features,
    status::{ApiError, ApiResult},
};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Semaphore,
};

/// How long a busy machine may take.
const LIMIT: Duration = Duration::from_secs(60);
const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test]
async fn who_asks_decides() {
    let server = Server::ready().await;
    let with = |user: &'static str| {
        let server = &server;
        async move { server.call("GET", PODS, &[("authorization", user)], b"").await }
    };
    let refused = with("Bearer x").await;
    assert_eq!(
        refused.message(),
        "pods is forbidden: User \"x\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    refused.expect(403);
    assert!(with("").await.message().contains("User \"system:anonymous\""));
    assert_eq!(with("Bearer bad").await.expect(401)["reason"], "Unauthorized");
    with("Basic abc").await.expect(401);
    let path = server.call("GET", "/version", &[("authorization", "Bearer x")], b"").await;
    assert_eq!(path.message(), "forbidden: User \"x\" cannot get path \"/version\"");
    let health = server.call("GET", "/livez", &[("authorization", "")], b"").await;
    assert_eq!((health.code, health.text.as_str()), (StatusCode::OK, "ok"));
}

#[tokio::test]
async fn impersonation_needs_the_right() {
    let server = Server::ready().await;
    let acting = [("impersonate-user", "jane"), ("impersonate-group", "dev")];
    let as_jane = server.call("GET", PODS, &acting, b"").await;
    assert!(as_jane.message().contains("User \"jane\" cannot list"), "{}", as_jane.text);
    let by_x = [("authorization", "Bearer x"), ("impersonate-user", "admin")];
    let refused = server.call("GET", PODS, &by_x, b"").await;
    assert_eq!(
        refused.message(),
        "pods is forbidden: User \"x\" cannot impersonate-on:user-info:list resource \"pods\" in API group \"\" in the \
         namespace \"default\""
    );
    let nobody = server.call("GET", PODS, &[("impersonate-group", "dev")], b"").await;
    assert!(nobody.message().ends_with("without impersonating a user name"), "{}", nobody.text);
    nobody.expect(400);
    // Only the older right lets anybody into this group.
    let acting = [("impersonate-user", "root"), ("impersonate-group", "system:masters")];
    let as_root = server.call("GET", PODS, &acting, b"").await;
    assert!(as_root.message().contains("User \"root\" cannot list"), "{}", as_root.text);
}

#[tokio::test]
async fn the_older_right_alone_decides_without_the_gate() {
    let off: Features = "ConstrainedImpersonation=false".parse().unwrap();
    let server = Server::with(|builder| builder.features(off));
    let by_x = [("authorization", "Bearer x"), ("impersonate-user", "admin")];
    let refused = server.call("GET", PODS, &by_x, b"").await;
    assert_eq!(
        refused.message(),
        "users \"admin\" is forbidden: User \"x\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope"
    );
}

/// `helper` may list pods as `jane`, who may do anything with them.
#[derive(Debug)]
struct Helping;

#[async_trait]
impl Authorizer for Helping {
    async fn authorize(&self, request: &Attributes) -> Decision {
        let (verb, group) = (request.verb.as_str(), request.group.as_str());
        let allowed = match (request.user.name.as_str(), request.resource.as_str()) {
            ("helper", "pods") => verb == "impersonate-on:user-info:list",
            ("helper", "users") => {
                (verb, group) == ("impersonate:user-info", "authentication.k8s.io")
                    && request.name == "jane"
            }
            ("jane", "pods") => true,
            _ => false,
        };
        if allowed { Decision::Allow(String::new()) } else { Decision::NoOpinion(String::new()) }
    }
}

#[tokio::test]
async fn who_may_act_as_somebody_may_be_held_to_some_requests() {
    let server = Server::with(|builder| builder.authorize(Helping));
    let as_jane = [("authorization", "Bearer helper"), ("impersonate-user", "jane")];
    server.call("GET", PODS, &as_jane, b"").await.expect(200);
    let refused = server.call("GET", &format!("{PODS}/a"), &as_jane, b"").await;
    assert_eq!(
        refused.message(),
        "pods \"a\" is forbidden: User \"helper\" cannot impersonate-on:user-info:get resource \"pods\" in API group \
         \"\" in the namespace \"default\""
    );
    let as_joe = [("authorization", "Bearer helper"), ("impersonate-user", "joe")];
    let refused = server.call("GET", PODS, &as_joe, b"").await;
    assert_eq!(
        refused.message(),
        "users.authentication.k8s.io \"joe\" is forbidden: User \"helper\" cannot impersonate:user-info resource \
         \"users\" in API group \"authentication.k8s.io\" at the cluster scope"
    );
}

#[tokio::test]
async fn every_answer_carries_an_id_and_requests_are_counted() {
    let server = Server::ready().await;
    let answer = server.get(PODS).await;
    assert!(answer.headers.contains_key("audit-id"));
    let kept = server.call("GET", PODS, &[("audit-id", "mine")], b"").await;
    assert_eq!(kept.headers["audit-id"], "mine");
    let metrics = server.get("/metrics").await.text;
    for name in [
        "apiserver_request_total{",
        "apiserver_request_duration_seconds_bucket{",
        "etcd_request_duration_seconds_count{",
    ] {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }
    let verbose = server.get("/readyz?verbose").await.text;
    for check in ["ping", "etcd", "shutdown"] {
        assert!(verbose.contains(&format!("[+]{check} ok")), "{verbose}");
    }
}

#[derive(Debug, Default)]
struct Counting {
    taken: Arc<AtomicUsize>,
}

#[async_trait]
impl WriteHook for Counting {
    async fn before_create(
        &self,
        _api: &Api,
        object: &mut Object,
        _dry_run: bool,
    ) -> ApiResult<Finish> {
        self.taken.fetch_add(1, Ordering::SeqCst);
        object.set(&["data", "given"], "1");
        let taken = self.taken.clone();
        Ok(Finish::nothing().on_failure(async move {
            taken.fetch_sub(1, Ordering::SeqCst);
        }))
    }

    async fn after_delete(&self, _api: &Api, _object: &Object) {
        self.taken.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct Panics;

#[async_trait]
impl Route for Panics {
    async fn serve(
        &self,
        _api: &Api,
        head: &http::request::Parts,
        _body: Body,
    ) -> ApiResult<Response<Body>> {
        assert!(!head.uri.path().ends_with("now"), "as asked");
        match head.uri.path() {
            "/own" => Ok(Response::new(body::full("here"))),
            _ => Err(ApiError::no_such_path()),
        }
    }
}

#[tokio::test]
async fn hooks_and_routes_of_others_take_part() {
    let taken = Arc::new(AtomicUsize::new(0));
    let hook = Counting { taken: taken.clone() };
    let server = Server::with(|builder| {
        let maps = kubeplane_core::GroupResource::new("", "configmaps");
        builder.hook(maps, Arc::new(hook)).route("/own", Arc::new(Panics))
    });
    server.post("/api/v1/namespaces", &json!({"metadata": {"name": "default"}})).await.expect(201);
    assert_eq!(server.config_map("one", json!({})).await["data"]["given"], "1");
    let maps = "/api/v1/namespaces/default/configmaps";
    server.post(maps, &json!({"metadata": {"name": "one"}})).await.expect(409);
    server.post(maps, &json!({"metadata": {"name": "Bad Name"}})).await.expect(422);
    assert_eq!(taken.load(Ordering::SeqCst), 1);
    server.delete(&format!("{maps}/one"), &json!(null)).await.expect(200);
    assert_eq!(taken.load(Ordering::SeqCst), 0);
    assert_eq!(server.get("/own").await.text, "here");
    server.get("/own/other").await.expect(404);
    server.get("/own/now").await.expect(500);
    assert_eq!(server.get("/ownership").await.text, "404 page not found\n");
}

#[derive(Debug)]
struct Patchers;

#[async_trait]
impl kubeplane_core::auth::Authorizer for Patchers {
    async fn authorize(
        &self,
        request: &kubeplane_core::auth::Attributes,
    ) -> kubeplane_core::auth::Decision {
        match (request.user.name.as_str(), request.verb.as_str()) {
            ("patcher", "patch" | "get") => kubeplane_core::auth::Decision::Allow(String::new()),
            _ => kubeplane_core::auth::Decision::NoOpinion(String::new()),
        }
    }
}

#[tokio::test]
async fn applying_something_new_needs_the_right_to_create() {
    let server = Server::with(|builder| builder.authorize(Patchers));
    server.post("/api/v1/namespaces", &json!({"metadata": {"name": "default"}})).await.expect(201);
    let path = "/api/v1/namespaces/default/configmaps/one?fieldManager=me";
    let headers =
        [("authorization", "Bearer patcher"), ("content-type", "application/apply-patch+yaml")];
    let body = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\ndata: {a: b}\n";
    let refused = server.call("PATCH", path, &headers, body).await;
    assert_eq!(
        refused.message(),
        "configmaps \"one\" is forbidden: User \"patcher\" cannot create resource \"configmaps\" in API group \"\" in the namespace \"default\""
    );
    refused.expect(403);
    server.config_map("one", json!({})).await;
    server.call("PATCH", path, &headers, body).await.expect(409);
}

#[tokio::test]
async fn a_write_ends_well_though_its_client_left() {
    /// Says when it has begun, and goes on when it may.
    #[derive(Debug)]
    struct Slow {
        began: Arc<Semaphore>,
        may_go_on: Arc<Semaphore>,
        done: Arc<AtomicUsize>,
    }

    #[async_trait]
    impl WriteHook for Slow {
        async fn before_create(
            &self,
            _api: &Api,
            _object: &mut Object,
            _dry_run: bool,
        ) -> ApiResult<Finish> {
            self.began.add_permits(1);
            self.may_go_on.acquire().await.unwrap().forget();
            let done = self.done.clone();
            Ok(Finish::nothing().on_success(async move {
                done.fetch_add(1, Ordering::SeqCst);
            }))
        }
    }

    let done = Arc::new(AtomicUsize::new(0));
    let maps = kubeplane_core::GroupResource::new("", "configmaps");
    let (began, may_go_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let slow = Slow { began: began.clone(), may_go_on: may_go_on.clone(), done: done.clone() };
    let server = Server::with(|builder| builder.hook(maps, Arc::new(slow)));
    server.post("/api/v1/namespaces", &json!({"metadata": {"name": "default"}})).await.expect(201);
    let body = json!({"metadata": {"name": "one"}});
    tokio::select! {
        answer = server.post("/api/v1/namespaces/default/configmaps", &body) => {
            panic!("it is answered before it is done: {}", answer.text)
        }
        begun = began.acquire() => begun.unwrap().forget(),
    }
    assert_eq!(done.load(Ordering::SeqCst), 0);
    may_go_on.add_permits(1);
    let waiting = async {
        while done.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.unwrap();
    server.get("/api/v1/namespaces/default/configmaps/one").await.expect(200);
}

#[derive(Debug)]
struct Echo;

#[async_trait]
impl kubeplane_apiserver::Handler for Echo {
    async fn handle(
        &self,
        mut request: kubeplane_apiserver::HandlerRequest,
    ) -> ApiResult<Response<Body>> {
        assert_eq!((request.info.name.as_str(), request.query().text("command")), ("p", "cat"));
        let upgrade = request.upgrade().ok_or_else(|| ApiError::bad_request("no upgrade"))?;
        tokio::spawn(async move {
            let stream = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
            let (mut read, mut write) = tokio::io::split(stream);
            // Ends when the other side does, or the way to it.
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        let answer = Response::builder()
            .status(101)
            .header("connection", "Upgrade")
            .header("upgrade", "echo");
        Ok(answer.body(body::empty()).unwrap())
    }
}

/// A connection that [`Echo`] took over; it ends with this.
async fn taken_over(cut: Option<CutOff>) -> hyper_util::rt::TokioIo<hyper::upgrade::Upgraded> {
    let pods = kubeplane_core::GroupResource::new("", "pods");
    let server = Server::with(|builder| builder.handler(pods, "exec", Arc::new(Echo)));
    let client = server.api.client_as(kubeplane_core::auth::UserInfo::new("admin", ["x"]));
    let mut request = http::Request::post("/api/v1/namespaces/default/pods/p/exec?command=cat")
        .header("connection", "Upgrade")
        .header("upgrade", "echo")
        .body(kube_client::client::Body::empty())
        .unwrap();
    cut.into_iter().for_each(|cut| drop(request.extensions_mut().insert(cut)));
    let response = client.send(request).await.unwrap();
    assert_eq!(response.status(), 101);
    let mut stream = hyper_util::rt::TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    stream.write_all(b"hello").await.unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hello");
    stream
}

#[tokio::test]
async fn a_handler_takes_over_the_connection_in_process_too() {
    drop(taken_over(None).await);
}

#[tokio::test]
async fn a_connection_that_was_taken_over_ends_when_its_way_is_cut() {
    let (cut, is_cut) = tokio::sync::oneshot::channel::<()>();
    let mut stream = taken_over(Some(CutOff::when(async move { drop(is_cut.await) }))).await;
    let reading = tokio::spawn(async move { stream.read_u8().await });
    tokio::task::yield_now().await;
    assert!(!reading.is_finished());
    cut.send(()).unwrap();
    let error = tokio::time::timeout(LIMIT, reading).await.expect("it ends").unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}
