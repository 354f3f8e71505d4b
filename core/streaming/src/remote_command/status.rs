use serde_json::{Value, json};

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// With exit code zero, or, before version 4, without a message.
    Success,
    /// With this other exit code.
    ExitCode(i32),
    /// It could not be run, or nothing is known but this message.
    Failed(String),
}

impl Outcome {
    /// The outcome of a process that ended with `code`.
    #[must_use]
    pub fn exited(code: i32) -> Self {
        if code == 0 { Self::Success } else { Self::ExitCode(code) }
    }

    /// What the error stream carries in this version of the protocol.
    pub(crate) fn encode(&self, version: u8) -> Vec<u8> {
        if version >= 4 {
            return self.status().to_string().into_bytes();
        }
        match self {
            Self::Success => Vec::new(),
            Self::ExitCode(code) => exit_message(*code).into_bytes(),
            Self::Failed(message) => internal(message).into_bytes(),
        }
    }

    fn status(&self) -> Value {
        match self {
            Self::Success => json!({"metadata": {}, "status": "Success"}),
            Self::ExitCode(code) => json!({
                "metadata": {},
                "status": "Failure",
                "message": exit_message(*code),
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            }),
            Self::Failed(message) => json!({
                "metadata": {},
                "status": "Failure",
                "message": internal(message),
                "reason": "InternalError",
                "details": {"causes": [{"message": message}]},
                "code": 500,
            }),
        }
    }

    /// Reads what an error stream carried until its end.
    pub(crate) fn decode(text: &[u8], version: u8) -> Self {
        if version < 4 {
            return match text {
                [] => Self::Success,
                _ => Self::Failed(String::from_utf8_lossy(text).into_owned()),
            };
        }
        let Ok(status) = serde_json::from_slice::<Value>(text) else {
            let text = String::from_utf8_lossy(text);
            return Self::Failed(format!("error stream protocol error: {text:?}"));
        };
        if status["status"] == "Success" {
            return Self::Success;
        }
        let code = status["details"]["causes"].as_array().and_then(|causes| {
            let cause = causes.iter().find(|cause| cause["reason"] == "ExitCode")?;
            cause["message"].as_str()?.parse().ok()
        });
        match code {
            Some(code) if status["reason"] == "NonZeroExitCode" => Self::ExitCode(code),
            _ => {
                let message = status["message"].as_str().unwrap_or_default();
                // Whoever passes it on says it anew.
                Self::Failed(message.strip_prefix(INTERNAL).unwrap_or(message).to_owned())
            }
        }
    }
}

/// How every failure begins that is not the command's own.
const INTERNAL: &str = "Internal error occurred: ";

fn exit_message(code: i32) -> String {
    format!("command terminated with non-zero exit code: exit status {code}")
}

fn internal(message: &str) -> String {
    format!("{INTERNAL}{message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_survive_the_error_stream() {
        let failed = Outcome::Failed("no such container".to_owned());
        let sent = String::from_utf8(failed.encode(4)).unwrap();
        assert!(sent.contains("\"Internal error occurred: no such container\""), "{sent}");
        // However often it is passed on.
        for outcome in [Outcome::Success, Outcome::ExitCode(3), failed] {
            let once = Outcome::decode(&outcome.encode(4), 4);
            assert_eq!(Outcome::decode(&once.encode(4), 4), outcome);
        }
        assert!(Outcome::Success.encode(1).is_empty());
        assert!(matches!(Outcome::decode(&Outcome::ExitCode(3).encode(2), 2), Outcome::Failed(_)));
    }
}
