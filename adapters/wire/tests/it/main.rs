//! Tests of the wire protocol.

mod built_in;
mod documents;
mod programs;
mod stored;
mod table;
