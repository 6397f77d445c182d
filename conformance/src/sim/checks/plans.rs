//! Recovery plans: groups in order, in both directions, with what is done between them (PL).

use contract::{
    ActionPlace, DataSync, ErrorCode, FailoverType, JobAction, JobFilter, JobKind, JobState, JobSubject,
    Millis, PlanAction, PlanFailoverRequest, PlanGroup, PlanState, Platform, PointChoice, TestFailoverStatus,
};
use simulator::{SimFault, SimInstall, SimProfile};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::Check;
use crate::sim::plan_support::{
    BACK, Notes, OUT, failover, group, item, manual, plan, plan_id, planned, shell, started, states, test, to,
};
use crate::sim::said;
use crate::sim::side_effects::whole;
use crate::sim::testbed::{BOOT, HOUR, Setup, Testbed, broken, cloud};

fn hyperv() -> Setup {
    Setup::of(SimProfile::HYPERV)
}

pub(crate) const CHECKS: &[Check] = &[
    Check {
        name: "one plan takes its machines out and back, group by group",
        rules: &[FO_14, FO_15, LC_08, PL_01, PL_02],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(there_and_back(lab, rules)),
    },
    Check {
        name: "scripts run at their place, for the failovers they are meant for, and are told what has started",
        rules: &[PL_03, TF_10],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(scripts(lab, rules)),
    },
    Check {
        name: "a plan waits at a manual step until it is done, and that time is not its own",
        rules: &[JO_04, PL_04, PL_08],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(manual_steps(lab, rules)),
    },
    Check {
        name: "a plan is tested as a whole and nothing of it stays",
        rules: &[MO_04, PL_05, TF_05, TF_06],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(plan_is_tested(lab, rules)),
    },
    Check {
        name: "a plan of Hyper-V machines goes out and back as planned, and loses nothing",
        rules: &[HF_05, HF_28, PL_02, PL_07],
        setup: hyperv,
        body: |lab, rules| Box::pin(planned_both_ways(lab, rules)),
    },
    Check {
        name: "an unplanned plan carries on past a machine that fails, and its retry does only what failed",
        rules: &[FO_15, JO_03],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(carries_on(lab, rules)),
    },
    Check {
        name: "a planned plan stops at a machine that fails, and goes on from there when tried again",
        rules: &[JO_03, PF_04, PL_07],
        setup: hyperv,
        body: |lab, rules| Box::pin(stops(lab, rules)),
    },
    Check {
        name: "a failback of a plan is refused unless every machine has a point, and none is touched",
        rules: &[FB_02],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(every_member(lab, rules)),
    },
    Check {
        name: "what is no plan is refused, and so is what cannot be done with one",
        rules: &[PL_01, RP_07, RP_10, TF_04],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(no_plan(lab, rules)),
    },
];

const MACHINES: [&str; 4] = ["db", "cache", "app", "web"];

fn groups() -> [PlanGroup; 3] {
    [group(&["db", "cache"]), group(&["app"]), group(&["web"])]
}

/// Each machine of a group is started before any of the next. A machine may have been started long before as well.
fn in_order(started: &[String], name: impl Fn(&str) -> String) -> bool {
    let place = |machine: &&str| started.iter().rposition(|other| *other == name(machine));
    let groups = [&["db", "cache"][..], &["app"], &["web"]];
    groups.windows(2).all(|two| {
        let last = two[0].iter().map(place).max().flatten();
        let first = two[1].iter().map(place).min().flatten();
        last.zip(first).is_some_and(|(last, first)| last < first)
    })
}

