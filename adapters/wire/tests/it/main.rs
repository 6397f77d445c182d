//! Tests of the wire protocol.

mod built_in;
mod programs;
mod table;
