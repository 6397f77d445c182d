//! What a replication policy promises, out of the primary site and back (PO, MO-01).

use std::collections::BTreeSet;

use contract::{
    Consistency, Direction, ErrorCode, FailoverRequest, Health, Millis, PointChoice, Policy, PolicyId,
    PolicyView,
};
use simulator::testbed::{BACK, BOOT, HOUR, INTERVAL, POLICY, low_write_machine};
use simulator::{SimFault, SimInstall};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::rules::profile::Profile;
use crate::sim::check::{Check, check, check_that, missing};
use crate::sim::disks::check_returned;
use crate::sim::early_end::EarlyEnd;
use crate::sim::testbed::{Setup, Testbed};

const MINUTE: u64 = 60_000;
/// How often health is looked at while it has to change.
const LOOK_EVERY: Millis = Millis(10_000);

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "creating a policy creates its failback policy, which is fixed and read-only",
        &[PO_01, PO_02, PO_03, PO_04],
        Setup::vmware,
        failback_policy
    ),
    check!(
        "a failback policy knows a configuration server that came after it, once a machine is protected",
        &[PO_02],
        Setup::vmware,
        late_server
    ),
    check!(
        "replication back to the site follows the failback policy",
        &[PO_04, RE_27, RP_17],
        || Setup::vmware().with_policy(|p| Policy { interval: Millis(5 * MINUTE), most_points: None, ..p }),
        back_to_site
    ),
    check!("a policy is deleted only once no item uses it", &[FX_49], Setup::vmware, deletion),
    check!(
        "health shows data that is too old, a cut link, and applications that cannot be quiesced",
        &[MO_01],
        || {
            let rpo_threshold = Millis(90_000);
            let app_consistent_every = Some(Millis(4 * MINUTE));
            Setup::vmware().with_policy(|p| Policy { rpo_threshold, app_consistent_every, ..p })
        },
        health
    ),
];

async fn failback_policy(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    // A core may have policies of its own.
    let before = policy_ids(testbed).await?;
    testbed.core.create_policy(&POLICY.into(), &testbed.policy).await?;
    let all = policies(testbed).await?;
    let created: Vec<_> = all.iter().filter(|view| !before.contains(&view.id)).collect();
    let named: Vec<_> =
        created.iter().map(|view| (&view.id, view.direction, view.counterpart.as_ref())).collect();
    let (out, back) = (PolicyId::from(POLICY), PolicyId(format!("{POLICY}-failback")));
    let pair = [
        (&out, Direction::PrimaryToRecovery, Some(&back)),
        (&back, Direction::RecoveryToPrimary, Some(&out)),
    ];
    let found = format!("the creation of {out} adds these policies, with their counterparts: {named:?}");
    rules.check(PO_01, named == pair, found);
    let back = created.into_iter().find(|view| view.id == back);
    let back = back.ok_or_else(|| missing("the failback policy"))?.clone();
    let servers = &back.configuration_servers;
    let own = servers.contains(&("primary".into(), "configuration-server".into()));
    rules.check(
        PO_02,
        own,
        format!("without any association by the user, its configuration servers are {servers:?}"),
    );
    let Policy { rpo_threshold, retention, app_consistent_every, .. } = back.policy;
    let facts = Profile::active();
    let fixed = rpo_threshold == Millis(facts.failback_rpo_threshold_minutes() * MINUTE)
        && retention == Millis(facts.failback_retention_hours() * HOUR.0)
        && app_consistent_every == Some(Millis(facts.failback_app_consistent_minutes() * MINUTE));
    rules.check(PO_04, fixed, format!("{rpo_threshold}, {retention}, {app_consistent_every:?}"));
    let changed = Policy { rpo_threshold: Millis(1), ..back.policy };
    let refused = testbed.core.update_policy(&back.id, &changed).await.err().map(|error| error.code);
    let same = policies(testbed).await? == all;
    rules.check(
        PO_03,
        refused == Some(ErrorCode::ReadOnly) && same,
        format!("a change of the failback policy: {refused:?}"),
    );
    // The request that must be accepted: the same change of the policy that it belongs to.
    let changed = Policy { rpo_threshold: Millis(1), ..testbed.policy };
    testbed.core.update_policy(&POLICY.into(), &changed).await?;
    Ok(())
}

/// The policy is made while the site has no configuration server.
async fn late_server(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let server = testbed.primary.components().remove("configuration-server");
    testbed.make_policy().await?;
    testbed.primary.components().add(server);
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 1).await?;
    let back = failback_policy_of(testbed, &POLICY.into()).await?;
    let servers = back.map(|back| back.configuration_servers).unwrap_or_default();
    let own = servers.contains(&("primary".into(), "configuration-server".into()));
    rules.check(PO_02, own, format!("once a machine of the site is protected: {servers:?}"));
    Ok(())
}

