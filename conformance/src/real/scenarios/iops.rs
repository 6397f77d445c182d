//! What the oracle's write log and replication cost a guest: small random writes, one and
//! thirty-two at a time, with each of the two on and off.
//!
//! The row names the stand-in that is measured, and the one to which it replicates: what the log
//! costs depends on whether the guest's disk controller runs in an I/O thread
//! ([`harness::machine::Controller::supports_io_thread`]).
//!
//! Two guests of the same stand-in run at the same time, one with a write log and one without, but
//! only one of them is measured at a time. Every round measures all combinations, and ratios are
//! taken within a round, so that other load on the host affects both sides of a ratio.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use contract::{
    EnableProtection, ItemId, JobId, JobView, MachineId, Platform, Policy, TargetSettings, Timestamp,
};
use harness::oracle::WriteLog;
use standins::{Boot, OwnFailure, StandInSite};
use tokio::sync::Mutex;
use witness::protocol::Measure;

use crate::blame::{CoreFailure, ScenarioError};
use crate::context::RunContext;
use crate::core_change::AskedChange;
use crate::evidence::Evidence;
use crate::outcome::{ScenarioOutcome, Speed};
use crate::real::asked_core::AskedCore;
use crate::real::context::{BOOT_WITHIN, open_core};
use crate::real::edge::freshness::now;
use crate::real::edge::measure::millis;
use crate::real::edge::recovery_point::until_points;
use crate::real::environment::TestEnvironment;
use crate::real::job_limit::{Exceeded, JOB_WITHIN, JobLimit};
use crate::real::jobs::blame_of_failed_job;
use crate::real::scenario_run::ScenarioRun;
use crate::real::script::{Script, Start};
use crate::real::setup;
use crate::real::stand_in_failures::StandInFailures;
use crate::real::workload::{INTERVAL, MEMORY, POLICY};
use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::scenario::Scenario;

/// Number of rounds; odd, so that there is a median.
const ROUNDS: usize = 3;
/// Writes that are in flight at the same time.
const DEPTHS: [u32; 2] = [1, 32];
/// Bytes of one write.
const WRITE_BYTES: u32 = 4096;
/// How long each measurement writes; with replication, it goes on in parts of this length until a
/// transfer has taken place meanwhile.
const LASTS: Duration = Duration::from_secs(2);
/// Within what time a transfer must begin while a guest writes as fast as it can.
const TRANSFER_WITHIN: Duration = Duration::from_secs(120);
/// How long the guest may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);
/// The share of the write rate that the log may cost before the report mentions it.
const TOLERATED: f64 = 0.15;

pub(crate) const SCRIPT: Script = Script {
    edges: Vec::new,
    repeatable: false,
    needs: &[],
    start: Start::OnItsOwn(|run, scenario, evidence| Box::pin(open(run, scenario, evidence))),
};

/// The measurement and its results.
struct IopsRun {
    environment: TestEnvironment,
    /// The source without write logs, and the one with them.
    sources: [Arc<StandInSite>; 2],
    target: Arc<StandInSite>,
    core: AskedCore,
    /// The failures of the sites themselves.
    failures: StandInFailures,
    results: Mutex<MeasurementLog>,
}

#[derive(Default)]
struct MeasurementLog {
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
    rate: WriteRate,
}

/// How fast a guest wrote.
#[derive(Clone, Copy, Default)]
struct WriteRate {
    writes: u64,
    took: Duration,
}

impl WriteRate {
    fn per_second(self) -> f64 {
        self.writes as f64 / self.took.as_secs_f64()
    }
}

impl std::ops::AddAssign for WriteRate {
    fn add_assign(&mut self, more: Self) {
        self.writes += more.writes;
        self.took += more.took;
    }
}

/// A guest that is measured.
struct Subject {
    site: Arc<StandInSite>,
    machine: MachineId,
    item: ItemId,
    boot: Arc<Boot>,
    logged: bool,
}

async fn open(
    run: &RunContext,
    Scenario { source, target: recovery, .. }: &Scenario,
    evidence: &Arc<Evidence>,
) -> Result<Arc<dyn ScenarioRun>, ScenarioError> {
    let environment = TestEnvironment::open(run, evidence).await?;
    let without_log = format!("{source}-unlogged");
    let unlogged = environment.site_without_log(&without_log, source).await?;
    let logged = environment.site(source).await?;
    let target = environment.site(recovery).await?;
    let sites = [(without_log.as_str(), &unlogged), (source, &logged), (recovery, &target)];
    let failures = StandInFailures::of([&unlogged, &logged, &target].into_iter());
    let core = AskedCore::new(open_core(evidence, &AskedChange::default(), &sites)?, &failures);
    let policy = Policy::for_machines_of(unlogged.profile().kind, INTERVAL);
    core.create_policy(&POLICY.into(), &policy).await?;
    let sources = [unlogged, logged];
    Ok(Arc::new(IopsRun { environment, sources, target, core, failures, results: Mutex::default() }))
}

