//! Health checks, metrics and the small HTTP surface every component serves
