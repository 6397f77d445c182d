//! Replication groups in a plan: the points that their machines fail over to, and how they and
//! other machines come back (RP-07 to RP-09, IN-03, PL-06, RE-10, RE-12).

use contract::{
    Consistency, EnableProtection, ErrorCode, GroupPointId, GuestOs, Millis, Operation, PlanFailoverRequest,
    PlanReprotectRequest, PlanTestFailoverRequest, Platform, PointChoice, Policy, ReprotectRequest,
    TestFailoverRequest,
};
use simulator::SimInstall;
use simulator::testbed::preconditions::add_master_target;
use simulator::testbed::{
    BACK, BOOT, INTERVAL, OUT, Validity, failover_plan_request, failover_plan_to, group, item_of, plan,
    plan_id, test_failover_plan_request,
};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::{Check, against, check, missing, succeeds};
use crate::sim::early_end::EarlyEnd;
use crate::sim::side_effects::forbids;
use crate::sim::testbed::{Setup, Testbed};

/// A policy that takes every third point application-consistent.
fn often_app_consistent() -> Setup {
    Setup::vmware()
        .with_policy(|policy| Policy { app_consistent_every: Some(Millis(3 * INTERVAL.0)), ..policy })
}

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "latest-multi-vm fails each group over to its latest shared point, and other machines to their latest processed point",
        &[PL_06, RP_07, RP_08],
        often_app_consistent,
        latest_shared_point
    ),
    check!(
        "latest-multi-vm-app-consistent fails groups and other machines over to application-consistent points",
        &[RP_07, RP_09],
        often_app_consistent,
        latest_app_consistent_point
    ),
    check!(
        "each of the six choices of a point is accepted where it applies",
        &[RP_01],
        often_app_consistent,
        six_choices
    ),
    check!(
        "a group is reprotected only through a plan, and fails back to one moment",
        &[FB_05, LC_02, PL_06],
        often_app_consistent,
        fails_back_together
    ),
    check!("a group is reprotected through one master target", &[RE_12], Setup::vmware, one_master_target),
    check!(
        "each machine of a plan is reprotected through the master target that is named for it",
        &[IN_03],
        Setup::vmware,
        settings_of_each
    ),
    check!(
        "a group of Linux and Windows machines is not reprotected",
        &[RE_10],
        Setup::vmware,
        mixed([GuestOs::Linux, GuestOs::Windows])
    ),
    check!(
        "a group of Windows machines is reprotected through a Windows master target",
        &[RE_10, RE_11],
        Setup::vmware,
        mixed([GuestOs::Windows, GuestOs::Windows])
    ),
];

/// Protects machines, each in the group given with it, and waits until all have points of every
/// kind and no transfer is near.
async fn protect_groups(testbed: &Testbed, machines: &[(&str, Option<&str>)]) -> Result<(), EarlyEnd> {
    for (machine, group) in machines {
        testbed.protect_in_group(&SimInstall::new(*machine), *group).await?;
    }
    testbed.advance(Millis(10 * INTERVAL.0 + 31_000)).await;
    Ok(())
}

/// The point that a machine has failed over to.
struct Chosen {
    shared: Option<GroupPointId>,
    consistency: Consistency,
}

async fn chosen(testbed: &Testbed, machine: &str) -> Result<Chosen, EarlyEnd> {
    let view = testbed.item(&item_of(machine)).await?;
    let point = view.points.into_iter().find(|point| Some(&point.id) == view.failed_over_to.as_ref());
    let point = point.ok_or_else(|| missing(format!("the point that {machine} has failed over to")))?;
    Ok(Chosen { shared: point.multi_vm, consistency: point.consistency })
}

async fn latest_shared_point(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let machines =
        [("a", Some("shop")), ("b", Some("shop")), ("c", None), ("x", Some("mail")), ("y", Some("mail"))];
    protect_groups(testbed, &machines).await?;
    testbed.create_plan(&[group(&["x", "y"]), group(&["a", "b", "c"])]).await?;
    // One machine of a group disappears from its site, so that from then on the other one has
    // points of its own.
    testbed.primary.power_off(&"b".into()).await?;
    testbed.primary.delete_machine(&"b".into()).await?;
    testbed.advance(Millis(3 * INTERVAL.0)).await;
    testbed.primary.lose();
    let newest_of_c = testbed.newest_point(&item_of("c")).await?.id;
    let request = failover_plan_to(PointChoice::LatestMultiVm);
    let failed_over = testbed.fail_over_plan(&request, &["a", "b", "c", "x", "y"]).await;
    succeeds(rules, (RP_07, "the choice for a plan with a replication group"), failed_over)?;
    let a = chosen(testbed, "a").await?.shared;
    let b = chosen(testbed, "b").await?.shared;
    let x = chosen(testbed, "x").await?.shared;
    let y = chosen(testbed, "y").await?.shared;
    let shared = a.is_some() && a == b && x.is_some() && x == y;
    rules.check(
        RP_08,
        shared,
        format!("one group failed over to {a:?} and {b:?}, the other to {x:?} and {y:?}"),
    );
    rules.check(PL_06, shared && a != x, format!("the groups failed over to {a:?} and {x:?}"));
    let c = testbed.item(&item_of("c")).await?.failed_over_to;
    let found = format!("the machine without a group failed over to {c:?}");
    rules.check(RP_08, c.as_ref() == Some(&newest_of_c), found);
    for (machine, _) in machines {
        let writes = testbed.recovered(machine)?.writes;
        rules.check(RP_08, writes > 0, format!("{machine} contains the first {writes} writes"));
    }
    Ok(())
}

