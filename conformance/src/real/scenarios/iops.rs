//! What the oracle's log and replication cost a guest: small random writes, one and thirty-two at a time, with each of the
//! two on and off.
//!
//! Two guests of the same stand-in run side by side, one with its writes logged and one without, and only one of them works
//! at a time. Every round measures all combinations; ratios are taken within a round, so that a host that is busy with
//! something else slows both sides of a ratio.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use contract::{
    EnableProtection, ItemId, JobId, MachineId, Platform, Policy, ReplicationCore, TargetSettings,
};
use harness::oracle::WriteLog;
use standins::{Boot, StandInSite};
use tokio::sync::Mutex;
use witness::protocol::Measure;

use crate::blame::ScenarioError;
use crate::context::RunContext;
use crate::evidence::Evidence;
use crate::mutants::InjectedFault;
use crate::outcome::{ScenarioOutcome, Speed};
use crate::real::context::{BOOT_WITHIN, JOB_WITHIN, open_core};
use crate::real::edge::measure::millis;
use crate::real::environment::{ScenarioRun, TestEnvironment};
use crate::real::setup;
use crate::rules::RuleLog;
use crate::rules::ids::*;

/// The stand-in that is measured, and the one that it replicates to.
const SOURCE: &str = "vmware";
const TARGET: &str = "azure";
/// Rounds; odd, so that there is a median.
const ROUNDS: usize = 3;
/// Writes under way at a time.
const DEPTHS: [u32; 2] = [1, 32];
/// Bytes of one write.
const WRITE_BYTES: u32 = 4096;
/// How long each measurement writes.
const LASTS: Duration = Duration::from_secs(2);
/// How long a measurement may take until its answer is here.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);
/// What the log may cost before the report points at it.
const TOLERATED: f64 = 0.15;

/// The measurement, and what it found.
pub(crate) struct SpeedTest {
    stage: TestEnvironment,
    /// Without and with its writes logged.
    sources: [Arc<StandInSite>; 2],
    target: Arc<StandInSite>,
    core: Arc<dyn ReplicationCore>,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    samples: Vec<Sample>,
    boots_ms: Vec<u64>,
    rules: RuleLog,
}

/// One measurement.
struct Sample {
    round: usize,
    log: bool,
    replication: bool,
    depth: u32,
    writes: u64,
    per_second: f64,
}

/// A guest that is measured.
struct Subject {
    site: Arc<StandInSite>,
    machine: MachineId,
    item: ItemId,
    boot: Arc<Boot>,
    logged: bool,
}

impl SpeedTest {
    pub(crate) async fn open(context: &RunContext, evidence: &Arc<Evidence>) -> Result<Self, ScenarioError> {
        let stage = TestEnvironment::open(context, evidence).await?;
        let bare = stage.site_without_log("vmware-unlogged", SOURCE).await?;
        let logged = stage.site(SOURCE).await?;
        let target = stage.site(TARGET).await?;
        let sites = [("vmware-unlogged", &bare), (SOURCE, &logged), (TARGET, &target)];
        let core = open_core(evidence, &InjectedFault::default(), &sites)?;
        let policy = Policy::for_machines_of(bare.profile().kind, setup::INTERVAL);
        core.create_policy(&setup::POLICY.into(), &policy).await?;
        Ok(Self { stage, sources: [bare, logged], target, core, found: Mutex::default() })
    }

    /// Installs and boots a machine, and lets it write its file once.
    async fn boot(&self, site: &Arc<StandInSite>, logged: bool) -> Result<Subject, ScenarioError> {
        let name = if logged { "logged" } else { "unlogged" };
        let step = self.stage.evidence.step("", name);
        let machine = MachineId::from(name);
        let dir = self.stage.evidence.dir().join("install").join(name);
        setup::install(site, &machine, &self.stage.image, &dir).await?;
        site.start(&machine).await?;
        let boot = site.boot_after(&machine, 0).await;
        boot.guest.ready(BOOT_WITHIN).await?;
        self.found.lock().await.boots_ms.push(millis(boot.guest.powered_on().elapsed()));
        let subject = Subject { site: Arc::clone(site), machine, item: ItemId::from(name), boot, logged };
        measure(&subject, 1, 1).await?;
        step.done();
        Ok(subject)
    }

