//! Replication groups in a plan: the points their machines go to, and the way they come back (RP-07 to RP-09, PL-06).

use contract::{
    Consistency, EnableProtection, ErrorCode, GroupId, GroupPointId, GuestOs, ItemView, Millis, Operation,
    PlanReprotectRequest, Platform, PointChoice, PointId, Policy, ReprotectRequest,
};
use simulator::SimInstall;

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::Check;
use crate::sim::checks::failback_cases::add_master_target;
use crate::sim::plan_support::{BACK, failover, group, item, plan, plan_id, to};
use crate::sim::side_effects::stood;
use crate::sim::testbed::{BOOT, INTERVAL, Setup, Testbed, broken, cloud, enable};

/// Every third transfer finds the applications at rest.
fn often() -> Setup {
    Setup::vmware().under(|policy| Policy { app_consistent_every: Some(Millis(3 * INTERVAL.0)), ..policy })
}

pub(crate) const CHECKS: &[Check] = &[
    Check {
        name: "each group of a plan goes to its own latest moment, every other machine to its latest processed point",
        rules: &[PL_06, RP_07, RP_08],
        setup: often,
        body: |lab, rules| Box::pin(latest_moment(lab, rules)),
    },
    Check {
        name: "with the applications at rest each group goes to such a moment, every other machine to such a point",
        rules: &[RP_07, RP_09],
        setup: often,
        body: |lab, rules| Box::pin(moment_at_rest(lab, rules)),
    },
    Check {
        name: "a group is reprotected through a plan alone, and comes back to one moment",
        rules: &[FB_05, LC_02, PL_06],
        setup: often,
        body: |lab, rules| Box::pin(home_together(lab, rules)),
    },
    Check {
        name: "a group comes back through one master target",
        rules: &[RE_12],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(one_master_target(lab, rules)),
    },
    Check {
        name: "a group of Linux and Windows does not come back",
        rules: &[RE_10],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(mixed(lab, rules, [GuestOs::Linux, GuestOs::Windows])),
    },
    Check {
        name: "a group of Windows machines comes back through a master target of its own system",
        rules: &[RE_10, RE_11],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(mixed(lab, rules, [GuestOs::Windows, GuestOs::Windows])),
    },
];

/// Machines with the group each is in.
async fn house(lab: &Testbed, machines: &[(&str, Option<&str>)]) -> Result<(), String> {
    for (machine, group) in machines {
        lab.protect_as(SimInstall::new(*machine), group.map(GroupId::from)).await?;
    }
    // Until the youngest of them has points of all kinds, and somewhere between two.
    lab.live(Millis(10 * INTERVAL.0 + 31_000)).await;
    Ok(())
}

/// The point that a machine has gone to.
struct Went {
    moment: Option<GroupPointId>,
    kind: Consistency,
}

async fn went(lab: &Testbed, machine: &str) -> Result<Went, String> {
    let view: ItemView = lab.item(&item(machine)).await?;
    let chosen = view.points.into_iter().find(|point| Some(&point.id) == view.failed_over_to.as_ref());
    let chosen = chosen.ok_or_else(|| format!("{machine} does not show the point it has gone to"))?;
    Ok(Went { moment: chosen.multi_vm, kind: chosen.consistency })
}

async fn newest(lab: &Testbed, machine: &str) -> Result<(PointId, Consistency), String> {
    let point = lab.processed(&item(machine)).await?.pop().ok_or("there is no point")?;
    Ok((point.id, point.consistency))
}

