//! How guests come up and work: the source at first, and a recovered machine after a failover.

use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::{JobId, JobKind, JobView, MachineId, Platform as _};
use harness::machine::Guest;
use harness::oracle::RawSource;
use harness::recovered::check_partition_table;
use images::shape::Root;
use standins::{Boot, StandInSite};
use tokio::sync::oneshot;
use witness::ledger::RecordNumber;
use witness::protocol::{Findings, Hello};

use crate::blame::ScenarioError;
use crate::outcome::Rto;
use crate::real::context::{BOOT_WITHIN, ScenarioContext};
use crate::real::edge::measure::{self, Outage, ServiceTimes, millis};
use crate::real::edge::network_cards;
use crate::real::edge::platform_identity;
use crate::real::machine::Running;
use crate::real::workload::load;
use crate::rules::RuleId;
use crate::rules::ids::{FO_01, FX_60, FX_62, ST_08, TF_01};
use crate::service::first_sound_answer;

/// Records that a guest writes before the next edge: more than two intervals' worth at its rate of
/// 25 a second.
const RECORDS: u64 = 60;
/// Records that a guest writes in one interval.
const RECORDS_PER_INTERVAL: u64 = 25;
/// How long a guest may take to write its records.
const WORK_WITHIN: Duration = Duration::from_secs(120);
/// How long the start of a machine may take to be seen once the job that had to start it has ended
/// well. The end of the job is the event by which the machine has to run, so this bound is only for
/// a busy host.
const STARTED_WITHIN: Duration = Duration::from_secs(30);

/// First bytes of a PNG image.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
/// A PNG image of an empty screen is smaller than this.
const EMPTY_SCREEN: usize = 2048;
/// Name of the screenshot in the evidence of a boot (ST-08).
const SCREEN: &str = "screen.png";

/// Where a machine is to come up.
pub(crate) struct RecoveryTarget {
    pub(crate) site: Arc<StandInSite>,
    pub(crate) machine: MachineId,
    /// Number of the machine's last boot on this site before the edge; 0 if it never ran there.
    pub(crate) previous_boot: u32,
}

impl RecoveryTarget {
    /// A machine that does not exist yet.
    pub(crate) fn new_machine(site: &Arc<StandInSite>, machine: MachineId) -> Self {
        Self { site: Arc::clone(site), machine, previous_boot: 0 }
    }

    /// A machine that may have run on the site before. Call this before the core is asked to start
    /// it.
    pub(crate) async fn next_boot_of(machine: &MachineId, site: &Arc<StandInSite>) -> Self {
        let previous_boot = site.last_boot(machine).await.map_or(0, |boot| boot.number);
        Self { site: Arc::clone(site), machine: machine.clone(), previous_boot }
    }

    /// The boot that the edge has caused, if there is one already.
    async fn new_boot(&self) -> Option<Arc<Boot>> {
        self.site.last_boot(&self.machine).await.filter(|boot| boot.number > self.previous_boot)
    }

    /// The boot of a machine that did not come up, with a screenshot in its evidence if the guest
    /// still exists.
    pub(crate) async fn failed_boot(&self) -> Option<Arc<Boot>> {
        let boot = self.new_boot().await?;
        if !boot.guest.is_gone() {
            // Only an aid for people: without a screenshot the verdict is the same.
            let _ = boot.guest.screenshot(&boot.dir.join(SCREEN)).await;
        }
        Some(boot)
    }
}

/// A machine that came up after a failover and answers.
pub(crate) struct Recovered {
    pub(crate) site: Arc<StandInSite>,
    pub(crate) boot: Arc<Boot>,
    pub(crate) job: JobView,
    /// What the witness found inside the guest.
    pub(crate) findings: Findings,
    pub(crate) times: ServiceTimes,
}

impl Recovered {
    /// How long the service took to answer once the guest was up.
    pub(crate) fn time_to_answer(&self) -> Duration {
        self.times.answered.saturating_duration_since(self.times.ready)
    }

    /// The last ledger record that the witness found on the machine's disks.
    pub(crate) fn last_record(&self) -> RecordNumber {
        self.findings.ledger.contiguous
    }

    /// The recovery time.
    pub(crate) fn rto(&self, outage: Outage, cold_boot_ms: u64) -> Rto {
        measure::rto_of_boot(outage, &self.job, &self.boot, self.times, cold_boot_ms)
    }
}

