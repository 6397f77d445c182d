//! A test failover: a copy of a recovery point boots in an isolated network, and neither the source
//! nor replication notices.

use std::time::{Duration, Instant};

use contract::{
    Consistency, ErrorCode, Hydration, ItemView, JobId, JobKind, MachineId, Millis, Network, Operation,
    Phase, Platform, PointChoice, RecoveryPoint, Side, TestFailoverRequest, TestFailoverStatus,
};
use tracing::Instrument as _;

use crate::blame::{KeptByCore, ScenarioError};
use crate::evidence::EDGES;
use crate::real::context::{BOOT_WITHIN, ScenarioContext};
use crate::real::edge::disk_pairs::{first_difference, pair_disks};
use crate::real::edge::freshness::now;
use crate::real::edge::hydration_diff::hydrated;
use crate::real::edge::lifecycle::{Edge, JudgedRecovery};
use crate::real::edge::measure::Outage;
use crate::real::edge::name::EdgeName;
use crate::real::edge::recover::{self, Recovered, RecoveryTarget};
use crate::real::edge::recovery_point::{
    POINTS_WITHIN, PointFiles, item_whose_points, machine_on_point, points_lost, wait_for_fresh_points,
    with_point,
};
use crate::real::edge::work::{AtWork, check_work};
use crate::real::machine::Running;
use crate::real::refusals::Forbidden;
use crate::real::script::{Script, Start};
use crate::real::setup;
use crate::real::teardown;
use crate::real::workload::APP_CONSISTENT_EVERY;
use crate::refusal::NOT_HERE;
use crate::rules::ids::*;

const TEST_FAILOVER: EdgeName = EdgeName::new("test-failover", 6);
/// The first bytes of every address in the network of test failovers.
const ISOLATED: &str = "203.0.113.";

pub(crate) const SCRIPT: Script = Script {
    edges: || vec![TEST_FAILOVER],
    repeatable: false,
    needs: &[Operation::TestFailover, Operation::TestFailoverCleanup],
    start: Start::BetweenSites(|context| Box::pin(run(context))),
};

async fn run(context: &ScenarioContext) -> Result<(), ScenarioError> {
    let source = setup::boot_source(context).await?;
    setup::protect(context, &source).await?;
    let edge = Edge::begin(context, TEST_FAILOVER, &source);
    run_edge(edge).instrument(edge.span()).await?;
    teardown::end(context, &source).await
}

async fn run_edge(edge: Edge<'_>) -> Result<(), ScenarioError> {
    let context = edge.context();
    let app_consistent = context.scenario.app_consistent;
    edge.wait_for_work().await?;
    if !app_consistent {
        // The application-consistent point is an old one, and must not be pushed out by newer ones.
        edge.wait_for_fresh_points().await?;
    }
    check_refusals_before(context).await?;
    let before = match app_consistent {
        true => wait_for_app_consistent_point(edge).await?,
        false => context.core.item(&context.item).await?,
    };
    let point = if app_consistent { newest_app_consistent(&before).cloned() } else { older_point(&before) };
    let point = point.ok_or_else(|| {
        ScenarioError::CoreViolation(format!("{TEST_FAILOVER}: fewer than two recovery points"))
    })?;
    let judged = start_and_judge(edge, &point).await?;
    if app_consistent && only_app_consistent(&before.points) {
        context.findings().rules.skip(RP_06, CRASH_CONSISTENT_POINTS);
    } else if app_consistent {
        check_newer_passed_over(context, &point, &judged)?;
    }
    let first_reading: Vec<_> = judged.point.iter().map(|file| file.raw.clone()).collect();
    let test_machine = edge.finish(judged)?;
    if app_consistent {
        check_app_consistent(context, &test_machine);
    }
    check_isolation(edge, &test_machine).await?;
    check_untouched(edge, &before, &point, &first_reading).await?;
    clean_up(context, edge.name().as_str(), &test_machine).await
}

/// Makes a test failover to the newest recovery point, judges it and cleans up: shows what
/// replication has at this moment.
pub(crate) async fn run_briefly(
    context: &ScenarioContext,
    name: EdgeName,
    source: &Running,
) -> Result<(), ScenarioError> {
    let edge = Edge::begin(context, name, source);
    let run = async {
        let item = context.core.item(&context.item).await?;
        let newest = item.points.into_iter().rfind(|point| point.processed);
        let newest = newest
            .ok_or_else(|| ScenarioError::CoreViolation(format!("{name}: there is no recovery point")))?;
        let judged = start_and_judge(edge, &newest).await?;
        let test_machine = edge.finish(judged)?;
        clean_up(context, name.as_str(), &test_machine).await
    };
    run.instrument(edge.span()).await
}

