//! Recovery plans: groups in order, in both directions, with the actions between them (PL).

use contract::{
    ActionPlace, ActionWork, DataSync, Direction, ErrorCode, FailoverType, JobAction, JobFilter, JobKind,
    JobState, JobSubject, JobView, Millis, Network, PlanAction, PlanFailoverRequest, PlanGroup, PlanState,
    PlanTestFailoverRequest, Platform, PointChoice, TestFailoverStatus,
};
use simulator::testbed::{
    BACK, BOOT, HOUR, OUT, ScriptNotes, action, cloud_machine, failover_plan_request, failover_plan_to,
    group, item_of, machines_started, manual, member_states, plan, plan_id, planned_failover_plan_request,
    test_failover_plan_request,
};
use simulator::{SimFault, SimProfile};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::{Check, check, check_that, missing};
use crate::sim::early_end::EarlyEnd;
use crate::sim::side_effects::forbids;
use crate::sim::testbed::{Setup, Testbed};

fn hyperv() -> Setup {
    Setup::of(SimProfile::HYPERV)
}

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "one plan fails its machines over and back, group by group",
        &[FO_14, FO_15, LC_08, PL_01, PL_02],
        Setup::vmware,
        both_directions
    ),
    check!(
        "scripts run at their place, for the failovers they are meant for, and are given what has started",
        &[PL_03, TF_10],
        Setup::vmware,
        scripts
    ),
    check!(
        "a plan waits at a manual step until it is done, and that time does not count",
        &[JO_04, PL_04, PL_08],
        Setup::vmware,
        manual_steps
    ),
    check!(
        "a test failover of a plan tests all its machines, and its clean-up leaves nothing",
        &[MO_04, PL_05, TF_05, TF_06],
        Setup::vmware,
        plan_is_tested
    ),
    check!(
        "a plan of Hyper-V machines has planned failovers in both directions, and loses nothing",
        &[HF_05, HF_28, PL_02, PL_07],
        hyperv,
        planned_both_ways
    ),
    check!(
        "a failback of a plan is refused unless every machine has a point, and changes no machine",
        &[FB_02],
        Setup::vmware,
        every_member
    ),
    check!(
        "malformed plans are refused, and so are requests that a plan cannot meet",
        &[PL_01, RP_07, RP_10, TF_04],
        Setup::vmware,
        malformed
    ),
];

const MACHINES: [&str; 4] = ["db", "cache", "app", "web"];

fn groups() -> [PlanGroup; 3] {
    [group(&["db", "cache"]), group(&["app"]), group(&["web"])]
}

/// Whether each machine of a group was started before every machine of the next group. What counts
/// is the last start of a machine; it may have been started for its protection as well.
fn in_order(started: &[String], name: impl Fn(&str) -> String) -> bool {
    let place = |machine: &&str| started.iter().rposition(|other| *other == name(machine));
    let groups = [&["db", "cache"][..], &["app"], &["web"]];
    groups.windows(2).all(|two| {
        let last = two[0].iter().map(place).max().flatten();
        let first = two[1].iter().map(place).min().flatten();
        last.zip(first).is_some_and(|(last, first)| last < first)
    })
}

async fn both_directions(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    testbed.protect_all(&MACHINES).await?;
    testbed.create_plan(&groups()).await?;
    // The first machine takes a minute longer than all others, so that a plan that does not wait
    // for it is caught.
    testbed.primary.inject(&SimFault::ShutdownRefused("db".into()));
    let request = PlanFailoverRequest { shut_down_source: true, ..failover_plan_request(OUT) };
    let view = testbed.fail_over_plan(&request, &MACHINES).await?;
    let states = member_states(&view);
    let done = states.len() == MACHINES.len() && states.iter().all(|(_, state)| *state == PlanState::Done);
    rules.check(FO_15, done, format!("{:?}", member_states(&view)));
    let right = view.subject == JobSubject::Plan(plan_id()) && view.kind == JobKind::UnplannedFailover;
    let below = testbed.child_jobs(&view.id).await?;
    let each = below.len() == MACHINES.len() && below.iter().all(|job| job.kind == view.kind);
    rules.check(FO_14, right && each, format!("{:?} has {} jobs of machines", view.subject, below.len()));
    let right = below.iter().chain([&view]).all(|job| job.direction == OUT);
    check_that(rules, LC_08, right, "the plan's job and the jobs of its machines show the direction");
    let order = machines_started(&testbed.recovery);
    rules.check(
        PL_01,
        in_order(&order, |name| cloud_machine(name).0),
        format!("machines were started in the order {order:?}"),
    );
    testbed.advance(BOOT).await;
    for machine in MACHINES {
        let boots = testbed.boots(machine)?;
        let writes = boots.contained()?.writes;
        rules.check(FO_15, boots.target.up.is_ok(), format!("{machine} is up with {writes} writes"));
    }
    testbed.primary.heal();
    testbed.commit_and_reprotect_plan(&MACHINES).await?;
    let view = testbed.fail_over_plan(&failover_plan_request(BACK), &MACHINES).await?;
    rules.check(
        LC_08,
        view.direction == BACK,
        format!("the failback's job shows the direction {:?}", view.direction),
    );
    let order = machines_started(&testbed.primary);
    rules.check(
        PL_01,
        in_order(&order, ToOwned::to_owned),
        format!("on the primary site machines were started in the order {order:?}"),
    );
    testbed.advance(BOOT).await;
    for machine in MACHINES {
        check_that(
            rules,
            PL_02,
            testbed.came_back(machine, &testbed.primary)?,
            &format!("the failback of {machine} loses nothing"),
        );
    }
    testbed.commit_plan().await?;
    let out = testbed.plan_reprotection(OUT, &MACHINES);
    testbed.completed(testbed.core.reprotect_plan(&out).await).await?;
    Ok(())
}

