//! The edges that begin replication in the direction in which the machine does not replicate:
//! `reprotect` after a failover, `reprotect-forward` or Hyper-V's `reverse-replicate` after a
//! failback. Nothing boots, so the newest recovery point is judged.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Instant;

use camino::Utf8Path;
use contract::{Bytes, Direction, DiskId, JobView, Platform, PowerState, Side, Step};
use harness::oracle::WriteLog;
use standins::{BootDisk, StandInSite};
use tracing::Instrument as _;

use crate::blame::ScenarioError;
use crate::judge::JudgedMachine;
use crate::outcome::Sent;
use crate::real::context::ScenarioContext;
use crate::real::edge::freshness::HostClock;
use crate::real::edge::lifecycle::Edge;
use crate::real::edge::measure;
use crate::real::edge::name::EdgeName;
use crate::real::edge::recovery_point::{EnoughPoints, POINTS, POINTS_WITHIN, until_points, wait_for_points};
use crate::real::edge::restarted_original::RestartedOriginal;
use crate::real::edge::work::{AtWork, check_work};
use crate::real::machine::Running;
use crate::rules::RuleId;
use crate::rules::ids::*;

/// After a failover: from the recovery site back.
pub(crate) const REPROTECT: EdgeName = EdgeName::new("reprotect", 3);
/// After a failback: to the recovery site again.
pub(crate) const REPROTECT_FORWARD: EdgeName = EdgeName::new("reprotect-forward", 3);
/// After a failback to Hyper-V: to the recovery site again.
pub(crate) const REVERSE_REPLICATE: EdgeName = EdgeName::new("reverse-replicate", 3);

/// Sectors of the unit in which changes travel: 64 KiB.
pub(crate) const GRAIN: u64 = 128;
/// How much may travel beyond the changed grains: those of the boot partition that hydration
/// edited.
pub(crate) const EPSILON: Bytes = Bytes(1 << 20);

/// What arrived at a site until the first recovery point in a new direction was there.
struct Arrival {
    /// What was written there, counted below the core; `Err` says why nothing was counted.
    written: Result<Bytes, String>,
    /// Recovery points that were there when it was counted.
    points: u64,
    /// What the core says about the first of them. It is no evidence.
    claimed: Bytes,
}

impl Arrival {
    /// The same as part of the result, if `due` had to arrive; `None` if nobody counted it.
    fn sent(&self, due: Bytes) -> Option<Sent> {
        let written = self.written.as_ref().ok()?;
        Some(Sent { bytes: written.0, due: due.0, points: self.points })
    }

    /// Records whether a rule about the amount is satisfied.
    fn check(&self, context: &ScenarioContext, rule: RuleId, holds: impl Fn(Bytes) -> bool, found: &str) {
        match &self.written {
            Ok(written) => context.check(rule, holds(*written), found),
            Err(_) => context.unknown(rule, found),
        }
    }
}

impl std::fmt::Display for Arrival {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.written {
            Ok(written) => write!(f, "{written} arrived at the site")?,
            Err(why) => write!(f, "nobody outside the core counted what arrived ({why})")?,
        }
        write!(f, " for {} recovery points; the core says {}", self.points, self.claimed)
    }
}

/// Begins replication of the machine that serves to the site where it ran before.
pub(crate) struct Reprotect<'a> {
    /// Which of the three edges it is.
    pub(crate) edge: EdgeName,
    /// The machine that serves and continues to do so.
    pub(crate) serving: &'a Running,
    /// The machine as it ran on the other site.
    pub(crate) standby: &'a Running,
    /// The machine on the other site, if it was powered on again since.
    pub(crate) restarted: Option<&'a RestartedOriginal>,
}

