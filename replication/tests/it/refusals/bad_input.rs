//! Requests that are wrong in one thing, beside the same request without it.

use std::path::Path;

use contract::{
    Bytes, CoreError, DataSync, EnableProtection, ErrorCode, FailoverRequest, Firmware, GuestFacts, GuestOs,
    Health, ItemId, JobId, JobState, MachineId, MachineSpec, Millis, Network, Operation, Placement, Platform,
    PlatformErrorKind, PointChoice, PowerState, TargetSettings, TestFailoverRequest,
};
use replication::table::Pair;
use simulator::testbed::{
    BACK, BOOT, CoreParts, INTERVAL, OUT, cloud_machine, enable_request, failover_to, test_machine,
};
use simulator::{SimFault, SimInstall, SimSite, SimWorld, run};

use crate::refusals::fixture::{BEGINNING, KINDS, Kind, MACHINE, StateFixture, item};
use crate::refusals::{SEED, assert_refused};
use crate::support::{ObservableState, assert_recovered, open_core, vmware_testbed};

fn kind(table: Pair) -> Kind {
    KINDS.into_iter().find(|kind| kind.table == table).unwrap()
}

/// A protected VMware machine, between two transfers.
async fn vmware(world: SimWorld) -> StateFixture {
    StateFixture::after(world, &kind(Pair::Vmware), &[]).await
}

fn custom(id: &str) -> PointChoice {
    PointChoice::Custom(id.into())
}

#[test]
fn names_that_do_not_exist_are_unknown() {
    run(SEED, async |world| {
        let fixture = vmware(world).await;
        let before = ObservableState::of(&fixture.testbed).await;
        let core = &fixture.testbed.core;
        let unknown = ItemId::from("no-such-item");
        let right = item();
        let job = JobId::from("no-such-job");
        let with_unknown = |field: &str| {
            let mut request = EnableProtection { item: "another".into(), ..enable_request(MACHINE) };
            match field {
                "primary" => request.primary = "nowhere".into(),
                "recovery" => request.recovery = "nowhere".into(),
                _ => request.machine = "no-such-machine".into(),
            }
            request
        };
        let at = |point: &str| failover_to(&right, custom(point));
        let answers = [
            ("item", core.item(&unknown).await.map(drop)),
            ("watch_points", core.watch_points(&unknown, 1).await.map(drop)),
            ("disable", core.disable_protection(&unknown).await.map(drop)),
            ("failover", core.failover(&FailoverRequest::unplanned(&unknown, OUT)).await.map(drop)),
            (
                "test failover",
                core.test_failover(&TestFailoverRequest::isolated(&unknown, PointChoice::Latest))
                    .await
                    .map(drop),
            ),
            ("clean up", core.clean_up_test_failover(&unknown).await.map(drop)),
            ("complete", core.complete_failover(&unknown).await),
            ("cancel", core.cancel_failover(&unknown).await),
            ("change point", core.change_point(&unknown, &PointChoice::Latest).await.map(drop)),
            ("commit", core.commit(&unknown).await.map(drop)),
            ("reprotect", core.reprotect(&fixture.testbed.reprotection(&unknown, BACK)).await.map(drop)),
            ("reverse replicate", core.reverse_replicate(&unknown).await.map(drop)),
            ("verify", core.verify(&unknown).await.map(drop)),
            ("job", core.job(&job).await.map(drop)),
            ("watch_job", core.watch_job(&job, 0).await.map(drop)),
            ("primary site", core.enable_protection(&with_unknown("primary")).await.map(drop)),
            ("recovery site", core.enable_protection(&with_unknown("recovery")).await.map(drop)),
            ("machine", core.enable_protection(&with_unknown("machine")).await.map(drop)),
            ("point of a failover", core.failover(&at("no-such-point")).await.map(drop)),
            (
                "point of a test failover",
                core.test_failover(&TestFailoverRequest::isolated(&right, custom("nonsense")))
                    .await
                    .map(drop),
            ),
        ];
        for (asked, answer) in answers {
            let error = assert_refused(answer, ErrorCode::UnknownId, asked);
            let named = ["no-such", "nowhere", "nonsense"];
            assert!(named.iter().any(|name| error.message.contains(name)), "{asked}: {error}");
            before.assert_unchanged(&fixture.testbed, asked).await;
        }
    });
}

