//! Temporary directories that a later process can recognise and remove when their owner is gone.
//!
//! A process that is killed cannot remove its directories. The owner of an [`OwnedDir`] holds a
//! lock on it, which ends with the process however that ends. [`remove_stale`] removes those that
//! nobody holds.

mod name;
mod owned;
mod stale;

pub use owned::OwnedDir;
pub use stale::remove_stale;