async fn there_and_back(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    lab.protect_all(&MACHINES).await?;
    lab.make_plan(&groups()).await?;
    // The first of them takes a minute longer than all others, so that those who do not wait for it are ahead.
    lab.primary.inject(&SimFault::ShutdownRefused("db".into()));
    let slowly = PlanFailoverRequest { shut_down_source: true, ..failover(OUT) };
    let view = lab.completed(lab.core.failover_plan(&slowly).await).await?;
    let done = states(&view).iter().all(|(_, state)| *state == PlanState::Done);
    rules.check(FO_15, done, format!("{:?}", states(&view)));
    let told = view.subject == JobSubject::Plan(plan_id()) && view.kind == JobKind::UnplannedFailover;
    let below = lab.below(&view.id).await?;
    let each = below.len() == MACHINES.len() && below.iter().all(|job| job.kind == view.kind);
    rules.check(FO_14, told && each, format!("{} jobs below {:?}", below.len(), view.subject));
    let right = below.iter().chain([&view]).all(|job| job.direction == OUT);
    rules.check(LC_08, right, "the plan's job and all below it say which way");
    let order = started(&lab.recovery);
    rules.check(PL_01, in_order(&order, |name| cloud(&name.into()).0), format!("out: {order:?}"));
    lab.live(BOOT).await;
    for machine in MACHINES {
        let (_, target) = lab.boots(machine)?;
        let writes = lab.recovered(machine)?.0;
        rules.check(FO_15, target.up.is_ok(), format!("{machine} is up with {writes} writes"));
    }
    lab.primary.heal();
    lab.commit_and_reprotect_plan(&MACHINES).await?;
    let view = lab.completed(lab.core.failover_plan(&failover(BACK)).await).await?;
    rules.check(LC_08, view.direction == BACK, format!("the way back is {:?}", view.direction));
    let order = started(&lab.primary);
    rules.check(PL_01, in_order(&order, ToOwned::to_owned), format!("back: {order:?}"));
    lab.live(BOOT).await;
    for machine in MACHINES {
        rules.check(PL_02, lab.came_back(machine, &lab.primary)?, format!("{machine} came back whole"));
    }
    lab.completed(lab.core.commit_plan(&plan_id()).await).await?;
    let out = lab.plan_reprotection(OUT, &MACHINES);
    lab.completed(lab.core.reprotect_plan(&out).await).await.map(drop)
}

async fn scripts(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let notes = Notes::new()?;
    lab.protect_all(&["db", "web"]).await?;
    let meant = |name: &str, types: &[FailoverType], directions: &[contract::Direction]| PlanAction {
        types: types.to_vec(),
        directions: directions.to_vec(),
        ..notes.script(name)
    };
    let before = vec![
        notes.script("always"),
        meant("test-failovers", &[FailoverType::Test], &[]),
        meant("back", &[], &[BACK]),
        meant("planned", &[FailoverType::Planned], &[]),
    ];
    let first = PlanGroup { before, ..group(&["db"]) };
    let second =
        PlanGroup { after: vec![meant("out", &[FailoverType::Unplanned], &[OUT])], ..group(&["web"]) };
    lab.make_plan(&[first, second]).await?;
    let done = |view: contract::JobView| -> Vec<String> {
        let actions = view.plan.into_iter().flat_map(|plan| plan.actions);
        actions.filter(|action| action.state == PlanState::Done).map(|action| action.name).collect()
    };

    let view = lab.completed(lab.core.test_failover_plan(&test()).await).await?;
    let found = done(view);
    rules.check(TF_10, found == ["always", "test-failovers"], format!("a test failover ran {found:?}"));
    lab.completed(lab.core.clean_up_test_failover_plan(&plan_id()).await).await?;
    let view = lab.completed(lab.core.failover_plan(&failover(OUT)).await).await?;
    let found = done(view);
    rules.check(PL_03, found == ["always", "out"], format!("on the way out it ran {found:?}"));
    lab.commit_and_reprotect_plan(&["db", "web"]).await?;
    let view = lab.completed(lab.core.failover_plan(&failover(BACK)).await).await?;
    let found = done(view);
    rules.check(PL_03, found == ["always", "back"], format!("on the way back it ran {found:?}"));

    let told = notes.read()?;
    rules.check(PL_03, told.len() == 6, format!("{} scripts wrote down what they were told", told.len()));
    let test_failovers =
        told.iter().take(2).all(|one| one.failover_type == FailoverType::Test && one.direction == OUT);
    rules.check(TF_10, test_failovers, "scripts of a test failover are told that it is one");
    let [early, late] = [told.get(2), told.get(3)].map(|one| one.ok_or("a script did not write"));
    let (early, late) = (early?, late?);
    let placed = (early.group, early.place, late.group, late.place);
    let right = placed == (1, ActionPlace::Before, 2, ActionPlace::After) && early.machines.is_empty();
    rules.check(PL_03, right, format!("{placed:?}, and none was started before the first"));
    for machine in ["db", "web"] {
        let named = late.machines.get(&item(machine)).map(|told| told.machine.clone());
        let right = named == Some(cloud(&machine.into()));
        rules.check(PL_03, right, format!("of {machine} the last script was told {named:?}"));
    }
    Ok(())
}