/// The machine that a test failover creates, as soon as the item shows it. Its name is the core's
/// own.
pub(crate) async fn test_machine_id(
    context: &ScenarioContext,
    job: &JobId,
) -> Result<MachineId, ScenarioError> {
    let shown = async {
        let mut view = context.core.job(job).await?;
        loop {
            if let Some(machine) = context.core.item(&context.item).await?.test_failover {
                return Ok(machine);
            }
            if view.state.ended() {
                let what = format!("{TEST_FAILOVER}: the job ended and the item shows no machine");
                return Err(context.blame_of_failed_job(what, &view));
            }
            view = context.core.watch_job(job, view.revision).await?;
        }
    };
    let began = now();
    let overdue = |_| {
        let what = format!("{TEST_FAILOVER}: no machine is shown within {BOOT_WITHIN:?}");
        ScenarioError::core_unless(what, context.stand_in_failure(began))
    };
    tokio::time::timeout(BOOT_WITHIN, shown).await.map_err(overdue)?
}

fn request(context: &ScenarioContext, point: PointChoice, network: Network) -> TestFailoverRequest {
    TestFailoverRequest { item: context.item.clone(), point, network }
}

/// TF-04: a test failover into the production network is refused. MO-02: without a test failover so
/// far, one is recommended.
async fn check_refusals_before(context: &ScenarioContext) -> Result<(), ScenarioError> {
    let in_production = request(context, PointChoice::LatestProcessed, Network::Production);
    let forbidden = Forbidden {
        rule: TF_04,
        what: "test failover in production",
        needs: Some(Operation::TestFailover),
        codes: &[ErrorCode::BadRequest],
    };
    context.forbids(forbidden, context.core.test_failover(&in_production)).await?;
    let status = context.core.item(&context.item).await?.test_failover_status;
    context.check(MO_02, status == TestFailoverStatus::Recommended, format!("before: {status:?}"));
    Ok(())
}

/// A recovery point that is not the newest, so that TF-03 can tell whether the choice was obeyed.
fn older_point(item: &ItemView) -> Option<RecoveryPoint> {
    item.points.iter().rev().filter(|point| point.processed).nth(1).cloned()
}

/// The newest processed application-consistent recovery point.
fn newest_app_consistent(item: &ItemView) -> Option<&RecoveryPoint> {
    item.points.iter().rfind(|point| point.processed && point.consistency == Consistency::App)
}

/// Whether an application-consistent point can be asked for: a crash-consistent one is newer, and
/// the next application-consistent one is not due soon.
fn can_tell_app_consistent(item: &ItemView) -> bool {
    let newest = item.points.iter().rfind(|point| point.processed);
    let crash = newest.is_some_and(|point| point.consistency == Consistency::Crash);
    let age = newest_app_consistent(item).map(|point| now().since(point.time));
    crash && age.is_some_and(|age| age.0 < APP_CONSISTENT_EVERY.0 / 2)
}

/// What a core lacks whose recovery points are all application-consistent: there is none that is
/// newer and of another kind, so nothing tells whether the kind was obeyed.
const CRASH_CONSISTENT_POINTS: &str = "crash-consistent-points";

/// Whether a core makes application-consistent points only: all are, for as long as the policy
/// allows between two of them.
fn only_app_consistent(points: &[RecoveryPoint]) -> bool {
    let processed = || points.iter().filter(|point| point.processed);
    let (first, last) = (processed().next(), processed().next_back());
    let took = first.zip(last).map_or(Millis(0), |(first, last)| last.time.since(first.time));
    took >= APP_CONSISTENT_EVERY && processed().all(|point| point.consistency == Consistency::App)
}

/// RP-06: waits for an application-consistent point and a newer crash-consistent one. The policy
/// asks for the former, and a core may make no other.
///
/// # Errors
/// They did not come: the core's failure, unless the platform could not quiesce the guest.
async fn wait_for_app_consistent_point(edge: Edge<'_>) -> Result<ItemView, ScenarioError> {
    let context = edge.context();
    let label = edge.name().as_str();
    let step = context.evidence.step(label, "an application-consistent recovery point");
    let guest = &edge.source().boot.guest;
    let awaited = "application-consistent recovery point with a newer crash-consistent one";
    let bound = Duration::from_millis(APP_CONSISTENT_EVERY.0) + POINTS_WITHIN;
    let is_enough = |item: &ItemView| can_tell_app_consistent(item) || only_app_consistent(&item.points);
    let comes = item_whose_points(context, is_enough);
    let began = now();
    let waited = guest.race(awaited, bound, async { Ok(comes.await) }).await;
    let item = match waited {
        Ok(item) => item?,
        Err(harness::Error::TimedOut { .. }) => {
            return Err(match context.not_quiesced() {
                Some(why) => ScenarioError::Inconclusive(format!("{label}: no {awaited}: {why}")),
                None => context.overdue_since(began, RP_06, label, &format!("no {awaited} within {bound:?}")),
            });
        }
        Err(error) => return Err(error.into()),
    };
    step.done();
    Ok(item)
}

