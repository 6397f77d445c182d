//! Recovery points on simulated machines: which there are, which can be chosen, how long, and how consistent.

use std::sync::Arc;

use crate::support::{BACK, INTERVAL, OUT, POLICY, Pair, dr, enable, exact, failover, policy};
use contract::{
    ChangesUnavailable, Consistency, CoreError, EnableProtection, ErrorCode, FailoverRequest, GroupId,
    Health, ItemId, Millis, Platform, PlatformErrorKind as Kind, PlatformKind, PointChoice, PointId, Policy,
    RecoveryPoint, ReplicationCore,
};
use simulator::{
    Call, Cut, FailCall, Load, SimBoot, SimConfig, SimFault, SimInstall, SimProfile, SimSite, SimWorld,
    cut_of, run,
};

const HOUR: Millis = Millis(60 * 60 * 1000);

/// A machine that writes so little that it can live for days.
fn quiet(machine: &str) -> SimInstall {
    let load = Load { record_every: Millis(20 * 60_000), churn_every: Millis(0), churn_bytes: 4096 };
    SimInstall { load, ..SimInstall::new(machine) }
}

/// A core under which machines are protected by `policy`.
async fn under(world: SimWorld, profile: SimProfile, policy: Policy) -> Pair {
    let primary = world.site(SimConfig::new("primary", profile));
    let recovery = world.site(SimConfig::new("recovery", SimProfile::AZURE));
    let pair = Pair::of(world, primary, recovery);
    pair.core.create_policy(&POLICY.into(), &policy).await.unwrap();
    pair
}

async fn protect(pair: &Pair, install: SimInstall, group: Option<&str>) -> ItemId {
    pair.primary.install(&install).unwrap();
    pair.primary.start(&install.machine).await.unwrap();
    pair.live(INTERVAL).await;
    let item = ItemId(format!("item-{}", install.machine));
    let request = EnableProtection { group: group.map(GroupId::from), ..enable(&item, &install.machine.0) };
    let job = pair.core.enable_protection(&request).await.unwrap();
    pair.completed(&job).await;
    item
}

fn to(item: &ItemId, point: PointChoice) -> FailoverRequest {
    FailoverRequest { point, ..failover(item, OUT) }
}

async fn refusal(pair: &Pair, item: &ItemId, point: PointChoice) -> ErrorCode {
    let before = pair.item(item).await;
    let error: CoreError = pair.core.failover(&to(item, point)).await.unwrap_err();
    assert_eq!(pair.item(item).await, before);
    error.code
}

async fn processed(pair: &Pair, item: &ItemId) -> Vec<RecoveryPoint> {
    pair.item(item).await.points.into_iter().filter(|point| point.processed).collect()
}

/// Boots a machine from `choice` and tells how many of its source's writes it holds.
async fn recovered(pair: &Pair, item: &ItemId, machine: &str, choice: PointChoice) -> (Arc<SimBoot>, usize) {
    let job = pair.core.failover(&to(item, choice)).await.unwrap();
    pair.completed(&job).await;
    let source = pair.primary.last_boot(&machine.into()).unwrap();
    let target = pair.recovery.last_boot(&dr(machine)).unwrap();
    let (writes, _) = exact(&source, &target);
    (source, writes)
}

/// Stalls the processor of everything: what is received from now on is not processed.
fn stall(pair: &Pair) {
    let next = pair.recovery.calls(Call::DeriveVolume) + 1;
    pair.recovery.inject(&SimFault::Call(FailCall::at(Call::DeriveVolume, next, Kind::Full).from_then_on()));
}

#[test]
fn latest_processes_what_was_received_and_latest_processed_does_not() {
    let held = |choice: PointChoice| {
        run(5, async |world| {
            let pair = Pair::new(world);
            let item = pair.protect("web").await;
            pair.points(&item, 3).await.unwrap();
            let before = processed(&pair, &item).await;
            stall(&pair);
            pair.live(Millis(3 * INTERVAL.0)).await;
            let waiting = pair.item(&item).await.points.len() - processed(&pair, &item).await.len();
            assert!(waiting >= 2, "{waiting} transfers wait");
            pair.primary.lose();
            pair.recovery.heal();
            let (_, writes) = recovered(&pair, &item, "web", choice.clone()).await;
            let view = pair.item(&item).await;
            let chosen = view.failed_over_to.clone().unwrap();
            (writes, before.iter().any(|point| point.id == chosen))
        })
    };
    let (latest, was_there) = held(PointChoice::Latest);
    let (processed, was_there_too) = held(PointChoice::LatestProcessed);
    assert!(latest > processed);
    assert_eq!((was_there, was_there_too), (false, true));
}