async fn manual_steps(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    lab.protect_all(&["db", "web"]).await?;
    let first = PlanGroup { after: vec![manual("check"), manual("sign")], ..group(&["db"]) };
    lab.make_plan(&[first, group(&["web"])]).await?;
    lab.primary.inject(&SimFault::ShutdownRefused("db".into()));
    let wanted = PlanFailoverRequest { shut_down_source: true, ..failover(OUT) };
    let job = lab.core.failover_plan(&wanted).await.map_err(said)?;
    let waits = |view: &contract::JobView| view.state == JobState::WaitingForManualAction;
    for step in ["check", "sign"] {
        let view = lab.until(&job, waits).await?;
        let asks = waits(&view) && view.actions.contains(&JobAction::Resume);
        rules.check(PL_04, asks, format!("before {step}: {:?}, {:?}", view.state, view.actions));
        let words = view.steps.last().map(|step| step.note.clone()).unwrap_or_default();
        rules.check(PL_04, words.contains(step), format!("it says what is to be done: {words}"));
        rules.check(
            JO_04,
            view.actions.contains(&JobAction::Cancel),
            format!("it offers {:?}", view.actions),
        );
        lab.live(HOUR).await;
        let order = started(&lab.recovery);
        rules.check(PL_04, order == ["db-dr"], format!("an hour later {order:?} are started"));
        if !asks {
            break;
        }
        lab.core.resume_job(&job).await.map_err(said)?;
        lab.world.settle().await;
    }
    let view = lab.completed(Ok(job)).await?;
    let order = started(&lab.recovery);
    rules.check(PL_04, order == ["db-dr", "web-dr"], format!("once both are done {order:?} are started"));
    let progress = view.plan.unwrap_or_default();
    let took = progress.took.unwrap_or_default();
    // A minute for a source that does not shut down is the plan's own; two hours of people are not.
    let own = (60_000..600_000).contains(&took.0);
    let people = (2 * HOUR.0..2 * HOUR.0 + 60_000).contains(&progress.manual.0);
    rules.check(PL_08, own && people, format!("it took {took}, and people {}", progress.manual));
    Ok(())
}

async fn plan_is_tested(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    lab.protect_all(&["db", "web"]).await?;
    lab.make_plan(&[group(&["db"]), group(&["web"])]).await?;
    let view = lab.completed(lab.core.test_failover_plan(&test()).await).await?;
    rules.check(PL_05, view.kind == JobKind::TestFailover, format!("the job is {:?}", view.kind));
    let order = started(&lab.recovery);
    let mut test_failovers = Vec::new();
    for machine in ["db", "web"] {
        test_failovers
            .extend(lab.item(&item(machine)).await?.test_failover.map(|test_failover| test_failover.0));
    }
    let both = test_failovers.len() == 2 && order == test_failovers;
    rules.check(
        TF_05,
        both,
        format!("{test_failovers:?} are test failovers; started in this order: {order:?}"),
    );
    rules.check(PL_05, both, "group by group");
    let tests = JobFilter { kind: Some(JobKind::TestFailover), ..JobFilter::default() };
    let listed = lab.core.jobs(&tests).await.map_err(said)?.len();
    rules.check(
        MO_04,
        listed == 3,
        format!("{listed} test failovers are listed: the plan's and one a machine"),
    );
    lab.completed(lab.core.clean_up_test_failover_plan(&plan_id()).await).await?;
    let left = lab.recovery.machines().await.map_err(broken)?.len();
    rules.check(TF_06, left == 0, format!("{left} machines are left"));
    for machine in ["db", "web"] {
        let status = lab.item(&item(machine)).await?.test_failover_status;
        rules.check(TF_05, status == TestFailoverStatus::Performed, format!("{machine}: {status:?}"));
    }
    Ok(())
}

