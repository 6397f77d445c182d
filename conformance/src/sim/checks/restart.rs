//! A core that is closed and opened again on its state directory knows what it knew, and goes on
//! (EX-C1).

use contract::{
    Direction, ItemId, ItemView, JobId, JobState, JobView, Millis, Phase, PlanId, PointChoice, Policy,
    PolicyId, PolicyView, RecoveryPlan, RecoveryPoint, Side,
};
use simulator::testbed::{
    BACK, INTERVAL, POLICY, TestbedError, enable_request, failover_to, failover_with_shutdown, group,
};
use simulator::{Link, SimInstall};

use crate::rules::RuleLog;
use crate::rules::ids::EX_C1;
use crate::sim::check::{Check, against, check, missing, succeeds};
use crate::sim::disks::check_returned;
use crate::sim::early_end::EarlyEnd;
use crate::sim::testbed::{Opener, Setup, Testbed};

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "opened again, a core shows a machine with its points and its job, and replicates on",
        &[EX_C1],
        Setup::vmware,
        reopening protected
    ),
    check!(
        "opened again between failover and commit, a core commits; opened again after that, it has committed",
        &[EX_C1],
        Setup::vmware,
        reopening failed_over
    ),
    check!(
        "opened again, a core changes the point of a failover, and on the way back replicates and fails back",
        &[EX_C1],
        Setup::vmware,
        reopening way_back
    ),
    check!(
        "opened again, a core has its policies and recovery plans, and a plan that it knew fails over",
        &[EX_C1],
        Setup::vmware,
        reopening policies_and_plans
    ),
    check!(
        "opened again, a core does not know a machine whose protection has ended, which can be protected again",
        &[EX_C1],
        Setup::vmware,
        reopening protection_ended
    ),
    check!(
        "opened again, a core ends a failover that was at work",
        &[EX_C1],
        Setup::vmware,
        reopening job_at_work
    ),
];

/// How many intervals a core may take until it has made a point after it was opened.
const INTERVALS: u32 = 10;

/// What must succeed with a core that was opened again.
fn goes_on<T>(rules: &mut RuleLog, what: &str, done: Result<T, impl Into<EarlyEnd>>) -> Result<T, EarlyEnd> {
    match done.map_err(Into::into) {
        Err(end) if end.asserted => Err(against(rules, EX_C1, end)),
        done => succeeds(rules, (EX_C1, what), done),
    }
}

/// Closes the core and opens it again.
async fn reopen(testbed: &mut Testbed, rules: &mut RuleLog, opener: &Opener<'_>) -> Result<(), EarlyEnd> {
    match opener.reopen(testbed).await {
        // Also an error of its store: the core itself wrote what is in it.
        Err(TestbedError::Core(error)) if opener.missing.get().is_none() => {
            let found = format!("the core cannot be closed and opened again: {error}");
            Err(EarlyEnd::core(EX_C1, found))
        }
        reopened => goes_on(rules, "to close the core and open it again", reopened),
    }
}

/// What must be the same of an item after the core was opened again.
#[derive(Debug, PartialEq)]
struct Lasting {
    item: ItemView,
    points: Vec<RecoveryPoint>,
}

impl Lasting {
    /// Without what may change at any time.
    fn of(view: ItemView) -> Self {
        let points = view.points.iter().filter(|point| point.processed).cloned().collect();
        let item = ItemView {
            health: contract::Health::Healthy,
            trouble: String::new(),
            points: Vec::new(),
            resynchronisations: Vec::new(),
            issues: Vec::new(),
            allowed: Vec::new(),
            job: None,
            policy: PolicyView { configuration_servers: Vec::new(), ..view.policy },
            ..view
        };
        Self { item, points }
    }

    /// What is not as it was, if anything. Points may have been added.
    fn lost(&self, now: &Self) -> Option<String> {
        let gone = self.points.iter().filter(|point| !now.points.contains(point)).count();
        if gone > 0 {
            return Some(format!("{gone} of {} points are gone or altered", self.points.len()));
        }
        let (was, is) = (&self.item, &now.item);
        (was != is).then(|| format!("the item was {was:?} and is {is:?}"))
    }
}

/// Opens the core again and records whether it shows an item as before.
async fn shows_item(
    testbed: &mut Testbed,
    rules: &mut RuleLog,
    opener: &Opener<'_>,
    item: &ItemId,
) -> Result<(), EarlyEnd> {
    let before = Lasting::of(testbed.item(item).await?);
    reopen(testbed, rules, opener).await?;
    let now = goes_on(rules, "to show a machine that was protected", testbed.item(item).await)?;
    let lost = before.lost(&Lasting::of(now));
    let found = lost.clone().unwrap_or_else(|| format!("{item} is shown as before"));
    rules.check(EX_C1, lost.is_none(), found);
    Ok(())
}

