//! What all edges share: waiting for work to be done, the recovered machine's coming up, and the verdict.

pub(crate) mod failback;
pub(crate) mod failover;
pub(crate) mod measure;
pub(crate) mod planned_switchover;
pub(crate) mod reprotect;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use contract::{Access, ItemView, JobId, JobView, MachineId, Platform, RecoveryPoint};
use harness::tools::{self, Format};
use standins::{Boot, StandInSite};
use witness::ledger::RecordNumber;
use witness::protocol::Findings;

use crate::blame::ScenarioError;
use crate::judge::{self, DiskUnderTest, JudgedMachine};
use crate::outcome::{EdgeOutcome, Rpo, Rto, Verdict};
use crate::real::context::{BOOT_WITHIN, ScenarioContext};
use crate::real::edge::measure::millis;
use crate::real::machine::Running;
use crate::real::scenarios::identity;
use crate::real::setup::load;
use crate::rules::ids::*;
use crate::service::first_sound_answer;

/// Points that must have been made from changes before an edge is judged.
pub(crate) const POINTS: u64 = 3;
/// Records that a guest writes before the next edge: more than two intervals' worth at its rate of 25 a second.
const RECORDS: u64 = 60;
/// Records a guest writes in one interval.
const RECORDS_PER_INTERVAL: u64 = 25;
/// How long points and records may take.
const WORK_WITHIN: Duration = Duration::from_secs(120);
/// How long a guest that is not held up may take to its next record.
const NEXT_WITHIN: Duration = Duration::from_secs(20);

/// Longest recovery time of each edge, in cold boots, by how its name begins. A bound for snapshots, not a target. Three
/// machines of a group boot at once.
const BOUNDS: [(&str, f64); 12] = [
    ("test-failover-after", 6.0),
    ("limit", 6.0),
    ("hydrate", 6.0),
    ("group-failover", 18.0),
    ("group-failback", 24.0),
    ("planned-failover", 8.0),
    ("reverse-replicate", 3.0),
    ("test-failover", 6.0),
    ("failover", 6.0),
    ("reprotect-forward", 3.0),
    ("reprotect", 3.0),
    ("failback", 8.0),
];

/// How a PNG image begins.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// More bytes than an image of an empty screen takes.
const EMPTY_SCREEN: usize = 2048;

/// The machine's screen, in the evidence of its boot (CN-05).
const SCREEN: &str = "screen.png";

/// Sectors of the boot partition, which hydration edits on the target copy.
pub(crate) fn boot_partition() -> Range<u64> {
    use images::layout::{BOOT_BYTES, BOOT_OFFSET};
    BOOT_OFFSET / 512..(BOOT_OFFSET + BOOT_BYTES) / 512
}

/// Waits for a guest's hello and findings how long its boot took.
pub(crate) async fn say_hello(
    world: &ScenarioContext,
    boot: &Boot,
    bound: Duration,
) -> Result<Instant, ScenarioError> {
    let hello = boot.guest.ready(bound).await?;
    let ready = Instant::now();
    let mut findings = world.findings();
    findings.boots_ms.push(millis(ready.saturating_duration_since(boot.guest.powered_on())));
    let drivers: Vec<_> =
        hello.disks.iter().map(|disk| format!("{} on {}", disk.role, disk.driver)).collect();
    findings.trace.push(format!("guest sees {} {}: {}", hello.vendor, hello.product, drivers.join(", ")));
    identity::expect(&mut findings.rules, &boot.profile, &hello);
    Ok(ready)
}

/// Waits until replication has made points from changes and the guest has worked on meanwhile.
pub(crate) async fn await_points(
    world: &ScenarioContext,
    edge: &str,
    source: &Running,
) -> Result<ItemView, ScenarioError> {
    let step = world.evidence.step(edge, "recovery points from changes");
    let guest = &source.boot.guest;
    let mut view = world.core.item(&world.item).await?;
    for count in 1..=POINTS {
        world.evidence.progress(edge, "recovery points from changes", count, POINTS, "points");
        let points = async {
            let item = world.core.watch_points(&world.item, count).await;
            Ok(item.map_err(ScenarioError::from))
        };
        view = guest.race("recovery points", WORK_WITHIN, points).await??;
    }
    step.done();
    Ok(view)
}

