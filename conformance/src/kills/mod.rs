//! A core that is killed with SIGKILL at chosen moments and started again.
//!
//! The scenario that uses the core goes on as if nothing had happened: what it waits for is asked
//! again, and a request whose answer was lost is looked for among the core's jobs. The section
//! "Restart" of the contract says what that requires of a core.
//!
//! - `choice`: which moments a run asks for
//! - `moments`: counts the moments and decides at which the core is killed
//! - `platform`: counts the calls of the core
//! - `restarted`: the core as the suite uses it
//! - `requests`: requests whose answer was lost, and jobs that failed because of a kill
//! - `shown`: what the core had shown before, which must still be true

mod choice;
mod moments;
mod platform;
mod requests;
mod restarted;
mod shown;

pub use choice::{BadKills, KillChoice};
pub use moments::{DOWN, Kills, Schedule};
pub(crate) use restarted::RestartedCore;
