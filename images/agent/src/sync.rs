//! Locking. The models give other primitives to the same code.

use std::sync::{MutexGuard, PoisonError};

pub(crate) use std::sync::{Condvar, Mutex};

/// Locks a mutex, ignoring poison: a thread that panicked leaves valid data behind.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