/// Records whether a core makes a point of a moment after it was opened.
async fn replicates(testbed: &Testbed, rules: &mut RuleLog, item: &ItemId) -> Result<(), EarlyEnd> {
    let opened = testbed.world.clock().now();
    for _ in 0..INTERVALS {
        testbed.advance(INTERVAL).await;
        let points = testbed.item(item).await?.points;
        if points.iter().any(|point| point.processed && point.time > opened) {
            rules.check(EX_C1, true, format!("{item} has a point of a moment after the core was opened"));
            return Ok(());
        }
    }
    let found =
        format!("{item} has no point of a moment after the core was opened, {INTERVALS} intervals later");
    rules.check(EX_C1, false, found);
    Err(missing(format!("a point of {item} of a moment after the core was opened")))
}

/// What must be the same of a job that has ended.
fn ended(view: JobView) -> JobView {
    JobView { revision: 0, actions: Vec::new(), steps: Vec::new(), plan: None, ..view }
}

async fn protected(testbed: &mut Testbed, rules: &mut RuleLog, opener: &Opener<'_>) -> Result<(), EarlyEnd> {
    testbed.install(&SimInstall::new("web")).await?;
    let request = enable_request("web");
    let item = request.item.clone();
    let job = testbed.completed(testbed.core.enable_protection(&request).await).await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.wait_until_idle().await?;
    shows_item(testbed, rules, opener, &item).await?;
    let now = goes_on(rules, "to show a job that had ended", testbed.core.job(&job.id).await)?;
    let (was, is) = (ended(job), ended(now));
    rules.check(EX_C1, was == is, format!("the job was {was:?} and is {is:?}"));
    replicates(testbed, rules, &item).await?;
    testbed.primary.lose();
    goes_on(rules, "a failover", testbed.fail_over(&item, PointChoice::Latest).await)?;
    Ok(())
}

async fn failed_over(
    testbed: &mut Testbed,
    rules: &mut RuleLog,
    opener: &Opener<'_>,
) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.primary.lose();
    testbed.fail_over(&item, PointChoice::Latest).await?;
    shows_item(testbed, rules, opener, &item).await?;
    target_runs(testbed, rules)?;
    goes_on(rules, "a commit", testbed.commit(&item).await)?;
    shows_item(testbed, rules, opener, &item).await?;
    target_runs(testbed, rules)?;
    let at = testbed.item(&item).await?.protection;
    let found = format!("after the commit the machine is shown as {at:?}");
    rules.check(EX_C1, at.phase == Phase::Committed && at.active == Side::Recovery, found);
    Ok(())
}

/// Records whether the machine that a failover started still runs, which no core has to touch when
/// it is closed or opened.
fn target_runs(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let ended = testbed.boots("web")?.target.ended();
    rules.check(EX_C1, ended.is_none(), format!("the end of the target machine: {ended:?}"));
    Ok(())
}

async fn way_back(testbed: &mut Testbed, rules: &mut RuleLog, opener: &Opener<'_>) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.primary.lose();
    testbed.fail_over(&item, PointChoice::Latest).await?;
    reopen(testbed, rules, opener).await?;
    let oldest = testbed.oldest_point(&item).await?.id;
    let change = testbed.core.change_point(&item, &PointChoice::Custom(oldest.clone())).await;
    goes_on(rules, "a change of point", testbed.completed(change).await)?;
    let chosen = testbed.item(&item).await?.failed_over_to;
    rules.check(EX_C1, chosen.as_ref() == Some(&oldest), format!("chosen {oldest}, taken {chosen:?}"));
    testbed.commit(&item).await?;
    testbed.primary.restore();
    testbed.advance(INTERVAL).await;
    let back = testbed.reprotection(&item, BACK);
    goes_on(rules, "a reprotection", testbed.reprotect(&back).await)?;
    testbed.wait_for_points(&item, 2).await?;
    testbed.wait_until_idle().await?;
    shows_item(testbed, rules, opener, &item).await?;
    replicates(testbed, rules, &item).await?;
    goes_on(rules, "a failback", testbed.fail_back(&item).await)?;
    check_returned(rules, EX_C1, testbed, ("web", &testbed.primary))?;
    Ok(())
}