#[test]
fn an_application_consistent_point_shows_applications_at_rest_and_is_not_the_newest() {
    run(6, async |world| {
        let often =
            Policy { app_consistent_every: Some(Millis(5 * INTERVAL.0)), ..policy(PlatformKind::Vmware, 50) };
        let pair = under(world, SimProfile::VMWARE, often).await;
        let item = protect(&pair, SimInstall::new("web"), None).await;
        pair.points(&item, 14).await.unwrap();
        let points = processed(&pair, &item).await;
        let at_rest: Vec<_> = points.iter().filter(|p| p.consistency == Consistency::App).collect();
        assert_eq!(at_rest.len(), 3, "{points:#?}");
        for pair in at_rest.windows(2) {
            assert!(pair[1].time.since(pair[0].time) >= Millis(5 * INTERVAL.0));
        }
        let newest = at_rest.last().unwrap().id.clone();
        assert_ne!(points.last().unwrap().id, newest);
        let (source, writes) = recovered(&pair, &item, "web", PointChoice::LatestAppConsistent).await;
        assert_eq!(pair.item(&item).await.failed_over_to, Some(newest));
        let log = source.log();
        assert!(log[writes - 1].record().is_some_and(|record| record.quiesced));
        let target = pair.recovery.last_boot(&dr("web")).unwrap();
        assert!(target.found.as_ref().unwrap().ends_quiesced);
    });
}

#[test]
fn application_consistent_points_must_be_enabled_and_there() {
    run(7, async |world| {
        let pair = Pair::new(world);
        let item = pair.protect("web").await;
        pair.points(&item, 3).await.unwrap();
        let app = PointChoice::LatestAppConsistent;
        assert_eq!(refusal(&pair, &item, app.clone()).await, ErrorCode::AppConsistencyDisabled);
        for choice in [PointChoice::LatestMultiVm, PointChoice::LatestMultiVmAppConsistent] {
            assert_eq!(refusal(&pair, &item, choice).await, ErrorCode::MultiVmNeedsGroup);
        }
        // The same once they are enabled: first there is none, then there is one.
        let enabled = Policy { app_consistent_every: Some(HOUR), ..policy(PlatformKind::Vmware, 3) };
        pair.core.update_policy(&POLICY.into(), &enabled).await.unwrap();
        assert_eq!(refusal(&pair, &item, app.clone()).await, ErrorCode::NoRecoveryPoint);
        pair.live(Millis(2 * INTERVAL.0)).await;
        let job = pair.core.failover(&to(&item, app)).await.unwrap();
        pair.completed(&job).await;
    });
}

#[test]
fn applications_that_do_not_rest_cost_a_warning_and_no_point() {
    run(8, async |world| {
        let often =
            Policy { app_consistent_every: Some(Millis(4 * INTERVAL.0)), ..policy(PlatformKind::Vmware, 50) };
        let pair = under(world, SimProfile::VMWARE, often).await;
        pair.primary.inject(&SimFault::QuiesceRefused("web".into()));
        let item = protect(&pair, SimInstall::new("web"), None).await;
        let view = pair.points(&item, 6).await.unwrap();
        assert!(view.points.iter().all(|point| point.consistency == Consistency::Crash));
        assert_eq!(view.health, Health::Warning, "{}", view.trouble);
        assert!(view.trouble.contains("cannot be quiesced"), "{}", view.trouble);
        pair.primary.heal();
        let view = pair.points(&item, 9).await.unwrap();
        assert!(view.points.iter().any(|point| point.consistency == Consistency::App));
        assert_eq!((view.health, view.trouble.as_str()), (Health::Healthy, ""));
    });
}