    /// All depths without replication, and then with it.
    async fn round(&self, round: usize, subject: &Subject) -> Result<(), ScenarioError> {
        self.all_depths(round, subject, false).await?;
        self.protect(subject).await?;
        let transfers = subject.site.snapshots_taken(&subject.machine).await;
        self.all_depths(round, subject, true).await?;
        let transfers = subject.site.snapshots_taken(&subject.machine).await - transfers;
        // On a slow host one transfer may last as long as all measurements.
        let going_on = subject.site.has_open_snapshot(&subject.machine).await;
        let found = format!(
            "{}: {transfers} transfers began while it was measured, one going on at its end: {going_on}",
            subject.machine
        );
        self.found.lock().await.rules.check(ST_05, transfers > 0 || going_on, found);
        let job = self.core.disable_protection(&subject.item).await?;
        self.follow(&job).await
    }

    async fn all_depths(
        &self,
        round: usize,
        subject: &Subject,
        replication: bool,
    ) -> Result<(), ScenarioError> {
        for depth in DEPTHS {
            let on = |on: bool| if on { "on" } else { "off" };
            let words = format!(
                "round {}: depth {depth}, log {}, replication {}",
                round + 1,
                on(subject.logged),
                on(replication)
            );
            let step = self.stage.evidence.step("", &words);
            let seed = round as u64 * 64 + u64::from(depth);
            let (writes, per_second) = step.with(measure(subject, depth, seed).await)?;
            let log = subject.logged;
            let sample = Sample { round, log, replication, depth, writes, per_second };
            self.found.lock().await.samples.push(sample);
        }
        Ok(())
    }

    /// Begins replication and waits until it has come to changes.
    async fn protect(&self, subject: &Subject) -> Result<(), ScenarioError> {
        let request = EnableProtection {
            item: subject.item.clone(),
            primary: subject.site.site().await?.id,
            machine: subject.machine.clone(),
            recovery: self.target.site().await?.id,
            target: TargetSettings::new(subject.machine.clone(), setup::MEMORY),
            policy: setup::POLICY.into(),
            group: None,
        };
        let job = self.core.enable_protection(&request).await?;
        self.follow(&job).await?;
        let first = self.core.watch_points(&subject.item, 1);
        let waited = tokio::time::timeout(JOB_WITHIN, first).await;
        waited.map_err(|_| {
            ScenarioError::CoreViolation(format!("no recovery point within {JOB_WITHIN:?}"))
        })??;
        Ok(())
    }

    async fn follow(&self, job: &JobId) -> Result<(), ScenarioError> {
        let follow = async {
            let mut seen = self.core.job(job).await?;
            while !seen.state.ended() {
                seen = self.core.watch_job(job, seen.revision).await?;
            }
            Ok::<_, ScenarioError>(seen)
        };
        let ended = tokio::time::timeout(JOB_WITHIN, follow).await;
        let ended = ended.map_err(|_| {
            ScenarioError::CoreViolation(format!("job {job} did not end in {JOB_WITHIN:?}"))
        })??;
        ended
            .error
            .map_or(Ok(()), |error| Err(ScenarioError::CoreViolation(format!("job {job} failed: {error}"))))
    }

    /// ST-05: the log holds at least the writes that were counted, and where there was to be none there is none. A log that
    /// was counted goes: it proves nothing else, and is large.
    async fn check_log(&self, subject: &Subject) -> Result<(), ScenarioError> {
        subject.boot.guest.power_cut().await?;
        let mut found = self.found.lock().await;
        let samples = found.samples.iter().filter(|sample| sample.log == subject.logged);
        let counted: u64 = samples.map(|sample| sample.writes).sum();
        for disk in &subject.boot.disks {
            if !subject.logged {
                let told = format!("{}: no log of disk {}", subject.machine, disk.id);
                found.rules.check(ST_05, !disk.log.exists(), told);
            } else if disk.id.0 == "data" {
                let log = WriteLog::open(disk.log.as_std_path(), disk.bytes).map_err(anyhow::Error::from)?;
                let told = format!("{}: {} writes in the log, {counted} counted", subject.machine, log.len());
                found.rules.check(ST_05, counted > 0 && log.len() >= counted, told);
                std::fs::remove_file(&disk.log).map_err(harness::Error::file(&disk.log))?;
            }
        }
        Ok(())
    }
}

