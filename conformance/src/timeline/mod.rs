//! When what happened in a scenario: its moments and steps, written while it runs and read for
//! reports and for the history.

mod moments;
mod read;

pub use moments::{Happening, Moment, TIMELINE};
pub(crate) use read::{Step, Timeline};
