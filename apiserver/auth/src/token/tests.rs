use super::*;
use kubeplane_clock::{Clock, PausedClock};
use kubeplane_core::reader::ObjectList;
use serde_json::json;

type Objects = parking_lot::Mutex<BTreeMap<(String, String), Arc<Object>>>;

/// What a cache has, and what only the store has yet.
#[derive(Debug, Default)]
struct Cluster(Objects, Objects);

impl Cluster {
    fn put_just_now(&self, resource: &str, name: &str, uid: &str) {
        let object = Object::from_value(json!({"metadata": {"name": name, "uid": uid}})).unwrap();
        self.1.lock().insert((resource.into(), name.into()), Arc::new(object));
    }

    fn put(&self, resource: &str, name: &str, uid: &str) {
        let object = Object::from_value(json!({"metadata": {"name": name, "uid": uid}})).unwrap();
        self.0.lock().insert((resource.into(), name.into()), Arc::new(object));
    }
}

#[async_trait]
impl ObjectReader for Cluster {
    fn revision(&self, _: &GroupResource) -> Option<u64> {
        Some(1)
    }

    async fn get(
        &self,
        resource: &GroupResource,
        _: &str,
        name: &str,
    ) -> ApiResult<Option<Arc<Object>>> {
        Ok(self.0.lock().get(&(resource.resource.to_string(), name.to_owned())).cloned())
    }

    async fn get_fresh(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
    ) -> ApiResult<Option<Arc<Object>>> {
        let new = self.1.lock().get(&(resource.resource.to_string(), name.to_owned())).cloned();
        if new.is_some() { Ok(new) } else { self.get(resource, namespace, name).await }
    }

    async fn list(&self, _: &GroupResource, _: &str) -> ApiResult<ObjectList> {
        Ok(ObjectList::default())
    }
}

fn request() -> TokenRequest {
    TokenRequest {
        namespace: "default".into(),
        service_account: "web".into(),
        uid: "u1".into(),
        lifetime: Duration::from_secs(3600),
        pod: Some(BoundObject { name: "web-0".into(), uid: "p1".into() }),
        ..TokenRequest::default()
    }
}

#[tokio::test]
async fn a_token_is_good_for_its_time_its_audience_and_while_its_pod_lives() {
    let clock = PausedClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    let key = kubeplane_pki::generate_key().unwrap();
    let issuer =
        TokenIssuer::new("https://kubernetes", &key, vec![], Arc::new(clock.clone())).unwrap();
    let cluster = Arc::new(Cluster::default());
    cluster.put("serviceaccounts", "web", "u1");
    cluster.put("pods", "web-0", "p1");
    let tokens = ServiceAccountTokens::new(issuer.clone(), cluster.clone());
    let (token, expires) = issuer.issue(&request()).unwrap();
    assert_eq!(expires.as_second(), clock.now().as_second() + 3600);

    let good = tokens.verify(&token, &[]).await.unwrap().unwrap();
    assert_eq!(good.user.name, "system:serviceaccount:default:web");
    assert!(good.user.is_in("system:serviceaccounts:default"));
    assert_eq!(good.user.extra["authentication.kubernetes.io/pod-name"], ["web-0"]);
    assert!(tokens.verify(&token, &["vault".into()]).await.is_err(), "another audience");

    let other_key = kubeplane_pki::generate_key().unwrap();
    let forger =
        TokenIssuer::new("https://kubernetes", &other_key, vec![], Arc::new(clock.clone()))
            .unwrap();
    assert!(tokens.verify(&forger.issue(&request()).unwrap().0, &[]).await.is_err(), "another key");
    assert_eq!(tokens.verify("no-token", &[]).await.unwrap(), None);

    cluster.put("pods", "web-0", "p2");
    assert!(tokens.verify(&token, &[]).await.is_err(), "another pod of the same name");
    cluster.put("pods", "web-0", "p1");
    clock.advance(Duration::from_secs(3600));
    assert!(tokens.verify(&token, &[]).await.is_err(), "expired");
}

