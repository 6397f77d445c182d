//! Change tracking beyond its limits. Each platform tracks in its own shape, and each shape ends somewhere: a log is
//! full, a record does not outlive a power cut, an agent starts anew. Replication then compares the disks and sends what
//! differs, says so, and goes on; what is failed over to afterwards is as exact as ever.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use contract::{Bytes, ChangesUnavailable, ItemView, Platform, PointChoice, Resynchronisation};
use harness::oracle::WriteLog;
use standins::Boot;
use witness::protocol::{Load, Measure};

use crate::blame::ScenarioError;
use crate::real::context::{BOOT_WITHIN, ScenarioContext, word};
use crate::real::edge;
use crate::real::edge::failover;
use crate::real::edge::reprotect::{EPSILON, GRAIN, grains};
use crate::real::edge::say_hello;
use crate::real::machine::Running;
use crate::real::setup;
use crate::real::setup::{POLICY, load};
use crate::real::teardown as finish;
use crate::rules::ids::EX_R9;

/// Points that must follow a resynchronisation.
const POINTS_AFTER: usize = 2;
/// How long those may take.
const POINTS_WITHIN: Duration = Duration::from_secs(120);
/// Records during which a guest writes as much as it can.
const BURST_RECORDS: u64 = 100;
/// How long a burst may take.
const BURST_WITHIN: Duration = Duration::from_secs(120);
/// Number of the boot after a power cut.
const SECOND: u32 = 2;

/// How a record of changes is brought to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// The guest writes more than the log holds.
    Burst,
    /// The machine loses its power and is switched on again, and with it whoever tracked inside it.
    PowerCut,
}

impl Limit {
    /// What the platform then says.
    fn changes_unavailable(self) -> ChangesUnavailable {
        match self {
            Self::Burst => ChangesUnavailable::LogFull,
            Self::PowerCut => ChangesUnavailable::RecordLost,
        }
    }
}

/// One shape of change tracking.
struct Case {
    edge: &'static str,
    machine: &'static str,
    source: &'static str,
    target: &'static str,
    limits: &'static [Limit],
}

const CASES: [Case; 4] = [
    // VMDK keeps no record over an end of its QEMU.
    Case {
        edge: "limit-block-ids",
        machine: "by-block-ids",
        source: "vmware",
        target: "azure",
        limits: &[Limit::PowerCut],
    },
    Case {
        edge: "limit-replica-log",
        machine: "by-log",
        source: "hyperv",
        target: "azure",
        limits: &[Limit::Burst],
    },
    Case {
        edge: "limit-agent",
        machine: "by-agent",
        source: "physical",
        target: "azure",
        limits: &[Limit::Burst, Limit::PowerCut],
    },
    // qcow2 keeps one, and marks it as unusable while it is in use: a killed QEMU leaves it so.
    Case {
        edge: "limit-snapshots",
        machine: "by-snapshots",
        source: "azure",
        target: "azure-west",
        limits: &[Limit::PowerCut],
    },
];

pub(crate) async fn walk(world: &ScenarioContext) -> Result<(), ScenarioError> {
    for case in &CASES {
        let machine = world.between(case.source, case.target, case.machine)?;
        let shown = show(&machine, case).await;
        world.merge_findings(&machine);
        shown?;
        world.inspect_disks(&machine.recovery, case.edge).await?;
        world.core.delete_policy(&POLICY.into()).await?;
    }
    world.expect_whole_disks();
    Ok(())
}

/// One machine from its installation to its end.
async fn show(world: &ScenarioContext, case: &Case) -> Result<(), ScenarioError> {
    let mut source = setup::boot_source(world).await?;
    setup::protect(world, &source).await?;
    // Whatever differs was written in one of these.
    let mut boots = vec![Arc::clone(&source.boot)];
    for limit in case.limits {
        source = reach(world, case, *limit, &source, &mut boots).await?;
    }
    let struck = failover::lose_site_and_fail_over(world, case.edge, &source, PointChoice::Latest).await?;
    let recovered = struck.conclude(world, case.edge).await?;
    let running = edge::put_to_work(world, &world.recovery, &recovered).await?;
    world.primary.restore();
    let job = world.core.commit(&world.item).await?;
    world.follow(case.edge, &job).await?;
    finish::retire(world, &running).await
}

/// Brings the record of changes to its end, and replication over it.
async fn reach(
    world: &ScenarioContext,
    case: &Case,
    limit: Limit,
    source: &Running,
    boots: &mut Vec<Arc<Boot>>,
) -> Result<Running, ScenarioError> {
    let before = world.core.item(&world.item).await?.resynchronisations.len();
    let changes_unavailable = world.primary.changes_unavailable(&world.machine).await.len();
    // Replication falls behind meanwhile, as it would if the line were cut.
    let held = world.primary.block_snapshots().await?;
    let running = match limit {
        Limit::Burst => burst(world, case, source).await?,
        Limit::PowerCut => restart(world, case, source).await?,
    };
    if running.boot.number != source.boot.number {
        boots.push(Arc::clone(&running.boot));
    }
    drop(held);
    let item = go_on(world, case, &running, before).await;
    let met = world.primary.changes_unavailable(&world.machine).await;
    if met.get(changes_unavailable) != Some(&limit.changes_unavailable()) {
        let text = format!("{limit:?} did not bring its record of changes to an end: {met:?}");
        return Err(ScenarioError::Inconclusive(format!("{}: {text}", case.edge)));
    }
    let item = item?;
    let done = &item.resynchronisations[before..];
    told_so(world, limit, done).await;
    sent_differences(world, done, boots).await?;
    world.trace(format!("{}: resynchronised: {}", case.edge, word(&limit.changes_unavailable())));
    Ok(running)
}

