/// What goes wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It does not parse, or names what is not there; with the place in the source, as the original prints it.
    #[error("{0}")]
    Compile(String),
    /// The source is longer than [`MAX_SOURCE_BYTES`](crate::MAX_SOURCE_BYTES).
    #[error("expression is {length} bytes long, more than {limit}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// It is well formed, but a constant in it has no value.
    #[error("program instantiation failed: {0}")]
    Instantiate(String),
    /// It failed on the value at hand, as in `no such key: a`.
    #[error("{0}")]
    Evaluate(String),
    /// Its budget is spent.
    #[error("operation cancelled: actual cost limit exceeded")]
    Budget,
    /// A field of a variable that is made on demand is to be made first.
    #[error("no value of {0}")]
    Needs(String),
}

/// What the functions of this crate return.
pub type Result<T> = std::result::Result<T, Error>;
