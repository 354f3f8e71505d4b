//! Reading the logs runtimes write.

pub(crate) mod reader;
pub(crate) mod rotate;

use jiff::Timestamp;
use kubeplane_runtime_cri::LogStream;

/// What of a log is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LogOptions {
    pub(crate) follow: bool,
    /// Only so many lines from the end.
    pub(crate) tail: Option<usize>,
    /// Only so many bytes.
    pub(crate) limit: Option<u64>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) timestamps: bool,
    /// The run before the present one.
    pub(crate) previous: bool,
    /// Only what was written there.
    pub(crate) stream: Option<LogStream>,
}

/// Options that cannot be understood or fulfilled.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// Not of the right form.
    Form,
    /// Of the right form, but senseless.
    Value,
}

impl LogOptions {
    /// Reads the query of a request made at `now`.
    pub(crate) fn parse(query: &[(String, String)], now: Timestamp) -> Result<Self, Bad> {
        let mut options = Self::default();
        let mut since_twice = 0;
        for (name, value) in query {
            match name.as_str() {
                "follow" => options.follow = flag(value)?,
                "timestamps" => options.timestamps = flag(value)?,
                "previous" => options.previous = flag(value)?,
                "tail" if value == "all" => options.tail = None,
                "tailLines" | "tail" => {
                    let lines: i64 = value.parse().map_err(|_| Bad::Form)?;
                    options.tail = Some(usize::try_from(lines).map_err(|_| Bad::Value)?);
                }
                "limitBytes" => {
                    let bytes: i64 = value.parse().map_err(|_| Bad::Form)?;
                    let bytes = u64::try_from(bytes).ok().filter(|bytes| *bytes > 0);
                    options.limit = Some(bytes.ok_or(Bad::Value)?);
                }
                "sinceSeconds" => {
                    let seconds: i64 = value.parse().map_err(|_| Bad::Form)?;
                    if seconds < 1 {
                        return Err(Bad::Value);
                    }
                    since_twice += 1;
                    let span = jiff::SignedDuration::from_secs(seconds);
                    options.since = Some(now.checked_sub(span).unwrap_or(Timestamp::MIN));
                }
                "sinceTime" => {
                    since_twice += 1;
                    options.since = Some(value.parse().map_err(|_| Bad::Form)?);
                }
                "stream" => {
                    options.stream = match value.as_str() {
                        "" | "All" => None,
                        "Stdout" => Some(LogStream::Stdout),
                        "Stderr" => Some(LogStream::Stderr),
                        _ => return Err(Bad::Value),
                    };
                }
                _ => {}
            }
        }
        if since_twice > 1 || (options.stream.is_some() && options.tail.is_some()) {
            return Err(Bad::Value);
        }
        Ok(options)
    }
}

fn flag(value: &str) -> Result<bool, Bad> {
    match value {
        "" | "1" | "t" | "true" | "True" | "TRUE" | "T" => Ok(true),
        "0" | "f" | "false" | "False" | "FALSE" | "F" => Ok(false),
        _ => Err(Bad::Form),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<LogOptions, Bad> {
        let query: Vec<(String, String)> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        LogOptions::parse(&query, "2026-01-01T01:00:00Z".parse().unwrap())
    }

    #[test]
    fn options_are_read_from_the_query() {
        let options =
            parse(&[("follow", "true"), ("tailLines", "7"), ("sinceSeconds", "60")]).unwrap();
        assert_eq!((options.follow, options.tail), (true, Some(7)));
        assert_eq!(options.since.unwrap().to_string(), "2026-01-01T00:59:00Z");
        assert_eq!(parse(&[("limitBytes", "0")]), Err(Bad::Value));
        assert_eq!(parse(&[("tailLines", "x")]), Err(Bad::Form));
        assert_eq!(parse(&[("tailLines", "-1")]), Err(Bad::Value));
        let both = parse(&[("sinceSeconds", "1"), ("sinceTime", "2026-01-01T00:00:00Z")]);
        assert_eq!(both, Err(Bad::Value));
    }
}