impl IopsRun {
    /// Installs and boots a machine, and measures once so that its file exists.
    async fn boot(&self, site: &Arc<StandInSite>, logged: bool) -> Result<Subject, ScenarioError> {
        let name = if logged { "logged" } else { "unlogged" };
        let step = self.environment.evidence.step("", name);
        let machine = MachineId::from(name);
        let dir = self.environment.evidence.dir().join("install").join(name);
        setup::install(site, &machine, &self.environment.image, &dir).await?;
        site.start(&machine).await?;
        let boot = site.boot_after(&machine, 0).await;
        boot.guest.ready(BOOT_WITHIN).await?;
        self.results.lock().await.boots_ms.push(millis(boot.guest.powered_on().elapsed()));
        let subject = Subject { site: Arc::clone(site), machine, item: ItemId::from(name), boot, logged };
        measure(&subject, 1, 1).await?;
        step.done();
        Ok(subject)
    }

    /// Measures all depths without replication and then with it.
    async fn round(&self, round: usize, subject: &Subject) -> Result<(), ScenarioError> {
        self.all_depths(round, subject, false).await?;
        self.protect(subject).await?;
        self.all_depths(round, subject, true).await?;
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
            let label = format!(
                "round {}: depth {depth}, log {}, replication {}",
                round + 1,
                on(subject.logged),
                on(replication)
            );
            let step = self.environment.evidence.step("", &label);
            let seed = round as u64 * 64 + u64::from(depth);
            let measured = match replication {
                false => measure(subject, depth, seed).await,
                true => self.measure_during_transfer(subject, depth, seed).await,
            };
            let rate = step.with(measured)?;
            let sample = Sample { round, log: subject.logged, replication, depth, rate };
            self.results.lock().await.samples.push(sample);
        }
        Ok(())
    }

    /// ST-05: measures until a transfer has begun meanwhile. On a slow host one transfer may last
    /// longer than a part of the measurement.
    async fn measure_during_transfer(
        &self,
        subject: &Subject,
        depth: u32,
        seed: u64,
    ) -> Result<WriteRate, ScenarioError> {
        let before = subject.site.snapshots_taken(&subject.machine).await;
        let until = Instant::now() + TRANSFER_WITHIN;
        let mut rate = WriteRate::default();
        let (transfers, in_progress) = loop {
            rate += measure(subject, depth, seed).await?;
            let transfers = subject.site.snapshots_taken(&subject.machine).await - before;
            let in_progress = subject.site.has_open_snapshot(&subject.machine).await;
            if transfers > 0 || in_progress || Instant::now() > until {
                break (transfers, in_progress);
            }
        };
        let found = format!(
            "{}: {transfers} transfers began in the {:.1} s that it was measured at depth {depth}, one was in \
             progress at the end: {in_progress}",
            subject.machine,
            rate.took.as_secs_f64()
        );
        self.results.lock().await.rules.check(ST_05, transfers > 0 || in_progress, found);
        Ok(rate)
    }

    /// Protects the machine and waits for its first recovery point.
    async fn protect(&self, subject: &Subject) -> Result<(), ScenarioError> {
        let request = EnableProtection {
            item: subject.item.clone(),
            primary: subject.site.site().await?.id,
            machine: subject.machine.clone(),
            recovery: self.target.site().await?.id,
            target: TargetSettings::new(subject.machine.clone(), MEMORY),
            policy: POLICY.into(),
            group: None,
        };
        let job = self.core.enable_protection(&request).await?;
        self.follow(&job).await?;
        let began = now();
        let first = until_points(&self.core, &subject.item, 1);
        let waited = tokio::time::timeout(JOB_WITHIN, first).await;
        waited.map_err(|_| self.overdue(began, format!("no recovery point within {JOB_WITHIN:?}")))??;
        Ok(())
    }

    async fn follow(&self, job: &JobId) -> Result<(), ScenarioError> {
        let mut limit = JobLimit::begin();
        let mut ended = self.within(&limit, job, self.core.job(job)).await?;
        while !ended.state.ended() {
            limit.saw(&ended);
            ended = self.within(&limit, job, self.core.watch_job(job, ended.revision)).await?;
        }
        match &ended.error {
            None => Ok(()),
            Some(error) => {
                let failure = self.failures.first_since(ended.started);
                Err(blame_of_failed_job(format!("job {job} failed: {error}"), &ended, failure))
            }
        }
    }

    /// Waits for the next view of a job within its limit.
    async fn within(
        &self,
        limit: &JobLimit,
        job: &JobId,
        next: impl Future<Output = Result<JobView, CoreFailure>>,
    ) -> Result<JobView, ScenarioError> {
        match limit.within(next).await {
            Ok(view) => Ok(view?),
            Err(exceeded @ Exceeded::StoodStill) => {
                Err(self.overdue(limit.began_at(), format!("job {job} {exceeded}")))
            }
            Err(exceeded @ Exceeded::StillAtWork) => {
                Err(ScenarioError::Inconclusive(format!("job {job} {exceeded}")))
            }
        }
    }

    /// The failure of a core that did not do something since `began`, unless a stand-in itself
    /// failed.
    fn overdue(&self, began: Timestamp, what: String) -> ScenarioError {
        ScenarioError::core_unless(what, self.failures.first_since(began))
    }

    /// ST-05: a write log has at least the writes that the guest counted, and the machine without a
    /// log has none. The log is deleted afterwards, because it is large and proves nothing else.
    async fn check_log(&self, subject: &Subject) -> Result<(), ScenarioError> {
        subject.boot.guest.power_cut().await?;
        let mut results = self.results.lock().await;
        let samples = results.samples.iter().filter(|sample| sample.log == subject.logged);
        let counted: u64 = samples.map(|sample| sample.rate.writes).sum();
        for disk in &subject.boot.disks {
            if !subject.logged {
                let found = format!("{}: no log of disk {}", subject.machine, disk.id);
                results.rules.check(ST_05, !disk.log.exists(), found);
            } else if disk.id.0 == "data" {
                let log = WriteLog::open(disk.log.as_std_path(), disk.bytes).map_err(anyhow::Error::from)?;
                let found =
                    format!("{}: {} writes in the log, {counted} counted", subject.machine, log.len());
                results.rules.check(ST_05, counted > 0 && log.len() >= counted, found);
                std::fs::remove_file(&disk.log).map_err(harness::Error::file(&disk.log))?;
            }
        }
        Ok(())
    }
}