#[test]
fn a_point_that_was_merged_away_is_expired_and_one_that_is_kept_is_not() {
    run(SEED, async |world| {
        let fixture = vmware(world).await;
        let oldest = fixture.testbed.item(&item()).await.unwrap().points[0].id.clone();
        let choice = PointChoice::Custom(oldest.clone());
        while fixture.testbed.item(&item()).await.unwrap().points.iter().any(|point| point.id == oldest) {
            fixture.testbed.advance(INTERVAL).await;
        }
        fixture.until_between_transfers().await;
        let before = ObservableState::of(&fixture.testbed).await;
        let core = &fixture.testbed.core;
        let request = failover_to(&item(), choice.clone());
        assert_refused(core.failover(&request).await, ErrorCode::PointExpired, "failover");
        assert_refused(
            core.test_failover(&TestFailoverRequest::isolated(&item(), choice.clone())).await,
            ErrorCode::PointExpired,
            "test failover",
        );
        before.assert_unchanged(&fixture.testbed, "an expired point").await;
        let kept = fixture.testbed.item(&item()).await.unwrap().points[0].id.clone();
        let request = failover_to(&item(), PointChoice::Custom(kept));
        fixture.testbed.completed(core.failover(&request).await).await.unwrap();
        fixture.until_between_transfers().await;
        // The retention window applies to a change of the point as well (RP-14).
        let before = ObservableState::of(&fixture.testbed).await;
        assert_refused(core.change_point(&item(), &choice).await, ErrorCode::PointExpired, "change point");
        assert_refused(
            core.change_point(&item(), &custom("nonsense")).await,
            ErrorCode::UnknownId,
            "change point",
        );
        before.assert_unchanged(&fixture.testbed, "a change to an expired point").await;
    });
}

#[test]
fn a_point_of_an_earlier_round_is_expired() {
    use Operation::{Commit, Reprotect, UnplannedFailover};
    run(SEED, async |world| {
        let fixture = vmware(world).await;
        let first = fixture.testbed.item(&item()).await.unwrap().points[0].id.clone();
        for operation in [UnplannedFailover, Commit, Reprotect, UnplannedFailover, Commit, Reprotect] {
            fixture.perform(operation).await;
        }
        let request = failover_to(&item(), PointChoice::Custom(first));
        assert_refused(
            fixture.testbed.core.failover(&request).await,
            ErrorCode::PointExpired,
            "an earlier round's point",
        );
    });
}

#[test]
fn a_malformed_request_for_protection_is_refused() {
    run(SEED, async |world| {
        let fixture = StateFixture::unprotected(world, &kind(Pair::Vmware)).await;
        let core = &fixture.testbed.core;
        let right = enable_request(MACHINE);
        let wrong: [(&str, EnableProtection); 3] = [
            ("same", EnableProtection { recovery: "primary".into(), ..right.clone() }),
            (
                "moves",
                EnableProtection { primary: "recovery".into(), recovery: "primary".into(), ..right.clone() },
            ),
            ("name", EnableProtection { item: "".into(), ..right.clone() }),
        ];
        for (word, request) in wrong {
            let before = ObservableState::of(&fixture.testbed).await;
            let error = assert_refused(core.enable_protection(&request).await, ErrorCode::BadRequest, word);
            assert!(error.message.contains(word), "{word}: {error}");
            before.assert_unchanged(&fixture.testbed, word).await;
        }
        fixture.testbed.completed(core.enable_protection(&right).await).await.unwrap();
    });
}

#[test]
fn a_machine_is_protected_only_once_and_an_items_name_is_used_only_once() {
    run(SEED, async |world| {
        let fixture = vmware(world).await;
        fixture.testbed.install(&SimInstall::new("other")).await.unwrap();
        fixture.until_between_transfers().await;
        let before = ObservableState::of(&fixture.testbed).await;
        let core = &fixture.testbed.core;
        let of = |item: &str, machine: &str, target: &str| EnableProtection {
            item: item.into(),
            target: TargetSettings { machine: target.into(), ..enable_request(machine).target },
            ..enable_request(machine)
        };
        let wrong = [
            ("the same machine", of("another", MACHINE, "another-dr")),
            ("the same name", of(&item().0, "other", "other-dr")),
            ("the same target", of("another", "other", &cloud_machine(MACHINE).0)),
        ];
        for (asked, request) in wrong {
            assert_refused(core.enable_protection(&request).await, ErrorCode::AlreadyProtected, asked);
            before.assert_unchanged(&fixture.testbed, asked).await;
        }
        let right = core.enable_protection(&of("another", "other", "other-dr")).await;
        fixture.testbed.completed(right).await.unwrap();
    });
}

