use std::time::Duration;

/// A span of time as Go writes it, to the millisecond: `1m30s`, `150ms`.
pub(crate) fn as_go(span: Duration) -> String {
    let millis = span.as_millis();
    if (1..1000).contains(&millis) {
        return format!("{millis}ms");
    }
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let seconds = format!("{}.{:03}", rest / 1000, rest % 1000);
    let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_go_does() {
        for (millis, text) in [
            (0, "0s"),
            (150, "150ms"),
            (1500, "1.5s"),
            (10_000, "10s"),
            (300_000, "5m0s"),
            (5_400_000, "1h30m0s"),
        ] {
            assert_eq!(as_go(Duration::from_millis(millis)), text);
        }
    }
}
