//! Recovery plans in which a machine fails, cannot take part, or ends with a warning (PL, FO-15).

use contract::{
    ErrorCode, ItemId, JobId, JobState, JobSubject, JobView, PlanFailoverRequest, PlanGroup, PlanState,
    Platform, PointChoice, TargetSettings,
};
use simulator::testbed::{
    BOOT, INTERVAL, OUT, ScriptNotes, cloud_machine, enable_request, failover_plan_request, group, item_of,
    member_states, planned_failover_plan_request, shell, test_failover_plan_request,
};
use simulator::{Link, SimFault, SimInstall, SimProfile};

use super::configuration::protect_under_illegal_name;
use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::{Check, check, check_that, succeeds};
use crate::sim::early_end::EarlyEnd;
use crate::sim::testbed::{Setup, Testbed};

fn hyperv() -> Setup {
    Setup::of(SimProfile::HYPERV)
}

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "an unplanned failover of a plan continues after a machine that fails, and its retry does only what failed",
        &[FO_15, JO_03],
        Setup::vmware,
        carries_on
    ),
    check!(
        "a planned failover of a plan stops at a machine that fails, and its retry continues from there",
        &[JO_03, PF_04, PL_07],
        hyperv,
        stops
    ),
    check!(
        "a test failover of a plan goes on without machines that cannot take part",
        &[TF_05],
        Setup::vmware,
        tested_without
    ),
    check!(
        "an unplanned failover of a plan goes on without machines that cannot take part",
        &[FO_15],
        Setup::vmware,
        failed_over_without
    ),
    check!(
        "the failover of a plan in which a source does not shut down ends with a warning",
        &[FO_07],
        Setup::vmware,
        warns
    ),
];

/// Takes the name that a machine is to have at the recovery site.
fn occupy(testbed: &Testbed, machine: &str) -> Result<(), EarlyEnd> {
    testbed.recovery.install(&SimInstall::new(cloud_machine(machine)))?;
    Ok(())
}

async fn carries_on(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let notes = ScriptNotes::new()?;
    testbed.protect_all(&["db", "cache", "web"]).await?;
    let first = PlanGroup { after: vec![notes.script("after")], ..group(&["db", "cache"]) };
    testbed.create_plan(&[first, group(&["web"])]).await?;
    occupy(testbed, "db")?;
    let before = testbed.core.items().await?;
    let job = testbed.core.failover_plan(&failover_plan_request(OUT)).await?;
    let view = testbed.ended(&job).await?;
    let ended = [("db", PlanState::Failed), ("cache", PlanState::Done), ("web", PlanState::Done)];
    let continued = view.state == JobState::PartiallySucceeded && member_states(&view) == ended;
    rules.check(FO_15, continued, format!("{:?}: {:?}", view.state, member_states(&view)));
    let named: Vec<_> = notes.read()?.into_iter().flat_map(|one| one.machines.into_keys()).collect();
    rules.check(FO_15, named == [item_of("cache")], format!("the script's context names {named:?}"));
    let attempts_before = attempts(testbed, &job).await?;
    testbed.recovery.delete_machine(&cloud_machine("db")).await?;
    testbed.core.retry_job(&job).await?;
    let view = testbed.completed(&job).await?;
    for item in &before {
        testbed.check_recovery(item, &PointChoice::Latest).await?;
    }
    // A core that saw beforehand that the machine would fail had no job for it.
    let of_db = if attempts_before.iter().any(|(item, _)| *item == item_of("db")) { 2 } else { 1 };
    let expected = [("cache", 1), ("db", of_db), ("web", 1)].map(|(name, attempt)| (item_of(name), attempt));
    let attempts = attempts(testbed, &job).await?;
    let only = attempts == expected && view.attempt == 2 && notes.read()?.len() == 1;
    let found =
        format!("the attempts of the machines' jobs: {attempts_before:?}, after the retry {attempts:?}");
    rules.check(JO_03, only, found);
    testbed.advance(BOOT).await;
    for machine in ["db", "cache", "web"] {
        let boots = testbed.recovery.boots(&cloud_machine(machine)).len();
        let writes = testbed.recovered(machine)?.writes;
        rules.check(JO_03, boots == 1, format!("{machine} was started {boots} times, with {writes} writes"));
    }
    Ok(())
}

/// The items of the jobs of a plan's machines, each with the job's attempt, by item.
async fn attempts(testbed: &Testbed, plan: &JobId) -> Result<Vec<(ItemId, u32)>, EarlyEnd> {
    let below = testbed.child_jobs(plan).await?.into_iter();
    let mut all: Vec<_> = below
        .filter_map(|job| match job.subject {
            JobSubject::Item(item) => Some((item, job.attempt)),
            JobSubject::Plan(_) => None,
        })
        .collect();
    all.sort();
    Ok(all)
}