/// Waits until the guest has written a good number of further records. How many differs from run to run by up to an
/// interval's worth, so that edges meet replication at every moment of its interval.
pub(crate) async fn await_work(
    world: &ScenarioContext,
    edge: &str,
    running: &Running,
) -> Result<(), ScenarioError> {
    let step = world.evidence.step(edge, "guest at work");
    let guest = &running.boot.guest;
    let wanted = running.last_record() + RECORDS + world.context.chance(edge) % RECORDS_PER_INTERVAL;
    step.with(guest.race("acknowledged records", WORK_WITHIN, guest.witness().acked(wanted)).await)?;
    Ok(())
}

/// Whether the guest acknowledges a record beyond `record`, which it does all the time unless it is held up.
pub(crate) async fn works_beyond(running: &Running, record: RecordNumber) -> bool {
    let guest = &running.boot.guest;
    let next = guest.race("its next record", NEXT_WITHIN, guest.witness().acked(record + 1)).await;
    next.is_ok() && guest.witness().trouble().is_none()
}

/// A machine that came up after a failover, and when.
pub(crate) struct Recovered {
    pub(crate) boot: Arc<Boot>,
    pub(crate) job: JobView,
    pub(crate) findings: Findings,
    ready: Instant,
    answered: Instant,
}

impl Recovered {
    /// How long its service took to answer once its guest was up.
    pub(crate) fn answered_in(&self) -> Duration {
        self.answered.saturating_duration_since(self.ready)
    }

    /// Recovery time from `trigger`. `resumed`: the trigger came in the midst of the job, after its wait.
    pub(crate) async fn rto(&self, world: &ScenarioContext, trigger: Instant, resumed: bool) -> Rto {
        let cold = world.findings().boots_ms.first().copied().unwrap_or_default();
        let mut rto = measure::rto_of_boot(trigger, &self.job, &self.boot, self.ready, self.answered, cold);
        if resumed {
            // What was done before the wait was no outage.
            let before = rto.steps.iter().position(|step| step.name == BEFORE_WAIT).map_or(0, |at| at + 1);
            rto.steps.drain(..before);
        }
        rto
    }
}

/// The last step of a job that waits for its completion.
const BEFORE_WAIT: &str = "synchronise data";

/// Follows a failover job and the machine it starts until its service gives a sound answer.
pub(crate) async fn recover(
    world: &ScenarioContext,
    edge: &str,
    site: &Arc<StandInSite>,
    machine: &MachineId,
    after: u32,
    job: &JobId,
) -> Result<Recovered, ScenarioError> {
    let comes_up = async {
        let boot = site.boot_after(machine, after).await;
        let step = world.evidence.step(edge, "boot the recovered machine");
        let ready = say_hello(world, &boot, BOOT_WITHIN).await.map_err(|halt| attribute_to_core(edge, halt));
        let ready = step.with(ready)?;
        let step = world.evidence.step(edge, "first sound answer of its service");
        let answer = first_sound_answer(&boot.guest, BOOT_WITHIN).await;
        let answer = step.with(answer.map_err(|error| attribute_to_core(edge, error.into())))?;
        world.trace(format!("{edge}: service answers, bank sound: {}", answer.bank.sound()));
        Ok((boot, ready, Instant::now()))
    };
    let (job, (boot, ready, answered)) = tokio::try_join!(world.follow(edge, job), comes_up)?;
    let screen = site.screenshot(machine).await?;
    let shown = screen.starts_with(PNG) && screen.len() > EMPTY_SCREEN;
    world.check(CN_05, shown, format!("{} bytes of boot diagnostics", screen.len()));
    std::fs::write(boot.dir.join(SCREEN), &screen).map_err(harness::Error::file(&boot.dir))?;
    let findings = boot.guest.race("its findings", BOOT_WITHIN, boot.guest.witness().check()).await?;
    Ok(Recovered { boot, job, findings, ready, answered })
}

/// A recovered machine that does not come up is the core's failure, not the test host's.
fn attribute_to_core(edge: &str, halt: ScenarioError) -> ScenarioError {
    match halt {
        ScenarioError::Inconclusive(what) => {
            ScenarioError::CoreViolation(format!("{edge}: the recovered machine did not come up: {what}"))
        }
        violation => violation,
    }
}

/// Puts a recovered machine to work again.
pub(crate) async fn put_to_work(
    world: &ScenarioContext,
    site: &Arc<StandInSite>,
    recovered: &Recovered,
) -> Result<Running, ScenarioError> {
    let epoch = u32::try_from(world.findings().boots_ms.len()).unwrap_or(u32::MAX);
    recovered.boot.guest.witness().start(&load(epoch)).await?;
    let initial_record = recovered.findings.ledger.contiguous;
    Ok(Running { site: Arc::clone(site), boot: Arc::clone(&recovered.boot), initial_record })
}

