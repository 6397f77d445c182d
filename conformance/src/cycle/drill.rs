//! A drill: a copy of a recovery point boots in a network of its own, and nothing else notices.

use std::time::Instant;

use contract::{
    Consistency, DrillStatus, ErrorCode, ItemView, MachineId, Network, Phase, Platform, PointChoice,
    RecoveryPoint, Side, TestFailoverRequest,
};
use harness::oracle::{self, RawSource};

use super::edge::{self, PointFiles, Recovered};
use super::failover::{check_hydration, exhibits};
use super::world::World;
use super::{Halt, Running, finish, measure, setup};

const EDGE: &str = "test-failover";
/// Start of every address in the network of drills.
const ISOLATED: &str = "203.0.113.";

pub(crate) async fn hold(world: &World) -> Result<(), Halt> {
    let source = setup::boot_source(world).await?;
    setup::protect(world, &source).await?;
    world.enter(EDGE);
    edge::await_work(world, EDGE, &source).await?;
    let before = world.core.item(&world.item).await?;
    refused_before(world).await?;
    let point = if world.at_rest { point_at_rest(world, &before).await? } else { older_point(&before)? };
    let trigger = Instant::now();
    let drill = start(world, EDGE, &point).await?;
    let first = read_and_judge(world, EDGE, &source, &drill, &point, trigger).await?;
    if world.at_rest {
        found_at_rest(world, &drill).await;
    }
    work_inside(world, &source, &drill).await?;
    check_untouched(world, &source, &before, &point, &first).await?;
    clean_up(world, EDGE, &drill).await?;
    finish::end(world, &source).await
}

/// A drill of the newest point, judged and cleaned up: what replication has to show at this moment.
pub(crate) async fn hold_short(world: &World, edge: &str, source: &Running) -> Result<(), Halt> {
    world.enter(edge);
    let item = world.core.item(&world.item).await?;
    let newest = item.points.into_iter().rfind(|point| point.processed);
    let newest = newest.ok_or_else(|| Halt::Violation(format!("{edge}: there is no recovery point")))?;
    let trigger = Instant::now();
    let drill = start(world, edge, &newest).await?;
    read_and_judge(world, edge, source, &drill, &newest, trigger).await?;
    clean_up(world, edge, &drill).await
}

fn request(world: &World, point: PointChoice, network: Network) -> TestFailoverRequest {
    TestFailoverRequest { item: world.item.clone(), point, network }
}

/// TF-04: a network that serves is refused. MO-02: no drill was held yet.
async fn refused_before(world: &World) -> Result<(), Halt> {
    let production = request(world, PointChoice::LatestProcessed, Network::Production);
    let code = world.core.test_failover(&production).await.err().map(|error| error.code);
    world
        .expect("TF-04", code == Some(ErrorCode::BadRequest), format!("drill in production: {code:?}"))
        .await;
    let status = world.core.item(&world.item).await?.drill_status;
    world.expect("MO-02", status == DrillStatus::Recommended, format!("before: {status:?}")).await;
    Ok(())
}

/// A point that is not the newest, so that the choice shows (TF-03).
fn older_point(item: &ItemView) -> Result<RecoveryPoint, Halt> {
    let processed = item.points.iter().rev().filter(|point| point.processed);
    let older = processed.clone().nth(1).cloned();
    older.ok_or_else(|| Halt::Violation(format!("{EDGE}: fewer than two recovery points")))
}

/// RP-06: the newest point at which the applications were at rest, though there is a newer one.
async fn point_at_rest(world: &World, item: &ItemView) -> Result<RecoveryPoint, Halt> {
    let mut processed = item.points.iter().rev().filter(|point| point.processed);
    let newest = processed.clone().next().map(|point| point.consistency);
    let at_rest = processed.find(|point| point.consistency == Consistency::App).cloned();
    let held = newest == Some(Consistency::Crash) && at_rest.is_some();
    let found = format!("newest point {newest:?}, one at rest: {}", at_rest.is_some());
    world.expect("RP-06", held, found).await;
    at_rest
        .ok_or_else(|| Halt::Violation(format!("{EDGE}: no application-consistent point: {}", item.trouble)))
}

/// RP-19: what the guest found on its disks at boot is what applications at rest leave behind.
async fn found_at_rest(world: &World, drill: &Recovered) {
    let findings = &drill.findings;
    let journals: Vec<_> =
        findings.file_systems.iter().filter(|fs| fs.needed_recovery).map(|fs| &fs.role).collect();
    world
        .expect(
            "RP-19",
            journals.is_empty(),
            format!("file systems whose journal was replayed: {journals:?}"),
        )
        .await;
    let marked = findings.ledger.ends_quiesced;
    world.expect("RP-19", marked, format!("the last record is the quiesce mark: {marked}")).await;
    let open = findings.bank.wal_bytes;
    world.expect("RP-19", open == 0, format!("{open} bytes in the bank's log")).await;
}