/// Creates and starts a machine of this name at a site.
async fn create_stranger(site: &SimSite, name: &MachineId) {
    site.create_volume(&"strange-disk".into(), Bytes(1 << 20), None).await.unwrap();
    let spec = MachineSpec {
        id: name.clone(),
        firmware: Firmware::Bios,
        os: GuestOs::Linux,
        memory: Bytes(1 << 30),
        disks: vec![("system".into(), "strange-disk".into())],
        network: Network::Production,
        guest: GuestFacts::default(),
        placement: Placement::default(),
        boot_entry: None,
        more_nics: Vec::new(),
    };
    site.create_machine(&spec).await.unwrap();
    site.start(name).await.unwrap();
}

async fn assert_untouched(site: &SimSite, name: &MachineId) {
    let view = site.machine(name).await.expect("the machine is still there");
    assert_eq!(view.power, PowerState::On, "the machine still runs");
    assert_eq!(site.boots(name).len(), 1);
}

#[test]
fn a_name_that_is_taken_at_the_recovery_site_is_refused_and_its_machine_is_left_alone() {
    run(SEED, async |world| {
        let fixture = StateFixture::unprotected(world, &kind(Pair::Vmware)).await;
        create_stranger(&fixture.testbed.recovery, &cloud_machine(MACHINE)).await;
        let before = ObservableState::of(&fixture.testbed).await;
        let answer = fixture.testbed.core.enable_protection(&enable_request(MACHINE)).await;
        let error = assert_refused(answer, ErrorCode::BadRequest, "a name that is taken");
        assert!(error.message.contains(&cloud_machine(MACHINE).0), "{error}");
        before.assert_unchanged(&fixture.testbed, "a name that is taken").await;
    });
    run(SEED, async |world| {
        // The name is taken after protection began.
        let fixture = vmware(world).await;
        create_stranger(&fixture.testbed.recovery, &cloud_machine(MACHINE)).await;
        let job = fixture.testbed.core.failover(&FailoverRequest::unplanned(&item(), OUT)).await.unwrap();
        let view = fixture.testbed.ended(&job).await.unwrap();
        assert_eq!((view.state, view.error.unwrap().code), (JobState::Failed, ErrorCode::Platform));
        assert_untouched(&fixture.testbed.recovery, &cloud_machine(MACHINE)).await;
        assert_eq!(fixture.at().await, BEGINNING);
    });
    run(SEED, async |world| {
        let fixture = vmware(world).await;
        let taken = test_machine(MACHINE);
        create_stranger(&fixture.testbed.recovery, &taken).await;
        let job = fixture
            .testbed
            .core
            .test_failover(&TestFailoverRequest::isolated(&item(), PointChoice::Latest))
            .await
            .unwrap();
        assert_eq!(fixture.testbed.ended(&job).await.unwrap().state, JobState::Failed);
        assert_untouched(&fixture.testbed.recovery, &taken).await;
        assert_eq!(fixture.testbed.item(&item()).await.unwrap().test_failover, None);
    });
}

#[test]
fn items_whose_names_differ_in_one_odd_character_share_nothing() {
    run(SEED, async |world| {
        let testbed = vmware_testbed(world);
        let names = ["a.b", "a_b", "a/b", "../b"];
        let machines = ["m1", "m2", "m3", "m4"];
        for machine in machines {
            testbed.install(&SimInstall::new(machine)).await.unwrap();
        }
        for (item, machine) in names.into_iter().zip(machines) {
            let job = testbed
                .core
                .enable_protection(&EnableProtection { item: item.into(), ..enable_request(machine) })
                .await
                .unwrap();
            testbed.completed(&job).await.unwrap();
        }
        // The end of one item's protection must not remove what the core received for others.
        testbed.completed(testbed.core.disable_protection(&names[0].into()).await).await.unwrap();
        for (item, machine) in names.into_iter().zip(machines).skip(1) {
            testbed.wait_for_points(&item.into(), 4).await.unwrap();
            testbed.fail_over(&item.into(), PointChoice::Latest).await.unwrap();
            testbed.recovered(machine).unwrap();
        }
    });
}