async fn scripts(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let notes = ScriptNotes::new()?;
    testbed.protect_all(&["db", "web"]).await?;
    let script_for = |name: &str, types: &[FailoverType], directions: &[Direction]| PlanAction {
        types: types.to_vec(),
        directions: directions.to_vec(),
        ..notes.script(name)
    };
    let before = vec![
        notes.script("always"),
        script_for("test-failovers", &[FailoverType::Test], &[]),
        script_for("back", &[], &[BACK]),
        script_for("planned", &[FailoverType::Planned], &[]),
    ];
    let first = PlanGroup { before, ..group(&["db"]) };
    let second =
        PlanGroup { after: vec![script_for("out", &[FailoverType::Unplanned], &[OUT])], ..group(&["web"]) };
    testbed.create_plan(&[first, second]).await?;
    let done = |view: JobView| -> Vec<String> {
        let actions = view.plan.into_iter().flat_map(|plan| plan.actions);
        actions.filter(|action| action.state == PlanState::Done).map(|action| action.name).collect()
    };

    let view =
        testbed.completed(testbed.core.test_failover_plan(&test_failover_plan_request()).await).await?;
    let found = done(view);
    rules.check(
        TF_10,
        found == ["always", "test-failovers"],
        format!("a test failover ran the scripts {found:?}"),
    );
    testbed.completed(testbed.core.clean_up_test_failover_plan(&plan_id()).await).await?;
    let view = testbed.fail_over_plan(&failover_plan_request(OUT), &["db", "web"]).await?;
    let found = done(view);
    rules.check(PL_03, found == ["always", "out"], format!("a failover ran the scripts {found:?}"));
    testbed.commit_and_reprotect_plan(&["db", "web"]).await?;
    let view = testbed.completed(testbed.core.failover_plan(&failover_plan_request(BACK)).await).await?;
    let found = done(view);
    rules.check(PL_03, found == ["always", "back"], format!("a failback ran the scripts {found:?}"));

    let contexts = notes.read()?;
    rules.check(PL_03, contexts.len() == 6, format!("{} scripts wrote down their contexts", contexts.len()));
    let test_failovers =
        contexts.iter().take(2).all(|one| one.failover_type == FailoverType::Test && one.direction == OUT);
    check_that(rules, TF_10, test_failovers, "the contexts of a test failover's scripts say that it is one");
    let early = contexts.get(2).ok_or_else(|| missing("the context of the first script"))?;
    let late = contexts.get(3).ok_or_else(|| missing("the context of the last script"))?;
    let placed = (early.group, early.place, late.group, late.place);
    let right = placed == (1, ActionPlace::Before, 2, ActionPlace::After) && early.machines.is_empty();
    rules.check(
        PL_03,
        right,
        format!("{placed:?}; machines started before the first script: {:?}", early.machines),
    );
    for machine in ["db", "web"] {
        let named = late.machines.get(&item_of(machine)).map(|started| started.machine.clone());
        let right = named == Some(cloud_machine(machine));
        rules.check(PL_03, right, format!("for {machine} the last script's context names {named:?}"));
    }
    Ok(())
}