/// Protects a quiet machine for longer than its points are kept, and asks at both sides of the window's end.
fn window(profile: SimProfile, hours: u64) {
    run(9, async |world| {
        let hourly = Policy {
            interval: HOUR,
            app_consistent_every: None,
            rpo_threshold: Millis(2 * HOUR.0),
            ..Policy::for_machines_of(profile.kind, HOUR)
        };
        assert_eq!(hourly.retention, Millis(hours * HOUR.0));
        let pair = under(world, profile, hourly).await;
        let item = protect(&pair, quiet("web"), None).await;
        pair.live(Millis((hours + 5) * HOUR.0)).await;
        let points = processed(&pair, &item).await;
        let now = pair.world.clock().now();
        let oldest = points.first().unwrap().clone();
        let age = now.since(oldest.time);
        assert!(age <= hourly.retention && age.0 > (hours - 3) * HOUR.0, "{age}");
        assert_eq!(pair.item(&item).await.health, Health::Healthy);

        // Until the last minute of its time it can be chosen, after it no more; before and after the failover
        // (RP-14).
        let left = hourly.retention.0 - age.0;
        pair.live(Millis(left.saturating_sub(60_000))).await;
        let (_, writes) = recovered(&pair, &item, "web", PointChoice::Custom(oldest.id.clone())).await;
        let job = pair.core.change_point(&item, &PointChoice::Latest).await.unwrap();
        pair.completed(&job).await;
        let source = pair.primary.last_boot(&"web".into()).unwrap();
        assert!(exact(&source, &pair.recovery.last_boot(&dr("web")).unwrap()).0 > writes);
        pair.live(Millis(120_000)).await;
        let before = pair.item(&item).await;
        let expired = pair.core.change_point(&item, &PointChoice::Custom(oldest.id)).await.unwrap_err();
        assert_eq!(expired.code, ErrorCode::PointExpired);
        assert_eq!(pair.item(&item).await, before);
    });
}

#[test]
fn points_of_hyperv_machines_can_be_chosen_for_24_hours() {
    window(SimProfile::HYPERV, 24);
}

#[test]
fn points_of_vmware_machines_can_be_chosen_for_72_hours() {
    window(SimProfile::VMWARE, 72);
}

#[test]
fn a_point_that_stays_stays_what_it_was_while_others_are_merged_away() {
    run(10, async |world| {
        let half_hourly = Policy::for_machines_of(PlatformKind::Vmware, Millis(HOUR.0 / 4));
        let pair = under(world, SimProfile::VMWARE, half_hourly).await;
        let item = protect(&pair, quiet("web"), None).await;
        let mut seen: std::collections::BTreeMap<PointId, Vec<u64>> = std::collections::BTreeMap::new();
        let mut merged = 0;
        for _ in 0..60 {
            pair.live(HOUR).await;
            let points = processed(&pair, &item).await;
            for point in &points {
                let volumes = point.volumes.iter();
                let hash = volumes.map(|(_, volume)| hash(&pair.recovery, volume)).collect::<Vec<_>>();
                assert_eq!(
                    seen.entry(point.id.clone()).or_insert_with(|| hash.clone()),
                    &hash,
                    "{}",
                    point.id
                );
            }
            merged = seen.len() - points.len();
        }
        assert!(merged > 100, "{merged}");
        // What was merged away takes no room: two volumes for each point that is left, and the replica's own.
        let points = processed(&pair, &item).await.len();
        assert!(pair.recovery.volumes().len() <= 2 * (points + 9), "{points}");
    });
}

fn hash(site: &SimSite, volume: &contract::VolumeId) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let content = site.snapshot(volume).unwrap();
    let mut hasher = DefaultHasher::new();
    content.bytes(0, content.size() as usize).hash(&mut hasher);
    hasher.finish()
}

#[test]
fn the_way_back_has_its_own_policy_with_an_application_consistent_point_an_hour() {
    run(11, async |world| {
        let out = Policy { interval: Millis(5 * 60_000), ..policy(PlatformKind::Vmware, 500) };
        let out = Policy { most_points: None, ..out };
        let pair = under(world, SimProfile::VMWARE, out).await;
        let item = protect(&pair, quiet("web"), None).await;
        pair.points(&item, 2).await.unwrap();
        assert_eq!(pair.item(&item).await.policy.id, POLICY.into());
        pair.fail_over(&item, OUT).await;
        pair.commit(&item).await;
        pair.reprotect(&item, BACK).await;
        pair.live(Millis(30 * HOUR.0)).await;
        let view = pair.item(&item).await;
        assert_eq!(view.policy.id.0, format!("{POLICY}-failback"));
        let now = pair.world.clock().now();
        assert!(view.points.iter().all(|point| now.since(point.time) <= Policy::DAY));
        let at_rest: Vec<_> = view.points.iter().filter(|p| p.consistency == Consistency::App).collect();
        let recent = at_rest.iter().filter(|point| now.since(point.time).0 <= 2 * HOUR.0).count();
        assert!((1..=3).contains(&recent) && at_rest.len() >= 20, "{recent} of {}", at_rest.len());
        // An alarm at data older than fifteen minutes, and not before.
        pair.recovery.inject(&SimFault::LinkCut);
        pair.live(Millis(16 * 60_000)).await;
        assert_ne!(pair.item(&item).await.health, Health::Healthy);
    });
}