/// Follows a failover job and the machine that it starts until the machine's service gives a sound
/// answer.
///
/// # Errors
/// The job failed, or the machine did not come up; both are the core's failure.
pub(crate) async fn recover(
    context: &ScenarioContext,
    label: &str,
    target: &RecoveryTarget,
    job: &JobId,
) -> Result<Recovered, ScenarioError> {
    let rule = rule_of_boot(context.core.job(job).await?.kind);
    let (job_ended, ended) = oneshot::channel();
    let follow = async {
        let job = context.follow(label, job).await?;
        // Nobody receives it if the machine has booted already.
        let _ = job_ended.send(());
        Ok(job)
    };
    let (job, (boot, times)) =
        tokio::try_join!(follow, wait_for_service(context, (rule, label), target, ended))?;
    let screen = target.site.screenshot(&target.machine).await?;
    let shown = screen.starts_with(PNG) && screen.len() > EMPTY_SCREEN;
    context.check(ST_08, shown, format!("{} bytes of boot diagnostics", screen.len()));
    std::fs::write(boot.dir.join(SCREEN), &screen).map_err(harness::Error::file(&boot.dir))?;
    let findings = boot.guest.race("its findings", BOOT_WITHIN, boot.guest.witness().check()).await;
    // What the witness reads are the disks that the core recovered.
    let unreadable = format!("{label}: the recovered machine's own check of its disks failed");
    let findings = findings.map_err(|error| ScenarioError::of_recovered_guest(error, &unreadable))?;
    if context.shape.boot_entry.is_some() {
        context.check(FX_62, true, format!("{label}: the recovered machine came up"));
    }
    check_shape(context, label, &boot, &findings)?;
    network_cards::check_recovered(context, label, (&target.site, &boot), job.kind).await?;
    Ok(Recovered { site: Arc::clone(&target.site), boot, job, findings, times })
}

/// FX-60: a machine whose disks are not laid out as the ordinary ones has its partition table, and
/// its own tools object to nothing.
fn check_shape(
    context: &ScenarioContext,
    label: &str,
    boot: &Boot,
    findings: &Findings,
) -> Result<(), ScenarioError> {
    if context.shape.has_ordinary_disks() {
        return Ok(());
    }
    let mut objections = findings.complaints.clone();
    if context.shape.root != Root::Partition {
        let base = &boot.disks[0].base;
        let disk = RawSource::open(base.as_std_path()).map_err(anyhow::Error::from)?;
        objections.extend(
            check_partition_table(&disk, context.shape.system_sector).map_err(harness::Error::file(base))?,
        );
    }
    let found = match objections.is_empty() {
        true => format!("{label}: nothing is objected to"),
        false => format!("{label}: {}", objections.join("; ")),
    };
    context.check(FX_60, objections.is_empty(), found);
    Ok(())
}

/// Waits for the machine's boot, its witness's hello and its service's first sound answer. Returns
/// the boot and when the other two came. `job_ended` says when the job that starts the machine has
/// ended well. A machine that does not come up breaks `rule`.
async fn wait_for_service(
    context: &ScenarioContext,
    (rule, label): (RuleId, &str),
    target: &RecoveryTarget,
    job_ended: oneshot::Receiver<()>,
) -> Result<(Arc<Boot>, ServiceTimes), ScenarioError> {
    // Only the core decides what a recovered machine boots from.
    let did_not_come_up = format!("{label}: the recovered machine did not come up");
    let boot = tokio::select! {
        biased;
        boot = target.site.boot_after(&target.machine, target.previous_boot) => boot,
        () = ended_long_ago(job_ended) => return Err(nothing_booted(context, (rule, label), target)),
    };
    let step = context.evidence.step(label, "boot the recovered machine");
    let ready = wait_for_hello(context, &boot, BOOT_WITHIN).await;
    let blame = |error| {
        let error = ScenarioError::of_recovered_guest(error, &did_not_come_up);
        if let ScenarioError::CoreViolation(why) = &error {
            context.check(rule, false, why.clone());
            if context.shape.boot_entry.is_some() {
                context.check(FX_62, false, why.clone());
            }
        }
        error
    };
    let ready = step.with(ready.map_err(blame))?;
    let step = context.evidence.step(label, "first sound answer of its service");
    let answer = step.with(first_sound_answer(&boot.guest, BOOT_WITHIN).await.map_err(blame))?;
    context.trace(format!("{label}: service answers, bank sound: {}", answer.bank.sound()));
    Ok((boot, ServiceTimes { ready, answered: Instant::now() }))
}

/// Waits until a job has ended well, and then as long as the start of its machine may take to be
/// seen.
async fn ended_long_ago(job_ended: oneshot::Receiver<()>) {
    match job_ended.await {
        Ok(()) => tokio::time::sleep(STARTED_WITHIN).await,
        // The job did not end well, which ends the wait as well.
        Err(_) => std::future::pending().await,
    }
}

/// The rule by which a job of this kind starts a machine that serves.
fn rule_of_boot(kind: JobKind) -> RuleId {
    if kind == JobKind::TestFailover { TF_01 } else { FO_01 }
}

