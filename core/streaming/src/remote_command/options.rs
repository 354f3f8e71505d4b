use crate::{Error, Result};

/// Which streams an exec or attach has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The caller writes to the process.
    pub stdin: bool,
    /// The caller reads the standard output.
    pub stdout: bool,
    /// The caller reads the standard error; never together with a terminal, which mixes both.
    pub stderr: bool,
    /// The process runs on a terminal.
    pub tty: bool,
}

impl Options {
    /// Reads the query of a request: `stdin`, `stdout`, `stderr` as the API server is asked, or `input`,
    /// `output`, `error` as kubelets and runtimes are; and `tty`. True is `1`, `true` or `t`.
    ///
    /// # Errors
    /// `BadOptions` when no stream is asked for.
    pub fn from_query(query: &str) -> Result<Self> {
        let mut options = Self { stdin: false, stdout: false, stderr: false, tty: false };
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = matches!(value.to_ascii_lowercase().as_str(), "1" | "t" | "true");
            match name {
                "stdin" | "input" => options.stdin = value,
                "stdout" | "output" => options.stdout = value,
                "stderr" | "error" => options.stderr = value,
                "tty" => options.tty = value,
                _ => {}
            }
        }
        options.stderr &= !options.tty;
        if !options.stdin && !options.stdout && !options.stderr {
            let reason = "you must specify at least 1 of stdin, stdout, stderr".to_owned();
            return Err(Error::BadOptions { reason });
        }
        Ok(options)
    }

    /// The query that asks a kubelet or a runtime for these streams.
    #[must_use]
    pub fn to_kubelet_query(self) -> String {
        [("input", self.stdin), ("output", self.stdout), ("error", self.stderr), ("tty", self.tty)]
            .into_iter()
            .filter(|(_, wanted)| *wanted)
            .map(|(name, _)| format!("{name}=1"))
            .collect::<Vec<_>>()
            .join("&")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read_and_a_terminal_has_no_standard_error() {
        let api = Options::from_query("command=sh&stdin=true&stdout=true&stderr=true&tty=true");
        let kubelet = Options::from_query("input=1&output=1&error=1&tty=1");
        assert_eq!(api.unwrap(), kubelet.unwrap());
        let options = Options::from_query("output=1&error=1").unwrap();
        assert_eq!(options, Options { stdin: false, stdout: true, stderr: true, tty: false });
        assert_eq!(Options::from_query(&options.to_kubelet_query()).unwrap(), options);
        assert!(Options::from_query("tty=1").is_err());
    }
}
