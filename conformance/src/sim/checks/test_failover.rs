//! Test failovers: a copy beside the machine that leaves no trace (TF).

use contract::{
    ErrorCode, JobFilter, JobKind, JobState, Millis, Network, Platform, PointChoice, Step,
    TestFailoverRequest, TestFailoverStatus,
};
use simulator::{Call, Cut, SimBoot, SimProfile, Snapshot, cut_of};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::Check;
use crate::sim::said;
use crate::sim::side_effects::{same, shows, step};
use crate::sim::testbed::{BOOT, INTERVAL, Setup, Testbed, broken, test_failover_request};

const RULES: &[RuleId] = &[FO_19, MO_02, MO_04, TF_01, TF_02, TF_03, TF_04, TF_06, TF_07, TF_08, TF_09];

pub(crate) const CHECKS: &[Check] = &[
    Check {
        name: "a test failover of a VMware machine leaves no trace",
        rules: RULES,
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(leaves_no_trace(lab, rules)),
    },
    Check {
        name: "a test failover of a physical server leaves no trace",
        rules: RULES,
        setup: || Setup::of(SimProfile::PHYSICAL),
        body: |lab, rules| Box::pin(leaves_no_trace(lab, rules)),
    },
    Check {
        name: "a test failover that fails is taken down, does not count, and can be held again",
        rules: &[MO_02, TF_06, TF_08],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(fails(lab, rules)),
    },
    Check {
        name: "once it has failed over, no test failover can be held",
        rules: &[LC_02, MO_02],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(too_late(lab, rules)),
    },
];

async fn leaves_no_trace(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = lab.protect("web").await?;
    lab.points(&item, 4).await?;
    let before = lab.item(&item).await?;
    let untested = before.test_failover_status == TestFailoverStatus::Recommended;
    rules.check(MO_02, untested, format!("before any test failover: {:?}", before.test_failover_status));
    rules.check(FO_19, untested, "a machine that was never tested says so, and a failover is offered");
    // One that is neither the newest nor the first, so that neither is taken by chance.
    let point = lab.processed(&item).await?.get(1).cloned().ok_or("there are no points to choose from")?;
    let shown = lab.content(&lab.recovery, &point)?;
    let wanted = test_failover_request(&item, PointChoice::Custom(point.id.clone()));
    let live = TestFailoverRequest { network: Network::Production, ..wanted.clone() };
    let asked = (TF_04, "a test failover in the production network");
    lab.forbids(rules, asked, &[ErrorCode::BadRequest], lab.core.test_failover(&live)).await?;

    let job = lab.completed(lab.core.test_failover(&wanted).await).await?;
    let machine = lab.item(&item).await?.test_failover.ok_or("the test failover's machine is not shown")?;
    let boot = lab.recovery.last_boot(&machine).ok_or("the test failover's machine was never started")?;
    rules.check(TF_03, shows(&boot, &shown), format!("{machine} was started from {}", point.id));
    let network = lab.recovery.spec(&machine).map(|spec| spec.network);
    let isolated = network == Some(Network::Isolated);
    rules.check(TF_04, isolated, format!("{machine} is in the network {network:?}"));
    let extra = step(&job, Step::HYDRATE).is_some_and(|step| step.took.is_some());
    rules.check(TF_09, extra, "the extra step is in the test failover's job, timed");
    let test_failovers = JobFilter { kind: Some(JobKind::TestFailover), ..JobFilter::default() };
    let listed = lab.core.jobs(&test_failovers).await.map_err(said)?.iter().any(|other| other.id == job.id);
    rules.check(MO_04, listed, "the test failover is listed among the jobs");

    goes_on_meanwhile(lab, rules, &boot).await?;
    let now = lab.content(&lab.recovery, &point)?;
    rules.check(TF_07, same(&now, &shown), format!("{} holds what it held", point.id));

    clean_up(lab, rules, &machine).await?;
    let after = lab.item(&item).await?;
    let kept = before.points.iter().all(|old| after.points.iter().any(|point| point.id == old.id));
    rules.check(TF_08, kept, format!("{} points before, {} after", before.points.len(), after.points.len()));
    rules.check(TF_08, after.protection == before.protection, format!("{:?}", after.protection));
    let status = after.test_failover_status;
    rules.check(MO_02, status == TestFailoverStatus::Performed, format!("after clean-up: {status:?}"));

    // The same point again shows the same.
    lab.completed(lab.core.test_failover(&wanted).await).await?;
    let machine = lab.item(&item).await?.test_failover.ok_or("the test failover's machine is not shown")?;
    let again = lab.recovery.last_boot(&machine).ok_or("the second test failover was never started")?;
    rules.check(
        TF_07,
        same(&again.bases(), &boot.bases()),
        "a second test failover starts with the same disks",
    );
    lab.completed(lab.core.clean_up_test_failover(&item).await).await.map(drop)
}