/// FO-01, TF-01: a job that ended well and started no machine. Returns the error that ends the
/// scenario.
fn nothing_booted(
    context: &ScenarioContext,
    (rule, label): (RuleId, &str),
    target: &RecoveryTarget,
) -> ScenarioError {
    let RecoveryTarget { site, machine, .. } = target;
    let found = format!(
        "nothing booted: the job ended well, and {STARTED_WITHIN:?} later machine {machine} had not been started \
         on {}",
        site.label()
    );
    context.overdue(rule, label, &found)
}

/// Waits for the hello of a guest's witness, records how long the boot took, and checks the
/// hardware that the guest sees. Returns when the hello came.
pub(crate) async fn wait_for_hello(
    context: &ScenarioContext,
    boot: &Boot,
    bound: Duration,
) -> harness::Result<Instant> {
    let hello = boot.guest.ready(bound).await?;
    let ready = Instant::now();
    context.note_boot(boot, ready);
    let mut findings = context.findings();
    findings.boots_ms.push(millis(ready.saturating_duration_since(boot.guest.powered_on())));
    let drivers: Vec<_> =
        hello.disks.iter().map(|disk| format!("{} on {}", disk.role, disk.driver)).collect();
    findings.trace.push(format!("guest sees {} {}: {}", hello.vendor, hello.product, drivers.join(", ")));
    platform_identity::check(&mut findings.rules, &boot.profile, &hello);
    Ok(ready)
}

/// What a guest sees of its machine now: addresses are assigned after the first hello.
///
/// # Errors
/// The guest does not say so in time.
pub(crate) async fn describe_again(guest: &Guest) -> harness::Result<Hello> {
    guest.race("its description of its machine", BOOT_WITHIN, guest.witness().hello_again()).await
}

/// Waits until the agent inside a machine that nobody recovered answers. Without it applications
/// cannot be quiesced, for which no core is to blame.
///
/// # Errors
/// It does not answer in time, which proves nothing.
pub(crate) async fn wait_for_agent(running: &Running) -> Result<(), ScenarioError> {
    Ok(running.boot.guest.until_agent_answers(BOOT_WITHIN).await?)
}

/// Gives a recovered machine its load again.
pub(crate) async fn put_to_work(
    context: &ScenarioContext,
    recovered: &Recovered,
) -> Result<Running, ScenarioError> {
    let site = Arc::clone(&recovered.site);
    start_load(context, site, Arc::clone(&recovered.boot), recovered.last_record()).await
}

/// Starts the load in a guest that booted with the ledger up to `initial_record`. Every boot of the
/// scenario has an epoch of its own.
pub(crate) async fn start_load(
    context: &ScenarioContext,
    site: Arc<StandInSite>,
    boot: Arc<Boot>,
    initial_record: RecordNumber,
) -> Result<Running, ScenarioError> {
    let epoch = u32::try_from(context.findings().boots_ms.len()).unwrap_or(u32::MAX);
    boot.guest.witness().start(&load(epoch)).await?;
    Ok(Running { site, boot, initial_record })
}

/// Waits until the guest has written a good number of further records. The number differs from run
/// to run by up to an interval's worth, so that edges begin at any moment of the replication
/// interval.
pub(crate) async fn wait_for_work(
    context: &ScenarioContext,
    label: &str,
    running: &Running,
) -> Result<(), ScenarioError> {
    let step = context.evidence.step(label, "guest at work");
    let guest = &running.boot.guest;
    let wanted = running.last_record() + RECORDS + context.run.chance(label) % RECORDS_PER_INTERVAL;
    step.with(guest.race("acknowledged records", WORK_WITHIN, guest.witness().acked(wanted)).await)?;
    Ok(())
}

/// Lets the guest write up to an interval's worth of further records; how many differs from run to
/// run.
pub(crate) async fn work_for_a_moment(
    context: &ScenarioContext,
    label: &str,
    running: &Running,
) -> Result<(), ScenarioError> {
    let guest = &running.boot.guest;
    let more = context.run.chance(&format!("{label}: a moment")) % RECORDS_PER_INTERVAL;
    let wanted = running.last_record() + more;
    guest.race("acknowledged records", WORK_WITHIN, guest.witness().acked(wanted)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_machine_is_overdue_only_after_its_job_has_ended_well() {
        let began = tokio::time::Instant::now();
        let (job_ended, ended) = oneshot::channel();
        job_ended.send(()).unwrap();
        ended_long_ago(ended).await;
        assert!(began.elapsed() >= STARTED_WITHIN);

        let (failed, ended) = oneshot::channel::<()>();
        drop(failed);
        let overdue = tokio::time::timeout(STARTED_WITHIN * 100, ended_long_ago(ended)).await;
        assert!(overdue.is_err(), "the error of the job says more than the missing boot");
    }
}