#[test]
fn data_older_than_the_threshold_is_a_warning() {
    run(12, async |world| {
        let slow = Policy { rpo_threshold: Millis(30_000), ..policy(PlatformKind::Vmware, 5) };
        let pair = under(world, SimProfile::VMWARE, slow).await;
        let item = protect(&pair, SimInstall::new("web"), None).await;
        pair.points(&item, 2).await.unwrap();
        assert_eq!(pair.item(&item).await.health, Health::Healthy);
        pair.live(Millis(45_000)).await;
        let view = pair.item(&item).await;
        assert_eq!(view.health, Health::Warning);
        assert!(view.trouble.contains("30.0 s"), "{}", view.trouble);
        pair.points(&item, 3).await.unwrap();
        assert_eq!(pair.item(&item).await.health, Health::Healthy);
    });
}

#[test]
fn a_record_of_changes_that_a_power_cut_ends_is_told_of_and_made_good_by_comparison() {
    run(13, async |world| {
        let pair = under(world, SimProfile::VMWARE, policy(PlatformKind::Vmware, 50)).await;
        let load = Load { record_every: Millis(5_000), churn_every: Millis(0), churn_bytes: 4096 };
        let item = protect(&pair, SimInstall { load, ..SimInstall::new("web") }, None).await;
        assert_eq!(pair.points(&item, 3).await.unwrap().resynchronisations, []);
        pair.primary.power_off(&"web".into()).await.unwrap();
        pair.primary.start(&"web".into()).await.unwrap();
        let view = pair.points(&item, 6).await.unwrap();
        let [resync] = view.resynchronisations[..] else { panic!("{:?}", view.resynchronisations) };
        assert_eq!(resync.why, ChangesUnavailable::RecordLost);
        assert!(resync.sent.0 > 0 && resync.sent.0 < resync.compared.0 / 2, "{resync:?}");
        let point = view.points.iter().find(|point| point.time == resync.at).unwrap();
        assert_eq!(point.transferred, resync.sent);
        assert_eq!((view.health, view.trouble.as_str()), (Health::Healthy, ""));
        let source = pair.primary.last_boot(&"web".into()).unwrap();
        pair.fail_over(&item, OUT).await;
        exact(&source, &pair.recovery.last_boot(&dr("web")).unwrap());
    });
}

/// The moments between which a machine holds exactly what it does.
fn stood(source: &SimBoot, target: &SimBoot) -> (u64, u64) {
    let log = source.log();
    let Cut::Exact(range) = cut_of(&source.bases(), &log, &target.bases(), &[SimSite::hydrated()]) else {
        panic!("{} holds no prefix", target.machine)
    };
    let at = |index: usize| log.get(index).map_or(u64::MAX, |write| write.at.0);
    (range.start().checked_sub(1).map_or(0, at), at(*range.end()))
}

#[test]
fn machines_of_a_group_share_moments_and_those_of_none_do_not() {
    for (group, shared) in [(Some("shop"), true), (None, false)] {
        run(13, async |world| {
            let pair = under(world, SimProfile::VMWARE, policy(PlatformKind::Vmware, 20)).await;
            let names = ["web", "app", "db"];
            let mut items = Vec::new();
            for name in names {
                items.push(protect(&pair, SimInstall::new(name), group).await);
                pair.live(Millis(7_000)).await;
            }
            pair.live(Millis(5 * INTERVAL.0)).await;
            let moments = async |item: &ItemId| -> Vec<_> {
                processed(&pair, item)
                    .await
                    .into_iter()
                    .filter_map(|point| Some((point.multi_vm?, point.id)))
                    .collect()
            };
            let first = moments(&items[0]).await;
            let Some((moment, _)) = first.last().cloned() else {
                assert!(!shared);
                return;
            };
            assert!(shared);
            pair.primary.lose();
            let mut between = (0, u64::MAX);
            for (name, item) in names.iter().zip(&items) {
                let own = moments(item).await.into_iter().find(|(id, _)| *id == moment).unwrap().1;
                recovered(&pair, item, name, PointChoice::Custom(own)).await;
                let source = pair.primary.last_boot(&(*name).into()).unwrap();
                let stood = stood(&source, &pair.recovery.last_boot(&dr(name)).unwrap());
                between = (between.0.max(stood.0), between.1.min(stood.1));
            }
            // There is a moment at which all of them were exactly what was recovered (RP-11).
            assert!(between.0 <= between.1, "{between:?}");
        });
    }
}