impl Reprotect<'_> {
    /// Replicates, and judges the newest recovery point.
    ///
    /// # Errors
    /// The edge did not pass.
    pub(crate) async fn run(self, context: &ScenarioContext) -> Result<(), ScenarioError> {
        let edge = Edge::begin(context, self.edge, self.serving);
        self.run_edge(edge).instrument(edge.span()).await
    }

    async fn run_edge(self, edge: Edge<'_>) -> Result<(), ScenarioError> {
        let Self { serving, standby, .. } = self;
        let context = edge.context();
        let label = edge.name().as_str();
        edge.wait_for_work().await?;
        // A site that was lost has to run again before the machine can replicate to it.
        standby.site.restore();
        let active = context.core.item(&context.item).await?.protection.active;
        let record_before = serving.last_record();
        let at_work = AtWork::watch(serving);
        let site = if active == Side::Recovery { &context.primary } else { &context.recovery };
        let written_before = site.written().await;
        let triggered = Instant::now();
        let job = self.request(context, active).await;
        let ended = Instant::now();
        self.check_original_is_off(context, &job).await;
        let job = job?;
        context.trace_state().await?;
        let arrived = self.first_arrival(context, active, site, written_before).await?;
        self.check_sides(context, (record_before, at_work), active).await?;
        let points = wait_for_points(context, self.points_rule(active), label, serving).await?;
        let EnoughPoints { item, first_seen } = points;
        let newest = item.points.iter().rfind(|point| point.processed).cloned();
        let newest = newest.ok_or_else(|| {
            ScenarioError::CoreViolation(format!("{label}: no recovery point in the new direction"))
        })?;
        let seen = Instant::now();
        let processed = item.points.iter().filter(|point| point.processed).count();
        let found = format!("{processed} points in the new direction");
        context.check(self.points_rule(active), processed as u64 >= POINTS, found);
        let judged = edge.judge_point(site, &newest).await?;
        let to_another_site = active == Side::Recovery && !Arc::ptr_eq(&standby.site, &context.primary);
        let due = if to_another_site {
            self.check_full_transfer(context, &job, &arrived).await?
        } else {
            self.check_delta_transfer(context, &arrived, &judged.machine)?
        };
        let survived = judged.machine.contiguous().unwrap_or_default();
        let acks = serving.boot.guest.witness().acks();
        context.note_cut(label, &acks, survived, seen);
        let claimed = HostClock::read().time_of(seen).since(newest.time);
        let rpo = measure::rpo(&acks, survived, seen, judged.machine.lost, claimed);
        let rto = measure::rto_of_replication(triggered, ended, first_seen, &job, context.cold_boot_ms());
        edge.finish_replication(&newest, judged, rpo, rto, arrived.sent(due))
    }

    /// Asks the core for the operation and follows its job.
    async fn request(&self, context: &ScenarioContext, active: Side) -> Result<JobView, ScenarioError> {
        let job = if self.edge == REVERSE_REPLICATE {
            context.core.reverse_replicate(&context.item).await?
        } else {
            let request = context.reprotect_request(Direction::from_side(active)).await?;
            context.core.reprotect(&request).await?
        };
        context.follow(self.edge.as_str(), &job).await
    }

    /// RE-02: whatever became of the reprotection, an original that ran was switched off.
    async fn check_original_is_off(&self, context: &ScenarioContext, job: &Result<JobView, ScenarioError>) {
        let Some(original) = self.restarted else { return };
        match job {
            Ok(_) => original.check_switched_off(context, "succeeded").await,
            Err(ScenarioError::CoreViolation(_)) => original.check_switched_off(context, "failed").await,
            Err(ScenarioError::Inconclusive(_) | ScenarioError::Lacking(_)) => {}
        }
    }

    /// The rule by which recovery points come in the new direction.
    fn points_rule(&self, active: Side) -> RuleId {
        match active {
            _ if self.edge == REVERSE_REPLICATE => HF_17,
            Side::Recovery => RE_01,
            Side::Primary => RE_29,
        }
    }

    /// Waits for the first recovery point in the new direction, and counts what has arrived for it.
    async fn first_arrival(
        &self,
        context: &ScenarioContext,
        active: Side,
        site: &StandInSite,
        written_before: harness::Result<Bytes>,
    ) -> Result<Arrival, ScenarioError> {
        let (rule, label) = (self.points_rule(active), self.edge.as_str());
        let guest = &self.serving.boot.guest;
        let comes = until_points(&context.core, &context.item, 1);
        let awaited = "recovery point in the new direction";
        let item = context.expect_of_core(rule, label, awaited, guest, POINTS_WITHIN, comes).await?;
        let written = match written_before {
            Ok(before) => site.written().await.map(|now| Bytes(now.0 - before.0)),
            Err(error) => Err(error),
        };
        let points = item.points.iter().filter(|point| point.processed).count() as u64;
        let claimed = item.points.first().map(|point| point.transferred).unwrap_or_default();
        Ok(Arrival { written: written.map_err(|error| error.to_string()), points, claimed })
    }

    /// RE-03: this machine continues to serve. LC-12: after a failback the one on the other site is
    /// off.
    async fn check_sides(
        &self,
        context: &ScenarioContext,
        (record_before, at_work): (u64, AtWork<'_>),
        active: Side,
    ) -> Result<(), ScenarioError> {
        let Self { serving, standby, .. } = self;
        let machines = standby.site.machines().await?;
        let on = machines.iter().any(|m| m.id == context.machine && m.power == PowerState::On);
        let off = !on && standby.boot.guest.is_gone();
        let work = at_work.so_far().await;
        let serve_rule = if active == Side::Recovery { RE_03 } else { LC_12 };
        if active == Side::Primary {
            context.check(LC_12, off, format!("{}: other side off: {off}", standby.site.label()));
        }
        let label = serving.site.label();
        let found = format!("{label}: records {record_before} to {} meanwhile", serving.last_record());
        check_work(context, serve_rule, &work, true, &found);
        Ok(())
    }

    /// RE-04, HF-18: to a site that still has the machine's disks, only what differs travels.
    /// Returns how much that is.
    fn check_delta_transfer(
        &self,
        context: &ScenarioContext,
        arrived: &Arrival,
        judged: &JudgedMachine,
    ) -> Result<Bytes, ScenarioError> {
        let Self { serving, standby, .. } = self;
        let mut changed = 0;
        let disks = serving.boot.disks.iter().zip(&standby.boot.disks).zip(&judged.disks);
        for ((here, there), disk) in disks {
            let mut grains: BTreeSet<u64> = written_grains(&disk.log).collect();
            if Arc::ptr_eq(&serving.site, &context.recovery) {
                // The original machine wrote on after the recovery point that was failed over to.
                for log in self.logs_of_original(&there.id) {
                    let log = WriteLog::open(log.log.as_std_path(), log.bytes);
                    grains.extend(written_grains(&log.map_err(anyhow::Error::from)?));
                }
            }
            changed += grains.len() as u64 * GRAIN * 512;
            tracing::debug!(disk = %here.id, grains = grains.len(), "changed on either site since the last edge");
        }
        // Further points may have been made by then, of what had changed again.
        let limit = Bytes(changed * arrived.points.max(1) + EPSILON.0);
        let found = format!("{arrived}; {} had changed on either side", Bytes(changed));
        let rule = if self.edge == REVERSE_REPLICATE { HF_18 } else { RE_04 };
        arrived.check(context, rule, |written| written <= limit, &found);
        Ok(Bytes(changed))
    }

    /// One disk of the machine on the other site in each of its boots since it was replicated from
    /// there.
    fn logs_of_original(&self, id: &DiskId) -> Vec<&BootDisk> {
        let restarted = self.restarted.map(RestartedOriginal::running);
        let boots = [Some(self.standby), restarted].into_iter().flatten();
        boots.flat_map(|running| &running.boot.disks).filter(|disk| disk.id == *id).collect()
    }

    /// RE-05, PH-03: a machine that fails back to another site is created there when replication
    /// begins, and its whole content travels. Returns how much that is.
    async fn check_full_transfer(
        &self,
        context: &ScenarioContext,
        job: &JobView,
        arrived: &Arrival,
    ) -> Result<Bytes, ScenarioError> {
        let created = job.steps.iter().any(|step| step.name == Step::CREATE_MACHINE);
        let power = context.primary.machine(&context.machine).await.map(|machine| machine.power);
        let off = matches!(power, Ok(PowerState::Off));
        let mut content = 0;
        for disk in &self.serving.boot.disks {
            let image = disk.base.clone();
            let found = tokio::task::spawn_blocking(move || content_of(&image));
            content += found.await.map_err(anyhow::Error::from)??;
        }
        let content = Bytes(content);
        let found = format!(
            "{} has machine {} created: {created}, off: {off}; {arrived}; it booted with {content}",
            context.primary.label(),
            context.machine,
        );
        for rule in [RE_05, PH_03] {
            if created && off {
                arrived.check(context, rule, |written| written.0 + EPSILON.0 >= content.0, &found);
            } else {
                context.check(rule, false, found.clone());
            }
        }
        Ok(content)
    }
}

/// Bytes of those grains of a raw disk that are not all zeroes.
fn content_of(disk: &Utf8Path) -> Result<u64, ScenarioError> {
    let mut file = File::open(disk).map_err(harness::Error::file(disk))?;
    let mut grain = Vec::new();
    let mut bytes = 0;
    loop {
        grain.clear();
        let read = (&mut file).take(GRAIN * 512).read_to_end(&mut grain);
        match read.map_err(harness::Error::file(disk))? {
            0 => return Ok(bytes),
            read if grain.iter().any(|byte| *byte != 0) => bytes += read as u64,
            _ => {}
        }
    }
}

/// The grains that a log writes to, some of them more than once.
pub(crate) fn written_grains(log: &WriteLog) -> impl Iterator<Item = u64> {
    let entries = log.entries().iter().map(harness::oracle::Entry::range).filter(|range| !range.is_empty());
    entries.flat_map(|range| range.start / GRAIN..=(range.end - 1) / GRAIN)
}
