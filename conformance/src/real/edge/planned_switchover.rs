//! A switchover that loses nothing: the machine is shut down, its last changes travel, and the
//! machine on the other site boots.

use std::time::{Duration, Instant};

use contract::{FailoverRequest, JobId};
use standins::Boot;

use crate::blame::ScenarioError;
use crate::real::edge::lifecycle::Edge;
use crate::real::edge::measure::{self, Outage};
use crate::real::edge::recover::{Recovered, RecoveryTarget};
use crate::rules::RuleId;
use crate::rules::ids::*;

/// How long it may take until the suite learns that the source has stopped, once the target serves.
/// A source that still runs then has broken the order of the switchover already: this bound is only
/// for the monitor's report, which a busy host delays.
const GONE_WITHIN: Duration = Duration::from_secs(30);

/// A planned failover or a failback.
pub(crate) struct PlannedSwitchover<'a> {
    pub(crate) edge: Edge<'a>,
    pub(crate) target: RecoveryTarget,
    /// The rule by which the source is shut down in order before the target starts.
    pub(crate) shutdown_rule: RuleId,
}

impl PlannedSwitchover<'_> {
    /// Asks the core for the switchover, judges it and finishes the edge.
    ///
    /// # Errors
    /// The edge did not pass.
    pub(crate) async fn run(self, request: &FailoverRequest) -> Result<Recovered, ScenarioError> {
        self.run_beside(request, async { Ok(None) }).await
    }

    /// Asks the core for the switchover while `meanwhile` runs, judges it and finishes the edge. If
    /// `meanwhile` lets a waiting job continue, it returns that moment, from which the recovery
    /// time counts.
    ///
    /// # Errors
    /// The edge did not pass, or `meanwhile` failed.
    pub(crate) async fn run_beside(
        self,
        request: &FailoverRequest,
        meanwhile: impl Future<Output = Result<Option<Instant>, ScenarioError>>,
    ) -> Result<Recovered, ScenarioError> {
        let requested = Instant::now();
        let job = self.edge.context().core.failover(request).await?;
        self.follow_beside(requested, &job, meanwhile).await
    }

    /// Follows a job that already makes the switchover, judges it and finishes the edge.
    ///
    /// # Errors
    /// The edge did not pass.
    pub(crate) async fn follow(self, requested: Instant, job: &JobId) -> Result<Recovered, ScenarioError> {
        self.follow_beside(requested, job, async { Ok(None) }).await
    }

    async fn follow_beside(
        self,
        requested: Instant,
        job: &JobId,
        meanwhile: impl Future<Output = Result<Option<Instant>, ScenarioError>>,
    ) -> Result<Recovered, ScenarioError> {
        let context = self.edge.context();
        let source = &self.edge.source().boot.guest;
        let comes_up = self.edge.recover(&self.target, job);
        let (recovered, resumed) = tokio::try_join!(comes_up, meanwhile)?;
        // Once it is gone, it is known since when; otherwise the wait has ended.
        let _ = tokio::time::timeout(GONE_WITHIN, source.until_gone()).await;
        let Some(source_stopped) = source.gone_at() else { return Err(self.both_sides_run()) };
        self.check_order(source_stopped, &recovered.boot);
        let triggered = resumed.unwrap_or(requested);
        let outage = Outage { source_stopped, triggered, after_wait: resumed.is_some() };
        let mut judged = self.edge.judge_recovery(recovered, outage).await?;
        let rpo = judged.judgement.rpo;
        let machine = &judged.judgement.disks.machine;
        let lossless = rpo.records == 0 && machine.complete();
        match machine.unknown() {
            // The witness inside missed no record, and the evidence for the writes is incomplete.
            Some(why) if rpo.records == 0 => context.unknown(LC_09, why),
            _ => context.check(LC_09, lossless, format!("{} records lost", rpo.records)),
        }
        judged.object((!lossless).then(|| {
            format!(
                "a switchover after an orderly shutdown lost {} records and {} writes",
                rpo.records, rpo.writes
            )
        }));
        self.edge.finish(judged)
    }

    /// LC-10 and the shutdown rule: the target serves, and the source was never shut down. Returns
    /// the error that ends the scenario.
    fn both_sides_run(&self) -> ScenarioError {
        let context = self.edge.context();
        let found = format!(
            "both sides run: {} serves, and {} was not shut down",
            self.target.site.label(),
            self.edge.source().site.label()
        );
        let label = self.edge.name().as_str();
        context.check(self.shutdown_rule, false, format!("{label}: {found}"));
        context.overdue(LC_10, label, &found)
    }

    /// LC-10 and the shutdown rule: the source is shut down in order before the target is switched
    /// on, so that both never run at once.
    fn check_order(&self, source_stopped: Instant, target: &Boot) {
        let context = self.edge.context();
        let source = self.edge.source();
        let powered_on = target.guest.powered_on();
        let ordered = source_stopped <= powered_on;
        let pause = measure::millis(powered_on.saturating_duration_since(source_stopped));
        let found = format!(
            "{} gone {pause} ms before {} was switched on",
            source.site.label(),
            self.target.site.label()
        );
        let unmounted = source.boot.guest.witness().is_down();
        context.check(LC_10, ordered, found.clone());
        let found = format!("{found}; its guest had unmounted: {unmounted}");
        context.check(self.shutdown_rule, ordered && unmounted, found);
    }
}
