use std::{fmt, sync::Arc};

/// Why a step has no value.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// It failed, which `&&` and `||` may not need.
    Error(Arc<str>),
    /// Nothing is left to spend.
    Spent,
    /// A question to the authorizer waits for its answer.
    Open,
    /// A variable that is made on demand is wanted.
    Needs(Arc<str>),
}

impl Fault {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self::Error(why.into().into())
    }

    /// A function was called with what it is not made for.
    pub(crate) fn overload() -> Self {
        Self::new("no such overload")
    }

    /// Whether the whole evaluation ends.
    pub(crate) fn ends(&self) -> bool {
        !matches!(self, Self::Error(_))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(why) => f.write_str(why),
            Self::Spent => f.write_str("operation cancelled: actual cost limit exceeded"),
            Self::Open => f.write_str("not decided yet"),
            Self::Needs(name) => write!(f, "no value of {name}"),
        }
    }
}
