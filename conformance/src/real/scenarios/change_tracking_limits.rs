//! Change tracking beyond its limits. Each platform tracks changes in its own way, and each way has
//! a limit: a log is full, a record does not survive a power cut, an agent restarts. Replication
//! then compares the disks, transfers what differs, reports that, and continues. A failover
//! afterwards is as exact as any other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use contract::{
    Bytes, ChangesUnavailable, ItemView, Operation, Platform, PointChoice, Resynchronisation, Timestamp,
};
use harness::oracle::WriteLog;
use standins::Boot;
use tracing::Instrument as _;
use witness::protocol::{Load, Measure};

use crate::blame::ScenarioError;
use crate::real::context::{BOOT_WITHIN, ScenarioContext, json_name};
use crate::real::edge::failover::lose_site_and_fail_over;
use crate::real::edge::freshness::now;
use crate::real::edge::lifecycle::Edge;
use crate::real::edge::name::EdgeName;
use crate::real::edge::recover::{Recovered, put_to_work, start_load, wait_for_agent, wait_for_hello};
use crate::real::edge::recovery_point::until_points;
use crate::real::edge::reprotect::{EPSILON, GRAIN, written_grains};
use crate::real::machine::Running;
use crate::real::script::{Script, Start};
use crate::real::setup;
use crate::real::teardown;
use crate::real::workload::{POLICY, load};
use crate::rules::ids::EX_R9;

/// Recovery points that must follow a resynchronisation.
const POINTS_AFTER: usize = 2;
/// How long these may take.
const POINTS_WITHIN: Duration = Duration::from_secs(120);
/// What a core that always sends whole disks lacks: it asks for no changes, so it cannot miss them.
const INCREMENTAL_REPLICATION: &str = "incremental-replication";
/// Records during which a guest writes as much as it can.
const BURST_RECORDS: u64 = 100;
/// How long a burst may take.
const BURST_WITHIN: Duration = Duration::from_secs(120);

pub(crate) const SCRIPT: Script = Script {
    edges: || CASES.iter().map(|case| case.edge).collect(),
    repeatable: false,
    needs: &[Operation::UnplannedFailover, Operation::Commit],
    start: Start::BetweenSites(|context| Box::pin(run(context))),
};

/// How change tracking is brought to its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// The guest writes more than the log can record.
    Burst,
    /// The machine loses power and boots again, and with it an agent that tracks inside it.
    PowerCut,
}

impl Limit {
    /// Why the platform cannot say what changed afterwards.
    fn changes_unavailable(self) -> ChangesUnavailable {
        match self {
            Self::Burst => ChangesUnavailable::LogFull,
            Self::PowerCut => ChangesUnavailable::RecordLost,
        }
    }
}

/// One way of tracking changes.
struct Case {
    edge: EdgeName,
    machine: &'static str,
    source: &'static str,
    target: &'static str,
    limits: &'static [Limit],
}

const CASES: [Case; 4] = [
    // VMDK does not keep its record when QEMU ends.
    Case {
        edge: EdgeName::new("limit-block-ids", 6),
        machine: "by-block-ids",
        source: "vmware",
        target: "azure",
        limits: &[Limit::PowerCut],
    },
    Case {
        edge: EdgeName::new("limit-replica-log", 6),
        machine: "by-log",
        source: "hyperv",
        target: "azure",
        limits: &[Limit::Burst],
    },
    Case {
        edge: EdgeName::new("limit-agent", 6),
        machine: "by-agent",
        source: "physical",
        target: "azure",
        limits: &[Limit::Burst, Limit::PowerCut],
    },
    // qcow2 keeps its record, but marks it as unusable while QEMU runs, so a power cut spoils it.
    Case {
        edge: EdgeName::new("limit-snapshots", 6),
        machine: "by-snapshots",
        source: "azure",
        target: "azure-west",
        limits: &[Limit::PowerCut],
    },
];

