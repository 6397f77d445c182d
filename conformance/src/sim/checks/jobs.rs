//! Jobs: listed, retried, followed while they run, and refused what their state does not allow
//! (JO).

use contract::{
    ErrorCode, FailoverRequest, ItemId, JobAction, JobFilter, JobKind, JobState, JobSubject, JobView, Millis,
    Operation, PlanFailoverRequest, PlatformErrorKind, PointChoice, StepState, TestFailoverRequest,
};
use simulator::testbed::{
    INTERVAL, OUT, fail_calls, failover_plan_request, failover_with_shutdown, group, patiently,
};
use simulator::{Call, Link, SimFault};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::{Check, check, check_that};
use crate::sim::early_end::EarlyEnd;
use crate::sim::side_effects::forbids;
use crate::sim::testbed::{Setup, Testbed};

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "a failed failover is retried under its id, until another job has worked on the machine",
        &[FO_14, JO_03],
        Setup::vmware,
        retried
    ),
    check!(
        "jobs are listed by machine, kind and state, test failovers among them",
        &[JO_01, MO_04, MO_06],
        Setup::vmware,
        listed
    ),
    check!(
        "while a job holds a machine no other begins, and the job can be followed",
        &[FO_14, LC_02],
        Setup::vmware,
        holds_machine
    ),
    check!(
        "the jobs of a machine and of a plan in which nothing fails end without a warning",
        &[FO_07],
        Setup::vmware,
        without_warning
    ),
];

/// Lets a failover fail because its target machine cannot be created.
async fn failed_failover(testbed: &Testbed, request: &FailoverRequest) -> Result<JobView, EarlyEnd> {
    // A core may repeat a call that failed, so it fails until the job has ended.
    fail_calls(&testbed.recovery, Call::CreateMachine, PlatformErrorKind::Failed);
    let view = testbed.ended(testbed.core.failover(request).await).await?;
    testbed.recovery.heal();
    match view.state {
        JobState::Failed => Ok(view),
        state => Err(EarlyEnd::core(JO_01, format!("a failover without a target machine ended {state:?}"))),
    }
}

async fn retried(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 2).await?;
    // Each attempt waits a minute for a source that does not shut down.
    testbed.primary.inject(&SimFault::ShutdownRefused("web".into()));
    let request = failover_with_shutdown(&item);
    let first = failed_failover(testbed, &request).await?.id;
    let actions = testbed.core.job(&first).await?.actions;
    let failed = failed_failover(testbed, &request).await?;
    let second = failed.id.clone();
    let what = (JO_03, "a retry of a job after which another has worked on the machine");
    forbids(testbed, rules, what, &[ErrorCode::MovedOn], testbed.core.retry_job(&first)).await?;
    rules.check(JO_03, actions.contains(&JobAction::Retry), format!("the failed job offers {actions:?}"));
    let jobs = testbed.core.jobs(&JobFilter::default()).await?.len();
    testbed.core.retry_job(&second).await?;
    retry_can_be_followed(testbed, rules, &failed).await?;
    let view = testbed.completed(&second).await?;
    let same_job = testbed.core.jobs(&JobFilter::default()).await?.len() == jobs;
    let found = format!("attempt {}, {:?}; no further job: {same_job}", view.attempt, view.error);
    rules.check(JO_03, view.attempt == 2 && view.error.is_none() && same_job, found);
    let what = (JO_03, "a retry of a job that succeeded");
    forbids(testbed, rules, what, &[ErrorCode::NotAllowedInState], testbed.core.retry_job(&second)).await?;
    check_that(
        rules,
        JO_03,
        testbed.recovered("web")?.writes > 0,
        "after the retry the machine is recovered",
    );
    Ok(())
}

/// FO-14: whoever knows the last revision of a failed job learns of its retry.
async fn retry_can_be_followed(
    testbed: &Testbed,
    rules: &mut RuleLog,
    failed: &JobView,
) -> Result<(), EarlyEnd> {
    testbed.advance(Millis(5_000)).await;
    let now = testbed.core.job(&failed.id).await?;
    let unchanged = JobView { revision: failed.revision, ..now.clone() } == *failed;
    let found = format!(
        "the job failed with revision {}; its attempt {} is {:?} with revision {}",
        failed.revision, now.attempt, now.state, now.revision
    );
    rules.check(FO_14, unchanged || now.revision > failed.revision, found);
    Ok(())
}

