//! The cycle: failover → reprotect → failback → reprotect, on real guests, judged at every edge.
//!
//! Read `cycle` first: it is the scenario. Each stage is one file; each ends with the oracle's word on every
//! disk, the witness's findings inside the recovered guest, and what was lost and how long it took.

mod drill;
mod edge;
mod failback;
mod failover;
mod faults;
mod finish;
mod group;
mod hydration;
mod hyperv;
mod identity;
mod limits;
mod measure;
mod networks;
mod out;
mod reprotect;
mod setup;
mod speed;
mod stage;
mod switch;
mod world;

use std::sync::Arc;

use standins::{Boot, StandInSite};
use witness::ledger::RecordNumber;

use crate::scenario::Script;

pub use stage::{Play, open};
use world::World;

/// Why a scenario did not go through to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// The core under test broke a rule.
    #[error("{0}")]
    Violation(String),
    /// The test host, a tool or the suite failed; nothing can be said.
    #[error("{0}")]
    Unknown(String),
}

impl From<harness::Error> for Halt {
    fn from(error: harness::Error) -> Self {
        Self::Unknown(error.to_string())
    }
}

impl From<anyhow::Error> for Halt {
    fn from(error: anyhow::Error) -> Self {
        Self::Unknown(format!("{error:#}"))
    }
}

impl From<contract::CoreError> for Halt {
    fn from(error: contract::CoreError) -> Self {
        Self::Violation(format!("the core: {error}"))
    }
}

impl From<contract::PlatformError> for Halt {
    fn from(error: contract::PlatformError) -> Self {
        Self::Unknown(error.to_string())
    }
}

/// The machine where it runs now.
#[derive(Clone)]
pub(crate) struct Running {
    /// The site it runs on.
    pub(crate) site: Arc<StandInSite>,
    /// Its boot there: disks before power-on, write logs, the guest.
    pub(crate) boot: Arc<Boot>,
    /// Last ledger record that it came up with.
    pub(crate) already: RecordNumber,
}

impl Running {
    /// The last record it is known to hold: acknowledged here, or brought along.
    pub(crate) fn last_record(&self) -> RecordNumber {
        self.boot.guest.witness().last_ack().max(self.already)
    }
}

/// Runs a scenario's script.
///
/// # Errors
/// The first thing that kept it from going on.
async fn run(world: &World) -> Result<(), Halt> {
    match world.script {
        Script::Cycle => cycle(world).await,
        Script::Group => group::cycle(world).await,
        Script::OutOnly => out::go(world).await,
        Script::Faults => faults::go_through(world).await,
        Script::Drill => drill::hold(world).await,
        Script::HyperV => hyperv::cycle(world).await,
        Script::TrackingLimits => limits::walk(world).await,
        Script::Hydration => hydration::walk(world).await,
        Script::Networks => networks::go(world).await,
        Script::Identity | Script::Speed => {
            Err(Halt::Unknown("this scenario has no world of two sites".to_owned()))
        }
        Script::SimCycle | Script::SimRules => {
            Err(Halt::Unknown("this scenario is of the simulated tier".to_owned()))
        }
    }
}

/// The whole cycle, as often as asked for.
async fn cycle(world: &World) -> Result<(), Halt> {
    let mut on_premises = setup::boot_source(world).await?;
    setup::protect(world, &on_premises).await?;
    let (mut from, home) = (world, world.at_home());
    for _ in 0..world.context.cycles {
        let cloud = failover::fail_over(from, &on_premises).await?;
        reprotect::reprotect(&home, "reprotect", &cloud, &on_premises).await?;
        on_premises = failback::fail_back(&home, &cloud, &on_premises).await?;
        reprotect::reprotect(&home, "reprotect-forward", &on_premises, &cloud).await?;
        from = &home;
    }
    finish::end(&home, &on_premises).await
}
