//! Processes that end with the process that started them, however that ends.
//!
//! - [`groups`]: the process groups that a process has started end with it
//! - [`parent`]: this process ends with its parent
//! - [`until_ended`]: a bounded wait for the end of any process

pub mod groups;
pub mod parent;
mod wait;

pub use wait::until_ended;
