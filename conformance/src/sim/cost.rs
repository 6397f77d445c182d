//! How long calls of a core and simulated cycles take, by the host's time.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::core_under_test::FaultInjection;
use crate::missing::Missing;
use crate::outcome::Verdict;
use crate::sim::seeded_cycles;
use crate::sim::testbed::{self, Setup};

/// The time of each of so many calls of a core, one after another.
pub(crate) fn time_of_calls(change: &dyn FaultInjection, calls: u32) -> Result<Duration> {
    simulator::run(1, async |world| {
        let testbed = testbed::open(world, Setup::vmware(), change, &Missing::default())?;
        // The first call waits until the core is open.
        testbed.core.capabilities().await?;
        let began = Instant::now();
        for _ in 0..calls {
            testbed.core.capabilities().await?;
        }
        let took = began.elapsed() / calls.max(1);
        testbed.close().await.context("close the core")?;
        Ok(took)
    })
}

/// The time of a simulated cycle, which must pass.
pub(crate) fn time_of_cycle(change: Box<dyn FaultInjection>, seed: u64) -> Result<Duration> {
    let began = Instant::now();
    let rules = seeded_cycles::judge_seed(seed, change);
    let took = began.elapsed();
    let failed = rules.iter().find(|rule| !matches!(rule.score.verdict(), Verdict::Pass));
    ensure!(failed.is_none() && !rules.is_empty(), "the cycle of seed {seed} did not pass: {failed:?}");
    Ok(took)
}
