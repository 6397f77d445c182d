//! Jobs: listed, tried again, stopped, and refused what does not suit them (JO).

use contract::{
    Direction, ErrorCode, ItemId, JobAction, JobFilter, JobId, JobKind, JobState, JobSubject, PointChoice,
};
use simulator::{Call, Link};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::Check;
use crate::sim::said;
use crate::sim::testbed::{INTERVAL, Setup, Testbed, request, test_failover_request};

pub(crate) const CHECKS: &[Check] = &[
    Check {
        name: "a failover that failed is tried again under the same name, until something else has come between",
        rules: &[JO_03],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(tried_again(lab, rules)),
    },
    Check {
        name: "jobs are listed by what they are about, test failovers among them",
        rules: &[JO_01, MO_04, MO_06],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(listed(lab, rules)),
    },
    Check {
        name: "while a job holds a machine, nothing else begins with it, and the job can be followed",
        rules: &[FO_14, LC_02],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(held(lab, rules)),
    },
];

fn out(item: &ItemId) -> contract::FailoverRequest {
    request(item, Direction::PrimaryToRecovery, PointChoice::Latest)
}

async fn failed(lab: &Testbed, item: &ItemId) -> Result<JobId, String> {
    Testbed::fail_next(&lab.recovery, Call::CreateMachine);
    let view = lab.ended(lab.core.failover(&out(item)).await).await?;
    match view.state {
        JobState::Failed => Ok(view.id),
        state => Err(format!("a failover without a target machine ended {state:?}")),
    }
}

async fn tried_again(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = lab.protect("web").await?;
    lab.points(&item, 2).await?;
    let first = failed(lab, &item).await?;
    let actions = lab.core.job(&first).await.map_err(said)?.actions;
    rules.check(JO_03, actions.contains(&JobAction::Retry), format!("it offers {actions:?}"));
    let second = failed(lab, &item).await?;
    let asked = (JO_03, "a retry of what another job has come after");
    lab.forbids(rules, asked, &[ErrorCode::MovedOn], lab.core.retry_job(&first)).await?;
    let count = lab.core.jobs(&JobFilter::default()).await.map_err(said)?.len();
    lab.core.retry_job(&second).await.map_err(said)?;
    let view = lab.completed(Ok(second.clone())).await?;
    let same = lab.core.jobs(&JobFilter::default()).await.map_err(said)?.len() == count;
    let cured = view.attempt == 2 && view.error.is_none() && same;
    rules.check(JO_03, cured, format!("attempt {}, {:?}", view.attempt, view.error));
    let asked = (JO_03, "a retry of what went well");
    lab.forbids(rules, asked, &[ErrorCode::NotAllowedInState], lab.core.retry_job(&second)).await?;
    rules.check(JO_03, lab.recovered("web")?.0 > 0, "and the machine is there");
    Ok(())
}

async fn listed(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let [web, db] = [lab.protect("web").await?, lab.protect("db").await?];
    lab.points(&db, 2).await?;
    lab.completed(lab.core.test_failover(&test_failover_request(&web, PointChoice::LatestProcessed)).await)
        .await?;
    lab.completed(lab.core.clean_up_test_failover(&web).await).await?;
    let broken = failed(lab, &db).await?;
    lab.fail_over(&web, PointChoice::LatestProcessed).await?;
    lab.commit(&web).await?;
    let kinds = async |filter: JobFilter| -> Result<Vec<JobKind>, String> {
        Ok(lab.core.jobs(&filter).await.map_err(said)?.into_iter().map(|job| job.kind).collect())
    };
    use JobKind::{Commit, EnableProtection, TestFailover, TestFailoverCleanup, UnplannedFailover};
    let of = |item: &ItemId| JobFilter { item: Some(item.clone()), ..JobFilter::default() };
    let found = kinds(of(&web)).await?;
    let right = found == [EnableProtection, TestFailover, TestFailoverCleanup, UnplannedFailover, Commit];
    rules.check(JO_01, right, format!("of one machine: {found:?}"));
    rules.check(MO_04, found.contains(&TestFailover), "test failovers are among them");
    let test_failovers = kinds(JobFilter { kind: Some(TestFailover), ..JobFilter::default() }).await?;
    rules.check(MO_04, test_failovers == [TestFailover], format!("test failovers alone: {test_failovers:?}"));
    let failures = JobFilter { state: Some(JobState::Failed), ..of(&db) };
    let failures = lab.core.jobs(&failures).await.map_err(said)?;
    let one = failures.len() == 1 && failures[0].id == broken && failures[0].error.is_some();
    rules.check(JO_01, one, format!("of the other, what failed: {} jobs", failures.len()));
    let told = failures.iter().all(|job| job.subject == JobSubject::Item(db.clone()));
    rules.check(JO_01, told, "each says what it is about");

    let view = lab.item(&db).await?;
    let points = lab.points(&db, 3).await?.points;
    let shown = view.primary == ("primary".into(), "db".into()) && !points.is_empty();
    rules.check(MO_06, shown, format!("{:?}, {:?}, {} points", view.primary, view.health, points.len()));
    Ok(())
}

async fn held(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = lab.protect("web").await?;
    lab.points(&item, 3).await?;
    lab.quiet().await?;
    lab.primary.set_link(Link { latency: INTERVAL, ..Link::default() });
    let wanted = contract::FailoverRequest { shut_down_source: true, ..out(&item) };
    let job = lab.core.failover(&wanted).await.map_err(said)?;
    lab.live(contract::Millis(5_000)).await;
    let view = lab.core.job(&job).await.map_err(said)?;
    let moving = view.state == JobState::InProgress && !view.steps.is_empty();
    let found = format!("{:?}, {} steps in its midst", view.state, view.steps.len());
    rules.check(FO_14, moving, found);
    let holder = lab.item(&item).await?;
    let shown = holder.job.as_ref() == Some(&job) && holder.allowed.is_empty();
    rules.check(FO_14, shown, format!("the machine is held by {:?}", holder.job));
    let busy = [ErrorCode::Busy];
    let asked = "a second failover beside the first";
    lab.forbids(rules, (LC_02, asked), &busy, lab.core.failover(&wanted)).await?;
    let test = test_failover_request(&item, PointChoice::LatestProcessed);
    lab.forbids(rules, (LC_02, "a test failover beside a failover"), &busy, lab.core.test_failover(&test))
        .await?;
    lab.forbids(rules, (LC_02, "a commit beside a failover"), &busy, lab.core.commit(&item)).await?;
    let end = lab.core.disable_protection(&item);
    lab.forbids(rules, (LC_02, "the end of protection beside a failover"), &busy, end).await?;
    lab.primary.set_link(Link::default());
    let done = lab.completed(Ok(job)).await?;
    rules.check(FO_14, done.revision > view.revision, "its revision counts up");
    Ok(())
}
