//! A test failover: a copy of a recovery point boots in a network of its own, and nothing else notices.

use std::time::Instant;

use contract::{
    Consistency, ErrorCode, ItemView, MachineId, Network, Phase, Platform, PointChoice, RecoveryPoint, Side,
    TestFailoverRequest, TestFailoverStatus,
};
use harness::oracle::{self, RawSource};

use crate::blame::ScenarioError;
use crate::real::context::ScenarioContext;
use crate::real::edge;
use crate::real::edge::failover::{check_hydration, disks_under_test};
use crate::real::edge::measure;
use crate::real::edge::{PointFiles, Recovered};
use crate::real::machine::Running;
use crate::real::setup;
use crate::real::teardown as finish;
use crate::rules::ids::*;

const EDGE: &str = "test-failover";
/// Start of every address in the network of test failovers.
const ISOLATED: &str = "203.0.113.";

pub(crate) async fn hold(world: &ScenarioContext) -> Result<(), ScenarioError> {
    let source = setup::boot_source(world).await?;
    setup::protect(world, &source).await?;
    world.enter(EDGE);
    edge::await_work(world, EDGE, &source).await?;
    let before = world.core.item(&world.item).await?;
    refused_before(world).await?;
    let point = if world.at_rest { point_at_rest(world, &before).await? } else { older_point(&before)? };
    let trigger = Instant::now();
    let test_failover = start(world, EDGE, &point).await?;
    let first = read_and_judge(world, EDGE, &source, &test_failover, &point, trigger).await?;
    if world.at_rest {
        found_at_rest(world, &test_failover).await;
    }
    work_inside(world, &source, &test_failover).await?;
    check_untouched(world, &source, &before, &point, &first).await?;
    clean_up(world, EDGE, &test_failover).await?;
    finish::end(world, &source).await
}

/// A test failover of the newest point, judged and cleaned up: what replication has to show at this moment.
pub(crate) async fn hold_short(
    world: &ScenarioContext,
    edge: &str,
    source: &Running,
) -> Result<(), ScenarioError> {
    world.enter(edge);
    let item = world.core.item(&world.item).await?;
    let newest = item.points.into_iter().rfind(|point| point.processed);
    let newest =
        newest.ok_or_else(|| ScenarioError::CoreViolation(format!("{edge}: there is no recovery point")))?;
    let trigger = Instant::now();
    let test_failover = start(world, edge, &newest).await?;
    read_and_judge(world, edge, source, &test_failover, &newest, trigger).await?;
    clean_up(world, edge, &test_failover).await
}

fn request(world: &ScenarioContext, point: PointChoice, network: Network) -> TestFailoverRequest {
    TestFailoverRequest { item: world.item.clone(), point, network }
}

/// TF-04: a network that serves is refused. MO-02: no test failover was held yet.
async fn refused_before(world: &ScenarioContext) -> Result<(), ScenarioError> {
    let production = request(world, PointChoice::LatestProcessed, Network::Production);
    let code = world.core.test_failover(&production).await.err().map(|error| error.code);
    world.check(TF_04, code == Some(ErrorCode::BadRequest), format!("test failover in production: {code:?}"));
    let status = world.core.item(&world.item).await?.test_failover_status;
    world.check(MO_02, status == TestFailoverStatus::Recommended, format!("before: {status:?}"));
    Ok(())
}

/// A point that is not the newest, so that the choice shows (TF-03).
fn older_point(item: &ItemView) -> Result<RecoveryPoint, ScenarioError> {
    let processed = item.points.iter().rev().filter(|point| point.processed);
    let older = processed.clone().nth(1).cloned();
    older.ok_or_else(|| ScenarioError::CoreViolation(format!("{EDGE}: fewer than two recovery points")))
}

/// RP-06: the newest point at which the applications were at rest, though there is a newer one.
async fn point_at_rest(world: &ScenarioContext, item: &ItemView) -> Result<RecoveryPoint, ScenarioError> {
    let mut processed = item.points.iter().rev().filter(|point| point.processed);
    let newest = processed.clone().next().map(|point| point.consistency);
    let at_rest = processed.find(|point| point.consistency == Consistency::App).cloned();
    let held = newest == Some(Consistency::Crash) && at_rest.is_some();
    let found = format!("newest point {newest:?}, one at rest: {}", at_rest.is_some());
    world.check(RP_06, held, found);
    at_rest.ok_or_else(|| {
        ScenarioError::CoreViolation(format!("{EDGE}: no application-consistent point: {}", item.trouble))
    })
}

/// RP-19: what the guest found on its disks at boot is what applications at rest leave behind.
async fn found_at_rest(world: &ScenarioContext, test_failover: &Recovered) {
    let findings = &test_failover.findings;
    let journals: Vec<_> =
        findings.file_systems.iter().filter(|fs| fs.needed_recovery).map(|fs| &fs.role).collect();
    world.check(RP_19, journals.is_empty(), format!("file systems whose journal was replayed: {journals:?}"));
    let marked = findings.ledger.ends_quiesced;
    world.check(RP_19, marked, format!("the last record is the quiesce mark: {marked}"));
    let open = findings.bank.wal_bytes;
    world.check(RP_19, open == 0, format!("{open} bytes in the bank's log"));
}