async fn latest_moment(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let machines =
        [("a", Some("shop")), ("b", Some("shop")), ("c", None), ("x", Some("mail")), ("y", Some("mail"))];
    house(lab, &machines).await?;
    lab.make_plan(&[group(&["x", "y"]), group(&["a", "b", "c"])]).await?;
    // One machine vanishes from its site, so that from now on its neighbour has its points alone.
    lab.primary.power_off(&"b".into()).await.map_err(broken)?;
    lab.primary.delete_machine(&"b".into()).await.map_err(broken)?;
    lab.live(Millis(3 * INTERVAL.0)).await;
    lab.primary.lose();
    let (own, _) = newest(lab, "c").await?;
    lab.completed(lab.core.failover_plan(&to(PointChoice::LatestMultiVm)).await).await?;
    rules.check(RP_07, true, "with a replication group in the plan the choice is there");
    let [a, b] = [went(lab, "a").await?.moment, went(lab, "b").await?.moment];
    let [x, y] = [went(lab, "x").await?.moment, went(lab, "y").await?.moment];
    let shared = a.is_some() && a == b && x.is_some() && x == y;
    rules.check(RP_08, shared, format!("one group went to {a:?} and {b:?}, the other to {x:?} and {y:?}"));
    rules.check(PL_06, shared && a != x, "each group has its moments for itself");
    let alone = lab.item(&item("c")).await?.failed_over_to;
    rules.check(RP_08, alone.as_ref() == Some(&own), format!("the machine of no group went to {alone:?}"));
    for (machine, _) in machines {
        let writes = lab.recovered(machine)?.0;
        rules.check(RP_08, writes > 0, format!("{machine} holds the first {writes} writes"));
    }
    Ok(())
}

async fn moment_at_rest(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    house(lab, &[("a", Some("shop")), ("b", Some("shop")), ("c", None)]).await?;
    lab.make_plan(&[group(&["a", "b", "c"])]).await?;
    // Its newest point is to be one that was taken without rest; there is one in three intervals at most.
    for _ in 0..3 {
        if newest(lab, "c").await?.1 == Consistency::Crash {
            break;
        }
        lab.live(INTERVAL).await;
    }
    lab.primary.lose();
    let (own, kind) = newest(lab, "c").await?;
    lab.completed(lab.core.failover_plan(&to(PointChoice::LatestMultiVmAppConsistent)).await).await?;
    rules.check(RP_07, true, "with a replication group in the plan the choice is there");
    let [a, b, c] = [went(lab, "a").await?, went(lab, "b").await?, went(lab, "c").await?];
    let shared = a.moment.is_some() && a.moment == b.moment && c.moment.is_none();
    let rest = [a.kind, b.kind, c.kind] == [Consistency::App; 3];
    rules.check(
        RP_09,
        shared && rest,
        format!("{:?} and {:?}: {:?}, {:?}, {:?}", a.moment, b.moment, a.kind, b.kind, c.kind),
    );
    let chosen = lab.item(&item("c")).await?.failed_over_to;
    let older = kind == Consistency::Crash && chosen.as_ref() != Some(&own);
    rules.check(RP_09, older, "the machine of no group did not go to its latest processed point");
    Ok(())
}

async fn home_together(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let machines = ["a", "b", "c"];
    house(lab, &[("a", Some("shop")), ("b", Some("shop")), ("c", None)]).await?;
    let torn = plan(&[group(&["a"]), group(&["b"])]);
    let asked = (PL_06, "a plan that spreads a group over two");
    lab.forbids(rules, asked, &[ErrorCode::BadRequest], lab.core.create_plan(&torn)).await?;
    lab.make_plan(&[group(&machines)]).await?;
    lab.completed(lab.core.failover_plan(&to(PointChoice::LatestMultiVm)).await).await?;
    lab.completed(lab.core.commit_plan(&plan_id()).await).await?;
    let alone = lab.way_back(&item("a"), &lab.primary);
    let asked = (LC_02, "reprotection of one machine of a group");
    lab.forbids(rules, asked, &[ErrorCode::OnlyThroughPlan], lab.core.reprotect(&alone)).await?;
    let offered = lab.item(&item("a")).await?.allowed.contains(&Operation::Reprotect);
    rules.check(LC_02, !offered, format!("it is offered by itself: {offered}"));
    let wanted = lab.plan_reprotection(BACK, &machines);
    lab.completed(lab.core.reprotect_plan(&wanted).await).await?;
    for machine in machines {
        lab.points(&item(machine), 3).await?;
    }
    // A day's application-consistent points come an hour apart on the way back.
    let wanted = contract::PlanFailoverRequest { point: PointChoice::LatestMultiVm, ..failover(BACK) };
    lab.completed(lab.core.failover_plan(&wanted).await).await?;
    lab.live(BOOT).await;
    let mut between = (0, u64::MAX);
    for machine in ["a", "b"] {
        let source = lab.recovery.last_boot(&cloud(&machine.into())).ok_or("there was no copy")?;
        let target = lab.primary.last_boot(&machine.into()).ok_or("it never came up")?;
        let (from, to) = stood(&source, &target)?;
        between = (between.0.max(from), between.1.min(to));
    }
    let found = format!("both came back to a moment between {} and {}", between.0, between.1);
    rules.check(FB_05, between.0 <= between.1, found);
    Ok(())
}

