//! Recovery points: which there are, which can be chosen, for how long, and how consistent they
//! are.

use std::collections::BTreeMap;

use contract::{
    ChangesUnavailable, Consistency, EnableProtection, ErrorCode, FailoverRequest, Health, ItemId, Millis,
    Platform, PlatformKind, PointChoice, PointId, Policy, TestFailoverRequest,
};
use simulator::testbed::{
    HOUR, INTERVAL, POLICY, Setup, Testbed, Validity, enable_request, failover_to, item_of,
    low_write_machine, test_machine,
};
use simulator::{Link, Load, SimFault, SimInstall, SimProfile, SimSite, SimWorld, run};

use crate::support::{ObservableState, setup, testbed_with, vmware_testbed};

/// A testbed with VMware machines whose policy keeps so many points and takes an
/// application-consistent one every so many intervals.
fn app_consistent_testbed(world: SimWorld, points: u32, every: u64) -> Testbed {
    let every = Some(Millis(every * INTERVAL.0));
    let setup = setup().keeping(points);
    testbed_with(world, setup.with_policy(|policy| Policy { app_consistent_every: every, ..policy }))
}

fn keeping(world: SimWorld, points: u32) -> Testbed {
    testbed_with(world, setup().keeping(points))
}

/// The code with which the core refuses a failover to a point. Nothing else may change.
async fn refusal(testbed: &Testbed, item: &ItemId, point: PointChoice) -> ErrorCode {
    let before = ObservableState::of(testbed).await;
    let error = testbed.core.failover(&failover_to(item, point)).await.unwrap_err();
    before.assert_unchanged(testbed, "a failover").await;
    error.code
}

/// Fails over to a point and returns how many of the source's writes the machine is started with.
async fn recovered_writes(testbed: &Testbed, machine: &str, point: PointChoice) -> usize {
    testbed.fail_over(&item_of(machine), point).await.unwrap();
    testbed.recovered(machine).unwrap().writes
}

#[test]
fn latest_processes_what_was_received_and_latest_processed_does_not() {
    let fail_over = |choice: PointChoice| {
        run(5, async |world| {
            let testbed = vmware_testbed(world);
            let item = testbed.protect("web").await.unwrap();
            testbed.wait_for_points(&item, 3).await.unwrap();
            let before = testbed.processed_points(&item).await.unwrap();
            testbed.stall_processing();
            testbed.advance(Millis(3 * INTERVAL.0)).await;
            let points = testbed.item(&item).await.unwrap().points;
            let received = points.iter().filter(|point| !point.processed).count();
            assert!(received >= 2, "{received} points are received and not processed");
            testbed.primary.lose();
            testbed.recovery.heal();
            let writes = recovered_writes(&testbed, "web", choice.clone()).await;
            let chosen = testbed.item(&item).await.unwrap().failed_over_to.unwrap();
            (writes, before.iter().any(|point| point.id == chosen))
        })
    };
    let (latest, chose_processed) = fail_over(PointChoice::Latest);
    assert!(!chose_processed);
    let (processed, chose_processed) = fail_over(PointChoice::LatestProcessed);
    assert!(chose_processed);
    assert!(latest > processed);
}

#[test]
fn an_application_consistent_point_was_taken_quiesced_and_is_not_the_newest() {
    run(6, async |world| {
        let testbed = app_consistent_testbed(world, 50, 5);
        let item = testbed.protect("web").await.unwrap();
        testbed.wait_for_points(&item, 14).await.unwrap();
        let points = testbed.processed_points(&item).await.unwrap();
        let quiesced: Vec<_> = points.iter().filter(|p| p.consistency == Consistency::App).collect();
        assert_eq!(quiesced.len(), 3, "{points:#?}");
        for two in quiesced.windows(2) {
            assert!(two[1].time.since(two[0].time) >= Millis(5 * INTERVAL.0));
        }
        let newest = quiesced.last().unwrap().id.clone();
        assert_ne!(points.last().unwrap().id, newest);
        let writes = recovered_writes(&testbed, "web", PointChoice::LatestAppConsistent).await;
        assert_eq!(testbed.item(&item).await.unwrap().failed_over_to, Some(newest));
        let boots = testbed.boots("web").unwrap();
        assert!(boots.source.log()[writes - 1].record().is_some_and(|record| record.quiesced));
        assert!(boots.target.found.as_ref().unwrap().ends_quiesced);
    });
}