async fn planned_both_ways(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    lab.protect_all(&["db", "web"]).await?;
    lab.make_plan(&[group(&["db"]), group(&["web"])]).await?;
    let view = lab.completed(lab.core.failover_plan(&planned(OUT)).await).await?;
    rules.check(PL_07, view.kind == JobKind::PlannedFailover, format!("the job is {:?}", view.kind));
    lab.live(BOOT).await;
    for machine in ["db", "web"] {
        let (source, target) = lab.boots(machine)?;
        let whole = whole(&source, &target)? && source.ended().is_some_and(|(off, _)| off <= target.started);
        rules.check(PL_07, whole, format!("{machine} went out whole"));
    }
    lab.completed(lab.core.commit_plan(&plan_id()).await).await?;
    let home = PlanFailoverRequest { data_sync: Some(DataSync::DuringFailover), ..planned(BACK) };
    let view = lab.completed(lab.core.failover_plan(&home).await).await?;
    rules.check(HF_28, view.direction == BACK, format!("the plan's job goes {:?}", view.direction));
    lab.live(BOOT).await;
    for machine in ["db", "web"] {
        let back = lab.came_back(machine, &lab.primary)?;
        for rule in [HF_05, HF_28, PL_02] {
            rules.check(rule, back, format!("{machine} came back whole"));
        }
    }
    lab.completed(lab.core.commit_plan(&plan_id()).await).await.map(drop)
}

/// A stranger has the name that a machine is to have at the recovery site.
fn occupy(lab: &Testbed, machine: &str) -> Result<(), String> {
    lab.recovery.install(&SimInstall::new(cloud(&machine.into()))).map(drop).map_err(broken)
}

async fn carries_on(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let notes = Notes::new()?;
    lab.protect_all(&["db", "cache", "web"]).await?;
    let first = PlanGroup { after: vec![notes.script("after")], ..group(&["db", "cache"]) };
    lab.make_plan(&[first, group(&["web"])]).await?;
    occupy(lab, "db")?;
    let job = lab.core.failover_plan(&failover(OUT)).await.map_err(said)?;
    let view = lab.ended(Ok(job.clone())).await?;
    let ended = [("db", PlanState::Failed), ("cache", PlanState::Done), ("web", PlanState::Done)];
    let on = view.state == JobState::PartiallySucceeded && states(&view) == ended;
    rules.check(FO_15, on, format!("{:?}: {:?}", view.state, states(&view)));
    let told: Vec<_> = notes.read()?.into_iter().flat_map(|one| one.machines.into_keys()).collect();
    rules.check(FO_15, told == [item("cache")], format!("the script was told of {told:?}"));
    lab.recovery.delete_machine(&cloud(&"db".into())).await.map_err(broken)?;
    lab.core.retry_job(&job).await.map_err(said)?;
    let view = lab.completed(Ok(job.clone())).await?;
    let below = lab.below(&job).await?;
    let again = below.iter().filter(|job| job.attempt > 1).count();
    let only = below.len() == 3 && again == 1 && view.attempt == 2 && notes.read()?.len() == 1;
    rules.check(JO_03, only, format!("of {} jobs {again} ran again", below.len()));
    lab.live(BOOT).await;
    for machine in ["db", "cache", "web"] {
        let boots = lab.recovery.boots(&cloud(&machine.into())).len();
        let writes = lab.recovered(machine)?.0;
        rules.check(JO_03, boots == 1, format!("{machine} was started {boots} times, with {writes} writes"));
    }
    Ok(())
}