#[test]
fn a_test_failover_in_the_production_network_is_refused() {
    run(SEED, async |world| {
        let fixture = vmware(world).await;
        let before = ObservableState::of(&fixture.testbed).await;
        let request = TestFailoverRequest {
            network: Network::Production,
            ..TestFailoverRequest::isolated(&item(), PointChoice::Latest)
        };
        assert_refused(
            fixture.testbed.core.test_failover(&request).await,
            ErrorCode::BadRequest,
            "production",
        );
        before.assert_unchanged(&fixture.testbed, "production").await;
    });
}

#[test]
fn a_planned_failover_starts_from_nothing_but_the_latest_point() {
    run(SEED, async |world| {
        let fixture = StateFixture::after(world, &kind(Pair::HyperV), &[]).await;
        let oldest = fixture.testbed.item(&item()).await.unwrap().points[0].id.clone();
        let before = ObservableState::of(&fixture.testbed).await;
        let planned = |point| FailoverRequest { point, ..FailoverRequest::planned(&item(), OUT) };
        for point in [PointChoice::Custom(oldest), PointChoice::LatestProcessed] {
            assert_refused(
                fixture.testbed.core.failover(&planned(point)).await,
                ErrorCode::BadRequest,
                "planned",
            );
            before.assert_unchanged(&fixture.testbed, "planned").await;
        }
        let job = fixture.testbed.core.failover(&planned(PointChoice::Latest)).await.unwrap();
        fixture.testbed.completed(&job).await.unwrap();
    });
}

#[test]
fn only_a_failback_to_hyperv_says_when_data_is_synchronised_and_has_to() {
    use Operation::{Commit, PlannedFailover};
    let with = |request: &FailoverRequest, data_sync| FailoverRequest { data_sync, ..request.clone() };
    run(SEED, async |world| {
        let fixture = StateFixture::after(world, &kind(Pair::HyperV), &[PlannedFailover, Commit]).await;
        let before = ObservableState::of(&fixture.testbed).await;
        let back = FailoverRequest::planned(&item(), BACK);
        let core = &fixture.testbed.core;
        assert_refused(core.failover(&back).await, ErrorCode::BadRequest, "no data sync");
        let other = FailoverRequest { point: custom("item-web-point"), ..back.clone() };
        let other = with(&other, Some(DataSync::DuringFailover));
        assert_refused(core.failover(&other).await, ErrorCode::BadRequest, "a point where there is none");
        before.assert_unchanged(&fixture.testbed, "a failback to Hyper-V").await;
        let right = core.failover(&with(&back, Some(DataSync::DuringFailover))).await;
        fixture.testbed.completed(right).await.unwrap();
    });
    for table in Pair::ALL {
        run(SEED, async |world| {
            let fixture = StateFixture::after(world, &kind(table), &[]).await;
            let before = ObservableState::of(&fixture.testbed).await;
            let request = FailoverRequest::unplanned(&item(), OUT);
            for sync in [DataSync::BeforeFailover, DataSync::DuringFailover] {
                let answer = fixture.testbed.core.failover(&with(&request, Some(sync))).await;
                assert_refused(answer, ErrorCode::BadRequest, "superfluous data sync");
                before.assert_unchanged(&fixture.testbed, "superfluous data sync").await;
            }
            fixture.testbed.completed(fixture.testbed.core.failover(&request).await).await.unwrap();
        });
    }
}

#[test]
fn of_simultaneous_requests_one_is_accepted_and_the_others_are_busy() {
    run(SEED, async |world| {
        let fixture = vmware(world).await;
        let core = &fixture.testbed.core;
        let item = item();
        let request = FailoverRequest::unplanned(&item, OUT);
        let test_failover = TestFailoverRequest::isolated(&item, PointChoice::Latest);
        let answers: [Result<JobId, CoreError>; 4] = tokio::join!(
            core.failover(&request),
            core.test_failover(&test_failover),
            core.disable_protection(&item),
            core.failover(&request),
        )
        .into();
        let accepted: Vec<_> = answers.iter().flatten().collect();
        assert_eq!(accepted.len(), 1, "{answers:?}");
        for answer in answers.iter().filter(|answer| answer.is_err()) {
            assert_refused(answer.clone(), ErrorCode::Busy, "at once");
        }
        fixture.testbed.completed(accepted[0]).await.unwrap();
        assert_eq!(ObservableState::of(&fixture.testbed).await.jobs(), 2);
    });
}

