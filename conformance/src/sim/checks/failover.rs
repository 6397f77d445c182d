//! Unplanned failover out of the primary site: a source that may be gone, a choice of points until
//! commit, and nothing that begins by itself (FO).

use contract::{
    FailoverRequest, ItemId, JobFilter, JobKind, JobState, JobSubject, Millis, Operation, Phase, Platform,
    PointChoice, Side, Step, StepState,
};
use simulator::testbed::{BOOT, Boots, HOUR, INTERVAL, OUT, failover_to, failover_with_shutdown};
use simulator::{End, SimFault, SimProfile};

use crate::refusal::NOT_HERE_OR_NO_POINT;
use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::{Check, against, check, check_that, missing, step, succeeds};
use crate::sim::disks::{booted_from, check_freshness, strays};
use crate::sim::early_end::EarlyEnd;
use crate::sim::side_effects::forbids;
use crate::sim::testbed::{Setup, Testbed};

const TWO_PHASES: &[RuleId] = &[FO_01, FO_02, FO_03, FO_04, FO_05, FO_10, FO_14, LC_04, LC_05, LC_07, LC_08];

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "a failover starts the chosen point, the point can be changed, and commit makes it final: VMware",
        TWO_PHASES,
        Setup::vmware,
        two_phases
    ),
    check!(
        "a failover starts the chosen point, the point can be changed, and commit makes it final: physical",
        TWO_PHASES,
        || Setup::of(SimProfile::PHYSICAL),
        two_phases
    ),
    check!(
        "a failover starts the chosen point, the point can be changed, and commit makes it final: Hyper-V",
        TWO_PHASES,
        || Setup::of(SimProfile::HYPERV),
        two_phases
    ),
    check!(
        "an unplanned failover shuts its source down if asked to, and continues if that fails",
        &[FO_06, FO_07, FO_09, FO_11, LC_10],
        Setup::vmware,
        shutdown_is_an_option
    ),
    check!(
        "without its source a Hyper-V machine fails over to the newest point that was received",
        &[FO_08, FO_09, FO_10],
        || Setup::of(SimProfile::HYPERV),
        newest_received
    ),
    check!("no failover begins by itself", &[LC_11], Setup::vmware, on_demand),
];

async fn two_phases(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 5).await?;
    testbed.wait_until_idle().await?;
    let before = testbed.item(&item).await?;
    let older = testbed.processed_points(&item).await?.get(1).cloned();
    let older = older.ok_or_else(|| missing("a second point to choose from"))?;
    let newest = testbed.newest_point(&item).await?;
    let older_content = testbed.point_content(&testbed.recovery, &older)?;
    let newest_content = testbed.point_content(&testbed.recovery, &newest)?;

    let request = failover_to(&item, PointChoice::Custom(older.id.clone()));
    let job = testbed.completed(testbed.core.failover(&request).await).await?;
    let right = job.kind == JobKind::UnplannedFailover && job.subject == JobSubject::Item(item.clone());
    let timed = !job.steps.is_empty() && job.steps.iter().all(|step| step.took.is_some());
    let found = format!("{:?} with {} steps, all with times: {timed}", job.kind, job.steps.len());
    rules.check(FO_14, right && timed && job.ended.is_some(), found);
    rules.check(LC_08, job.direction == OUT, format!("{:?}", job.direction));
    let view = testbed.item(&item).await?;
    let open = view.protection.phase == Phase::CommitPending && view.allowed.contains(&Operation::Commit);
    rules.check(LC_07, open, format!("{:?}, {:?}", view.protection, view.allowed));
    let offered = view.allowed.contains(&Operation::ChangePoint);
    rules.check(FO_02, offered, format!("before commit a change of the point is offered: {offered}"));
    rules.check(LC_04, view.protection.active == Side::Recovery, format!("{:?}", view.protection));
    let kept = before.points.iter().all(|old| view.points.iter().any(|point| point.id == old.id));
    rules.check(FO_05, kept, format!("{} points before, {} after", before.points.len(), view.points.len()));
    let boot = testbed.boots("web")?.target;
    let right = booted_from(&boot, &older_content) && boot.number == 1;
    rules.check(FO_01, right, format!("the machine was started from {}: {right}", older.id));
    testbed.advance(BOOT).await;
    rules.check(
        FO_01,
        boot.up.is_ok() && boot.ended().is_none(),
        format!("the machine is up: {:?}", boot.up),
    );
    check_freshness(rules, &testbed.boots("web")?, &older)?;
    let older_writes = testbed.recovered("web")?.writes;
    let found = format!("its disks contain exactly the first {older_writes} writes");
    rules.check(FO_10, older_writes > 0, found);

    let change = PointChoice::Custom(newest.id.clone());
    testbed.completed(testbed.core.change_point(&item, &change).await).await?;
    testbed.advance(BOOT).await;
    let chosen = testbed.item(&item).await?.failed_over_to;
    let boots = testbed.boots("web")?;
    let writes = boots.contained()?.writes;
    let changed = booted_from(&boots.target, &newest_content)
        && writes > older_writes
        && chosen.as_ref() == Some(&newest.id);
    let found = format!("after the change its disks contain {writes} writes, before it {older_writes}");
    rules.check(FO_02, changed, found);
    check_freshness(rules, &boots, &newest)?;
    final_with_commit(testbed, rules, &item).await
}