/// The guest writes over more places than the log holds: wherever the churn falls, and a whole file once.
async fn burst(world: &ScenarioContext, case: &Case, source: &Running) -> Result<Running, ScenarioError> {
    let step = world.evidence.step(case.edge, "the guest writes more than the log holds");
    let guest = &source.boot.guest;
    let usual = load(1);
    let heavy = Load { churn_per_second: 20, churn_bytes: 1 << 20, ..usual.clone() };
    guest.witness().start(&heavy).await?;
    let enough = guest.witness().last_ack() + BURST_RECORDS;
    guest.race("records during the burst", BURST_WITHIN, guest.witness().acked(enough)).await?;
    let whole_file = Measure { depth: 1, bytes: 4096, for_ms: 100, seed: 1 };
    guest.race("the end of the burst", BURST_WITHIN, guest.witness().measure(whole_file)).await?;
    guest.witness().start(&usual).await?;
    step.done();
    Ok(source.clone())
}

/// The machine's power fails, and somebody switches it on again.
async fn restart(world: &ScenarioContext, case: &Case, source: &Running) -> Result<Running, ScenarioError> {
    let step = world.evidence.step(case.edge, "power cut, and the machine boots again");
    world.primary.power_off(&world.machine).await?;
    world.primary.start(&world.machine).await?;
    let boot = world.primary.boot_after(&world.machine, source.boot.number).await;
    say_hello(world, &boot, BOOT_WITHIN).await?;
    let findings = boot.guest.race("its findings", BOOT_WITHIN, boot.guest.witness().check()).await?;
    boot.guest.witness().start(&load(SECOND)).await?;
    step.done();
    Ok(Running { site: Arc::clone(&source.site), boot, initial_record: findings.ledger.contiguous })
}

/// Waits until the item has told of a resynchronisation and made further points after it.
async fn go_on(
    world: &ScenarioContext,
    case: &Case,
    source: &Running,
    before: usize,
) -> Result<ItemView, ScenarioError> {
    let step = world.evidence.step(case.edge, "resynchronise and go on");
    let wait = async {
        let mut count = 1;
        loop {
            let item = match world.core.watch_points(&world.item, count).await {
                Ok(item) => item,
                Err(error) => return Ok(Err(ScenarioError::from(error))),
            };
            if item.resynchronisations.get(before).is_some_and(|one| points_after(&item, one) >= POINTS_AFTER)
            {
                return Ok(Ok(item));
            }
            count += 1;
        }
    };
    let waited = source.boot.guest.race("points after a resynchronisation", POINTS_WITHIN, wait).await;
    let item = waited.map_err(|error| ScenarioError::CoreViolation(format!("{}: {error}", case.edge)))??;
    step.done();
    Ok(item)
}

/// How many points are newer than what a resynchronisation received.
fn points_after(item: &ItemView, done: &Resynchronisation) -> usize {
    item.points.iter().filter(|point| point.processed && point.time > done.at).count()
}

/// EX-R9: the core says why it compared, and how much.
async fn told_so(world: &ScenarioContext, limit: Limit, done: &[Resynchronisation]) {
    let told: Vec<_> =
        done.iter().map(|one| format!("{}: {} of {}", one.why, one.sent, one.compared)).collect();
    let once = done.len() == 1 && done[0].why == limit.changes_unavailable();
    world.check(EX_R9, once, format!("{} after {limit:?}: {told:?}", world.machine));
}

/// EX-R9: a comparison sends what differs; that is at most what was written since replication began.
async fn sent_differences(
    world: &ScenarioContext,
    done: &[Resynchronisation],
    boots: &[Arc<Boot>],
) -> Result<(), ScenarioError> {
    let written = written(boots)?;
    for one in done {
        let whole = one.compared;
        tracing::info!(machine = %world.machine, why = %one.why, sent = %one.sent, %whole, %written, "resynchronised");
        let found = format!("{} sent of {whole}; {written} had been written", one.sent);
        let differences = one.sent.0 <= written.0 + EPSILON.0 && one.sent.0 < whole.0 / 2;
        world.check(EX_R9, differences, format!("{}: {found}", world.machine));
    }
    Ok(())
}

/// Bytes of all grains that a machine wrote to in these boots.
fn written(boots: &[Arc<Boot>]) -> Result<Bytes, ScenarioError> {
    let mut places = BTreeSet::new();
    for disk in boots.iter().flat_map(|boot| &boot.disks) {
        let log = WriteLog::open(disk.log.as_std_path(), disk.bytes).map_err(anyhow::Error::from)?;
        places.extend(grains(&log).map(|grain| (disk.id.clone(), grain)));
    }
    Ok(Bytes(places.len() as u64 * GRAIN * 512))
}