async fn stops(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let notes = Notes::new()?;
    lab.protect_all(&["db", "cache", "web"]).await?;
    let gate = shell("gate", r#"test -e "$0""#, &notes.path("gate"));
    let first = PlanGroup { after: vec![notes.script("after")], ..group(&["db", "cache"]) };
    lab.make_plan(&[first, PlanGroup { before: vec![gate], ..group(&["web"]) }]).await?;
    lab.primary.inject(&SimFault::ShutdownRefused("db".into()));
    let job = lab.core.failover_plan(&planned(OUT)).await.map_err(said)?;
    let view = lab.ended(Ok(job.clone())).await?;
    let ended = [("db", PlanState::Failed), ("cache", PlanState::Done), ("web", PlanState::Waiting)];
    let stopped = view.state == JobState::Failed && states(&view) == ended && notes.read()?.is_empty();
    rules.check(PL_07, stopped, format!("{:?}: {:?}", view.state, states(&view)));
    rules.check(PF_04, stopped, "a machine that did not shut down did not go, and none after it");
    lab.world.heal();
    lab.core.retry_job(&job).await.map_err(said)?;
    let view = lab.ended(Ok(job.clone())).await?;
    // Now it is a script that fails.
    let code = view.error.as_ref().map(|error| error.code);
    let halted = view.state == JobState::Failed && code == Some(ErrorCode::ScriptFailed);
    rules.check(PL_07, halted, format!("{:?}: {code:?}, {:?}", view.state, states(&view)));
    std::fs::write(notes.path("gate"), "").map_err(|error| error.to_string())?;
    lab.core.retry_job(&job).await.map_err(said)?;
    let view = lab.completed(Ok(job)).await?;
    let all = states(&view).iter().all(|(_, state)| *state == PlanState::Done) && notes.read()?.len() == 1;
    rules.check(JO_03, all, format!("{:?}, and the first script ran once", states(&view)));
    Ok(())
}

async fn every_member(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let machines = ["db", "web"];
    lab.protect_all(&machines).await?;
    lab.make_plan(&[group(&["db"]), group(&["web"])]).await?;
    lab.completed(lab.core.failover_plan(&failover(OUT)).await).await?;
    lab.completed(lab.core.commit_plan(&plan_id()).await).await?;
    lab.reprotect(&lab.way_back(&item("db"), &lab.primary)).await?;
    lab.points(&item("db"), 2).await?;
    let codes = [ErrorCode::NotAllowedInState, ErrorCode::NoRecoveryPoint];
    let asked = (FB_02, "a plan's failback with one machine that has no point");
    lab.forbids(rules, asked, &codes, lab.core.failover_plan(&failover(BACK))).await?;
    lab.reprotect(&lab.way_back(&item("web"), &lab.primary)).await?;
    lab.points(&item("web"), 2).await?;
    lab.completed(lab.core.failover_plan(&failover(BACK)).await).await?;
    lab.live(BOOT).await;
    for machine in machines {
        rules.check(
            FB_02,
            lab.came_back(machine, &lab.primary)?,
            format!("with points {machine} comes back"),
        );
    }
    Ok(())
}

async fn no_plan(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    lab.protect_all(&["db", "web"]).await?;
    let limits = lab.core.capabilities().await.map_err(said)?.plans;
    let empty = vec![PlanGroup::default()];
    let many = vec![group(&["db"]); limits.groups as usize + 1];
    let bad = [
        ("a plan of no machine", plan(&empty), ErrorCode::BadRequest),
        ("a stranger in a plan", plan(&[group(&["db", "mail"])]), ErrorCode::UnknownId),
        ("a machine in two groups", plan(&[group(&["db"]), group(&["web", "db"])]), ErrorCode::BadRequest),
        ("more groups than there may be", plan(&many), ErrorCode::PlanTooLarge),
    ];
    for (what, plan, code) in bad {
        lab.forbids(rules, (PL_01, what), &[code], lab.core.create_plan(&plan)).await?;
    }
    lab.make_plan(&[group(&["db"]), group(&["web"])]).await?;
    let again = plan(&[group(&["web"])]);
    let asked = (PL_01, "another plan of that name");
    lab.forbids(rules, asked, &[ErrorCode::PlanExists], lab.core.create_plan(&again)).await?;
    let point = lab.processed(&item("db")).await?.last().ok_or("there is no point")?.id.clone();
    let custom = to(PointChoice::Custom(point));
    let asked = (RP_10, "a plan's failover to a named point");
    lab.forbids(rules, asked, &[ErrorCode::BadRequest], lab.core.failover_plan(&custom)).await?;
    for point in [PointChoice::LatestMultiVm, PointChoice::LatestMultiVmAppConsistent] {
        let asked = format!("{point:?} without a replication group");
        let wanted = to(point);
        let codes = [ErrorCode::MultiVmNeedsGroup];
        lab.forbids(rules, (RP_07, &asked), &codes, lab.core.failover_plan(&wanted)).await?;
    }
    let live = contract::PlanTestFailoverRequest { network: contract::Network::Production, ..test() };
    let asked = (TF_04, "a plan's test failover in the production network");
    lab.forbids(rules, asked, &[ErrorCode::BadRequest], lab.core.test_failover_plan(&live)).await?;
    lab.live(Millis(1)).await;
    lab.completed(lab.core.failover_plan(&failover(OUT)).await).await.map(drop)
}
