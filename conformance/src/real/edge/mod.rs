//! Edges: the transitions of a machine between two sites, each with a verdict.
//!
//! - [`lifecycle`]: an edge from its beginning to its verdict; the only place that judges one
//! - [`failover`], [`failback`], [`reprotect`]: the edges of the cycle
//! - [`restart`]: a recovered machine that is shut down and started again
//! - [`restarted_original`]: an original that is powered on again before it is reprotected
//! - [`planned_switchover`]: the part that planned failover and failback share
//! - [`network_cards`]: whether a recovered machine has both of its network cards
//! - [`recover`]: how a recovered machine comes up and is put to work
//! - [`work`]: whether a guest goes on working
//! - [`recovery_point`]: waiting for recovery points, and reading one
//! - [`judge`], [`freshness`], [`hydration_diff`], [`disk_pairs`], [`platform_identity`],
//!   [`measure`]: what is checked and measured

pub(crate) mod disk_pairs;
pub(crate) mod every_point;
pub(crate) mod failback;
pub(crate) mod failover;
pub(crate) mod freshness;
pub(crate) mod hydration_diff;
mod judge;
pub(crate) mod lifecycle;
pub(crate) mod measure;
pub(crate) mod name;
pub(crate) mod network_cards;
pub(crate) mod planned_switchover;
pub(crate) mod platform_identity;
pub(crate) mod recover;
pub(crate) mod recovery_point;
pub(crate) mod reprotect;
pub(crate) mod restart;
pub(crate) mod restarted_original;
pub(crate) mod work;