async fn policies_and_plans(
    testbed: &mut Testbed,
    rules: &mut RuleLog,
    opener: &Opener<'_>,
) -> Result<(), EarlyEnd> {
    testbed.protect_all(&["db", "web"]).await?;
    let second = PolicyId::from("second");
    testbed.core.create_policy(&second, &testbed.policy).await?;
    let changed = Policy { rpo_threshold: Millis(7 * INTERVAL.0), ..testbed.policy };
    testbed.core.update_policy(&POLICY.into(), &changed).await?;
    testbed.create_plan(&[group(&["db"]), group(&["web"])]).await?;
    let before = (policies(testbed).await?, plans(testbed).await?);
    reopen(testbed, rules, opener).await?;
    let now = goes_on(rules, "to list policies", policies(testbed).await)?;
    let as_changed = now.iter().any(|(id, policy, _)| id.0 == POLICY && *policy == changed);
    let found = format!("policies: {:?}, then {now:?}; the change is shown: {as_changed}", before.0);
    rules.check(EX_C1, before.0 == now && as_changed, found);
    let now = goes_on(rules, "to list plans", plans(testbed).await)?;
    let found = format!("plans: {:?}, then {now:?}; one was made", before.1);
    rules.check(EX_C1, before.1 == now && now.len() == 1, found);
    let request = simulator::testbed::failover_plan_request(Direction::PrimaryToRecovery);
    goes_on(rules, "a plan's failover", testbed.fail_over_plan(&request, &["db", "web"]).await)?;
    Ok(())
}

async fn protection_ended(
    testbed: &mut Testbed,
    rules: &mut RuleLog,
    opener: &Opener<'_>,
) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 1).await?;
    testbed.completed(testbed.core.disable_protection(&item).await).await?;
    reopen(testbed, rules, opener).await?;
    let shown = goes_on(rules, "to list the machines that are protected", testbed.core.items().await)?;
    let found = format!("of one machine, whose protection had ended, {} are shown", shown.len());
    rules.check(EX_C1, shown.is_empty(), found);
    let again = testbed.completed(testbed.core.enable_protection(&enable_request("web")).await).await;
    goes_on(rules, "to protect the machine again", again)?;
    replicates(testbed, rules, &item).await
}

/// What must be the same of the policies: name, values and counterpart. They may be listed in any
/// order.
async fn policies(testbed: &Testbed) -> Result<Vec<(PolicyId, Policy, Option<PolicyId>)>, EarlyEnd> {
    let views = testbed.core.policies().await?.into_iter();
    let mut all: Vec<_> = views.map(|view| (view.id, view.policy, view.counterpart)).collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(all)
}

/// The plans, by name.
async fn plans(testbed: &Testbed) -> Result<Vec<(PlanId, RecoveryPlan)>, EarlyEnd> {
    let mut all: Vec<_> =
        testbed.core.plans().await?.into_iter().map(|plan| (plan.id.clone(), plan)).collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(all)
}

/// Closes the core while a failover waits for the source's last changes.
async fn job_at_work(
    testbed: &mut Testbed,
    rules: &mut RuleLog,
    opener: &Opener<'_>,
) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.wait_until_idle().await?;
    testbed.primary.set_link(Link { latency: INTERVAL, ..Link::default() });
    let before = testbed.item(&item).await?;
    let request = failover_with_shutdown(&item);
    let job: JobId = testbed.core.failover(&request).await?;
    testbed.advance(Millis(INTERVAL.0 / 2)).await;
    let state = testbed.core.job(&job).await?.state;
    if state.ended() {
        return Err(EarlyEnd::inconclusive("the failover had ended before the core was closed"));
    }
    reopen(testbed, rules, opener).await?;
    testbed.primary.set_link(Link::default());
    let view = goes_on(rules, "to end a failover that was at work", testbed.ended(&job).await)?;
    let found = format!("the failover was {state:?} and ended {:?}: {:?}", view.state, view.error);
    rules.check(EX_C1, view.id == job && view.state.ended(), found);
    match view.state {
        JobState::Completed | JobState::CompletedWithWarning => {
            let recovered = testbed.check_recovery(&before, &request.point).await;
            goes_on(rules, "the machine that it started", recovered)
        }
        // A core may give up what it was at; then the machine can be failed over again.
        _ => {
            let again = testbed.fail_over_as(&failover_to(&item, PointChoice::Latest)).await;
            goes_on(rules, "a failover after the one that was interrupted", again).map(drop)
        }
    }
}