#[tokio::test]
async fn a_token_is_good_at_once_though_the_cache_has_not_seen_what_it_is_for() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let key = kubeplane_pki::generate_key().unwrap();
    let issuer =
        TokenIssuer::new("https://kubernetes", &key, vec![], kubeplane_clock::real()).unwrap();
    let cluster = Arc::new(Cluster::default());
    let tokens = ServiceAccountTokens::new(issuer.clone(), cluster.clone());
    let (token, _) = issuer.issue(&request()).unwrap();
    cluster.put("pods", "web-0", "p0");
    assert!(tokens.verify(&token, &[]).await.is_err(), "there is no account");
    cluster.put_just_now("serviceaccounts", "web", "u1");
    assert!(tokens.verify(&token, &[]).await.is_err(), "the pod is another one");
    cluster.put_just_now("pods", "web-0", "p1");
    assert!(tokens.verify(&token, &[]).await.unwrap().is_some());

    let token = issuer.issue_for_secret("default", "web", "u1", "kept").unwrap();
    assert!(tokens.verify(&token, &[]).await.is_err(), "there is no Secret");
    let meta = json!({"name": "kept", "namespace": "default", "uid": "s1"});
    let secret = json!({"metadata": meta, "data": {"token": STANDARD.encode(&token)}});
    let secret = Arc::new(Object::from_value(secret).unwrap());
    cluster.1.lock().insert(("secrets".into(), "kept".into()), secret);
    assert!(tokens.verify(&token, &[]).await.unwrap().is_some());
}

#[tokio::test]
async fn a_token_in_a_secret_is_good_while_the_secret_says_so() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let clock = PausedClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    let key = kubeplane_pki::generate_key().unwrap();
    let used = UsedTokens::default();
    let issuer = TokenIssuer::new("https://kubernetes", &key, vec![], Arc::new(clock.clone()))
        .unwrap()
        .tracking(used.clone());
    let cluster = Arc::new(Cluster::default());
    cluster.put("serviceaccounts", "web", "u1");
    let tokens = ServiceAccountTokens::new(issuer.clone(), cluster.clone());
    let token = issuer.issue_for_secret("default", "web", "u1", "kept").unwrap();
    assert!(tokens.verify(&token, &[]).await.is_err(), "there is no Secret");
    let keep = |text: &str, labels: serde_json::Value| {
        let meta = json!({"name": "kept", "namespace": "default", "uid": "s1", "labels": labels});
        let secret = json!({"metadata": meta, "data": {"token": STANDARD.encode(text)}});
        let secret = Arc::new(Object::from_value(secret).unwrap());
        cluster.0.lock().insert(("secrets".into(), "kept".into()), secret);
    };
    keep("another", json!({}));
    assert!(tokens.verify(&token, &[]).await.is_err(), "the Secret keeps another token");
    keep(&token, json!({}));
    let good = tokens.verify(&token, &[]).await.unwrap().unwrap();
    assert_eq!(good.user.name, "system:serviceaccount:default:web");
    assert!(good.user.is_in("system:serviceaccounts:default"));
    assert_eq!(used.take(), [("default".to_owned(), "kept".to_owned())].into());
    keep(&token, json!({UsedTokens::LABEL: "2026-01-01"}));
    assert!(tokens.verify(&token, &[]).await.unwrap().is_some());
    assert!(used.take().is_empty(), "today is noted already");
    keep(&token, json!({"kubernetes.io/legacy-token-invalid-since": "2026-01-01"}));
    assert!(tokens.verify(&token, &[]).await.is_err(), "declared invalid");
    keep(&token, json!({}));
    cluster.put("serviceaccounts", "web", "u2");
    assert!(tokens.verify(&token, &[]).await.is_err(), "another account of the same name");
}