#[test]
fn a_choice_of_an_application_consistent_point_needs_such_points_enabled_and_taken() {
    run(7, async |world| {
        let testbed = vmware_testbed(world);
        let item = testbed.protect("web").await.unwrap();
        testbed.wait_for_points(&item, 3).await.unwrap();
        let app = PointChoice::LatestAppConsistent;
        assert_eq!(refusal(&testbed, &item, app.clone()).await, ErrorCode::AppConsistencyDisabled);
        for choice in [PointChoice::LatestMultiVm, PointChoice::LatestMultiVmAppConsistent] {
            assert_eq!(refusal(&testbed, &item, choice).await, ErrorCode::MultiVmNeedsGroup);
        }
        // Once they are enabled, there is none at first.
        let enabled = Policy { app_consistent_every: Some(HOUR), ..testbed.policy };
        testbed.core.update_policy(&POLICY.into(), &enabled).await.unwrap();
        assert_eq!(refusal(&testbed, &item, app.clone()).await, ErrorCode::NoRecoveryPoint);
        testbed.advance(Millis(2 * INTERVAL.0)).await;
        testbed.fail_over(&item, app).await.unwrap();
    });
}

#[test]
fn applications_that_cannot_be_quiesced_cause_a_warning_and_cost_no_point() {
    run(8, async |world| {
        let testbed = app_consistent_testbed(world, 50, 4);
        testbed.primary.inject(&SimFault::QuiesceRefused("web".into()));
        let item = testbed.protect("web").await.unwrap();
        let view = testbed.wait_for_points(&item, 6).await.unwrap();
        assert!(view.points.iter().all(|point| point.consistency == Consistency::Crash));
        assert_eq!(view.health, Health::Warning, "{}", view.trouble);
        assert!(view.trouble.contains("cannot be quiesced"), "{}", view.trouble);
        testbed.primary.heal();
        let view = testbed.wait_for_points(&item, 9).await.unwrap();
        assert!(view.points.iter().any(|point| point.consistency == Consistency::App));
        assert_eq!((view.health, view.trouble.as_str()), (Health::Healthy, ""));
    });
}