/// RP-06: the test machine was booted from the newest application-consistent point, and not from
/// the crash-consistent one that is newer.
fn check_newer_passed_over(
    context: &ScenarioContext,
    point: &RecoveryPoint,
    judged: &JudgedRecovery,
) -> Result<(), ScenarioError> {
    let booted = &judged.recovered.boot.disks;
    // Hydration edits the first disk.
    for (file, disk) in pair_disks("the test machine", &judged.point, booted)?.into_iter().skip(1) {
        let difference = first_difference(&disk.base, &file.raw, 0..u64::MAX)?;
        let found = format!("disk {} and that of {}: first difference {difference:?}", file.disk, point.id);
        context.check(RP_06, difference.is_none(), found);
    }
    Ok(())
}

/// RP-19: at boot the guest found on its disks what applications leave behind when they are
/// quiesced.
fn check_app_consistent(context: &ScenarioContext, test_machine: &Recovered) {
    let findings = &test_machine.findings;
    let replayed: Vec<_> =
        findings.file_systems.iter().filter(|fs| fs.needed_recovery).map(|fs| &fs.role).collect();
    let found = format!("file systems whose journal was replayed: {replayed:?}");
    context.check(RP_19, replayed.is_empty(), found);
    let marked = findings.ledger.ends_quiesced;
    context.check(RP_19, marked, format!("the last record is the quiesce mark: {marked}"));
    let open = findings.bank.wal_bytes;
    context.check(RP_19, open == 0, format!("{open} bytes in the bank's log"));
}

/// Starts a test failover to a recovery point and judges the test machine. The caller finishes the
/// edge.
async fn start_and_judge(edge: Edge<'_>, point: &RecoveryPoint) -> Result<JudgedRecovery, ScenarioError> {
    let context = edge.context();
    let outage = Outage::since(Instant::now());
    let test_machine = start(edge, point).await?;
    if let Some(machine) = machine_on_point(&context.recovery, point).await? {
        let why = format!("{machine} runs on recovery point {} itself, and not on a copy", point.id);
        context.check(TF_07, false, why.clone());
        return Err(ScenarioError::CoreViolation(why));
    }
    let judged = edge.judge_recovery_from(point, test_machine, outage).await?;
    let machine = &judged.judgement.disks.machine;
    match machine.unknown() {
        Some(why) => context.unknown(TF_03, why),
        None => {
            let shown = machine.objection().is_none();
            context.check(TF_03, shown, format!("the test failover shows {}", point.id));
        }
    }
    Ok(judged)
}

/// TF-09, MO-04, LC-02: the test failover is a job with a timed hydration step, and a second one is
/// refused.
async fn start(edge: Edge<'_>, point: &RecoveryPoint) -> Result<Recovered, ScenarioError> {
    let context = edge.context();
    let choice = if context.scenario.app_consistent {
        PointChoice::LatestAppConsistent
    } else {
        PointChoice::Custom(point.id.clone())
    };
    let request = request(context, choice, Network::Isolated);
    let job = context.core.test_failover(&request).await?;
    let machine = test_machine_id(context, &job).await?;
    let target = RecoveryTarget::new_machine(&context.recovery, machine);
    let test_machine = edge.recover(&target, &job).await?;
    let job = &test_machine.job;
    let hydration = context.primary.profile().kind.profile().hydration;
    if matches!(hydration, Hydration::Always | Hydration::IfUnprepared) {
        context.check(TF_09, hydrated(job), "the extra step is in the test failover's job, timed");
    }
    context.check(MO_04, job.kind == JobKind::TestFailover, "the test failover is a job like others");
    let forbidden = Forbidden {
        rule: LC_02,
        what: "a second test failover",
        needs: Some(Operation::TestFailover),
        codes: NOT_HERE,
    };
    context.forbids(forbidden, context.core.test_failover(&request)).await?;
    Ok(test_machine)
}

/// TF-01, TF-02, TF-04: the test machine writes in its isolated network, while the source and
/// replication continue.
async fn check_isolation(edge: Edge<'_>, test_machine: &Recovered) -> Result<(), ScenarioError> {
    let context = edge.context();
    let source = edge.source();
    let running = recover::put_to_work(context, test_machine).await?;
    let at_work = AtWork::watch(source);
    let transfers_before = context.primary.snapshots_taken(&context.machine).await;
    let hypervisor = context.primary.machine(&context.machine).await?.libvirt;
    recover::wait_for_work(context, edge.name().as_str(), &running).await?;
    let nics = recover::describe_again(&test_machine.boot.guest).await?.nics;
    let isolated = !nics.is_empty() && nics.iter().all(|nic| nic.address.starts_with(ISOLATED));
    context.check(TF_04, isolated, format!("the test machine's network cards: {nics:?}"));
    let work = at_work.so_far().await;
    let runs = !source.boot.guest.is_gone();
    check_work(context, TF_02, &work, runs, "the source, while the test machine ran");
    let transfers = context.primary.snapshots_taken(&context.machine).await - transfers_before;
    if transfers == 0 && hypervisor.is_some() {
        // A core that asks the machine's hypervisor for changes takes no snapshots at the site.
        wait_for_fresh_points(context, TF_01, edge.name().as_str(), source).await?;
        context.check(TF_01, true, "recovery points of new moments came during the test failover");
        return Ok(());
    }
    context.check(TF_01, transfers >= 1, format!("{transfers} transfers during the test failover"));
    Ok(())
}