async fn stops(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let notes = ScriptNotes::new()?;
    testbed.protect_all(&["db", "cache", "web"]).await?;
    let gate = shell("gate", r#"test -e "$0""#, &notes.path("gate"));
    let first = PlanGroup { after: vec![notes.script("after")], ..group(&["db", "cache"]) };
    testbed.create_plan(&[first, PlanGroup { before: vec![gate], ..group(&["web"]) }]).await?;
    testbed.primary.inject(&SimFault::ShutdownRefused("db".into()));
    let job = testbed.core.failover_plan(&planned_failover_plan_request(OUT)).await?;
    let view = testbed.ended(&job).await?;
    let ended = [("db", PlanState::Failed), ("cache", PlanState::Done), ("web", PlanState::Waiting)];
    let stopped = view.state == JobState::Failed && member_states(&view) == ended && notes.read()?.is_empty();
    rules.check(PL_07, stopped, format!("{:?}: {:?}", view.state, member_states(&view)));
    check_that(
        rules,
        PF_04,
        stopped,
        "a machine that did not shut down was not failed over, and none after it",
    );
    testbed.world.heal();
    testbed.core.retry_job(&job).await?;
    let view = testbed.ended(&job).await?;
    // This time a script fails.
    let code = view.error.as_ref().map(|error| error.code);
    let halted = view.state == JobState::Failed && code == Some(ErrorCode::ScriptFailed);
    rules.check(PL_07, halted, format!("{:?}: {code:?}, {:?}", view.state, member_states(&view)));
    notes.make_file("gate")?;
    testbed.core.retry_job(&job).await?;
    let view = testbed.completed(&job).await?;
    let all =
        member_states(&view).iter().all(|(_, state)| *state == PlanState::Done) && notes.read()?.len() == 1;
    rules.check(
        JO_03,
        all,
        format!("{:?}; the first script ran {} times", member_states(&view), notes.read()?.len()),
    );
    Ok(())
}

/// Makes a plan in which only one machine can take part: another one has no recovery point yet, and
/// a third one has a name that no target can have, unless the core refuses such a name. Returns the
/// job that makes the first point.
async fn only_web_takes_part(testbed: &Testbed) -> Result<JobId, EarlyEnd> {
    let web = testbed.protect("web").await?;
    let illegal = TargetSettings::new("db_dr", enable_request("db").target.memory);
    let has_name = protect_under_illegal_name(testbed, "db", &illegal).await?.is_none()
        || testbed.opened().update_target(&item_of("db"), &illegal).await.is_ok();
    testbed.wait_for_points(&item_of("db"), 2).await?;
    testbed.wait_for_points(&web, 2).await?;
    testbed.install(&SimInstall::new("late")).await?;
    testbed.primary.set_link(Link { latency: INTERVAL, ..Link::default() });
    let enabled = testbed.core.enable_protection(&enable_request("late")).await?;
    let unfit: &[&str] = if has_name { &["late", "db"] } else { &["late"] };
    testbed.create_plan(&[group(unfit), group(&["web"])]).await?;
    Ok(enabled)
}

/// Lets the last machine get its first point.
async fn all_have_points(testbed: &Testbed, enabled: &JobId) -> Result<(), EarlyEnd> {
    testbed.primary.set_link(Link::default());
    testbed.completed(enabled).await?;
    Ok(())
}

async fn tested_without(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let enabled = only_web_takes_part(testbed).await?;
    let what = "a test failover of a plan with machines that cannot take part";
    let accepted = testbed.core.test_failover_plan(&test_failover_plan_request()).await;
    let job = testbed.ended(&succeeds(rules, (TF_05, what), accepted)?).await?;
    rules.check(TF_05, web_took_part(&job), format!("{:?}: {:?}", job.state, member_states(&job)));
    let machines = testbed.recovery.machines().await?.len();
    rules.check(TF_05, machines == 1, format!("{machines} test machines are there"));
    all_have_points(testbed, &enabled).await?;
    testbed.completed(testbed.core.clean_up_test_failover(&item_of("web")).await).await?;
    Ok(())
}

async fn failed_over_without(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let enabled = only_web_takes_part(testbed).await?;
    let what = "an unplanned failover of a plan with machines that cannot take part";
    let accepted = testbed.core.failover_plan(&failover_plan_request(OUT)).await;
    let job = testbed.ended(&succeeds(rules, (FO_15, what), accepted)?).await?;
    rules.check(FO_15, web_took_part(&job), format!("{:?}: {:?}", job.state, member_states(&job)));
    let writes = testbed.recovered("web")?.writes;
    rules.check(FO_15, writes > 0, format!("the machine that takes part is recovered with {writes} writes"));
    all_have_points(testbed, &enabled).await
}

/// Whether a plan's job says that this machine was done and that others were not.
fn web_took_part(job: &JobView) -> bool {
    let states = member_states(job);
    let done: Vec<_> = states.iter().filter(|(_, state)| *state == PlanState::Done).collect();
    job.state == JobState::PartiallySucceeded && done == [&("web", PlanState::Done)]
}

async fn warns(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let machines = ["db", "web"];
    testbed.protect_all(&machines).await?;
    testbed.create_plan(&[group(&["db"]), group(&["web"])]).await?;
    testbed.primary.inject(&SimFault::ShutdownRefused("db".into()));
    let request = PlanFailoverRequest { shut_down_source: true, ..failover_plan_request(OUT) };
    let job = testbed.fail_over_plan(&request, &machines).await?;
    let warned: Vec<_> = testbed.child_jobs(&job.id).await?.iter().map(|job| job.state).collect();
    let found = format!("{:?}; its machines' jobs: {warned:?}", job.state);
    rules.check(FO_07, job.state == JobState::CompletedWithWarning, found);
    Ok(())
}