/// Reads a recovery point of both disks as QEMU sees it, into the evidence, and runs `work` while the point is
/// held open, so that nothing merges it away.
pub(crate) async fn with_point<T>(
    site: &StandInSite,
    point: &RecoveryPoint,
    dir: &Utf8Path,
    work: impl AsyncFnOnce(Vec<PointFiles>) -> Result<T, ScenarioError>,
) -> Result<T, ScenarioError> {
    let mut exports = Vec::new();
    for (_, volume) in &point.volumes {
        exports.push(site.export_volume(volume, Access::Read).await?);
    }
    let result = async {
        let mut files = Vec::new();
        for ((disk, volume), export) in point.volumes.iter().zip(&exports) {
            let read = dir.join(format!("{disk}.point.raw"));
            tools::convert(Utf8Path::new(&export.uri), Format::Raw, &read, Format::Raw).await?;
            let chain = site.files_of(volume).await;
            let readable = chain.iter().all(|(_, format)| matches!(format, Format::Qcow2 | Format::Raw));
            let image = match chain.first() {
                Some((path, Format::Qcow2)) if readable => Ok(path.clone()),
                _ => Err(format!("it stands on {}", chain.last().map_or("nothing", |(_, f)| f.name()))),
            };
            files.push(PointFiles { disk: disk.0.clone(), read, image });
        }
        work(files).await
    }
    .await;
    for export in exports {
        site.close_export(&export.id).await?;
    }
    result
}

/// A disk of a recovery point.
pub(crate) struct PointFiles {
    pub(crate) disk: String,
    /// As QEMU read it.
    pub(crate) read: Utf8PathBuf,
    /// Its qcow2 chain, or why there is none.
    pub(crate) image: Result<Utf8PathBuf, String>,
}

/// How many points that the policy keeps are gone from `after` which `before` had. New points push old ones out of the
/// window; those are not missed.
pub(crate) fn points_lost(before: &ItemView, after: &ItemView) -> usize {
    let mut all: Vec<_> =
        before.points.iter().filter(|point| point.processed).map(|point| &point.id).collect();
    let new: Vec<_> =
        after.points.iter().filter(|p| p.processed && !all.contains(&&p.id)).map(|p| &p.id).collect();
    all.extend(new);
    let window =
        all.iter().rev().take(before.policy.policy.most_points.map_or(usize::MAX, |most| most as usize));
    window.filter(|id| !after.points.iter().any(|point| point.id == ***id)).count()
}

/// Judges disks, proves that the oracle can see, and returns both.
pub(crate) async fn judge(
    world: &ScenarioContext,
    edge: &str,
    disks_under_test: Vec<DiskUnderTest>,
    initial_record: RecordNumber,
) -> Result<(JudgedMachine, Option<String>), ScenarioError> {
    let step = world.evidence.step(edge, "judge the disks");
    let seed = world.findings().edges.len() as u64;
    // Another disk at each edge, so that none is always spared.
    let altered = disks_under_test[seed as usize % disks_under_test.len()].clone();
    let judged = judge::judge(disks_under_test, initial_record, world.evidence.dir()).await?;
    // On a disk that is wrong already, the oracle would name that place and not the altered one.
    let flip = match judged.objection() {
        None => Some(judge::self_test_oracle(altered, seed).await?),
        Some(_) => None,
    };
    step.done();
    Ok((judged, flip))
}

/// A recovered machine that did not come up is judged all the same: its disks tell whether and where the core went
/// wrong. Returns what ends the scenario.
pub(crate) async fn judge_failed_boot(
    world: &ScenarioContext,
    edge: &str,
    from: &Running,
    (site, machine, after): (&StandInSite, &MachineId, u32),
    exempt: Vec<Range<u64>>,
    halt: ScenarioError,
) -> ScenarioError {
    let boot = site.last_boot(machine).await.filter(|boot| boot.number > after);
    let (ScenarioError::CoreViolation(why), Some(boot)) = (&halt, boot) else { return halt };
    if !boot.guest.is_gone() {
        // What a person would look at first; without it the verdict stands all the same.
        let _ = boot.guest.screenshot(&boot.dir.join(SCREEN)).await;
    }
    let disks = from.boot.disks.iter().zip(&boot.disks).enumerate();
    let disks_under_test = disks.map(|(index, (source, target))| DiskUnderTest {
        name: source.id.0.clone(),
        base: source.base.clone(),
        log: source.log.clone(),
        recovered: target.base.clone(),
        exempt: if index == 0 { exempt.clone() } else { vec![] },
        second: Err("the machine did not come up".to_owned()),
    });
    let judged = judge::judge(disks_under_test.collect(), from.initial_record, world.evidence.dir()).await;
    let ended = match judged {
        Err(_) => return halt,
        Ok(judged) => {
            let why = Some(why.strip_prefix(&format!("{edge}: ")).unwrap_or(why).to_owned());
            conclude(world, edge, (judged, None), Rpo::default(), Rto::default(), why).await
        }
    };
    ended.err().unwrap_or(halt)
}