async fn start(world: &World, edge: &str, point: &RecoveryPoint) -> Result<Recovered, Halt> {
    let choice =
        if world.at_rest { PointChoice::LatestAppConsistent } else { PointChoice::Custom(point.id.clone()) };
    let wanted = request(world, choice, Network::Isolated);
    let job = world.core.test_failover(&wanted).await?;
    let machine = MachineId(format!("{}-test", world.machine));
    let drill = edge::recover(world, edge, &world.recovery, &machine, 0, &job).await?;
    let hydrated = drill.job.steps.iter().any(|step| step.name == "hydrate" && step.took.is_some());
    world.expect("TF-09", hydrated, "the extra step is in the drill's job, timed").await;
    world
        .expect("MO-04", drill.job.kind == contract::JobKind::TestFailover, "the drill is a job like others")
        .await;
    let again = world.core.test_failover(&wanted).await.err().map(|error| error.code);
    world
        .expect("LC-02", again == Some(ErrorCode::NotAllowedInState), format!("a second drill: {again:?}"))
        .await;
    Ok(drill)
}

/// The drill's disks before the oracle. Returns what the point held.
async fn read_and_judge(
    world: &World,
    edge: &str,
    source: &Running,
    drill: &Recovered,
    point: &RecoveryPoint,
    trigger: Instant,
) -> Result<Vec<PointFiles>, Halt> {
    let dir = world.edge_dir(edge).await?;
    let (judged, files) = edge::with_point(&world.recovery, point, &dir, async |files| {
        check_hydration(world, &drill.boot, &files).await?;
        let exhibits = exhibits(&source.boot, &drill.boot, &files);
        Ok((edge::judge(world, edge, exhibits, source.already).await?, files))
    })
    .await?;
    let survived = drill.findings.ledger.contiguous;
    world.expect("TF-03", judged.0.objection().is_none(), format!("the drill shows {}", point.id)).await;
    let rto = drill.rto(world, trigger, false).await;
    let rpo = measure::rpo(&source.boot.guest.witness().acks(), survived, trigger, judged.0.lost);
    let inside = edge::inside_agrees(&drill.findings, &judged.0);
    edge::conclude(world, edge, judged, rpo, rto, inside).await?;
    Ok(files)
}

/// The drill's own guest writes, in its own network, while source and replication go on (TF-01, TF-02, TF-04).
async fn work_inside(world: &World, source: &Running, drill: &Recovered) -> Result<(), Halt> {
    let inside = edge::put_to_work(world, &world.recovery, drill).await?;
    let record = source.last_record();
    let transfers = world.primary.views_taken(&world.machine).await;
    edge::await_work(world, EDGE, &inside).await?;
    let hello = drill.boot.guest.witness().hello_again().await?;
    let isolated = !hello.nics.is_empty() && hello.nics.iter().all(|nic| nic.address.starts_with(ISOLATED));
    world.expect("TF-04", isolated, format!("the drill's cards: {:?}", hello.nics)).await;
    let alive = edge::works_beyond(source, record).await && !source.boot.guest.is_gone();
    world.expect("TF-02", alive, "the source ran and acknowledged all the while").await;
    let more = world.primary.views_taken(&world.machine).await - transfers;
    world.expect("TF-01", more >= 1, format!("{more} transfers during the drill")).await;
    Ok(())
}

/// TF-07, TF-08, RP-20: the point holds what it held, and the item stands where it stood.
async fn check_untouched(
    world: &World,
    source: &Running,
    before: &ItemView,
    point: &RecoveryPoint,
    first: &[PointFiles],
) -> Result<(), Halt> {
    let dir = world.evidence.dir().join("edges").join("point-after-drill");
    std::fs::create_dir_all(&dir).map_err(harness::Error::file(&dir))?;
    edge::with_point(&world.recovery, point, &dir, async |files| {
        for (now, then) in files.iter().zip(first) {
            let open =
                |path: &camino::Utf8Path| RawSource::open(path.as_std_path()).map_err(anyhow::Error::from);
            let stray =
                oracle::compare(&open(&now.read)?, &open(&then.read)?).map_err(anyhow::Error::from)?;
            let found = format!("{} of {}: first difference {stray:?}", now.disk, point.id);
            world.expect("TF-07", stray.is_none(), found.clone()).await;
            world.expect("RP-20", stray.is_none(), found).await;
        }
        Ok(())
    })
    .await?;
    let item = world.core.item(&world.item).await?;
    let same = item.protection == before.protection
        && item.protection.phase == Phase::Protected
        && item.protection.active == Side::Primary;
    let lost = edge::points_lost(before, &item);
    world.expect("TF-08", same && lost == 0, format!("{:?}, {lost} points lost", item.protection)).await;
    world.expect("TF-02", !source.boot.guest.is_gone(), "the source never left running").await;
    world.trace_state().await
}

/// TF-06: one call removes all that the drill made.
pub(crate) async fn clean_up(world: &World, edge: &str, drill: &Recovered) -> Result<(), Halt> {
    let machine = world.recovery.machine(&drill.boot.machine).await?;
    let made: Vec<_> = machine.disks.into_iter().map(|disk| disk.volume).collect();
    let job = world.core.clean_up_test_failover(&world.item).await?;
    world.follow(edge, &job).await?;
    let machines = world.recovery.machines().await?.len();
    let left = world.recovery.volume_files().await;
    let strays = left.iter().filter(|(id, _, _)| made.contains(id)).count();
    let gone = !made.is_empty() && machines == 0 && strays == 0 && drill.boot.guest.is_gone();
    world
        .expect("TF-06", gone, format!("{machines} machines and {strays} disks of the drill are left"))
        .await;
    let status = world.core.item(&world.item).await?.drill_status;
    world.expect("MO-02", status == DrillStatus::Performed, format!("after clean-up: {status:?}")).await;
    Ok(())
}