async fn manual_steps(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    testbed.protect_all(&["db", "web"]).await?;
    let first = PlanGroup { after: vec![manual("check"), manual("sign")], ..group(&["db"]) };
    testbed.create_plan(&[first, group(&["web"])]).await?;
    testbed.primary.inject(&SimFault::ShutdownRefused("db".into()));
    let request = PlanFailoverRequest { shut_down_source: true, ..failover_plan_request(OUT) };
    let job = testbed.core.failover_plan(&request).await?;
    let waits = |view: &JobView| view.state == JobState::WaitingForManualAction;
    for step in ["check", "sign"] {
        let view = testbed.until(&job, waits).await?;
        let asks = waits(&view) && view.actions.contains(&JobAction::Resume);
        rules.check(PL_04, asks, format!("before {step}: {:?}, offered {:?}", view.state, view.actions));
        let mut actions = view.plan.iter().flat_map(|plan| &plan.actions);
        let due = actions.find(|action| action.state == PlanState::InProgress);
        let due = due.map(|action| action.name.as_str());
        rules.check(PL_04, due == Some(step), format!("the manual step that is due is {due:?}"));
        rules.check(
            JO_04,
            view.actions.contains(&JobAction::Cancel),
            format!("it offers {:?}", view.actions),
        );
        testbed.advance(HOUR).await;
        let order = machines_started(&testbed.recovery);
        rules.check(
            PL_04,
            order == ["db-dr"],
            format!("an hour later these machines are started: {order:?}"),
        );
        if !asks {
            break;
        }
        testbed.core.resume_job(&job).await?;
        testbed.world.settle().await;
    }
    let view = testbed.completed(&job).await?;
    let order = machines_started(&testbed.recovery);
    rules.check(
        PL_04,
        order == ["db-dr", "web-dr"],
        format!("after both manual steps these machines are started: {order:?}"),
    );
    let progress = view.plan.unwrap_or_default();
    let took = progress.took.unwrap_or_default();
    // The minute in which a source does not shut down counts as the plan's own time; the two hours
    // of manual steps do not.
    let own = (60_000..600_000).contains(&took.0);
    let waited = (2 * HOUR.0..2 * HOUR.0 + 60_000).contains(&progress.manual.0);
    rules.check(
        PL_08,
        own && waited,
        format!("the plan took {took}, and waited for people for {}", progress.manual),
    );
    Ok(())
}

async fn plan_is_tested(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    testbed.protect_all(&["db", "web"]).await?;
    testbed.create_plan(&[group(&["db"]), group(&["web"])]).await?;
    let view =
        testbed.completed(testbed.core.test_failover_plan(&test_failover_plan_request()).await).await?;
    rules.check(PL_05, view.kind == JobKind::TestFailover, format!("the job is {:?}", view.kind));
    let order = machines_started(&testbed.recovery);
    let mut test_failovers = Vec::new();
    for machine in ["db", "web"] {
        test_failovers.extend(
            testbed.item(&item_of(machine)).await?.test_failover.map(|test_failover| test_failover.0),
        );
    }
    let both = test_failovers.len() == 2 && order == test_failovers;
    rules.check(
        TF_05,
        both,
        format!("machines of the test failover: {test_failovers:?}; started in the order {order:?}"),
    );
    rules.check(PL_05, both, format!("the test failover starts its machines in the plan's order: {both}"));
    let tests = JobFilter { kind: Some(JobKind::TestFailover), ..JobFilter::default() };
    let listed = testbed.core.jobs(&tests).await?.len();
    rules.check(
        MO_04,
        listed == 3,
        format!(
            "{listed} test failovers are listed; expected are the plan's and one for each of two machines"
        ),
    );
    testbed.completed(testbed.core.clean_up_test_failover_plan(&plan_id()).await).await?;
    let left = testbed.recovery.machines().await?.len();
    rules.check(TF_06, left == 0, format!("{left} machines remain after clean-up"));
    for machine in ["db", "web"] {
        let status = testbed.item(&item_of(machine)).await?.test_failover_status;
        rules.check(TF_05, status == TestFailoverStatus::Performed, format!("{machine}: {status:?}"));
    }
    Ok(())
}

async fn planned_both_ways(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    testbed.protect_all(&["db", "web"]).await?;
    testbed.create_plan(&[group(&["db"]), group(&["web"])]).await?;
    let view = testbed.fail_over_plan(&planned_failover_plan_request(OUT), &["db", "web"]).await?;
    rules.check(PL_07, view.kind == JobKind::PlannedFailover, format!("the job is {:?}", view.kind));
    testbed.advance(BOOT).await;
    for machine in ["db", "web"] {
        let boots = testbed.boots(machine)?;
        let complete = boots.is_complete() && boots.never_overlap();
        check_that(rules, PL_07, complete, &format!("the failover of {machine} loses nothing"));
    }
    testbed.commit_plan().await?;
    let home = PlanFailoverRequest {
        data_sync: Some(DataSync::DuringFailover),
        ..planned_failover_plan_request(BACK)
    };
    let view = testbed.completed(testbed.core.failover_plan(&home).await).await?;
    rules.check(
        HF_28,
        view.direction == BACK,
        format!("the plan's job shows the direction {:?}", view.direction),
    );
    testbed.advance(BOOT).await;
    for machine in ["db", "web"] {
        let back = testbed.came_back(machine, &testbed.primary)?;
        for rule in [HF_05, HF_28, PL_02] {
            check_that(rules, rule, back, &format!("the failback of {machine} loses nothing"));
        }
    }
    testbed.commit_plan().await?;
    Ok(())
}

