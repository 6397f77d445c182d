//! Failover out of the primary site: two phases, a source that may be gone, and nothing that begins by itself.

use contract::{
    Direction, ErrorCode, FailoverRequest, ItemId, JobFilter, JobKind, JobState, JobSubject, Millis,
    Operation, Phase, PointChoice, Side, Step, StepState, VolumeView,
};
use simulator::{End, SimFault, SimProfile};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::Check;
use crate::sim::said;
use crate::sim::side_effects::{held, shows, step, whole};
use crate::sim::testbed::{BOOT, HOUR, INTERVAL, Setup, Testbed, broken, request};

const TWO_PHASES: &[RuleId] = &[FO_01, FO_02, FO_03, FO_04, FO_05, FO_10, FO_14, LC_04, LC_05, LC_07, LC_08];

pub(crate) const CHECKS: &[Check] = &[
    Check {
        name: "a failover builds the point's machine, lets the point be changed, and is final with its commit: VMware",
        rules: TWO_PHASES,
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(two_phases(lab, rules)),
    },
    Check {
        name: "a failover builds the point's machine, lets the point be changed, and is final with its commit: physical",
        rules: TWO_PHASES,
        setup: || Setup::of(SimProfile::PHYSICAL),
        body: |lab, rules| Box::pin(two_phases(lab, rules)),
    },
    Check {
        name: "a failover builds the point's machine, lets the point be changed, and is final with its commit: Hyper-V",
        rules: TWO_PHASES,
        setup: || Setup::of(SimProfile::HYPERV),
        body: |lab, rules| Box::pin(two_phases(lab, rules)),
    },
    Check {
        name: "an unplanned failover can shut its source down, and goes on if that fails",
        rules: &[FO_06, FO_07, FO_09, FO_11, LC_10],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(shutdown_is_an_option(lab, rules)),
    },
    Check {
        name: "without its source a Hyper-V machine goes to the newest point there is",
        rules: &[FO_08, FO_09, FO_10],
        setup: || Setup::of(SimProfile::HYPERV),
        body: |lab, rules| Box::pin(newest_there_is(lab, rules)),
    },
    Check {
        name: "no failover begins by itself",
        rules: &[LC_11],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(on_demand(lab, rules)),
    },
];

async fn two_phases(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = lab.protect("web").await?;
    lab.points(&item, 5).await?;
    lab.quiet().await?;
    let before = lab.item(&item).await?;
    let points = lab.processed(&item).await?;
    let older = points.get(1).cloned().ok_or("there are no points to choose from")?;
    let newest = points.last().cloned().ok_or("there are no points to choose from")?;
    let [first, second] = [lab.content(&lab.recovery, &older)?, lab.content(&lab.recovery, &newest)?];

    let job = lab.fail_over(&item, PointChoice::Custom(older.id.clone())).await?;
    let told = job.kind == JobKind::UnplannedFailover && job.subject == JobSubject::Item(item.clone());
    let timed = !job.steps.is_empty() && job.steps.iter().all(|step| step.took.is_some());
    rules.check(
        FO_14,
        told && timed && job.ended.is_some(),
        format!("{:?}, {} steps", job.kind, job.steps.len()),
    );
    rules.check(LC_08, job.direction == Direction::PrimaryToRecovery, format!("{:?}", job.direction));
    let view = lab.item(&item).await?;
    let open = view.protection.phase == Phase::CommitPending && view.allowed.contains(&Operation::Commit);
    rules.check(LC_07, open, format!("{:?}, {:?}", view.protection, view.allowed));
    rules.check(LC_04, view.protection.active == Side::Recovery, format!("{:?}", view.protection));
    let there = |id| view.points.iter().any(|point| point.id == id);
    let kept = before.points.iter().all(|point| there(point.id.clone()));
    rules.check(FO_05, kept, format!("{} points before, {} after", before.points.len(), view.points.len()));
    let (_, boot) = lab.boots("web")?;
    rules.check(FO_01, shows(&boot, &first) && boot.number == 1, format!("started from {}", older.id));
    lab.live(BOOT).await;
    rules.check(FO_01, boot.up.is_ok() && boot.ended().is_none(), format!("it is up: {:?}", boot.up));
    let early = lab.recovered("web")?.0;
    rules.check(FO_10, early > 0, format!("it holds the first {early} writes, and nothing else"));

    lab.completed(lab.core.change_point(&item, &PointChoice::Custom(newest.id.clone())).await).await?;
    lab.live(BOOT).await;
    let chosen = lab.item(&item).await?.failed_over_to;
    let (_, boot) = lab.boots("web")?;
    let later = lab.recovered("web")?.0;
    let changed = shows(&boot, &second) && later > early && chosen.as_ref() == Some(&newest.id);
    rules.check(FO_02, changed, format!("after the change it holds {later} writes, before {early}"));
    final_with_commit(lab, rules, &item).await
}