/// Protects a machine for longer than its points are kept, and chooses a point on both sides of the
/// window's end.
fn window(profile: SimProfile, hours: u64) {
    run(9, async |world| {
        let setup = Setup::of(profile).with_policy(|policy| Policy {
            interval: HOUR,
            rpo_threshold: Millis(2 * HOUR.0),
            most_points: None,
            ..policy
        });
        let retention = setup.policy.retention;
        assert_eq!(retention, Millis(hours * HOUR.0));
        let testbed = testbed_with(world, setup);
        let item = testbed.protect_machine(&low_write_machine("web")).await.unwrap();
        testbed.advance(Millis((hours + 5) * HOUR.0)).await;
        let oldest = testbed.oldest_point(&item).await.unwrap();
        let age = testbed.world.clock().now().since(oldest.time);
        assert!(age <= retention && age.0 > (hours - 3) * HOUR.0, "{age}");
        assert_eq!(testbed.item(&item).await.unwrap().health, Health::Healthy);

        // A minute before its retention ends the point can be chosen, a minute after that it
        // cannot: for a failover as well as between failover and commit (RP-14).
        let left = retention.0 - age.0;
        testbed.advance(Millis(left.saturating_sub(60_000))).await;
        let writes = recovered_writes(&testbed, "web", PointChoice::Custom(oldest.id.clone())).await;
        let change = testbed.core.change_point(&item, &PointChoice::Latest).await;
        testbed.completed(change).await.unwrap();
        assert!(testbed.recovered("web").unwrap().writes > writes);
        testbed.advance(Millis(120_000)).await;
        let before = testbed.item(&item).await.unwrap();
        let expired = testbed.core.change_point(&item, &PointChoice::Custom(oldest.id)).await.unwrap_err();
        assert_eq!(expired.code, ErrorCode::PointExpired);
        assert_eq!(testbed.item(&item).await.unwrap(), before);
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
fn a_point_keeps_its_content_while_older_points_are_merged() {
    run(10, async |world| {
        let quarter_hourly = Policy::for_machines_of(PlatformKind::Vmware, Millis(HOUR.0 / 4));
        let testbed = testbed_with(world, setup().with_policy(|_| quarter_hourly));
        let item = testbed.protect_machine(&low_write_machine("web")).await.unwrap();
        let mut first_seen: BTreeMap<PointId, Vec<u64>> = BTreeMap::new();
        let mut merged = 0;
        for _ in 0..60 {
            testbed.advance(HOUR).await;
            let points = testbed.processed_points(&item).await.unwrap();
            for point in &points {
                let volumes = point.volumes.iter();
                let hash = volumes.map(|(_, volume)| hash(&testbed.recovery, volume)).collect::<Vec<_>>();
                assert_eq!(
                    first_seen.entry(point.id.clone()).or_insert_with(|| hash.clone()),
                    &hash,
                    "{}",
                    point.id
                );
            }
            merged = first_seen.len() - points.len();
        }
        assert!(merged > 100, "{merged}");
        // Merged points take no room: there are two volumes for each point that is left, and the
        // replica's own.
        let points = testbed.processed_points(&item).await.unwrap().len();
        assert!(testbed.recovery.volumes().len() <= 2 * (points + 9), "{points}");
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
fn replication_back_follows_the_failback_policy_with_an_application_consistent_point_an_hour() {
    run(11, async |world| {
        let every_five_minutes =
            |policy| Policy { interval: Millis(5 * 60_000), most_points: None, ..policy };
        let testbed = testbed_with(world, setup().with_policy(every_five_minutes));
        let item = testbed.protect_machine(&low_write_machine("web")).await.unwrap();
        testbed.wait_for_points(&item, 2).await.unwrap();
        assert_eq!(testbed.item(&item).await.unwrap().policy.id, POLICY.into());
        testbed.fail_over(&item, PointChoice::Latest).await.unwrap();
        testbed.commit_and_reprotect(&item).await.unwrap();
        testbed.advance(Millis(30 * HOUR.0)).await;
        let view = testbed.item(&item).await.unwrap();
        assert_eq!(view.policy.id.0, format!("{POLICY}-failback"));
        let now = testbed.world.clock().now();
        assert!(view.points.iter().all(|point| now.since(point.time) <= Policy::DAY));
        let quiesced: Vec<_> = view.points.iter().filter(|p| p.consistency == Consistency::App).collect();
        let recent = quiesced.iter().filter(|point| now.since(point.time).0 <= 2 * HOUR.0).count();
        assert!((1..=3).contains(&recent) && quiesced.len() >= 20, "{recent} of {}", quiesced.len());
        // Data older than fifteen minutes is shown.
        testbed.recovery.inject(&SimFault::LinkCut);
        testbed.advance(Millis(16 * 60_000)).await;
        assert_ne!(testbed.item(&item).await.unwrap().health, Health::Healthy);
    });
}

#[test]
fn data_older_than_the_threshold_is_a_warning() {
    run(12, async |world| {
        let threshold = |policy| Policy { rpo_threshold: Millis(30_000), ..policy };
        let testbed = testbed_with(world, setup().keeping(5).with_policy(threshold));
        let item = testbed.protect("web").await.unwrap();
        testbed.wait_for_points(&item, 2).await.unwrap();
        assert_eq!(testbed.item(&item).await.unwrap().health, Health::Healthy);
        testbed.advance(Millis(45_000)).await;
        let view = testbed.item(&item).await.unwrap();
        assert_eq!(view.health, Health::Warning);
        assert!(view.trouble.contains("30.0 s"), "{}", view.trouble);
        testbed.wait_for_points(&item, 3).await.unwrap();
        assert_eq!(testbed.item(&item).await.unwrap().health, Health::Healthy);
    });
}

#[test]
fn a_change_log_that_a_power_cut_ends_is_shown_and_the_disks_are_compared() {
    run(13, async |world| {
        let testbed = keeping(world, 50);
        let load = Load { record_every: Millis(5_000), churn_every: Millis(0), ..Load::USUAL };
        let item = testbed.protect_machine(&SimInstall { load, ..SimInstall::new("web") }).await.unwrap();
        assert_eq!(testbed.wait_for_points(&item, 3).await.unwrap().resynchronisations, []);
        testbed.primary.power_off(&"web".into()).await.unwrap();
        testbed.primary.start(&"web".into()).await.unwrap();
        let view = testbed.wait_for_points(&item, 6).await.unwrap();
        let [resync] = view.resynchronisations[..] else { panic!("{:?}", view.resynchronisations) };
        assert_eq!(resync.why, ChangesUnavailable::RecordLost);
        assert!(resync.sent.0 > 0 && resync.sent.0 < resync.compared.0 / 2, "{resync:?}");
        let point = view.points.iter().find(|point| point.time == resync.at).unwrap();
        assert_eq!(point.transferred, resync.sent);
        assert_eq!((view.health, view.trouble.as_str()), (Health::Healthy, ""));
        testbed.fail_over(&item, PointChoice::Latest).await.unwrap();
        testbed.recovered("web").unwrap();
    });
}

#[test]
fn machines_of_a_group_share_points_of_one_moment_and_others_do_not() {
    for (group, shared) in [(Some("shop"), true), (None, false)] {
        run(13, async |world| {
            let testbed = keeping(world, 20);
            let names = ["web", "app", "db"];
            let mut items = Vec::new();
            for name in names {
                items.push(testbed.protect_in_group(&SimInstall::new(name), group).await.unwrap());
                testbed.advance(Millis(7_000)).await;
            }
            testbed.advance(Millis(5 * INTERVAL.0)).await;
            let moments = async |item: &ItemId| -> Vec<_> {
                let points = testbed.processed_points(item).await.unwrap();
                points.into_iter().filter_map(|point| Some((point.multi_vm?, point.id))).collect()
            };
            let first = moments(&items[0]).await;
            let Some((moment, _)) = first.last().cloned() else {
                assert!(!shared);
                return;
            };
            assert!(shared);
            testbed.primary.lose();
            let mut common = Validity::ALWAYS;
            for (name, item) in names.iter().zip(&items) {
                let own = moments(item).await.into_iter().find(|(id, _)| *id == moment).unwrap().1;
                testbed.fail_over(item, PointChoice::Custom(own)).await.unwrap();
                common = common.intersect(testbed.boots(name).unwrap().validity().unwrap());
            }
            // There is a moment at which each of them was in the state that was recovered (RP-11).
            assert!(common.is_possible(), "{common:?}");
        });
    }
}

#[test]
fn a_group_continues_when_its_leader_fails_over_and_when_a_machine_is_gone() {
    run(14, async |world| {
        let testbed = keeping(world, 20);
        let mut items = Vec::new();
        for name in ["app", "db", "web"] {
            items.push(testbed.protect_in_group(&SimInstall::new(name), Some("shop")).await.unwrap());
        }
        testbed.advance(Millis(3 * INTERVAL.0)).await;
        // The machine whose task transfers for the whole group fails over alone.
        testbed.fail_over(&items[0], PointChoice::Latest).await.unwrap();
        let count = testbed.item(&items[1]).await.unwrap().points.len();
        testbed.advance(Millis(3 * INTERVAL.0)).await;
        let view = testbed.item(&items[1]).await.unwrap();
        assert!(view.points.len() >= count + 2);
        assert!(view.points.last().unwrap().multi_vm.is_some());
        // One of the two other machines is deleted at its site: the last one has points of its own.
        testbed.primary.power_off(&"web".into()).await.unwrap();
        testbed.primary.delete_machine(&"web".into()).await.unwrap();
        let count = testbed.item(&items[1]).await.unwrap().points.len();
        testbed.advance(Millis(3 * INTERVAL.0)).await;
        let view = testbed.item(&items[1]).await.unwrap();
        assert!(view.points.len() >= count + 2 && view.points.last().unwrap().multi_vm.is_none());
        assert_eq!(view.health, Health::Healthy, "{}", view.trouble);
        assert_eq!(testbed.item(&items[2]).await.unwrap().health, Health::Critical);
    });
}

#[test]
fn a_policy_in_use_cannot_be_deleted_and_one_for_another_platform_is_refused() {
    run(15, async |world| {
        let testbed = vmware_testbed(world);
        let item = testbed.protect("web").await.unwrap();
        let before = testbed.core.policies().await.unwrap();
        let in_use = testbed.core.delete_policy(&POLICY.into()).await.unwrap_err();
        assert_eq!(in_use.code, ErrorCode::InUse);
        let hyperv = Policy::for_machines_of(PlatformKind::HyperV, INTERVAL);
        let other_kind = testbed.core.update_policy(&POLICY.into(), &hyperv).await.unwrap_err();
        assert_eq!(other_kind.code, ErrorCode::BadRequest);
        assert_eq!(testbed.core.policies().await.unwrap(), before);
        testbed.core.create_policy(&"hyperv".into(), &hyperv).await.unwrap();
        testbed.primary.install(&SimInstall::new("other")).unwrap();
        for (policy, code) in [
            ("hyperv", ErrorCode::BadRequest),
            (&format!("{POLICY}-failback"), ErrorCode::BadRequest),
            ("none", ErrorCode::UnknownId),
        ] {
            let request = EnableProtection { policy: policy.into(), ..enable_request("other") };
            assert_eq!(testbed.core.enable_protection(&request).await.unwrap_err().code, code, "{policy}");
        }
        let job = testbed.core.disable_protection(&item).await.unwrap();
        testbed.completed(&job).await.unwrap();
        testbed.core.delete_policy(&POLICY.into()).await.unwrap();
    });
}

#[test]
fn points_do_not_pile_up_while_a_failover_waits_for_a_source_that_does_not_shut_down() {
    run(37, async |world| {
        let testbed = vmware_testbed(world);
        let item = testbed.protect("web").await.unwrap();
        testbed.wait_for_points(&item, 3).await.unwrap();
        testbed.primary.inject(&SimFault::ShutdownRefused("web".into()));
        let patience = Millis(30 * INTERVAL.0);
        let wanted = FailoverRequest {
            shut_down_source: true,
            shutdown_within: patience,
            ..failover_to(&item, PointChoice::Latest)
        };
        let job = testbed.core.failover(&wanted).await.unwrap();
        testbed.advance(Millis(25 * INTERVAL.0)).await;
        let waiting = testbed.item(&item).await.unwrap();
        assert_eq!(waiting.job.as_ref(), Some(&job), "the job still runs");
        let most = waiting.policy.policy.most_points.unwrap() as usize;
        assert!(waiting.points.len() <= 2 * most, "{} points, the policy keeps {most}", waiting.points.len());
        testbed.completed(&job).await.unwrap();
        testbed.recovered("web").unwrap();
    });
}

#[test]
fn points_do_not_pile_up_while_a_test_failover_stands() {
    run(41, async |world| {
        let testbed = keeping(world, 3);
        let item = testbed.protect("web").await.unwrap();
        testbed.wait_for_points(&item, 3).await.unwrap();
        let tested = testbed.oldest_point(&item).await.unwrap();
        let request = TestFailoverRequest::isolated(&item, PointChoice::Custom(tested.id.clone()));
        testbed.completed(testbed.core.test_failover(&request).await).await.unwrap();
        testbed.advance(Millis(40 * INTERVAL.0)).await;
        let points = testbed.processed_points(&item).await.unwrap();
        assert_eq!(points.first(), Some(&tested), "the point that is tested is kept");
        assert!(points.len() <= 7, "{} points, the policy keeps 3", points.len());
        crate::support::disks_untouched(&testbed.recovery, &test_machine("web")).unwrap();
        testbed.completed(testbed.core.clean_up_test_failover(&item).await).await.unwrap();
        testbed.advance(Millis(10 * INTERVAL.0)).await;
        assert!(testbed.processed_points(&item).await.unwrap().len() <= 6);
        recovered_writes(&testbed, "web", PointChoice::Latest).await;
    });
}

#[test]
fn a_point_does_not_expire_while_its_failover_waits_for_the_source() {
    run(42, async |world| {
        let policy = |policy| Policy { retention: HOUR, most_points: None, ..policy };
        let testbed = testbed_with(world, setup().with_policy(policy));
        let item = testbed.protect("web").await.unwrap();
        testbed.wait_for_points(&item, 1).await.unwrap();
        testbed.advance(HOUR).await;
        let oldest = testbed.oldest_point(&item).await.unwrap();
        testbed.primary.inject(&SimFault::ShutdownRefused("web".into()));
        let wanted = FailoverRequest {
            shut_down_source: true,
            shutdown_within: Millis(10 * INTERVAL.0),
            ..failover_to(&item, PointChoice::Custom(oldest.id.clone()))
        };
        testbed.completed(testbed.core.failover(&wanted).await).await.unwrap();
        assert_eq!(testbed.item(&item).await.unwrap().failed_over_to, Some(oldest.id));
        testbed.recovered("web").unwrap();
    });
}

#[test]
fn a_first_copy_that_does_not_come_is_a_warning() {
    run(44, async |world| {
        let testbed = vmware_testbed(world);
        testbed.install(&SimInstall::new("web")).await.unwrap();
        testbed.primary.set_link(Link { latency: Millis(30 * 60_000), ..Link::default() });
        testbed.core.enable_protection(&enable_request("web")).await.unwrap();
        testbed.advance(Millis(10 * 60_000)).await;
        assert_eq!(testbed.item(&item_of("web")).await.unwrap().health, Health::Healthy);
        testbed.advance(Millis(10 * 60_000)).await;
        let view = testbed.item(&item_of("web")).await.unwrap();
        assert_eq!(view.health, Health::Warning, "{}", view.trouble);
        testbed.primary.set_link(Link::default());
        testbed.wait_for_points(&item_of("web"), 3).await.unwrap();
        assert_eq!(testbed.item(&item_of("web")).await.unwrap().health, Health::Healthy);
    });
}