async fn start(
    world: &ScenarioContext,
    edge: &str,
    point: &RecoveryPoint,
) -> Result<Recovered, ScenarioError> {
    let choice =
        if world.at_rest { PointChoice::LatestAppConsistent } else { PointChoice::Custom(point.id.clone()) };
    let wanted = request(world, choice, Network::Isolated);
    let job = world.core.test_failover(&wanted).await?;
    let machine = MachineId(format!("{}-test", world.machine));
    let test_failover = edge::recover(world, edge, &world.recovery, &machine, 0, &job).await?;
    let hydrated = test_failover.job.steps.iter().any(|step| step.name == "hydrate" && step.took.is_some());
    world.check(TF_09, hydrated, "the extra step is in the test failover's job, timed");
    world.check(
        MO_04,
        test_failover.job.kind == contract::JobKind::TestFailover,
        "the test failover is a job like others",
    );
    let again = world.core.test_failover(&wanted).await.err().map(|error| error.code);
    world.check(
        LC_02,
        again == Some(ErrorCode::NotAllowedInState),
        format!("a second test failover: {again:?}"),
    );
    Ok(test_failover)
}

/// The test failover's disks before the oracle. Returns what the point held.
async fn read_and_judge(
    world: &ScenarioContext,
    edge: &str,
    source: &Running,
    test_failover: &Recovered,
    point: &RecoveryPoint,
    trigger: Instant,
) -> Result<Vec<PointFiles>, ScenarioError> {
    let dir = world.edge_dir(edge)?;
    let (judged, files) = edge::with_point(&world.recovery, point, &dir, async |files| {
        check_hydration(world, &test_failover.boot, &files).await?;
        let disks_under_test = disks_under_test(&source.boot, &test_failover.boot, &files);
        Ok((edge::judge(world, edge, disks_under_test, source.initial_record).await?, files))
    })
    .await?;
    let survived = test_failover.findings.ledger.contiguous;
    world.check(TF_03, judged.0.objection().is_none(), format!("the test failover shows {}", point.id));
    let rto = test_failover.rto(world, trigger, false).await;
    let rpo = measure::rpo(&source.boot.guest.witness().acks(), survived, trigger, judged.0.lost);
    let inside = edge::inside_agrees(&test_failover.findings, &judged.0);
    edge::conclude(world, edge, judged, rpo, rto, inside).await?;
    Ok(files)
}

/// The test failover's own guest writes, in its own network, while source and replication go on (TF-01, TF-02, TF-04).
async fn work_inside(
    world: &ScenarioContext,
    source: &Running,
    test_failover: &Recovered,
) -> Result<(), ScenarioError> {
    let inside = edge::put_to_work(world, &world.recovery, test_failover).await?;
    let record = source.last_record();
    let transfers = world.primary.snapshots_taken(&world.machine).await;
    edge::await_work(world, EDGE, &inside).await?;
    let hello = test_failover.boot.guest.witness().hello_again().await?;
    let isolated = !hello.nics.is_empty() && hello.nics.iter().all(|nic| nic.address.starts_with(ISOLATED));
    world.check(TF_04, isolated, format!("the test failover's cards: {:?}", hello.nics));
    let alive = edge::works_beyond(source, record).await && !source.boot.guest.is_gone();
    world.check(TF_02, alive, "the source ran and acknowledged all the while");
    let more = world.primary.snapshots_taken(&world.machine).await - transfers;
    world.check(TF_01, more >= 1, format!("{more} transfers during the test failover"));
    Ok(())
}

/// TF-07, TF-08, RP-20: the point holds what it held, and the item stands where it stood.
async fn check_untouched(
    world: &ScenarioContext,
    source: &Running,
    before: &ItemView,
    point: &RecoveryPoint,
    first: &[PointFiles],
) -> Result<(), ScenarioError> {
    let dir = world.evidence.dir().join("edges").join("point-after-test failover");
    std::fs::create_dir_all(&dir).map_err(harness::Error::file(&dir))?;
    edge::with_point(&world.recovery, point, &dir, async |files| {
        for (now, then) in files.iter().zip(first) {
            let open =
                |path: &camino::Utf8Path| RawSource::open(path.as_std_path()).map_err(anyhow::Error::from);
            let stray =
                oracle::compare(&open(&now.read)?, &open(&then.read)?).map_err(anyhow::Error::from)?;
            let found = format!("{} of {}: first difference {stray:?}", now.disk, point.id);
            world.check(TF_07, stray.is_none(), found.clone());
            world.check(RP_20, stray.is_none(), found);
        }
        Ok(())
    })
    .await?;
    let item = world.core.item(&world.item).await?;
    let same = item.protection == before.protection
        && item.protection.phase == Phase::Protected
        && item.protection.active == Side::Primary;
    let lost = edge::points_lost(before, &item);
    world.check(TF_08, same && lost == 0, format!("{:?}, {lost} points lost", item.protection));
    world.check(TF_02, !source.boot.guest.is_gone(), "the source never left running");
    world.trace_state().await
}

/// TF-06: one call removes all that the test failover made.
pub(crate) async fn clean_up(
    world: &ScenarioContext,
    edge: &str,
    test_failover: &Recovered,
) -> Result<(), ScenarioError> {
    let machine = world.recovery.machine(&test_failover.boot.machine).await?;
    let made: Vec<_> = machine.disks.into_iter().map(|disk| disk.volume).collect();
    let job = world.core.clean_up_test_failover(&world.item).await?;
    world.follow(edge, &job).await?;
    let machines = world.recovery.machines().await?.len();
    let left = world.recovery.volume_files().await;
    let strays = left.iter().filter(|(id, _, _)| made.contains(id)).count();
    let gone = !made.is_empty() && machines == 0 && strays == 0 && test_failover.boot.guest.is_gone();
    world.check(TF_06, gone, format!("{machines} machines and {strays} disks of the test failover are left"));
    let status = world.core.item(&world.item).await?.test_failover_status;
    world.check(MO_02, status == TestFailoverStatus::Performed, format!("after clean-up: {status:?}"));
    Ok(())
}