#[test]
fn a_damaged_store_is_refused_and_not_changed() {
    run(SEED, async |world| {
        let testbed = vmware_testbed(world);
        testbed.core.close().await.unwrap();
        testbed.world.settle().await;
        let dir = tempfile::tempdir().unwrap();
        let open =
            |dir: &Path| open_core(CoreParts { dir: dir.to_owned(), ..testbed.parts() }, None).map(drop);
        open(dir.path()).unwrap();
        testbed.world.settle().await;
        let store = dir.path().join("core.db");
        std::fs::write(&store, "not a store at all ".repeat(500)).unwrap();
        let before = std::fs::read(&store).unwrap();
        let fingerprints = testbed.sites().map(|site| site.fingerprint());
        assert_refused(open(dir.path()), ErrorCode::Store, "a damaged store");
        testbed.world.settle().await;
        assert_eq!(std::fs::read(&store).unwrap(), before);
        assert_eq!(testbed.sites().map(|site| site.fingerprint()), fingerprints);
        assert_refused(open(&store), ErrorCode::Store, "a file in place of a directory");
    });
}

#[test]
fn a_full_target_fails_the_job_and_once_there_is_room_the_same_request_succeeds() {
    run(SEED, async |world| {
        let fixture = vmware(world).await;
        let testbed = &fixture.testbed;
        let points = testbed.item(&item()).await.unwrap().points;
        testbed.recovery.inject(&SimFault::Full(Bytes(0)));
        let job = testbed.core.failover(&FailoverRequest::unplanned(&item(), OUT)).await.unwrap();
        let view = testbed.ended(&job).await.unwrap();
        let error = view.error.expect("a full target");
        assert_eq!((view.state, error.code), (JobState::Failed, ErrorCode::Platform));
        assert!(error.message.contains("space") || error.message.contains("full"), "{error}");
        // The source goes on serving, no point is lost, and there is no partly built machine.
        assert_eq!(fixture.at().await, BEGINNING);
        let kept = testbed.item(&item()).await.unwrap().points;
        assert!(points.iter().all(|point| kept.contains(point)), "{points:?} {kept:?}");
        let machines = testbed.recovery.machine(&cloud_machine(MACHINE)).await;
        assert_eq!(machines.unwrap_err().kind, PlatformErrorKind::NotFound);
        // Health shows that transfers fail meanwhile.
        testbed.advance(Millis(INTERVAL.0 * 3 / 2)).await;
        assert_eq!(testbed.item(&item()).await.unwrap().health, Health::Critical);
        testbed.recovery.heal();
        testbed.fail_over(&item(), PointChoice::Latest).await.unwrap();
        testbed.advance(BOOT).await;
        assert_recovered(testbed, MACHINE);
    });
}

#[test]
fn a_machine_can_be_protected_after_a_full_target_refused_it() {
    run(SEED, async |world| {
        let fixture = StateFixture::unprotected(world, &kind(Pair::Vmware)).await;
        let testbed = &fixture.testbed;
        testbed.recovery.inject(&SimFault::Full(Bytes(0)));
        let job = testbed.core.enable_protection(&enable_request(MACHINE)).await.unwrap();
        let view = testbed.ended(&job).await.unwrap();
        assert_eq!((view.state, view.error.unwrap().code), (JobState::Failed, ErrorCode::Platform));
        assert_refused(
            testbed.core.item(&item()).await,
            ErrorCode::UnknownId,
            "an item whose protection failed",
        );
        assert!(testbed.recovery.volumes().is_empty());
        testbed.recovery.heal();
        let job = testbed.core.enable_protection(&enable_request(MACHINE)).await.unwrap();
        testbed.completed(&job).await.unwrap();
        assert!(testbed.primary.install(&SimInstall::new(MACHINE)).is_err());
    });
}