async fn listed(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let web = testbed.protect("web").await?;
    let db = testbed.protect("db").await?;
    testbed.wait_for_points(&db, 2).await?;
    let request = TestFailoverRequest::isolated(&web, PointChoice::LatestProcessed);
    testbed.completed(testbed.core.test_failover(&request).await).await?;
    testbed.completed(testbed.core.clean_up_test_failover(&web).await).await?;
    let failed = failed_failover(testbed, &FailoverRequest::unplanned(&db, OUT)).await?.id;
    testbed.fail_over(&web, PointChoice::LatestProcessed).await?;
    testbed.commit(&web).await?;
    let kinds = async |filter: JobFilter| -> Result<Vec<JobKind>, EarlyEnd> {
        Ok(testbed.core.jobs(&filter).await?.into_iter().map(|job| job.kind).collect())
    };
    use JobKind::{Commit, EnableProtection, TestFailover, TestFailoverCleanup, UnplannedFailover};
    let of = |item: &ItemId| JobFilter { item: Some(item.clone()), ..JobFilter::default() };
    let found = kinds(of(&web)).await?;
    let all = found == [EnableProtection, TestFailover, TestFailoverCleanup, UnplannedFailover, Commit];
    rules.check(JO_01, all, format!("jobs of one machine: {found:?}"));
    check_that(rules, MO_04, found.contains(&TestFailover), "the machine's test failover is among its jobs");
    let found = kinds(JobFilter { kind: Some(TestFailover), ..JobFilter::default() }).await?;
    rules.check(MO_04, found == [TestFailover], format!("jobs listed as test failovers: {found:?}"));
    let failures = JobFilter { state: Some(JobState::Failed), ..of(&db) };
    let failures = testbed.core.jobs(&failures).await?;
    let one = failures.len() == 1 && failures[0].id == failed && failures[0].error.is_some();
    rules.check(JO_01, one, format!("{} failed jobs of the other machine", failures.len()));
    let named = failures.iter().all(|job| job.subject == JobSubject::Item(db.clone()));
    rules.check(JO_01, named, format!("each job names its item: {named}"));

    let view = testbed.item(&db).await?;
    let points = testbed.wait_for_points(&db, 3).await?.points;
    let shown = view.primary == ("primary".into(), "db".into()) && !points.is_empty();
    rules.check(MO_06, shown, format!("{:?}, {:?}, {} points", view.primary, view.health, points.len()));
    Ok(())
}

async fn holds_machine(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.wait_until_idle().await?;
    testbed.primary.set_link(Link { latency: INTERVAL, ..Link::default() });
    let request = failover_with_shutdown(&item);
    let core = &testbed.core;
    let job = core.failover(&request).await?;
    testbed.advance(Millis(5_000)).await;
    let view = core.job(&job).await?;
    let runs = view.state == JobState::InProgress && !view.steps.is_empty();
    rules.check(FO_14, runs, format!("after five seconds: {:?}, {} steps", view.state, view.steps.len()));
    let view_of_item = testbed.item(&item).await?;
    // What can be asked of the job itself may be offered.
    let of_the_job = [Operation::CancelFailover, Operation::CompleteFailover];
    let others = view_of_item.allowed.iter().any(|operation| !of_the_job.contains(operation));
    let shown = view_of_item.job.as_ref() == Some(&job) && !others;
    rules.check(
        FO_14,
        shown,
        format!("the machine's job is {:?}, allowed: {:?}", view_of_item.job, view_of_item.allowed),
    );
    let busy = [ErrorCode::Busy];
    let what = (LC_02, "a second failover during a failover");
    forbids(testbed, rules, what, &busy, core.failover(&request)).await?;
    let test = TestFailoverRequest::isolated(&item, PointChoice::LatestProcessed);
    let what = (LC_02, "a test failover during a failover");
    forbids(testbed, rules, what, &busy, core.test_failover(&test)).await?;
    // Until the failover has ended, the item's state allows no commit either.
    let codes = [ErrorCode::Busy, ErrorCode::NotAllowedInState];
    forbids(testbed, rules, (LC_02, "a commit during a failover"), &codes, core.commit(&item)).await?;
    let what = (LC_02, "the end of protection during a failover");
    forbids(testbed, rules, what, &busy, core.disable_protection(&item)).await?;
    testbed.primary.set_link(Link::default());
    let mut revisions = vec![view.revision];
    let mut unnoticed = 0;
    let mut last = view;
    while !last.state.ended() {
        let known = last.revision;
        let before = (last.state, last.steps.len());
        last = patiently("a change of the job", core.watch_job(&job, known)).await?;
        if last.revision == known {
            unnoticed += usize::from((last.state, last.steps.len()) != before);
            testbed.advance(Millis(1_000)).await;
        }
        revisions.push(last.revision);
    }
    // A wait may end with an unchanged view.
    let rising = revisions.windows(2).all(|two| two[0] <= two[1]) && revisions.first() < revisions.last();
    let found = format!("the job's revisions: {revisions:?}; {unnoticed} changes have the revision before");
    rules.check(FO_14, rising && unnoticed == 0, found);
    testbed.completed(&job).await?;
    Ok(())
}

async fn without_warning(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let alone = testbed.protect("alone").await?;
    let machines = ["db", "web"];
    testbed.protect_all(&machines).await?;
    testbed.create_plan(&[group(&["db"]), group(&["web"])]).await?;
    testbed.wait_for_points(&alone, 2).await?;
    let job = testbed.fail_over_as(&failover_with_shutdown(&alone)).await?;
    check_not_warned(rules, "the failover of a machine", &job);
    let request = PlanFailoverRequest { shut_down_source: true, ..failover_plan_request(OUT) };
    let job = testbed.fail_over_plan(&request, &machines).await?;
    check_not_warned(rules, "the failover of a plan", &job);
    Ok(())
}

/// Records whether a job in which nothing failed says nothing else.
fn check_not_warned(rules: &mut RuleLog, what: &str, job: &JobView) {
    let warned: Vec<_> = job.steps.iter().filter(|step| step.state == StepState::Warning).collect();
    let right = job.state == JobState::Completed && warned.is_empty();
    rules.check(FO_07, right, format!("{what} in which nothing failed is {:?}; {warned:?}", job.state));
}