/// Measures once: writes, and writes a second.
async fn measure(subject: &Subject, depth: u32, seed: u64) -> Result<(u64, f64), ScenarioError> {
    let wanted = Measure {
        depth,
        bytes: WRITE_BYTES,
        for_ms: u32::try_from(LASTS.as_millis()).unwrap_or(u32::MAX),
        seed,
    };
    let guest = &subject.boot.guest;
    let measured = guest.race("a measurement", ANSWERS_WITHIN, guest.witness().measure(wanted)).await?;
    if measured.writes == 0 {
        return Err(ScenarioError::Inconclusive(format!("{} wrote nothing in {LASTS:?}", subject.machine)));
    }
    Ok((measured.writes, measured.per_second()))
}

#[async_trait]
impl ScenarioRun for SpeedTest {
    async fn run(&self) -> Result<(), ScenarioError> {
        let [bare, logged] = &self.sources;
        let subjects = [self.boot(bare, false).await?, self.boot(logged, true).await?];
        for round in 0..ROUNDS {
            // Each goes first in turn, so that neither always meets a warmer host.
            for turn in 0..subjects.len() {
                self.round(round, &subjects[(round + turn) % subjects.len()]).await?;
            }
        }
        for subject in &subjects {
            self.check_log(subject).await?;
        }
        Ok(())
    }

    async fn record(&self, outcome: &mut ScenarioOutcome) {
        let found = std::mem::take(&mut *self.found.lock().await);
        outcome.boots_ms = found.boots_ms;
        outcome.rules = found.rules.into_outcomes();
        outcome.remarks = self.sources[0].remarks();
        outcome.speeds = speeds(&found.samples);
        outcome.remarks.extend(outcome.speeds.iter().filter_map(costly_log));
        let line = |speed: &Speed| {
            format!("measured: depth {}, log {}, replication {}", speed.depth, speed.log, speed.replication)
        };
        outcome.trace = outcome.speeds.iter().map(line).collect();
    }

    async fn close(&self, _failed: bool) -> Result<(), ScenarioError> {
        self.core.close().await?;
        let mut first = Ok(());
        for site in self.sources.iter().chain([&self.target]) {
            first = first.and(site.close().await);
        }
        Ok(first?)
    }
}

/// Every combination, with its ratio to neither.
fn speeds(samples: &[Sample]) -> Vec<Speed> {
    let mut speeds = Vec::new();
    for depth in DEPTHS {
        for (log, replication) in [(false, false), (true, false), (false, true), (true, true)] {
            let of = |log, replication| {
                let these = move |s: &&Sample| (s.depth, s.log, s.replication) == (depth, log, replication);
                samples.iter().filter(these)
            };
            let ratios = of(log, replication).filter_map(|sample| {
                let neither = of(false, false).find(|other| other.round == sample.round)?;
                Some(sample.per_second / neither.per_second)
            });
            let Some(ratio) = median(ratios.collect()) else { continue };
            let per_second = of(log, replication).map(|sample| sample.per_second).collect();
            speeds.push(Speed { depth, log, replication, per_second, ratio });
        }
    }
    speeds
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Points at a log that costs more than is tolerated.
fn costly_log(speed: &Speed) -> Option<String> {
    let cost = 1.0 - speed.ratio;
    let alone = speed.log && !speed.replication;
    (alone && cost > TOLERATED).then(|| {
        format!(
            "the log costs {:.0} % at depth {}; RESULTS.md tells what was tried",
            cost * 100.0,
            speed.depth
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(round: usize, log: bool, per_second: f64) -> Sample {
        Sample { round, log, replication: false, depth: 1, writes: 1, per_second }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // In its last round the host was ten times as slow, for both.
        let rounds = [(0, 1000.0, 800.0), (1, 1200.0, 900.0), (2, 100.0, 90.0)];
        let samples: Vec<_> = rounds
            .into_iter()
            .flat_map(|(r, bare, logged)| [sample(r, true, logged), sample(r, false, bare)])
            .collect();
        let speeds = speeds(&samples);
        assert_eq!(speeds.iter().map(|speed| speed.ratio).collect::<Vec<_>>(), [1.0, 0.8]);
        assert_eq!(speeds[1].per_second, [800.0, 900.0, 90.0]);
        assert!(costly_log(&speeds[1]).is_some() && costly_log(&speeds[0]).is_none());
    }

    #[test]
    fn what_was_not_measured_has_no_ratio() {
        assert!(speeds(&[]).is_empty());
        assert!(speeds(&[sample(0, true, 1.0)]).is_empty(), "nothing to compare with");
    }
}