#[test]
fn a_group_goes_on_when_its_leader_leaves_and_when_a_machine_cannot_be_seen() {
    run(14, async |world| {
        let pair = under(world, SimProfile::VMWARE, policy(PlatformKind::Vmware, 20)).await;
        let mut items = Vec::new();
        for name in ["app", "db", "web"] {
            items.push(protect(&pair, SimInstall::new(name), Some("shop")).await);
        }
        pair.live(Millis(3 * INTERVAL.0)).await;
        // The one that transfers for all fails over alone.
        pair.fail_over(&items[0], OUT).await;
        let count = pair.item(&items[1]).await.points.len();
        pair.live(Millis(3 * INTERVAL.0)).await;
        let view = pair.item(&items[1]).await;
        assert!(view.points.len() >= count + 2);
        assert!(view.points.last().unwrap().multi_vm.is_some());
        // One of the two that are left is gone from its site: the other has its points alone.
        pair.primary.power_off(&"web".into()).await.unwrap();
        pair.primary.delete_machine(&"web".into()).await.unwrap();
        let count = pair.item(&items[1]).await.points.len();
        pair.live(Millis(3 * INTERVAL.0)).await;
        let view = pair.item(&items[1]).await;
        assert!(view.points.len() >= count + 2 && view.points.last().unwrap().multi_vm.is_none());
        assert_eq!(view.health, Health::Healthy, "{}", view.trouble);
        assert_eq!(pair.item(&items[2]).await.health, Health::Critical);
    });
}

#[test]
fn a_policy_in_use_stays_and_one_for_other_machines_is_refused() {
    run(15, async |world| {
        let pair = Pair::new(world);
        let item = pair.protect("web").await;
        let before = pair.core.policies().await.unwrap();
        let in_use = pair.core.delete_policy(&POLICY.into()).await.unwrap_err();
        assert_eq!(in_use.code, ErrorCode::InUse);
        let hyperv = Policy::for_machines_of(PlatformKind::HyperV, INTERVAL);
        let other_kind = pair.core.update_policy(&POLICY.into(), &hyperv).await.unwrap_err();
        assert_eq!(other_kind.code, ErrorCode::BadRequest);
        assert_eq!(pair.core.policies().await.unwrap(), before);
        pair.core.create_policy(&"hyperv".into(), &hyperv).await.unwrap();
        pair.primary.install(&SimInstall::new("other")).unwrap();
        for (policy, code) in [
            ("hyperv", ErrorCode::BadRequest),
            ("every-minute-failback", ErrorCode::BadRequest),
            ("none", ErrorCode::UnknownId),
        ] {
            let request = EnableProtection { policy: policy.into(), ..enable(&"item-other".into(), "other") };
            assert_eq!(pair.core.enable_protection(&request).await.unwrap_err().code, code, "{policy}");
        }
        let job = pair.core.disable_protection(&item).await.unwrap();
        pair.completed(&job).await;
        pair.core.delete_policy(&POLICY.into()).await.unwrap();
    });
}

#[test]
fn points_do_not_pile_up_while_a_failover_waits_for_a_source_that_does_not_shut_down() {
    run(37, async |world| {
        let pair = Pair::new(world);
        let item = pair.protect("web").await;
        pair.points(&item, 3).await.unwrap();
        pair.primary.inject(&SimFault::ShutdownRefused("web".into()));
        let patience = Millis(30 * INTERVAL.0);
        let wanted = FailoverRequest {
            shut_down_source: true,
            shutdown_within: patience,
            ..to(&item, PointChoice::Latest)
        };
        let job = pair.core.failover(&wanted).await.unwrap();
        pair.live(Millis(25 * INTERVAL.0)).await;
        let waiting = pair.item(&item).await;
        assert_eq!(waiting.job.as_ref(), Some(&job), "the job is still at it");
        let most = waiting.policy.policy.most_points.unwrap() as usize;
        assert!(waiting.points.len() <= 2 * most, "{} points, the policy keeps {most}", waiting.points.len());
        pair.completed(&job).await;
        exact(&pair.primary.last_boot(&"web".into()).unwrap(), &pair.recovery.last_boot(&dr("web")).unwrap());
    });
}
