//! The primitives by which threads share state. The models give other ones to the same code.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
