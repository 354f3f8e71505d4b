//! The embedded store: multi-version memory with an optional write-ahead log
