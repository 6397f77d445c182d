//! Tests of the wire protocol.
#![expect(clippy::unwrap_used, reason = "tests")]

mod built_in;
mod documents;
mod programs;
mod schema;
mod stored;
mod table;