/// Closes an edge: its verdict is the oracle's, the witness's and `extra`'s.
pub(crate) async fn conclude(
    world: &ScenarioContext,
    edge: &str,
    judged: (JudgedMachine, Option<String>),
    rpo: Rpo,
    rto: Rto,
    extra: Option<String>,
) -> Result<(), ScenarioError> {
    let (judged, flip) = judged;
    let why = judged.objection().or(extra);
    let verdict = match &why {
        None => Verdict::Pass,
        Some(_) if only_unknown(&judged) => Verdict::Unknown,
        Some(_) => Verdict::Fail,
    };
    let mut findings = world.findings();
    for disk in &judged.disks {
        findings.trace.push(format!("{edge}: disk {} is {}", disk.outcome.name, disk.outcome.oracle));
    }
    let bound =
        BOUNDS.iter().find(|(name, _)| edge.starts_with(name)).map_or(f64::INFINITY, |(_, bound)| *bound);
    findings.trace.push(format!("{edge}: recovery time is bounded by {bound} boots"));
    if rto.boots > bound {
        findings.slow.push(format!("{edge} took {:.1} cold boots, its bound is {bound}", rto.boots));
    }
    let prefix = judged.join.is_some() && judged.objection().is_none();
    let found =
        why.clone().unwrap_or_else(|| "every disk is an exact prefix, joined by the ledger".to_owned());
    findings.rules.check(FO_10, prefix, found);
    let outcome = EdgeOutcome {
        name: edge.to_owned(),
        verdict,
        why: why.clone().unwrap_or_default(),
        disks: judged.disks.into_iter().map(|disk| disk.outcome).collect(),
        rpo,
        rto,
        flip,
    };
    findings.edges.push(outcome);
    drop(findings);
    match (verdict, why) {
        (Verdict::Fail, Some(why)) => Err(ScenarioError::CoreViolation(format!("{edge}: {why}"))),
        (Verdict::Unknown, Some(why)) => Err(ScenarioError::Inconclusive(format!("{edge}: {why}"))),
        _ => Ok(()),
    }
}

/// Whether all that is wrong is that the oracle cannot say.
fn only_unknown(judged: &JudgedMachine) -> bool {
    let doubtful: Vec<_> = judged.disks.iter().filter(|disk| disk.cut.is_none()).collect();
    !doubtful.is_empty() && doubtful.iter().all(|disk| disk.outcome.oracle == "unknown")
}

/// What the witness inside found, held against what the disks say.
pub(crate) fn inside_agrees(findings: &Findings, judged: &JudgedMachine) -> Option<String> {
    let ledger = &findings.ledger;
    if !ledger.torn.is_empty() || !ledger.missing.is_empty() {
        return Some(format!(
            "the ledger inside has torn {:?} and missing {:?}",
            ledger.torn, ledger.missing
        ));
    }
    if !findings.bank.sound() {
        return Some(format!("the bank inside is unsound: {:?}", findings.bank));
    }
    if let Some(broken) = findings.file_systems.iter().find(|fs| fs.errors) {
        return Some(format!("the file system on {} carries its error mark", broken.role));
    }
    match judged.contiguous() {
        Some(outside) if !records_agree(outside, ledger.contiguous, judged.complete()) => Some(format!(
            "the disks hold ledger records up to {outside}, the witness inside finds {}",
            ledger.contiguous
        )),
        _ => None,
    }
}

/// Whether the last record on the disks is the one that the witness finds. On a disk that lost power the very last one may
/// be there and not be seen: its block was written, and the file system had not committed yet that the block belongs to
/// the file. Then it was not acknowledged either.
fn records_agree(outside: RecordNumber, inside: RecordNumber, complete: bool) -> bool {
    outside == inside || (!complete && outside == inside + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_disk_that_lost_power_may_hide_its_last_record() {
        assert!(records_agree(130, 130, true) && records_agree(130, 130, false));
        assert!(records_agree(130, 129, false));
        assert!(!records_agree(130, 129, true), "an orderly shutdown hides nothing");
        assert!(!records_agree(130, 128, false) && !records_agree(129, 130, false));
    }
}
