//! A switch that loses nothing: the one machine is shut down, its last changes travel, the other one boots.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use contract::{FailoverRequest, JobId};
use standins::{Boot, StandInSite};

use crate::blame::ScenarioError;
use crate::judge::DiskUnderTest;
use crate::real::context::ScenarioContext;
use crate::real::edge;
use crate::real::edge::Recovered;
use crate::real::edge::measure;
use crate::real::machine::Running;
use crate::rules::ids::*;

/// From where to where.
pub(crate) struct Switch<'a> {
    pub(crate) edge: &'a str,
    pub(crate) from: &'a Running,
    pub(crate) to: &'a Arc<StandInSite>,
    /// Number of the target's last boot; 0 if it has none.
    pub(crate) after: u32,
    /// Sectors of the first disk that hydration may edit on the way.
    pub(crate) exempt: Option<Range<u64>>,
}

impl Switch<'_> {
    /// Asks for the switch and judges it.
    pub(crate) async fn make(
        &self,
        world: &ScenarioContext,
        request: &FailoverRequest,
        meanwhile: impl Future<Output = Result<Option<Instant>, ScenarioError>>,
    ) -> Result<Recovered, ScenarioError> {
        let trigger = Instant::now();
        let job = world.core.failover(request).await?;
        self.follow(world, trigger, &job, meanwhile).await
    }

    /// Follows the job that makes the switch, and judges it. `meanwhile` runs beside the job; if it lets the job go on
    /// after a wait, it returns that moment, and the outage counts from there.
    pub(crate) async fn follow(
        &self,
        world: &ScenarioContext,
        trigger: Instant,
        job: &JobId,
        meanwhile: impl Future<Output = Result<Option<Instant>, ScenarioError>>,
    ) -> Result<Recovered, ScenarioError> {
        let Self { edge, from, to, after, exempt } = self;
        let gone = {
            let boot = Arc::clone(&from.boot);
            tokio::spawn(async move {
                boot.guest.until_gone().await;
                Instant::now()
            })
        };
        let comes_up = edge::recover(world, edge, to, &world.machine, *after, job);
        let (recovered, resumed) = match tokio::try_join!(comes_up, meanwhile) {
            Ok(both) => both,
            Err(halt) => {
                let target = (&***to, &world.machine, *after);
                let exempt = exempt.iter().cloned().collect();
                return Err(edge::judge_failed_boot(world, edge, from, target, exempt, halt).await);
            }
        };
        let gone = gone.await.map_err(anyhow::Error::from)?;
        self.check_order(world, gone, &recovered.boot).await;
        let judged =
            edge::judge(world, edge, self.disks_under_test(&recovered.boot), from.initial_record).await?;
        let complete = judged.0.complete();
        let survived = recovered.findings.ledger.contiguous;
        let rpo = measure::rpo(&from.boot.guest.witness().acks(), survived, gone, judged.0.lost);
        world.check(LC_09, rpo.records == 0 && complete, format!("{} records lost", rpo.records));
        let lossless = (rpo.records > 0 || !complete).then(|| {
            format!(
                "a switch after an orderly shutdown lost {} records and {} writes",
                rpo.records, rpo.writes
            )
        });
        let inside = edge::inside_agrees(&recovered.findings, &judged.0).or(lossless);
        let rto = recovered.rto(world, resumed.unwrap_or(trigger), resumed.is_some()).await;
        edge::conclude(world, edge, judged, rpo, rto, inside).await?;
        Ok(recovered)
    }

    fn disks_under_test(&self, target: &Boot) -> Vec<DiskUnderTest> {
        let disks = self.from.boot.disks.iter().zip(&target.disks).enumerate();
        disks
            .map(|(index, (from, to))| DiskUnderTest {
                name: from.id.0.clone(),
                base: from.base.clone(),
                log: from.log.clone(),
                recovered: to.base.clone(),
                exempt: self.exempt.iter().filter(|_| index == 0).cloned().collect(),
                second: Err("what was booted is judged, and its disk is in use".to_owned()),
            })
            .collect()
    }

    /// FB-06, LC-10: the one off first, in order, and never both at once.
    async fn check_order(&self, world: &ScenarioContext, gone: Instant, target: &Boot) {
        let on = target.guest.powered_on();
        let ordered = gone <= on;
        let pause = measure::millis(on.saturating_duration_since(gone));
        let found =
            format!("{} gone {pause} ms before {} was switched on", self.from.site.label(), self.to.label());
        let down = self.from.boot.guest.witness().is_down();
        let off_first = if self.edge == "planned-failover" { PF_01 } else { FB_06 };
        world.check(LC_10, ordered, found.clone());
        world.check(off_first, ordered && down, format!("{found}; its guest had unmounted: {down}"));
    }
}

/// Nothing to be done beside a job.
pub(crate) async fn nothing() -> Result<Option<Instant>, ScenarioError> {
    Ok(None)
}