async fn back_to_site(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&low_write_machine("web")).await?;
    testbed.wait_for_points(&item, 2).await?;
    testbed.fail_over(&item, PointChoice::Latest).await?;
    testbed.commit_and_reprotect(&item).await?;
    testbed.advance(Millis(30 * HOUR.0)).await;
    let view = testbed.item(&item).await?;
    let chosen = view.policy.direction == Direction::RecoveryToPrimary;
    rules.check(RE_27, chosen, format!("{} is in force without being named", view.policy.id));
    let now = testbed.world.clock().now();
    let age = |point: &contract::RecoveryPoint| now.since(point.time);
    check_that(
        rules,
        PO_04,
        view.points.iter().all(|p| age(p) <= Policy::DAY),
        "no point is older than a day",
    );
    let app_consistent: Vec<_> = view.points.iter().filter(|p| p.consistency == Consistency::App).collect();
    // A core may take them more often.
    let hourly = app_consistent.windows(2).all(|two| two[1].time.since(two[0].time).0 <= 3 * HOUR.0);
    let found = format!("{} application-consistent points in a day", app_consistent.len());
    rules.check(PO_04, hourly && app_consistent.len() >= 20, found);
    testbed.completed(testbed.core.failover(&FailoverRequest::unplanned(&item, BACK)).await).await?;
    let view = testbed.item(&item).await?;
    // A core may have merged the points away.
    let chosen = view.points.iter().find(|point| Some(&point.id) == view.failed_over_to.as_ref());
    let kind = chosen.map(|point| point.consistency);
    let right = view.failed_over_to.is_some() && kind != Some(Consistency::App);
    rules.check(RP_17, right, format!("the failback stands on {:?}: {kind:?}", view.failed_over_to));
    // An application-consistent point would be older than the shutdown of the cloud machine.
    testbed.advance(BOOT).await;
    check_returned(rules, RP_17, testbed, ("web", &testbed.primary))?;
    Ok(())
}

/// RamenDR/ramen#953: machines could not be failed over any more whose policy had been deleted.
async fn deletion(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 2).await?;
    let before = policy_ids(testbed).await?;
    let back = failback_policy_of(testbed, &POLICY.into()).await?.map(|view| view.id);
    let answer = testbed.core.delete_policy(&POLICY.into()).await.map_err(|error| error.code);
    if answer == Err(ErrorCode::NotSupported) {
        return Err(EarlyEnd::unsupported(FX_49, "deletion of policies"));
    }
    let kept = policy_ids(testbed).await? == before;
    let found = format!("the deletion of a policy in use: {answer:?}; the policies are the same: {kept}");
    rules.check(FX_49, answer.is_err() && kept, found);
    testbed.wait_for_points(&item, 5).await?;
    testbed.completed(testbed.core.disable_protection(&item).await).await?;
    let answer = testbed.core.delete_policy(&POLICY.into()).await.map_err(|error| error.code);
    let left = policy_ids(testbed).await?;
    let found = format!("the deletion of a policy that no item uses: {answer:?}; policies left: {left:?}");
    // A core may have policies of its own, which it keeps.
    let gone = !left.contains(&POLICY.into()) && back.is_none_or(|back| !left.contains(&back));
    rules.check(FX_49, answer.is_ok() && gone, found);
    Ok(())
}

/// The policy for the way back under which the items of a policy fail back. A core may have others,
/// which it made by itself.
pub(super) async fn failback_policy_of(
    testbed: &Testbed,
    policy: &PolicyId,
) -> Result<Option<PolicyView>, EarlyEnd> {
    let mut all = testbed.core.policies().await?.into_iter();
    Ok(all.find(|view| {
        view.direction == Direction::RecoveryToPrimary && view.counterpart.as_ref() == Some(policy)
    }))
}

/// All policies by name, because a core lists them in any order.
async fn policies(testbed: &Testbed) -> Result<Vec<PolicyView>, EarlyEnd> {
    let mut all = testbed.core.policies().await?;
    all.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(all)
}

async fn policy_ids(testbed: &Testbed) -> Result<BTreeSet<PolicyId>, EarlyEnd> {
    Ok(testbed.core.policies().await?.into_iter().map(|view| view.id).collect())
}

async fn health(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    testbed.primary.inject(&SimFault::QuiesceRefused("web".into()));
    let item = testbed.protect_machine(&SimInstall::new("web")).await?;
    testbed.wait_for_points(&item, 4).await?;
    // The first application-consistent point is due by now.
    testbed.advance(Millis(4 * MINUTE)).await;
    let view = testbed.item(&item).await?;
    let found = format!("applications that cannot be quiesced: {:?}, {}", view.health, view.trouble);
    rules.check(MO_01, view.health == Health::Warning && view.points.len() >= 4, found);
    testbed.primary.heal();
    testbed.advance(Millis(6 * INTERVAL.0)).await;
    let view = testbed.item(&item).await?;
    rules.check(
        MO_01,
        view.health == Health::Healthy,
        format!("after the fault: {:?}, {}", view.health, view.trouble),
    );
    testbed.primary.inject(&SimFault::LinkCut);
    let mut shown = Vec::new();
    for _ in 0..3 * INTERVAL.0 / LOOK_EVERY.0 {
        testbed.advance(LOOK_EVERY).await;
        shown.push(testbed.item(&item).await?.health);
    }
    // A core may warn before it calls the health critical.
    let is_critical = shown.last() == Some(&Health::Critical);
    shown.dedup();
    rules.check(MO_01, is_critical, format!("a cut link: {shown:?}"));
    testbed.primary.heal();
    testbed.advance(Millis(10 * INTERVAL.0)).await;
    let view = testbed.item(&item).await?;
    rules.check(
        MO_01,
        view.health == Health::Healthy,
        format!("after the fault: {:?}, {}", view.health, view.trouble),
    );
    // With this threshold the data is too old before the next transfer is due.
    let changed = Policy { rpo_threshold: Millis(20_000), app_consistent_every: None, ..testbed.policy };
    testbed.core.update_policy(&POLICY.into(), &changed).await?;
    // A core may transfer more often than the policy asks for, so the age of the data decides.
    let mut view = testbed.item(&item).await?;
    for _ in 0..60 {
        let newest = view.points.last().ok_or_else(|| missing("a point"))?.time;
        if testbed.world.clock().now().since(newest) > Millis(25_000) {
            break;
        }
        testbed.advance(Millis(1_000)).await;
        view = testbed.item(&item).await?;
    }
    let found = format!("data older than the threshold: {:?}, {}", view.health, view.trouble);
    rules.check(MO_01, view.health == Health::Warning, found);
    Ok(())
}