async fn final_with_commit(testbed: &Testbed, rules: &mut RuleLog, item: &ItemId) -> Result<(), EarlyEnd> {
    let points = testbed.item(item).await?.points;
    let old = points.first().ok_or_else(|| missing("a point before commit"))?.id.clone();
    testbed.commit(item).await?;
    let points = testbed.item(item).await?.points.len();
    rules.check(FO_04, points == 0, format!("{points} points after commit"));
    let strays = strays(&testbed.recovery).await?;
    rules.check(FO_04, strays.is_empty(), format!("volumes that no machine uses: {strays:?}"));
    let records = testbed.boots("web")?.target.acks().len();
    let snapshots = testbed.snapshots_taken("web");
    testbed.advance(Millis(3 * INTERVAL.0)).await;
    let Boots { target: boot, .. } = testbed.boots("web")?;
    let serves = boot.ended().is_none() && boot.acks().len() > records;
    rules.check(FO_04, serves, format!("the target goes on serving: {serves}"));
    rules.check(LC_04, serves, format!("the target serves: {serves}"));
    let what = (FO_03, "a change of the point after commit");
    let change = PointChoice::Custom(old);
    forbids(testbed, rules, what, NOT_HERE_OR_NO_POINT, testbed.core.change_point(item, &change)).await?;
    let view = testbed.item(item).await?;
    let idle = view.points.is_empty() && view.protection.phase == Phase::Committed;
    let snapshots = testbed.snapshots_taken("web") - snapshots;
    let found = format!("{:?}, {snapshots} snapshots in three intervals", view.protection);
    rules.check(LC_05, idle && snapshots == 0, found);
    Ok(())
}