async fn final_with_commit(lab: &Testbed, rules: &mut RuleLog, item: &ItemId) -> Result<(), String> {
    let old = lab.item(item).await?.points.first().ok_or("no point is there before commit")?.id.clone();
    lab.commit(item).await?;
    let view = lab.item(item).await?;
    rules.check(FO_04, view.points.is_empty(), format!("{} points after commit", view.points.len()));
    let strays = strays(lab).await?;
    rules.check(FO_04, strays.is_empty(), format!("volumes that no machine stands on: {strays:?}"));
    let (_, boot) = lab.boots("web")?;
    let acked = boot.acks().len();
    let views = lab.snapshots_taken("web");
    lab.live(Millis(3 * INTERVAL.0)).await;
    let (_, boot) = lab.boots("web")?;
    let serves = boot.ended().is_none() && boot.acks().len() > acked;
    rules.check(FO_04, serves, "the target goes on serving");
    rules.check(LC_04, serves, "the target is the one that serves");
    let codes = [ErrorCode::NotAllowedInState, ErrorCode::PointExpired, ErrorCode::NoRecoveryPoint];
    let asked = (FO_03, "another point after commit");
    lab.forbids(rules, asked, &codes, lab.core.change_point(item, &PointChoice::Custom(old))).await?;
    let view = lab.item(item).await?;
    let idle = view.points.is_empty() && view.protection.phase == Phase::Committed;
    let views = lab.snapshots_taken("web") - views;
    rules.check(
        LC_05,
        idle && views == 0,
        format!("{:?}, {views} views in three intervals", view.protection),
    );
    Ok(())
}

/// Volumes of the recovery site on which none of its machines' disks stands.
async fn strays(lab: &Testbed) -> Result<Vec<String>, String> {
    use contract::Platform as _;
    let mut used = Vec::new();
    for machine in lab.recovery.machines().await.map_err(broken)? {
        let mut next: Vec<_> = machine.disks.into_iter().map(|disk| disk.volume).collect();
        while let Some(volume) = next.pop() {
            let VolumeView { id, parent, .. } = lab.recovery.volume(&volume).await.map_err(broken)?;
            used.push(id);
            next.extend(parent);
        }
    }
    let all = lab.recovery.volumes().into_iter();
    Ok(all.filter(|volume| !used.contains(volume)).map(|volume| volume.0).collect())
}

