use crate::{
    Health, Metrics, Probe,
    exposition::{METRICS_CONTENT_TYPE, PLAIN, wants_open_metrics},
};
use axum::{
    Router,
    body::Body,
    extract::{Path, RawQuery, State},
    response::Response,
    routing::any,
};
use http::{HeaderMap, StatusCode, header};

const TEXT: &str = "text/plain; charset=utf-8";

/// The routes `/healthz`, `/livez`, `/readyz` (each with `?verbose`, `?exclude=` and single checks below
/// it) and `/metrics`, which is OpenMetrics for those who accept it and plain text for others, with `/metrics/slis` below it:
/// what the single checks of these probes said (KEP-3466). As in the original, each is served whatever the method is, and
/// all else is a page that says that it is not there.
pub fn router(health: Health, metrics: Metrics) -> Router {
    let mut router = Router::new();
    for (path, name, probe) in [
        ("/healthz", "healthz", Probe::Both),
        ("/livez", "livez", Probe::Live),
        ("/readyz", "readyz", Probe::Ready),
    ] {
        let all = move |State((health, _)): State<(Health, Metrics)>, RawQuery(query): RawQuery| async move {
            health_response(&health, probe, name, None, query.as_deref().unwrap_or_default())
                .map(Body::from)
        };
        let one = move |State((health, _)): State<(Health, Metrics)>, Path(check): Path<String>| async move {
            health_response(&health, probe, name, Some(&check), "").map(Body::from)
        };
        router = router.route(path, any(all)).route(&format!("{path}/{{*check}}"), any(one));
    }
    router
        .route(
            "/metrics",
            any(|State((_, metrics)): State<(Health, Metrics)>, headers: HeaderMap| async move {
                exposition(&metrics, &headers)
            }),
        )
        .route(
            "/metrics/slis",
            any(|State((health, _)): State<(Health, Metrics)>, headers: HeaderMap| async move {
                exposition(&health.slis.metrics, &headers)
            }),
        )
        .fallback(|| async { nowhere().map(Body::from) })
        .with_state((health, metrics))
}

fn exposition(metrics: &Metrics, headers: &HeaderMap) -> Response {
    let (kind, told) = match wants_open_metrics(headers) {
        true => (METRICS_CONTENT_TYPE, metrics.encode()),
        false => (PLAIN, metrics.encode_plain()),
    };
    text(StatusCode::OK, kind, told).map(Body::from)
}

/// The page for what is not there.
fn nowhere() -> http::Response<String> {
    text(StatusCode::NOT_FOUND, TEXT, "404 page not found\n".into())
}

/// The answer to a health request: `probe_name` is `livez`, `readyz` or `healthz`, `check` one check
/// below it, `query` the raw query.
#[must_use]
pub fn health_response(
    health: &Health,
    probe: Probe,
    probe_name: &str,
    check: Option<&str>,
    query: &str,
) -> http::Response<String> {
    if let Some(check) = check {
        return match health.one(probe, check) {
            None => nowhere(),
            Some(Ok(())) => text(StatusCode::OK, TEXT, "ok".into()),
            Some(Err(why)) => {
                let body = format!("internal server error: {why}\n");
                text(StatusCode::INTERNAL_SERVER_ERROR, TEXT, body)
            }
        };
    }
    let pairs = || query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let excluded: Vec<_> =
        pairs().filter(|(key, _)| *key == "exclude").map(|(_, name)| name).collect();
    let verbose = pairs().any(|(key, _)| key == "verbose");
    let report = health.report(probe, &excluded);
    health.slis.observe(probe_name, &report);
    for (name, why) in report.failures() {
        tracing::debug!(probe = probe_name, check = name, why, "health check failed");
    }
    let (code, body) = match (report.is_ok(), verbose) {
        (true, false) => (StatusCode::OK, "ok".to_owned()),
        (true, true) => (StatusCode::OK, report.lines(probe_name)),
        (false, _) => (StatusCode::INTERNAL_SERVER_ERROR, report.lines(probe_name)),
    };
    text(code, TEXT, body)
}

fn text(code: StatusCode, kind: &'static str, body: String) -> http::Response<String> {
    let mut response = http::Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_answer_as_the_original() {
        let health = Health::new();
        health.add("ping", Probe::Both, || Ok(()));
        health.add("log", Probe::Both, || Ok(()));
        assert_eq!(health_response(&health, Probe::Ready, "readyz", None, "").body(), "ok");
        let verbose = health_response(&health, Probe::Ready, "readyz", None, "verbose&exclude=log");
        assert_eq!(verbose.body(), "[+]ping ok\n[+]log excluded: ok\nreadyz check passed\n");
        health.add("informers", Probe::Ready, || Err("not synced".into()));
        let failing = health_response(&health, Probe::Ready, "readyz", None, "");
        assert_eq!(failing.status(), 500);
        assert!(failing.body().contains("[-]informers failed: reason withheld\n"));
        assert_eq!(health_response(&health, Probe::Live, "livez", None, "").status(), 200);
        let counted = health.slis.metrics.encode_plain();
        for line in [
            r#"kubernetes_healthcheck{name="informers",type="readyz"} 0"#,
            r#"kubernetes_healthcheck{name="ping",type="livez"} 1"#,
            r#"kubernetes_healthchecks_total{name="log",status="success",type="readyz"} 2"#,
            r#"kubernetes_healthchecks_total{name="ping",status="success",type="readyz"} 3"#,
        ] {
            assert!(counted.lines().any(|own| own == line), "{line} in {counted}");
        }
        assert_eq!(health_response(&health, Probe::Live, "livez", Some("none"), "").status(), 404);
    }
}