/// Measures a guest's write rate once.
async fn measure(subject: &Subject, depth: u32, seed: u64) -> Result<WriteRate, ScenarioError> {
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
    Ok(WriteRate { writes: measured.writes, took: Duration::from_micros(measured.took_us) })
}

#[async_trait]
impl ScenarioRun for IopsRun {
    async fn run(&self) -> Result<(), ScenarioError> {
        let [unlogged, logged] = &self.sources;
        let subjects = [self.boot(unlogged, false).await?, self.boot(logged, true).await?];
        for round in 0..ROUNDS {
            // They take turns in going first, so that neither always runs on a warmer host.
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
        let results = std::mem::take(&mut *self.results.lock().await);
        outcome.boots_ms = results.boots_ms;
        outcome.rules = results.rules.into_outcomes();
        outcome.remarks = self.sources[0].remarks();
        outcome.speeds = speeds(&results.samples);
        outcome.remarks.extend(outcome.speeds.iter().filter_map(costly_log));
        let line = |speed: &Speed| {
            format!("measured: depth {}, log {}, replication {}", speed.depth, speed.log, speed.replication)
        };
        outcome.trace = outcome.speeds.iter().map(line).collect();
    }

    async fn unexplained_ends(&self) -> Vec<OwnFailure> {
        self.sources.iter().chain([&self.target]).flat_map(|site| site.unexplained_ends()).collect()
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

/// The write rates of every combination, with their ratio to the rate with neither log nor
/// replication.
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
                Some(sample.rate.per_second() / neither.rate.per_second())
            });
            let Some(ratio) = median(ratios.collect()) else { continue };
            let per_second = of(log, replication).map(|sample| sample.rate.per_second()).collect();
            speeds.push(Speed { depth, log, replication, per_second, ratio });
        }
    }
    speeds
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// A remark about a log that costs more than is tolerated.
fn costly_log(speed: &Speed) -> Option<String> {
    let cost = 1.0 - speed.ratio;
    let alone = speed.log && !speed.replication;
    (alone && cost > TOLERATED).then(|| {
        format!(
            "the log costs {:.0} % at depth {}; RESULTS.md says what was tried",
            cost * 100.0,
            speed.depth
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(round: usize, log: bool, per_second: u64) -> Sample {
        let rate = WriteRate { writes: per_second, took: Duration::from_secs(1) };
        Sample { round, log, replication: false, depth: 1, rate }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // In the last round the host was ten times slower, for both guests.
        let rounds = [(0, 1000, 800), (1, 1200, 900), (2, 100, 90)];
        let samples: Vec<_> = rounds
            .into_iter()
            .flat_map(|(r, unlogged, logged)| [sample(r, true, logged), sample(r, false, unlogged)])
            .collect();
        let speeds = speeds(&samples);
        assert_eq!(speeds.iter().map(|speed| speed.ratio).collect::<Vec<_>>(), [1.0, 0.8]);
        assert_eq!(speeds[1].per_second, [800.0, 900.0, 90.0]);
        assert!(costly_log(&speeds[1]).is_some() && costly_log(&speeds[0]).is_none());
    }

    #[test]
    fn without_a_measurement_there_is_no_ratio() {
        assert!(speeds(&[]).is_empty());
        assert!(speeds(&[sample(0, true, 1)]).is_empty(), "nothing to compare with");
    }
}
