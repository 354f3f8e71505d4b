//! The built-in kinds: definitions, defaults, validation and table rows