/// A group of two that was failed over by a plan.
async fn pair_in_the_cloud(lab: &Testbed, systems: [GuestOs; 2]) -> Result<(), String> {
    for (name, os) in ["a", "b"].into_iter().zip(systems) {
        let drivers = Some(["vmw_pvscsi", "ata_piix"].map(ToOwned::to_owned).to_vec());
        let install = SimInstall { os, loads: drivers, ..SimInstall::new(name) };
        lab.install(&install).await?;
        let wanted = EnableProtection { group: Some("shop".into()), ..enable(&install.machine) };
        lab.completed(lab.core.enable_protection(&wanted).await).await?;
    }
    lab.make_plan(&[group(&["a", "b"])]).await?;
    lab.live(Millis(3 * INTERVAL.0)).await;
    lab.completed(lab.core.failover_plan(&to(PointChoice::LatestMultiVm)).await).await?;
    lab.completed(lab.core.commit_plan(&plan_id()).await).await?;
    lab.live(INTERVAL).await;
    Ok(())
}

/// The group's way back, each machine through a master target of its own choice.
fn through(lab: &Testbed, targets: [&str; 2]) -> PlanReprotectRequest {
    let mut wanted = lab.plan_reprotection(BACK, &["a", "b"]);
    for (setting, target) in wanted.settings.iter_mut().zip(targets) {
        *setting = ReprotectRequest { master_target: Some(target.into()), ..setting.clone() };
    }
    wanted
}

async fn one_master_target(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    pair_in_the_cloud(lab, [GuestOs::Linux; 2]).await?;
    add_master_target(lab, "second", GuestOs::Linux);
    let apart = through(lab, ["master-target", "second"]);
    let codes = [ErrorCode::GroupMixesMasterTargets];
    let asked = (RE_12, "a group through two master targets");
    lab.forbids(rules, asked, &codes, lab.core.reprotect_plan(&apart)).await?;
    let together = through(lab, ["second", "second"]);
    lab.completed(lab.core.reprotect_plan(&together).await).await.map(drop)
}

async fn mixed(lab: &Testbed, rules: &mut RuleLog, systems: [GuestOs; 2]) -> Result<(), String> {
    pair_in_the_cloud(lab, systems).await?;
    add_master_target(lab, "windows", GuestOs::Windows);
    if systems[0] != systems[1] {
        let wanted = through(lab, ["master-target", "windows"]);
        let asked = (RE_10, "a group of two systems");
        let codes = [ErrorCode::GroupMixesOs];
        return lab.forbids(rules, asked, &codes, lab.core.reprotect_plan(&wanted)).await;
    }
    let wrong = through(lab, ["master-target", "master-target"]);
    let asked = (RE_11, "Windows machines through a Linux master target");
    let codes = [ErrorCode::MasterTargetWrongOs];
    lab.forbids(rules, asked, &codes, lab.core.reprotect_plan(&wrong)).await?;
    let right = through(lab, ["windows", "windows"]);
    lab.completed(lab.core.reprotect_plan(&right).await).await?;
    rules.check(RE_10, true, "a group of one system comes back");
    Ok(())
}