async fn run(context: &ScenarioContext) -> Result<(), ScenarioError> {
    for case in &CASES {
        let machine = context.for_pair(case.source, case.target, case.machine)?;
        let result = run_case(&machine, case).await;
        context.merge_findings(&machine);
        result?;
        context.inspect_disks(&machine.recovery, case.edge.as_str()).await?;
        context.core.delete_policy(&POLICY.into()).await?;
    }
    context.check_inspected_disks();
    Ok(())
}

/// One machine, from its installation to its end.
async fn run_case(context: &ScenarioContext, case: &Case) -> Result<(), ScenarioError> {
    let mut source = setup::boot_source(context).await?;
    setup::protect(context, &source).await?;
    // A resynchronisation may transfer whatever was written in one of these boots.
    let mut boots = vec![Arc::clone(&source.boot)];
    for limit in case.limits {
        source = reach_limit(context, case, *limit, &source, &mut boots).await?;
    }
    let edge = Edge::begin(context, case.edge, &source);
    let recovered = fail_over(edge).instrument(edge.span()).await?;
    let running = put_to_work(context, &recovered).await?;
    context.primary.restore();
    let job = context.core.commit(&context.item).await?;
    context.follow(case.edge.as_str(), &job).await?;
    teardown::retire(context, &running).await
}

async fn fail_over(edge: Edge<'_>) -> Result<Recovered, ScenarioError> {
    let failed_over = lose_site_and_fail_over(edge, PointChoice::Latest).await?;
    edge.finish(failed_over.judged)
}

/// Brings change tracking to its limit, and waits until replication has coped with it. Returns the
/// machine, which may have booted again.
async fn reach_limit(
    context: &ScenarioContext,
    case: &Case,
    limit: Limit,
    source: &Running,
    boots: &mut Vec<Arc<Boot>>,
) -> Result<Running, ScenarioError> {
    let site = &context.primary;
    let unavailable_before = site.changes_unavailable(&context.machine).await.len();
    // Without snapshots replication falls behind, as it does when the connection is cut.
    let blocked = site.block_snapshots().await?;
    let began = now();
    let running = match limit {
        Limit::Burst => write_burst(context, case, source).await?,
        Limit::PowerCut => restart(context, case, source).await?,
    };
    if running.boot.number != source.boot.number {
        boots.push(Arc::clone(&running.boot));
    }
    drop(blocked);
    let reached = Reached { began, unavailable_before };
    let went_on = wait_for_resynchronisation(context, case, &running, &reached).await?;
    let unavailable = site.changes_unavailable(&context.machine).await;
    if site.changes_asked_for(&context.machine).await == 0 {
        context.findings().rules.skip(EX_R9, INCREMENTAL_REPLICATION);
        return Ok(running);
    }
    if unavailable.get(unavailable_before) != Some(&limit.changes_unavailable()) {
        return Err(ScenarioError::Inconclusive(format!(
            "{}: {limit:?} did not bring change tracking to its limit: {unavailable:?}",
            case.edge
        )));
    }
    let done: Vec<_> = reached.resynchronisations(&went_on).collect();
    check_reported(context, limit, &done);
    check_differences_sent(context, &done, boots)?;
    context.trace(format!("{}: resynchronised: {}", case.edge, json_name(&limit.changes_unavailable())));
    Ok(running)
}

/// A limit that was reached.
struct Reached {
    /// A moment before that, after which no snapshot was taken until it was reached.
    began: Timestamp,
    /// How often the site had been unable to say what changed.
    unavailable_before: usize,
}

impl Reached {
    /// The resynchronisations since then. A core may drop old ones.
    fn resynchronisations(&self, item: &ItemView) -> impl Iterator<Item = Resynchronisation> {
        item.resynchronisations.iter().filter(|one| one.at >= self.began).copied()
    }
}

