//! What a replication policy promises, on the way out and on the way back.

use contract::{Consistency, Direction, ErrorCode, Health, Millis, PointChoice, Policy};
use simulator::{SimFault, SimInstall};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::rules::profile::Profile;
use crate::sim::check::Check;
use crate::sim::said;
use crate::sim::testbed::{HOUR, INTERVAL, POLICY, Setup, Testbed, quiet};

const MINUTE: u64 = 60_000;

pub(crate) const CHECKS: &[Check] = &[
    Check {
        name: "a policy makes its failback policy, which is fixed and read-only",
        rules: &[PO_01, PO_02, PO_03, PO_04],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(pair(lab, rules)),
    },
    Check {
        name: "on the way back the failback policy is in force",
        rules: &[PO_04, RE_27, RP_17],
        setup: || Setup::vmware().under(|p| Policy { interval: Millis(5 * MINUTE), most_points: None, ..p }),
        body: |lab, rules| Box::pin(way_back(lab, rules)),
    },
    Check {
        name: "health tells data that is too old, a dead link, and applications that do not rest",
        rules: &[MO_01],
        setup: || {
            let (threshold, rest) = (Millis(90_000), Some(Millis(4 * MINUTE)));
            Setup::vmware().under(|p| Policy { rpo_threshold: threshold, app_consistent_every: rest, ..p })
        },
        body: |lab, rules| Box::pin(health(lab, rules)),
    },
];

async fn pair(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    lab.core.create_policy(&POLICY.into(), &lab.policy).await.map_err(said)?;
    let all = lab.core.policies().await.map_err(said)?;
    let back = all.iter().find(|view| view.direction == Direction::RecoveryToPrimary);
    let back = back.ok_or("there is no failback policy")?.clone();
    rules.check(PO_01, all.len() == 2, format!("{} policies after one was made", all.len()));
    let servers = &back.configuration_servers;
    let own = servers.contains(&("primary".into(), "configuration-server".into()));
    rules.check(PO_02, own, format!("nobody associated it, and it leads back to {servers:?}"));
    let Policy { rpo_threshold, retention, app_consistent_every, .. } = back.policy;
    let facts = Profile::active();
    let fixed = rpo_threshold == Millis(facts.failback_rpo_threshold_minutes() * MINUTE)
        && retention == Millis(facts.failback_retention_hours() * HOUR.0)
        && app_consistent_every == Some(Millis(facts.failback_app_consistent_minutes() * MINUTE));
    rules.check(PO_04, fixed, format!("{rpo_threshold}, {retention}, {app_consistent_every:?}"));
    let changed = Policy { rpo_threshold: Millis(1), ..back.policy };
    let refused = lab.core.update_policy(&back.id, &changed).await.err().map(|error| error.code);
    let same = lab.core.policies().await.map_err(said)? == all;
    rules.check(PO_03, refused == Some(ErrorCode::ReadOnly) && same, format!("a change of it: {refused:?}"));
    // Its other half can be changed in the very same way.
    let changed = Policy { rpo_threshold: Millis(1), ..lab.policy };
    lab.core.update_policy(&POLICY.into(), &changed).await.map_err(said)?;
    Ok(())
}

async fn way_back(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = lab.protect_as(quiet("web"), None).await?;
    lab.points(&item, 2).await?;
    lab.fail_over(&item, PointChoice::Latest).await?;
    lab.commit_and_reprotect(&item).await?;
    lab.live(Millis(30 * HOUR.0)).await;
    let view = lab.item(&item).await?;
    let chosen = view.policy.direction == Direction::RecoveryToPrimary;
    rules.check(RE_27, chosen, format!("{} is in force, though nobody named it", view.policy.id));
    let now = lab.world.clock().now();
    let aged = |point: &contract::RecoveryPoint| now.since(point.time);
    rules.check(PO_04, view.points.iter().all(|p| aged(p) <= Policy::DAY), "no point is older than a day");
    let at_rest: Vec<_> = view.points.iter().filter(|p| p.consistency == Consistency::App).collect();
    let hourly =
        at_rest.windows(2).all(|two| (HOUR.0..=3 * HOUR.0).contains(&two[1].time.since(two[0].time).0));
    let found = format!("{} application-consistent points in a day", at_rest.len());
    rules.check(PO_04, hourly && at_rest.len() >= 20, found);
    lab.completed(
        lab.core
            .failover(&crate::sim::testbed::request(&item, Direction::RecoveryToPrimary, PointChoice::Latest))
            .await,
    )
    .await?;
    let view = lab.item(&item).await?;
    let chosen = view.failed_over_to;
    rules.check(RP_17, chosen.is_some(), "latest, on the way back, was taken with the machine down");
    Ok(())
}

async fn health(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    lab.primary.inject(&SimFault::QuiesceRefused("web".into()));
    let item = lab.protect_as(SimInstall::new("web"), None).await?;
    let view = lab.points(&item, 4).await?;
    let found = format!("applications that do not rest: {:?}, {}", view.health, view.trouble);
    rules.check(MO_01, view.health == Health::Warning && view.points.len() >= 4, found);
    lab.primary.heal();
    lab.live(Millis(6 * INTERVAL.0)).await;
    let view = lab.item(&item).await?;
    rules.check(
        MO_01,
        view.health == Health::Healthy,
        format!("healed: {:?}, {}", view.health, view.trouble),
    );
    lab.primary.inject(&SimFault::LinkCut);
    lab.live(Millis(3 * INTERVAL.0)).await;
    let view = lab.item(&item).await?;
    rules.check(MO_01, view.health == Health::Critical, format!("link cut: {:?}", view.health));
    lab.primary.heal();
    lab.live(Millis(10 * INTERVAL.0)).await;
    let view = lab.item(&item).await?;
    rules.check(
        MO_01,
        view.health == Health::Healthy,
        format!("healed: {:?}, {}", view.health, view.trouble),
    );
    // A policy whose alarm comes before the next transfer does.
    let changed = Policy { rpo_threshold: Millis(20_000), app_consistent_every: None, ..lab.policy };
    lab.core.update_policy(&POLICY.into(), &changed).await.map_err(said)?;
    let newest = lab.item(&item).await?.points.last().ok_or("there is no point")?.time;
    let age = lab.world.clock().now().since(newest).0;
    lab.live(Millis(50_000_u64.saturating_sub(age))).await;
    let view = lab.item(&item).await?;
    let found = format!("data older than the threshold: {:?}, {}", view.health, view.trouble);
    rules.check(MO_01, view.health == Health::Warning, found);
    Ok(())
}
