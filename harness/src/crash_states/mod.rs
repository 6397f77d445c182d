//! The states in which a power loss may leave a disk, built from its write log and checked.
//!
//! A disk keeps what it was given before a completed flush, and any part of what followed. So each
//! flush is a **boundary**: the state that holds everything before it, and nothing after it, is a
//! crash state. From the writes between two boundaries a sample of subsets gives further ones.
//! Writes with forced unit access (FUA) are not lost once they completed.
//!
//! [`examine()`] builds all these states on one image, in the order of the log: it applies each
//! write once, and those of a sample once more, with the old content in a list from which they are
//! undone. The cost is linear in the log. In each state the whole file system is recovered and
//! checked, and the ledger and the bank are read from it ([`crate::recovered`]); the image is then
//! as before.
//!
//! What is expected beyond soundness follows from the log:
//! - The guest writes a record of the ledger only when its predecessor is durable. So a state in
//!   which a record was written holds the record before it, as a file system that lost power shows
//!   it.
//! - A transfer of the bank that a boundary holds is durable: no later state has fewer.

mod blame;
mod examine;
mod image;
mod inspect;
mod sample;
mod walk;

pub use blame::Culprit;
pub use examine::{BadState, Examination, LogUnderTest, Sampling, examine};
pub use sample::CrashState;
