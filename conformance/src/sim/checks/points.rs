//! Which points can be chosen, and what each choice means.

use contract::{Consistency, Direction, ErrorCode, Millis, PointChoice, Policy};
use simulator::SimProfile;

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::rules::profile::Profile;
use crate::sim::check::Check;
use crate::sim::side_effects::{at_least, rested};
use crate::sim::testbed::{HOUR, INTERVAL, POLICY, Setup, Testbed, quiet};

pub(crate) const CHECKS: &[Check] = &[
    Check {
        name: "latest processes what was received, latest processed does not",
        rules: &[RP_02, RP_03, RP_04, RP_05, RP_15],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(latest_and_latest_processed(lab, rules)),
    },
    Check {
        name: "an application-consistent point shows applications at rest and is not the newest",
        rules: &[RP_06, RP_18, RP_19],
        setup: || Setup::vmware().under(|policy| Policy { app_consistent_every: Some(every(5)), ..policy }),
        body: |lab, rules| Box::pin(at_rest(lab, rules)),
    },
    Check {
        name: "choices that a single machine does not have are refused, and are there once they are enabled",
        rules: &[RP_01, RP_06, RP_07, RP_10],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(choices(lab, rules)),
    },
    Check {
        name: "points of Hyper-V machines can be chosen for as long as they are kept at most",
        rules: &[RP_12, RP_14],
        setup: || hourly(SimProfile::HYPERV),
        body: |lab, rules| {
            Box::pin(window(lab, rules, RP_12, Profile::active().hyperv_retention_max_hours()))
        },
    },
    Check {
        name: "points of VMware machines can be chosen for as long as they are kept at most",
        rules: &[RP_13, RP_14, PO_06],
        setup: || hourly(SimProfile::VMWARE),
        body: |lab, rules| {
            Box::pin(window(lab, rules, RP_13, Profile::active().vmware_retention_max_hours()))
        },
    },
    Check {
        name: "a point stays what it was while others are merged away",
        rules: &[RP_20],
        setup: || Setup::vmware().under(|p| Policy { interval: Millis(HOUR.0 / 4), most_points: None, ..p }),
        body: |lab, rules| Box::pin(immutable(lab, rules)),
    },
];

fn every(intervals: u64) -> Millis {
    Millis(intervals * INTERVAL.0)
}

fn hourly(profile: SimProfile) -> Setup {
    Setup::of(profile).under(|policy| Policy {
        interval: HOUR,
        most_points: None,
        rpo_threshold: every(120),
        ..policy
    })
}

async fn latest_and_latest_processed(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let items = [("a", PointChoice::LatestProcessed), ("b", PointChoice::Latest)];
    for (machine, _) in &items {
        let item = lab.protect(machine).await?;
        lab.points(&item, 3).await?;
    }
    lab.stall();
    lab.live(every(3)).await;
    lab.primary.lose();
    let mut lost = Vec::new();
    for (machine, choice) in items {
        let item = format!("item-{machine}").as_str().into();
        let view = lab.item(&item).await?;
        let (waiting, newest): (Vec<_>, Vec<_>) = view.points.into_iter().partition(|point| !point.processed);
        let newest = newest.last().ok_or("there is no processed point")?.clone();
        rules.check(RP_15, waiting.len() >= 2, format!("{} points wait, and are shown", waiting.len()));
        // The processor is held up by the means by which a target is built.
        lab.recovery.heal();
        let job = lab.fail_over(&item, choice.clone()).await?;
        let chosen = lab.item(&item).await?.failed_over_to;
        let same = chosen.as_ref() == Some(&newest.id);
        let (writes, record) = lab.recovered(machine)?;
        let (source, target) = lab.boots(machine)?;
        let least = at_least(&source, &target)?;
        let log = source.log();
        let last = waiting.last().map_or(newest.time, |point| point.time);
        let received = log.iter().take_while(|write| write.at <= last).count();
        let processes = job.steps.iter().any(|step| step.name == "process received data");
        match choice {
            PointChoice::Latest => {
                let all = !same && writes >= received;
                rules.check(
                    RP_02,
                    all && processes,
                    format!("{writes} of {received} received writes are there"),
                );
                let within = log.iter().take(least).all(|write| write.at <= last);
                rules.check(RP_03, within, "nothing that was not received is there");
            }
            _ => {
                let none = same && !processes && log.iter().take(least).all(|write| write.at <= newest.time);
                rules.check(
                    RP_04,
                    none,
                    format!("{writes} writes, {received} were received; processed: {processes}"),
                );
            }
        }
        lost.push(source.acks().iter().filter(|ack| ack.number > record).count());
    }
    rules.check(RP_05, lost[1] < lost[0], format!("latest processed loses {}, latest {}", lost[0], lost[1]));
    Ok(())
}

