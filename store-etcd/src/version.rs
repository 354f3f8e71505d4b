/// The version of an etcd server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(u32, u32, u32);

impl Version {
    /// Reads `3.5.13` and the like; what cannot be read is taken for old.
    pub(crate) fn parse(text: &str) -> Self {
        let mut parts = text.split(['.', '-', '+']).map(|part| part.parse().unwrap_or(0));
        let mut part = || parts.next().unwrap_or(0);
        Self(part(), part(), part())
    }

    /// Whether a manual progress answer is sent after every event it covers. Earlier versions let it overtake
    /// events (etcd issue 15220), or hang (15402).
    pub(crate) fn orders_progress(self) -> bool {
        self >= Self(3, 5, 13) || (self >= Self(3, 4, 31) && self < Self(3, 5, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn progress_is_trusted_only_where_it_is_ordered() {
        for (text, ordered) in [
            ("3.4.23", false),
            ("3.4.30", false),
            ("3.4.31", true),
            ("3.5.0", false),
            ("3.5.12", false),
            ("3.5.13", true),
            ("3.6.0-rc.1", true),
            ("unknown", false),
        ] {
            assert_eq!(Version::parse(text).orders_progress(), ordered, "{text}");
        }
    }
}