/// Some intervals of a test failover, in which its guest writes as much as the source's does.
async fn goes_on_meanwhile(
    lab: &Testbed,
    rules: &mut RuleLog,
    test_failover: &SimBoot,
) -> Result<(), String> {
    let item = "item-web".into();
    let source = lab.primary.last_boot(&"web".into()).ok_or("the source never booted")?;
    let seen: Vec<_> = lab.item(&item).await?.points.into_iter().map(|point| point.id).collect();
    let views = lab.primary.snapshots_taken(&"web".into());
    lab.live(Millis(5 * INTERVAL.0)).await;
    let points = lab.processed(&item).await?;
    let more = points.iter().filter(|point| !seen.contains(&point.id)).count();
    let views = lab.primary.snapshots_taken(&"web".into()) - views;
    rules.check(TF_01, more >= 4 && views >= 4, format!("{more} points and {views} views in five intervals"));

    // A look at the machines brings the records up to date.
    lab.primary.last_boot(&source.machine);
    lab.recovery.last_boot(&test_failover.machine);
    let recent = source.acks().last().is_some_and(|ack| lab.world.clock().now().since(ack.at) < INTERVAL);
    rules.check(TF_02, recent && source.ended().is_none(), "the source ran and acknowledged all the while");
    let log = source.log();
    let place = |disks: &[Snapshot]| cut_of(&source.bases(), &log, disks, &[]);
    let own = lab.primary.machine(&source.machine).await.map_err(broken)?.disks;
    let own: Option<Vec<_>> = own.iter().map(|disk| lab.primary.snapshot(&disk.volume)).collect();
    let untouched = matches!(place(&own.unwrap_or_default()), Cut::Exact(all) if *all.end() == log.len());
    rules.check(TF_02, untouched, "the source's disks hold what its own guest wrote, and nothing else");
    let newest = points.last().ok_or("there is no point")?;
    let newest = lab.content(&lab.recovery, newest)?;
    let wrote = test_failover.log().len();
    let apart = wrote > 0 && matches!(place(&newest), Cut::Exact(_));
    rules.check(TF_07, apart, format!("{wrote} writes of the test failover are in no point of the source"));
    Ok(())
}

async fn clean_up(lab: &Testbed, rules: &mut RuleLog, machine: &contract::MachineId) -> Result<(), String> {
    let disks = lab.recovery.machine(machine).await.map_err(broken)?.disks;
    lab.completed(lab.core.clean_up_test_failover(&"item-web".into()).await).await?;
    let machines = lab.recovery.machines().await.map_err(broken)?.len();
    let left = lab.recovery.volumes();
    let strays = disks.iter().filter(|disk| left.contains(&disk.volume)).count();
    let gone = !disks.is_empty() && machines == 0 && strays == 0;
    rules.check(TF_06, gone, format!("{machines} machines and {strays} disks of the test failover are left"));
    Ok(())
}

async fn fails(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = lab.protect("web").await?;
    lab.points(&item, 3).await?;
    let before = lab.item(&item).await?;
    Testbed::fail_next(&lab.recovery, Call::CreateMachine);
    let volumes = lab.recovery.volumes();
    let wanted = test_failover_request(&item, PointChoice::LatestProcessed);
    let job = lab.ended(lab.core.test_failover(&wanted).await).await?;
    let after = lab.item(&item).await?;
    let left = lab.recovery.volumes().iter().filter(|volume| !volumes.contains(volume)).count();
    let clean = job.state == JobState::Failed && after.test_failover.is_none() && left == 0;
    rules.check(
        TF_06,
        clean,
        format!("a test failover that failed left {left} volumes, and {:?}", after.test_failover),
    );
    let same = (before.protection, &before.points) == (after.protection, &after.points);
    rules.check(TF_08, same, format!("after it: {:?}, {} points", after.protection, after.points.len()));
    let status = after.test_failover_status;
    rules.check(MO_02, status == TestFailoverStatus::Recommended, format!("after it: {status:?}"));
    lab.completed(lab.core.test_failover(&wanted).await).await?;
    let status = lab.item(&item).await?.test_failover_status;
    rules.check(MO_02, status == TestFailoverStatus::Recommended, format!("before clean-up: {status:?}"));
    let second = lab.refused("a second test failover", lab.core.test_failover(&wanted)).await?;
    rules.check(TF_06, second.is_some(), format!("a second one beside it: {second:?}"));
    lab.completed(lab.core.clean_up_test_failover(&item).await).await.map(drop)
}

async fn too_late(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = lab.protect("web").await?;
    lab.points(&item, 3).await?;
    lab.fail_over(&item, PointChoice::LatestProcessed).await?;
    lab.live(BOOT).await;
    let asked = (LC_02, "a test failover of a machine that has failed over");
    let wanted = test_failover_request(&item, PointChoice::LatestProcessed);
    lab.forbids(rules, asked, &[ErrorCode::NotAllowedInState], lab.core.test_failover(&wanted)).await?;
    let status = lab.item(&item).await?.test_failover_status;
    rules.check(MO_02, status == TestFailoverStatus::NotApplicable, format!("after failover: {status:?}"));
    Ok(())
}