async fn at_rest(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = lab.protect("web").await?;
    lab.points(&item, 14).await?;
    let points = lab.processed(&item).await?;
    let at_rest: Vec<_> = points.iter().filter(|point| point.consistency == Consistency::App).collect();
    let newest = at_rest.last().ok_or("no application-consistent point was taken")?;
    let older = points.last().is_some_and(|point| point.id != newest.id);
    let job = lab.fail_over(&item, PointChoice::LatestAppConsistent).await?;
    let chosen = lab.item(&item).await?.failed_over_to;
    let right = older && chosen.as_ref() == Some(&newest.id);
    rules.check(RP_06, right, format!("{} of {} points, chosen {chosen:?}", at_rest.len(), points.len()));
    let (source, target) = lab.boots("web")?;
    let marked = rested(&source, &target)?;
    let found = target.found.as_ref().is_some_and(|found| found.ends_quiesced);
    rules.check(RP_19, marked && found, format!("the last write is a quiesce mark: {marked}"));
    let age = job.started.since(newest.time);
    rules.check(RP_18, age >= INTERVAL, format!("the point was {age} old, and the rest is an exact prefix"));
    Ok(())
}

async fn choices(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = lab.protect("web").await?;
    lab.points(&item, 3).await?;
    let disabled = lab.refusal(&item, PointChoice::LatestAppConsistent).await?;
    rules.check(
        RP_06,
        disabled == Some(ErrorCode::AppConsistencyDisabled),
        format!("disabled: {disabled:?}"),
    );
    for choice in [PointChoice::LatestMultiVm, PointChoice::LatestMultiVmAppConsistent] {
        let alone = lab.refusal(&item, choice.clone()).await?;
        rules.check(
            RP_07,
            alone == Some(ErrorCode::MultiVmNeedsGroup),
            format!("{choice:?} alone: {alone:?}"),
        );
    }
    let nonsense = lab.refusal(&item, PointChoice::Custom("nonsense".into())).await?;
    rules.check(
        RP_01,
        nonsense == Some(ErrorCode::UnknownId),
        format!("a point that never was: {nonsense:?}"),
    );
    // The positive twin: the same request once points are taken that way.
    let enabled = Policy { app_consistent_every: Some(HOUR), ..lab.policy };
    lab.core.update_policy(&POLICY.into(), &enabled).await.map_err(crate::sim::said)?;
    lab.live(every(2)).await;
    lab.fail_over(&item, PointChoice::LatestAppConsistent).await?;
    rules.check(RP_06, true, "accepted once it is enabled");
    let oldest = lab.processed(&item).await?.first().ok_or("there is no point")?.id.clone();
    lab.completed(lab.core.change_point(&item, &PointChoice::Custom(oldest.clone())).await).await?;
    let chosen = lab.item(&item).await?.failed_over_to;
    rules.check(RP_10, chosen == Some(oldest), "a point of the machine's own can be chosen by name");
    rules.check(RP_01, true, "latest processed, application-consistent and custom are told apart");
    Ok(())
}

/// Asks at both sides of the end of a window, before the failover and between failover and commit.
async fn window(lab: &Testbed, rules: &mut RuleLog, rule: RuleId, hours: u64) -> Result<(), String> {
    let retention = Millis(hours * HOUR.0);
    let item = lab.protect_as(quiet("web"), None).await?;
    lab.live(Millis((hours + 5) * HOUR.0)).await;
    let oldest = lab.processed(&item).await?.first().ok_or("there is no point")?.clone();
    let age = lab.world.clock().now().since(oldest.time);
    let full = age <= retention && age.0 > retention.0 - 3 * HOUR.0;
    rules.check(rule, full, format!("the oldest point that is offered is {age} old"));
    lab.live(Millis((retention.0 - age.0).saturating_sub(60_000))).await;
    lab.fail_over(&item, PointChoice::Custom(oldest.id.clone())).await?;
    rules.check(rule, true, "a minute before its end it can be failed over to");
    let first = lab.recovered("web")?.0;
    lab.completed(lab.core.change_point(&item, &PointChoice::Latest).await).await?;
    let later = lab.recovered("web")?.0 > first;
    lab.live(Millis(120_000)).await;
    let expired =
        lab.core.change_point(&item, &PointChoice::Custom(oldest.id)).await.err().map(|error| error.code);
    let right = expired == Some(ErrorCode::PointExpired);
    rules.check(RP_14, right && later, format!("a minute after its end, before commit: {expired:?}"));
    if rule == RP_13 {
        let back = lab.core.policies().await.map_err(crate::sim::said)?;
        let back = back.iter().find(|view| view.direction == Direction::RecoveryToPrimary);
        let day = back.is_some_and(|view| view.policy.retention == Policy::DAY);
        rules.check(PO_06, full && day, "the window stood although the failback policy keeps a day");
    }
    Ok(())
}

async fn immutable(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = lab.protect_as(quiet("web"), None).await?;
    let mut seen = std::collections::BTreeMap::new();
    let mut kept = 0;
    for _ in 0..48 {
        lab.live(HOUR).await;
        let points = lab.processed(&item).await?;
        kept = points.len();
        for point in points {
            let content = |volume| lab.recovery.snapshot(volume).map(|disk| blake3_of(&disk));
            let now: Vec<_> = point.volumes.iter().map(|(_, volume)| content(volume)).collect();
            let then = seen.entry(point.id.clone()).or_insert_with(|| now.clone());
            rules.check(RP_20, *then == now && !now.contains(&None), format!("{} is what it was", point.id));
        }
    }
    let merged = seen.len() - kept;
    rules.check(RP_20, merged > 100, format!("{kept} points were left of {}", seen.len()));
    Ok(())
}

fn blake3_of(disk: &simulator::Snapshot) -> blake3::Hash {
    blake3::hash(&disk.bytes(0, usize::try_from(disk.size()).unwrap_or_default()))
}
