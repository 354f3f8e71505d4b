//! The two text forms metrics are read in.

use http::{HeaderMap, header};

/// The media type of the form older readers know, version 0.0.4.
pub(crate) const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The media type of [`Metrics::encode`](crate::Metrics::encode).
pub const METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether a reader asks for OpenMetrics; whoever does not say gets the plain form, as from the original.
pub(crate) fn wants_open_metrics(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|kind| {
        kind.split(';').next().is_some_and(|kind| kind.trim() == "application/openmetrics-text")
    })
}

/// OpenMetrics text in the plain form: counters are named with their `_total`, bounds without `.0`.
pub(crate) fn plain(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(told) = line.strip_prefix("# HELP ") {
            help = told.split_once(' ');
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|told| told.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                _ => ("", kind),
            };
            if let Some((_, told)) = help.take().filter(|(about, _)| *about == name) {
                text.extend(["# HELP ", name, suffix, " ", told, "\n"]);
            }
            text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            sample(&mut text, line);
        }
    }
    text
}

fn sample(text: &mut String, line: &str) {
    const BOUND: &str = "le=\"";
    let bound = line.rfind(BOUND).map(|at| at + BOUND.len());
    match bound.and_then(|at| Some((at, at + line[at..].find('"')?))) {
        Some((at, end)) if line[at..end].ends_with(".0") => {
            text.extend([&line[..end - 2], &line[end..], "\n"]);
        }
        _ => text.extend([line, "\n"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_form_is_what_older_readers_know() {
        let open = "# HELP served Requests.\n# TYPE served counter\nserved_total{code=\"200\"} 3\n\
                    # HELP took_seconds Time.\n# TYPE took_seconds histogram\n\
                    took_seconds_bucket{le=\"0.5\"} 1\ntook_seconds_bucket{le=\"1.0\"} 2\n\
                    took_seconds_bucket{le=\"+Inf\"} 2\n# EOF\n";
        let expected = "# HELP served_total Requests.\n# TYPE served_total counter\n\
                        served_total{code=\"200\"} 3\n\
                        # HELP took_seconds Time.\n# TYPE took_seconds histogram\n\
                        took_seconds_bucket{le=\"0.5\"} 1\ntook_seconds_bucket{le=\"1\"} 2\n\
                        took_seconds_bucket{le=\"+Inf\"} 2\n";
        assert_eq!(plain(open), expected);
    }

    #[test]
    fn the_form_is_chosen_by_the_reader() {
        let asks = |accept: &'static str| {
            let accept = http::HeaderValue::from_static(accept);
            wants_open_metrics(&HeaderMap::from_iter([(header::ACCEPT, accept)]))
        };
        assert!(asks("application/openmetrics-text;version=1.0.0,text/plain;q=0.5"));
        assert!(!asks("text/plain"));
        assert!(!wants_open_metrics(&HeaderMap::new()));
    }
}