async fn latest_app_consistent_point(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    protect_groups(testbed, &[("a", Some("shop")), ("b", Some("shop")), ("c", None)]).await?;
    testbed.create_plan(&[group(&["a", "b", "c"])]).await?;
    // The newest point of the machine without a group has to be crash-consistent: every third is
    // application-consistent, unless a core makes them all so.
    for _ in 0..3 {
        if testbed.newest_point(&item_of("c")).await?.consistency == Consistency::Crash {
            break;
        }
        testbed.advance(INTERVAL).await;
    }
    testbed.primary.lose();
    let newest_of_c = testbed.newest_point(&item_of("c")).await?;
    let request = failover_plan_to(PointChoice::LatestMultiVmAppConsistent);
    let failed_over = testbed.fail_over_plan(&request, &["a", "b", "c"]).await;
    succeeds(rules, (RP_07, "the choice for a plan with a replication group"), failed_over)?;
    let a = chosen(testbed, "a").await?;
    let b = chosen(testbed, "b").await?;
    let c = chosen(testbed, "c").await?;
    let shared = a.shared.is_some() && a.shared == b.shared && c.shared.is_none();
    let kinds = [a.consistency, b.consistency, c.consistency];
    let found = format!("{:?} and {:?}: {kinds:?}", a.shared, b.shared);
    rules.check(RP_09, shared && kinds == [Consistency::App; 3], found);
    let chosen = testbed.item(&item_of("c")).await?.failed_over_to;
    let is_newest = chosen.as_ref() == Some(&newest_of_c.id);
    let right = is_newest == (newest_of_c.consistency == Consistency::App);
    let found =
        format!("the machine without a group failed over to {chosen:?}, its newest is {}", newest_of_c.id);
    rules.check(RP_09, right, found);
    Ok(())
}

/// Test failovers show all choices without leaving the site: four for a machine, two for a plan
/// with a replication group.
async fn six_choices(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    use PointChoice::{
        Custom, Latest, LatestAppConsistent, LatestMultiVm, LatestMultiVmAppConsistent, LatestProcessed,
    };
    protect_groups(testbed, &[("a", Some("shop")), ("b", Some("shop")), ("c", None)]).await?;
    testbed.create_plan(&[group(&["a", "b"])]).await?;
    let item = item_of("c");
    let oldest = testbed.oldest_point(&item).await?.id;
    for choice in [Latest, LatestProcessed, LatestAppConsistent, Custom(oldest)] {
        let request = TestFailoverRequest::isolated(&item, choice.clone());
        let tested = testbed.completed(testbed.core.test_failover(&request).await).await;
        succeeds(rules, (RP_01, &format!("{choice:?} for a machine")), tested)?;
        testbed.completed(testbed.core.clean_up_test_failover(&item).await).await?;
    }
    for choice in [LatestMultiVm, LatestMultiVmAppConsistent] {
        let request = PlanTestFailoverRequest { point: choice.clone(), ..test_failover_plan_request() };
        let tested = testbed.completed(testbed.core.test_failover_plan(&request).await).await;
        succeeds(rules, (RP_01, &format!("{choice:?} for a plan with a group")), tested)?;
        testbed.completed(testbed.core.clean_up_test_failover_plan(&plan_id()).await).await?;
    }
    Ok(())
}

async fn fails_back_together(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let machines = ["a", "b", "c"];
    protect_groups(testbed, &[("a", Some("shop")), ("b", Some("shop")), ("c", None)]).await?;
    let split = plan(&[group(&["a"]), group(&["b"])]);
    let what = (PL_06, "a plan that splits a replication group");
    forbids(testbed, rules, what, &[ErrorCode::BadRequest], testbed.core.create_plan(&split)).await?;
    testbed.create_plan(&[group(&machines)]).await?;
    let request = failover_plan_to(PointChoice::LatestMultiVm);
    testbed.fail_over_plan(&request, &machines).await?;
    testbed.commit_plan().await?;
    let alone = testbed.reprotection(&item_of("a"), BACK);
    let what = (LC_02, "a reprotection of one machine of a group");
    forbids(testbed, rules, what, &[ErrorCode::OnlyThroughPlan], testbed.core.reprotect(&alone)).await?;
    let offered = testbed.item(&item_of("a")).await?.allowed.contains(&Operation::Reprotect);
    rules.check(LC_02, !offered, format!("the machine alone offers a reprotection: {offered}"));
    let request = testbed.plan_reprotection(BACK, &machines);
    testbed.completed(testbed.core.reprotect_plan(&request).await).await?;
    for machine in machines {
        testbed.wait_for_points(&item_of(machine), 3).await?;
    }
    let point = PointChoice::LatestMultiVm;
    let request = PlanFailoverRequest { point, ..failover_plan_request(BACK) };
    testbed.fail_over_plan(&request, &machines).await?;
    testbed.advance(BOOT).await;
    let mut common = Validity::ALWAYS;
    for machine in ["a", "b"] {
        let validity = testbed.failback_boots(machine, &testbed.primary)?.validity();
        common = common.intersect(validity.map_err(|end| against(rules, FB_05, end))?);
    }
    let found = format!("both are in their state between {} and {} ms", common.from, common.until);
    rules.check(FB_05, common.is_possible(), found);
    Ok(())
}