/// TF-02, TF-07, TF-08, RP-20: the recovery point has the content that was read first, and the item
/// is in the state in which it was before.
async fn check_untouched(
    edge: Edge<'_>,
    before: &ItemView,
    point: &RecoveryPoint,
    first_reading: &[camino::Utf8PathBuf],
) -> Result<(), ScenarioError> {
    let context = edge.context();
    let dir = context.evidence.dir().join(EDGES).join("point-after-test-failover");
    std::fs::create_dir_all(&dir).map_err(harness::Error::file(&dir))?;
    let compare = async |files: Vec<PointFiles>| {
        let what = format!("recovery point {} after the test failover", point.id);
        for (first, second) in pair_disks(&what, first_reading, &files)? {
            let difference = first_difference(&second.raw, first, 0..u64::MAX)?;
            let found = format!("{} of {}: first difference {difference:?}", second.disk, point.id);
            context.check(TF_07, difference.is_none(), found.clone());
            context.check(RP_20, difference.is_none(), found);
        }
        Ok(())
    };
    with_point(&context.recovery, point, &dir, compare).await?;
    let item = context.core.item(&context.item).await?;
    let same_state = item.protection == before.protection
        && item.protection.phase == Phase::Protected
        && item.protection.active == Side::Primary;
    let lost = points_lost(before, &item);
    context.check(TF_08, same_state && lost == 0, format!("{:?}, {lost} points lost", item.protection));
    context.check(TF_02, !edge.source().boot.guest.is_gone(), "the source never stopped");
    context.trace_state().await
}

/// TF-06: one call removes everything that the test failover created. MO-02: the item shows that a
/// test failover was made.
pub(crate) async fn clean_up(
    context: &ScenarioContext,
    label: &str,
    test_machine: &Recovered,
) -> Result<(), ScenarioError> {
    let machine = context.recovery.machine(&test_machine.boot.machine).await;
    let machine = machine.kept_by_core("the test machine until its clean-up")?;
    let volumes: Vec<_> = machine.disks.into_iter().map(|disk| disk.volume).collect();
    let job = context.core.clean_up_test_failover(&context.item).await?;
    context.follow(label, &job).await?;
    let machines = context.recovery.machines().await?.len();
    let left = context.recovery.volume_files().await;
    let left = left.iter().filter(|(id, _, _)| volumes.contains(id)).count();
    let gone = !volumes.is_empty() && machines == 0 && left == 0 && test_machine.boot.guest.is_gone();
    context.check(TF_06, gone, format!("{machines} machines and {left} disks of the test failover are left"));
    let status = context.core.item(&context.item).await?.test_failover_status;
    context.check(MO_02, status == TestFailoverStatus::Performed, format!("after clean-up: {status:?}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use contract::{Bytes, ChangeId, PointId, Timestamp};

    use super::*;

    /// A processed point that long after the first one.
    fn point(after: Millis, consistency: Consistency) -> RecoveryPoint {
        RecoveryPoint {
            id: PointId(format!("point-{}", after.0)),
            time: Timestamp(after.0),
            consistency,
            processed: true,
            multi_vm: None,
            change_id: ChangeId(format!("change-{}", after.0)),
            transferred: Bytes(1),
            volumes: vec![],
        }
    }

    #[test]
    fn a_core_makes_only_one_kind_of_point_once_it_had_time_for_the_other() {
        let (soon, late) = (Millis(1_000), APP_CONSISTENT_EVERY);
        let of = |kinds: &[(Millis, Consistency)]| {
            let points: Vec<_> = kinds.iter().map(|(after, kind)| point(*after, *kind)).collect();
            only_app_consistent(&points)
        };
        assert!(of(&[(Millis(0), Consistency::App), (soon, Consistency::App), (late, Consistency::App)]));
        assert!(!of(&[(Millis(0), Consistency::App), (soon, Consistency::App)]));
        assert!(!of(&[(Millis(0), Consistency::App), (soon, Consistency::Crash), (late, Consistency::App)]));
        assert!(!of(&[]));
    }
}