/// Lets the guest write to more places than the log can record: at random for a while, and a whole
/// file once.
async fn write_burst(
    context: &ScenarioContext,
    case: &Case,
    source: &Running,
) -> Result<Running, ScenarioError> {
    let step = context.evidence.step(case.edge.as_str(), "the guest writes more than the log holds");
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

/// Cuts the machine's power and boots the machine again.
async fn restart(context: &ScenarioContext, case: &Case, source: &Running) -> Result<Running, ScenarioError> {
    let step = context.evidence.step(case.edge.as_str(), "power cut, and the machine boots again");
    context.primary.power_off(&context.machine).await?;
    context.primary.start(&context.machine).await?;
    let boot = context.primary.boot_after(&context.machine, source.boot.number).await;
    wait_for_hello(context, &boot, BOOT_WITHIN).await?;
    let findings = boot.guest.race("its findings", BOOT_WITHIN, boot.guest.witness().check()).await?;
    let last_on_disk = findings.ledger.contiguous;
    let running = start_load(context, Arc::clone(&source.site), boot, last_on_disk).await?;
    wait_for_agent(&running).await?;
    step.done();
    Ok(running)
}

/// Waits until the item lists a further resynchronisation and recovery points that are newer. If
/// the site did not have to say that it does not know what changed, the points alone are enough.
async fn wait_for_resynchronisation(
    context: &ScenarioContext,
    case: &Case,
    source: &Running,
    reached: &Reached,
) -> Result<ItemView, ScenarioError> {
    let step = context.evidence.step(case.edge.as_str(), "resynchronise and go on");
    let unblocked = now();
    let wait = async {
        let mut count = 1;
        loop {
            let item = until_points(&context.core, &context.item, count).await?;
            let unavailable = context.primary.changes_unavailable(&context.machine).await;
            let moment = match unavailable.len() > reached.unavailable_before {
                true => reached.resynchronisations(&item).next().map(|one| one.at),
                false => Some(unblocked),
            };
            if moment.is_some_and(|moment| points_after(&item, moment) >= POINTS_AFTER) {
                return Ok(item);
            }
            count += 1;
        }
    };
    let awaited = format!("{POINTS_AFTER} recovery points after a resynchronisation");
    let guest = &source.boot.guest;
    let label = case.edge.as_str();
    let item = context.expect_of_core(EX_R9, label, &awaited, guest, POINTS_WITHIN, wait).await?;
    step.done();
    Ok(item)
}

/// How many processed recovery points are of a later moment.
fn points_after(item: &ItemView, moment: Timestamp) -> usize {
    item.points.iter().filter(|point| point.processed && point.time > moment).count()
}

/// EX-R9: the core reports one comparison and why it was necessary.
fn check_reported(context: &ScenarioContext, limit: Limit, done: &[Resynchronisation]) {
    let reported: Vec<_> =
        done.iter().map(|one| format!("{}: {} of {}", one.why, one.sent, one.compared)).collect();
    let once = done.len() == 1 && done[0].why == limit.changes_unavailable();
    context.check(EX_R9, once, format!("{} after {limit:?}: {reported:?}", context.machine));
}

/// EX-R9: a comparison transfers only what differs, which is at most what was written since
/// replication began.
fn check_differences_sent(
    context: &ScenarioContext,
    done: &[Resynchronisation],
    boots: &[Arc<Boot>],
) -> Result<(), ScenarioError> {
    let written = written_bytes(boots)?;
    let machine = &context.machine;
    for Resynchronisation { why, sent, compared, .. } in done {
        tracing::info!(%machine, %why, %sent, %compared, %written, "resynchronised");
        let only_differences = sent.0 <= written.0 + EPSILON.0 && sent.0 < compared.0 / 2;
        let found = format!("{machine}: {sent} sent of {compared}; {written} had been written");
        context.check(EX_R9, only_differences, found);
    }
    Ok(())
}

/// Bytes of all grains that a machine wrote to in these boots.
fn written_bytes(boots: &[Arc<Boot>]) -> Result<Bytes, ScenarioError> {
    let mut places = BTreeSet::new();
    for disk in boots.iter().flat_map(|boot| &boot.disks) {
        let log = WriteLog::open(disk.log.as_std_path(), disk.bytes).map_err(anyhow::Error::from)?;
        places.extend(written_grains(&log).map(|grain| (disk.id.clone(), grain)));
    }
    Ok(Bytes(places.len() as u64 * GRAIN * 512))
}