/// Fails four machines of a site over: one shuts down when asked, one does not, one is not asked,
/// and one is on a site that was lost.
async fn shutdown_is_an_option(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let obeys = testbed.protect("obeys").await?;
    let refuses = testbed.protect("refuses").await?;
    let not_asked = testbed.protect("not-asked").await?;
    let lost = testbed.protect("lost").await?;
    testbed.wait_for_points(&lost, 3).await?;
    testbed.primary.inject(&SimFault::ShutdownRefused("refuses".into()));

    let job = testbed.fail_over_as(&failover_with_shutdown(&obeys)).await?;
    let warned = step(&job, Step::SHUT_DOWN_SOURCE).is_some_and(|step| step.state == StepState::Warning);
    let found = format!("the source shut down: {:?}, a warning of that: {warned}", job.state);
    rules.check(FO_07, !warned, found);
    let boots = testbed.boots("obeys")?;
    let ended = boots.source.ended();
    let in_order = matches!(ended, Some((_, End::ShutDown))) && boots.never_overlap();
    rules.check(FO_06, in_order, format!("a source that was asked to shut down ended {ended:?}"));
    check_that(rules, FO_06, boots.is_complete(), "with a shutdown nothing is lost");

    let job = testbed.fail_over_as(&failover_with_shutdown(&refuses)).await?;
    let warned = step(&job, Step::SHUT_DOWN_SOURCE).is_some_and(|step| step.state == StepState::Warning);
    rules.check(FO_07, warned, format!("the source did not shut down: {:?}, a warning: {warned}", job.state));
    let visible = warned && job.state == JobState::CompletedWithWarning;
    let runs = testbed.boots("refuses")?.source.ended().is_none();
    rules.check(LC_10, visible && runs, format!("both machines run: {runs}; the job says so: {visible}"));

    testbed.fail_over_as(&FailoverRequest::unplanned(&not_asked, OUT)).await?;
    let ended = testbed.boots("not-asked")?.source.ended();
    rules.check(FO_06, ended.is_none(), format!("a source that was not asked to shut down ended {ended:?}"));

    let snapshots = || ["obeys", "refuses", "not-asked"].map(|name| testbed.snapshots_taken(name));
    let before = snapshots();
    testbed.advance(Millis(3 * INTERVAL.0)).await;
    let after = snapshots();
    rules.check(FO_11, before == after, format!("snapshots: {before:?}, three intervals later {after:?}"));

    testbed.primary.lose();
    let failed_over = testbed.fail_over_as(&failover_with_shutdown(&lost)).await;
    let job = succeeds(rules, (FO_09, "a failover while the primary site is unreachable"), failed_over)?;
    let boots = testbed.boots("lost")?;
    let writes = boots.contained()?.writes;
    let found = format!("the site was lost: {:?}, with the first {writes} writes", job.state);
    rules.check(FO_07, job.state == JobState::CompletedWithWarning, found.clone());
    rules.check(FO_09, writes > 0 && boots.target.up.is_ok(), found);
    Ok(())
}

async fn newest_received(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    for (name, lost) in [("refuses", false), ("lost", true)] {
        let item = testbed.protect(name).await?;
        testbed.wait_for_points(&item, 4).await?;
        let taken = testbed.snapshot_times(&testbed.primary, &name.into());
        let newest = *taken.last().ok_or_else(|| missing(format!("a snapshot of {name}")))?;
        if lost {
            testbed.primary.lose();
        } else {
            testbed.primary.inject(&SimFault::ShutdownRefused(name.into()));
        }
        let request = FailoverRequest { shut_down_source: !lost, ..FailoverRequest::unplanned(&item, OUT) };
        testbed.fail_over_as(&request).await.map_err(|end| against(rules, FO_08, end))?;
        let boots = testbed.boots(name)?;
        let writes = boots.contained()?.writes;
        let log = boots.source.log();
        let replicated = log.iter().take_while(|write| write.at < newest).count();
        let found = format!("{name}: {writes} writes, {replicated} were replicated before the failover");
        rules.check(FO_08, writes >= replicated && replicated > 0, found.clone());
        rules.check(FO_10, writes <= log.len(), found.clone());
        if lost {
            rules.check(FO_09, boots.target.up.is_ok(), found);
        }
    }
    Ok(())
}

async fn on_demand(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let web = testbed.protect("web").await?;
    let db = testbed.protect("db").await?;
    testbed.wait_for_points(&db, 3).await?;
    testbed.primary.power_off(&"web".into()).await?;
    testbed.advance(HOUR).await;
    testbed.primary.lose();
    testbed.advance(Millis(3 * HOUR.0)).await;
    let jobs = testbed.core.jobs(&JobFilter::default()).await?;
    let begun = jobs.iter().filter(|job| job.kind != JobKind::EnableProtection).count();
    let unchanged = begun == 0 && testbed.item(&web).await?.protection.phase == Phase::Protected;
    rules.check(
        LC_11,
        unchanged,
        format!("{begun} jobs began while the machine and then the site were down"),
    );
    for item in [web, db] {
        let failed_over = testbed.fail_over(&item, PointChoice::LatestProcessed).await;
        succeeds(rules, (LC_11, &format!("a failover of {item} on request")), failed_over)?;
    }
    Ok(())
}