/// Protects a group of two machines, fails it over through a plan, and commits.
async fn group_in_cloud(testbed: &Testbed, systems: [GuestOs; 2]) -> Result<(), EarlyEnd> {
    for (name, os) in ["a", "b"].into_iter().zip(systems) {
        let drivers = Some(["vmw_pvscsi", "ata_piix"].map(ToOwned::to_owned).to_vec());
        let install = SimInstall { os, loads: drivers, ..SimInstall::new(name) };
        let in_group = |request| EnableProtection { group: Some("shop".into()), ..request };
        testbed.protect_as(&install, in_group).await?;
    }
    testbed.create_plan(&[group(&["a", "b"])]).await?;
    testbed.advance(Millis(3 * INTERVAL.0)).await;
    let request = failover_plan_to(PointChoice::LatestMultiVm);
    testbed.completed(testbed.core.failover_plan(&request).await).await?;
    testbed.commit_plan().await?;
    testbed.advance(INTERVAL).await;
    Ok(())
}

/// The request to reprotect the two machines, each through the master target given for it.
fn reprotection_through(testbed: &Testbed, master_targets: [&str; 2]) -> PlanReprotectRequest {
    let mut request = testbed.plan_reprotection(BACK, &["a", "b"]);
    for (setting, target) in request.settings.iter_mut().zip(master_targets) {
        *setting = ReprotectRequest { master_target: Some(target.into()), ..setting.clone() };
    }
    request
}

async fn one_master_target(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    group_in_cloud(testbed, [GuestOs::Linux; 2]).await?;
    add_master_target(testbed, "second", GuestOs::Linux);
    let different = reprotection_through(testbed, ["master-target", "second"]);
    let codes = [ErrorCode::GroupMixesMasterTargets];
    let what = (RE_12, "a reprotection of a group through two master targets");
    forbids(testbed, rules, what, &codes, testbed.core.reprotect_plan(&different)).await?;
    let same = reprotection_through(testbed, ["second", "second"]);
    testbed.completed(testbed.core.reprotect_plan(&same).await).await?;
    Ok(())
}

async fn settings_of_each(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let machines = ["a", "b"];
    testbed.protect_all(&machines).await?;
    testbed.create_plan(&[group(&machines)]).await?;
    testbed.fail_over_plan(&failover_plan_request(OUT), &machines).await?;
    testbed.commit_plan().await?;
    add_master_target(testbed, "second", GuestOs::Linux);
    let named = ["second", "master-target"];
    let request = reprotection_through(testbed, named);
    testbed.completed(testbed.core.reprotect_plan(&request).await).await?;
    for (machine, target) in machines.into_iter().zip(named) {
        testbed.wait_for_points(&item_of(machine), 1).await?;
        let on = testbed.machine_at(&testbed.primary, machine).await?.disks_on;
        let found = format!("{target} was named, and the disks of {machine} are attached to {on:?}");
        rules.check(IN_03, on == Some(target.into()), found);
    }
    Ok(())
}

async fn mixed(testbed: &Testbed, rules: &mut RuleLog, systems: [GuestOs; 2]) -> Result<(), EarlyEnd> {
    group_in_cloud(testbed, systems).await?;
    add_master_target(testbed, "windows", GuestOs::Windows);
    if systems[0] != systems[1] {
        let request = reprotection_through(testbed, ["master-target", "windows"]);
        let what = (RE_10, "a reprotection of a group with two operating systems");
        let codes = [ErrorCode::GroupMixesOs];
        return forbids(testbed, rules, what, &codes, testbed.core.reprotect_plan(&request)).await;
    }
    let wrong = reprotection_through(testbed, ["master-target", "master-target"]);
    let what = (RE_11, "a reprotection of Windows machines through a Linux master target");
    let codes = [ErrorCode::MasterTargetWrongOs];
    forbids(testbed, rules, what, &codes, testbed.core.reprotect_plan(&wrong)).await?;
    let right = reprotection_through(testbed, ["windows", "windows"]);
    let reprotected = testbed.completed(testbed.core.reprotect_plan(&right).await).await;
    succeeds(rules, (RE_10, "the reprotection of a group with one operating system"), reprotected)?;
    Ok(())
}