async fn every_member(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let machines = ["db", "web"];
    testbed.protect_all(&machines).await?;
    testbed.create_plan(&[group(&["db"]), group(&["web"])]).await?;
    testbed.fail_over_plan(&failover_plan_request(OUT), &machines).await?;
    testbed.commit_plan().await?;
    testbed.reprotect(&testbed.reprotection_to(&item_of("db"), &testbed.primary)).await?;
    testbed.wait_for_points(&item_of("db"), 2).await?;
    let codes = [ErrorCode::NotAllowedInState, ErrorCode::NoRecoveryPoint];
    let what = (FB_02, "a failback of a plan with a machine that has no point");
    forbids(testbed, rules, what, &codes, testbed.core.failover_plan(&failover_plan_request(BACK))).await?;
    testbed.reprotect(&testbed.reprotection_to(&item_of("web"), &testbed.primary)).await?;
    testbed.wait_for_points(&item_of("web"), 2).await?;
    testbed.completed(testbed.core.failover_plan(&failover_plan_request(BACK)).await).await?;
    testbed.advance(BOOT).await;
    for machine in machines {
        rules.check(
            FB_02,
            testbed.came_back(machine, &testbed.primary)?,
            format!("once all machines have points, {machine} fails back"),
        );
    }
    Ok(())
}

async fn malformed(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    testbed.protect_all(&["db", "web"]).await?;
    let limits = testbed.core.capabilities().await?.plans;
    let empty = vec![PlanGroup::default()];
    let many = vec![group(&["db"]); limits.groups as usize + 1];
    let with = |work| plan(&[PlanGroup { before: vec![work], ..group(&["db"]) }]);
    let nothing =
        || ActionWork::Script { program: String::new(), arguments: Vec::new(), timeout: Millis(60_000) };
    let bad = [
        ("a plan without machines", plan(&empty), ErrorCode::BadRequest),
        ("a plan with an item that does not exist", plan(&[group(&["db", "mail"])]), ErrorCode::UnknownId),
        (
            "a plan with a machine in two groups",
            plan(&[group(&["db"]), group(&["web", "db"])]),
            ErrorCode::BadRequest,
        ),
        ("a plan with more groups than the core allows", plan(&many), ErrorCode::PlanTooLarge),
        ("an action without a name", with(manual("")), ErrorCode::BadRequest),
        ("a script without a program", with(action("run", nothing())), ErrorCode::BadRequest),
    ];
    for (what, plan, code) in bad {
        forbids(testbed, rules, (PL_01, what), &[code], testbed.core.create_plan(&plan)).await?;
    }
    testbed.create_plan(&[group(&["db"]), group(&["web"])]).await?;
    let again = plan(&[group(&["web"])]);
    let what = (PL_01, "a second plan of the same name");
    forbids(testbed, rules, what, &[ErrorCode::PlanExists], testbed.core.create_plan(&again)).await?;
    let point = testbed.newest_point(&item_of("db")).await?.id;
    let custom = failover_plan_to(PointChoice::Custom(point));
    let what = (RP_10, "a failover of a plan to a custom point");
    forbids(testbed, rules, what, &[ErrorCode::BadRequest], testbed.core.failover_plan(&custom)).await?;
    for point in [PointChoice::LatestMultiVm, PointChoice::LatestMultiVmAppConsistent] {
        let what = format!("{point:?} without a replication group");
        let request = failover_plan_to(point);
        let codes = [ErrorCode::MultiVmNeedsGroup];
        forbids(testbed, rules, (RP_07, &what), &codes, testbed.core.failover_plan(&request)).await?;
    }
    let in_production =
        PlanTestFailoverRequest { network: Network::Production, ..test_failover_plan_request() };
    let what = (TF_04, "a test failover of a plan in the production network");
    forbids(testbed, rules, what, &[ErrorCode::BadRequest], testbed.core.test_failover_plan(&in_production))
        .await?;
    testbed.world.settle().await;
    testbed.fail_over_plan(&failover_plan_request(OUT), &["db", "web"]).await?;
    Ok(())
}