/// Four machines of one site: one that shuts down, one that does not, one that is left alone, and one whose site is lost.
async fn shutdown_is_an_option(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let names = ["asked", "deaf", "left", "lost"];
    let mut items = Vec::new();
    for name in names {
        items.push(lab.protect(name).await?);
    }
    lab.points(&items[3], 3).await?;
    lab.primary.inject(&SimFault::ShutdownRefused("deaf".into()));
    let out = |item: &ItemId, asks| FailoverRequest {
        shut_down_source: asks,
        ..request(item, Direction::PrimaryToRecovery, PointChoice::Latest)
    };
    lab.completed(lab.core.failover(&out(&items[0], true)).await).await?;
    let (source, target) = lab.boots("asked")?;
    let in_order = matches!(source.ended(), Some((at, End::ShutDown)) if at <= target.started);
    rules.check(FO_06, in_order, format!("asked for: it ended {:?}", source.ended()));
    rules.check(FO_06, whole(&source, &target)?, "asked for: nothing it wrote is missing");

    let job = lab.completed(lab.core.failover(&out(&items[1], true)).await).await?;
    let warned = step(&job, Step::SHUT_DOWN_SOURCE).is_some_and(|step| step.state == StepState::Warning);
    rules.check(FO_07, warned, format!("it did not shut down: {:?}", job.state));
    let visible = warned && job.state == JobState::CompletedWithWarning;
    let (source, _) = lab.boots("deaf")?;
    rules.check(LC_10, visible && source.ended().is_none(), "both run, and the job says so");

    lab.completed(lab.core.failover(&out(&items[2], false)).await).await?;
    let (source, _) = lab.boots("left")?;
    rules.check(FO_06, source.ended().is_none(), format!("not asked for: it ended {:?}", source.ended()));

    let views: Vec<_> = names[..3].iter().map(|name| lab.snapshots_taken(name)).collect();
    lab.live(Millis(3 * INTERVAL.0)).await;
    let later: Vec<_> = names[..3].iter().map(|name| lab.snapshots_taken(name)).collect();
    rules.check(FO_11, views == later, format!("views before {views:?}, three intervals later {later:?}"));

    lab.primary.lose();
    let job = lab.completed(lab.core.failover(&out(&items[3], true)).await).await?;
    let (source, target) = lab.boots("lost")?;
    let (writes, _) = held(&source, &target)?;
    let found = format!("the site is lost: {:?}, the first {writes} writes", job.state);
    rules.check(FO_07, job.state == JobState::CompletedWithWarning, found.clone());
    rules.check(FO_09, writes > 0 && target.up.is_ok(), found);
    Ok(())
}

async fn newest_there_is(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    for (name, lost) in [("deaf", false), ("lost", true)] {
        let item = lab.protect(name).await?;
        let view = lab.points(&item, 4).await?;
        let newest = view.points.last().ok_or("there is no point")?.time;
        match lost {
            true => drop(lab.primary.lose()),
            false => drop(lab.primary.inject(&SimFault::ShutdownRefused(name.into()))),
        }
        let out = FailoverRequest {
            shut_down_source: !lost,
            ..request(&item, Direction::PrimaryToRecovery, PointChoice::Latest)
        };
        lab.completed(lab.core.failover(&out).await).await?;
        let (source, target) = lab.boots(name)?;
        let (writes, _) = held(&source, &target)?;
        let replicated = source.log().iter().take_while(|write| write.at < newest).count();
        let found = format!("{name}: {writes} writes, {replicated} were replicated before");
        rules.check(FO_08, writes >= replicated && replicated > 0, found.clone());
        rules.check(FO_10, writes <= source.log().len(), found.clone());
        if lost {
            rules.check(FO_09, target.up.is_ok(), found);
        }
    }
    Ok(())
}

async fn on_demand(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    use contract::Platform as _;
    let [web, db] = [lab.protect("web").await?, lab.protect("db").await?];
    lab.points(&db, 3).await?;
    lab.primary.power_off(&"web".into()).await.map_err(broken)?;
    lab.live(HOUR).await;
    lab.primary.lose();
    lab.live(Millis(3 * HOUR.0)).await;
    let jobs = lab.core.jobs(&JobFilter::default()).await.map_err(said)?;
    let begun = jobs.iter().filter(|job| job.kind != JobKind::EnableProtection).count();
    let quiet = begun == 0 && lab.item(&web).await?.protection.phase == Phase::Protected;
    rules.check(LC_11, quiet, format!("{begun} jobs began while machine and site were down"));
    for item in [web, db] {
        lab.fail_over(&item, PointChoice::LatestProcessed).await?;
        rules.check(LC_11, true, "on demand it goes");
    }
    Ok(())
}
