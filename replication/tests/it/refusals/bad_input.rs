//! Requests that are wrong in one thing, beside the same request without it.

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::{
    Bytes, CoreError, DataSync, EnableProtection, ErrorCode, FailoverKind, FailoverRequest, Health, ItemId,
    JobId, JobState, MachineId, MachineSpec, Network, Operation, Platform, PlatformErrorKind, PointChoice,
    ReplicationCore, SiteId, TargetSettings, TestFailoverRequest,
};
use replication::table::Pair as Table;
use replication::{Clock, Config, Core};
use simulator::{SimConfig, SimFault, SimInstall, SimProfile, SimSite, SimWorld, run};

use crate::refusals::house::{House, KINDS, Kind, MACHINE, item};
use crate::refusals::seen::Seen;
use crate::refusals::{SEED, refused};
use crate::support::{
    BACK, INTERVAL, OUT, Pair, dr, enable, exact, failover, is_up, reprotection, test_failover_request,
};

fn kind(table: Table) -> Kind {
    KINDS.into_iter().find(|kind| kind.table == table).unwrap()
}

/// A VMware machine that is protected, between two transfers.
async fn vmware(world: SimWorld) -> House {
    House::reached(world, &kind(Table::Vmware), &[]).await
}

fn custom(id: &str) -> PointChoice {
    PointChoice::Custom(id.into())
}

#[test]
fn names_that_nobody_gave_are_unknown() {
    run(SEED, async |world| {
        let house = vmware(world).await;
        let before = Seen::of(&house.pair).await;
        let core = &house.pair.core;
        let (nobody, right) = (ItemId::from("item-nobody"), item());
        let job = JobId::from("job-nobody");
        let lost = |field: &str| {
            let mut request = enable(&"another".into(), MACHINE);
            match field {
                "primary" => request.primary = "nowhere".into(),
                "recovery" => request.recovery = "nowhere".into(),
                _ => request.machine = "nobody".into(),
            }
            request
        };
        let at = |point: &str| FailoverRequest { point: custom(point), ..failover(&right, OUT) };
        let answers = [
            ("item", core.item(&nobody).await.map(drop)),
            ("watch_points", core.watch_points(&nobody, 1).await.map(drop)),
            ("disable", core.disable_protection(&nobody).await.map(drop)),
            ("failover", core.failover(&failover(&nobody, OUT)).await.map(drop)),
            (
                "test failover",
                core.test_failover(&test_failover_request(&nobody, PointChoice::Latest)).await.map(drop),
            ),
            ("clean up", core.clean_up_test_failover(&nobody).await.map(drop)),
            ("complete", core.complete_failover(&nobody).await),
            ("cancel", core.cancel_failover(&nobody).await),
            ("change point", core.change_point(&nobody, &PointChoice::Latest).await.map(drop)),
            ("commit", core.commit(&nobody).await.map(drop)),
            ("reprotect", core.reprotect(&reprotection(&nobody, BACK)).await.map(drop)),
            ("reverse replicate", core.reverse_replicate(&nobody).await.map(drop)),
            ("job", core.job(&job).await.map(drop)),
            ("watch_job", core.watch_job(&job, 0).await.map(drop)),
            ("primary site", core.enable_protection(&lost("primary")).await.map(drop)),
            ("recovery site", core.enable_protection(&lost("recovery")).await.map(drop)),
            ("machine", core.enable_protection(&lost("machine")).await.map(drop)),
            ("point of a failover", core.failover(&at("no-such-point")).await.map(drop)),
            (
                "point of a test failover",
                core.test_failover(&test_failover_request(&right, custom("nonsense"))).await.map(drop),
            ),
        ];
        for (asked, answer) in answers {
            let error = refused(answer, ErrorCode::UnknownId, asked);
            let named = ["nobody", "nowhere", "no-such-point", "nonsense"];
            assert!(named.iter().any(|name| error.message.contains(name)), "{asked}: {error}");
            before.unchanged(&house.pair, asked).await;
        }
    });
}

#[test]
fn a_point_that_was_merged_away_is_expired_and_one_that_is_kept_is_not() {
    run(SEED, async |world| {
        let house = vmware(world).await;
        let oldest = house.pair.item(&item()).await.points[0].id.clone();
        let choice = PointChoice::Custom(oldest.clone());
        while house.pair.item(&item()).await.points.iter().any(|point| point.id == oldest) {
            house.pair.live(INTERVAL).await;
        }
        house.at_rest().await;
        let before = Seen::of(&house.pair).await;
        let core = &house.pair.core;
        let request = FailoverRequest { point: choice.clone(), ..failover(&item(), OUT) };
        refused(core.failover(&request).await, ErrorCode::PointExpired, "failover");
        refused(
            core.test_failover(&test_failover_request(&item(), choice.clone())).await,
            ErrorCode::PointExpired,
            "test failover",
        );
        before.unchanged(&house.pair, "an expired point").await;
        let kept = house.pair.item(&item()).await.points[0].id.clone();
        let request = FailoverRequest { point: PointChoice::Custom(kept), ..failover(&item(), OUT) };
        house.pair.completed(&core.failover(&request).await.unwrap()).await;
        house.at_rest().await;
        // The window holds for a change of point as well (RP-14).
        let before = Seen::of(&house.pair).await;
        refused(core.change_point(&item(), &choice).await, ErrorCode::PointExpired, "change point");
        refused(core.change_point(&item(), &custom("nonsense")).await, ErrorCode::UnknownId, "change point");
        before.unchanged(&house.pair, "a change to an expired point").await;
    });
}

#[test]
fn a_point_of_an_earlier_round_is_none_of_this_round() {
    use Operation::{Commit, Reprotect, UnplannedFailover};
    run(SEED, async |world| {
        let house = vmware(world).await;
        let first = house.pair.item(&item()).await.points[0].id.clone();
        for operation in [UnplannedFailover, Commit, Reprotect, UnplannedFailover, Commit, Reprotect] {
            house.perform(operation).await;
        }
        let request = FailoverRequest { point: PointChoice::Custom(first), ..failover(&item(), OUT) };
        refused(
            house.pair.core.failover(&request).await,
            ErrorCode::PointExpired,
            "an earlier round's point",
        );
    });
}

#[test]
fn protection_is_refused_where_it_makes_no_sense() {
    run(SEED, async |world| {
        let house = House::bare(world, &kind(Table::Vmware)).await;
        let core = &house.pair.core;
        let right = enable(&item(), MACHINE);
        let wrong: [(&str, EnableProtection); 3] = [
            ("same", EnableProtection { recovery: "primary".into(), ..right.clone() }),
            (
                "moves",
                EnableProtection { primary: "recovery".into(), recovery: "primary".into(), ..right.clone() },
            ),
            ("name", EnableProtection { item: "".into(), ..right.clone() }),
        ];
        for (word, request) in wrong {
            let before = Seen::of(&house.pair).await;
            let error = refused(core.enable_protection(&request).await, ErrorCode::BadRequest, word);
            assert!(error.message.contains(word), "{word}: {error}");
            before.unchanged(&house.pair, word).await;
        }
        house.pair.completed(&core.enable_protection(&right).await.unwrap()).await;
    });
}

#[test]
fn a_machine_is_protected_once_and_an_items_name_given_once() {
    run(SEED, async |world| {
        let house = vmware(world).await;
        house.pair.install("other").await;
        house.at_rest().await;
        let before = Seen::of(&house.pair).await;
        let core = &house.pair.core;
        let of = |item: &str, machine: &str, target: &str| EnableProtection {
            target: TargetSettings { machine: target.into(), ..enable(&item.into(), machine).target },
            ..enable(&item.into(), machine)
        };
        let wrong = [
            ("the same machine", of("another", MACHINE, "another-dr")),
            ("the same name", of(&item().0, "other", "other-dr")),
            ("the same target", of("another", "other", &dr(MACHINE).0)),
        ];
        for (asked, request) in wrong {
            refused(core.enable_protection(&request).await, ErrorCode::AlreadyProtected, asked);
            before.unchanged(&house.pair, asked).await;
        }
        let right = core.enable_protection(&of("another", "other", "other-dr")).await;
        house.pair.completed(&right.unwrap()).await;
    });
}

/// A machine that somebody else has at the recovery site under that name.
async fn stranger(site: &SimSite, name: &MachineId) {
    site.create_volume(&"strange-disk".into(), Bytes(1 << 20), None).await.unwrap();
    let (memory, network) = (Bytes(1 << 30), Network::Production);
    let disks = vec![("system".into(), "strange-disk".into())];
    let (firmware, os) = (contract::Firmware::Bios, contract::GuestOs::Linux);
    let (guest, placement) = Default::default();
    let id = name.clone();
    site.create_machine(&MachineSpec { id, firmware, os, memory, disks, network, guest, placement })
        .await
        .unwrap();
    site.start(name).await.unwrap();
}

async fn untouched(site: &SimSite, name: &MachineId) {
    let view = site.machine(name).await.expect("the stranger is still there");
    assert_eq!(view.power, contract::PowerState::On, "the stranger still runs");
    assert_eq!(site.boots(name).len(), 1);
}

#[test]
fn a_name_that_is_taken_at_the_target_is_refused_and_never_harms_its_owner() {
    run(SEED, async |world| {
        let house = House::bare(world, &kind(Table::Vmware)).await;
        stranger(&house.pair.recovery, &dr(MACHINE)).await;
        let before = Seen::of(&house.pair).await;
        let answer = house.pair.core.enable_protection(&enable(&item(), MACHINE)).await;
        let error = refused(answer, ErrorCode::BadRequest, "a name that is taken");
        assert!(error.message.contains(&dr(MACHINE).0), "{error}");
        before.unchanged(&house.pair, "a name that is taken").await;
    });
    run(SEED, async |world| {
        // The name is taken later.
        let house = vmware(world).await;
        stranger(&house.pair.recovery, &dr(MACHINE)).await;
        let job = house.pair.core.failover(&failover(&item(), OUT)).await.unwrap();
        let view = house.pair.ended(&job).await;
        assert_eq!((view.state, view.error.unwrap().code), (JobState::Failed, ErrorCode::Platform));
        untouched(&house.pair.recovery, &dr(MACHINE)).await;
        assert_eq!(house.at().await, crate::refusals::house::BEGINNING);
    });
    run(SEED, async |world| {
        let (house, taken) = (vmware(world).await, crate::refusals::house::test_machine());
        stranger(&house.pair.recovery, &taken).await;
        let job = house
            .pair
            .core
            .test_failover(&test_failover_request(&item(), PointChoice::Latest))
            .await
            .unwrap();
        assert_eq!(house.pair.ended(&job).await.state, JobState::Failed);
        untouched(&house.pair.recovery, &taken).await;
        assert_eq!(house.pair.item(&item()).await.test_failover, None);
    });
}

#[test]
fn items_whose_names_differ_in_one_odd_character_share_nothing() {
    run(SEED, async |world| {
        let (primary, recovery) = (
            world.site(SimConfig::new("primary", SimProfile::VMWARE)),
            world.site(SimConfig::new("recovery", SimProfile::AZURE)),
        );
        let pair = Pair::of(world, primary, recovery);
        let names = ["a.b", "a_b", "a/b", "../b"];
        let machines = ["m1", "m2", "m3", "m4"];
        for machine in machines {
            pair.install(machine).await;
        }
        for (item, machine) in names.into_iter().zip(machines) {
            let job = pair.core.enable_protection(&enable(&item.into(), machine)).await.unwrap();
            pair.completed(&job).await;
        }
        // What landed for others stays when one of them ends.
        pair.completed(&pair.core.disable_protection(&names[0].into()).await.unwrap()).await;
        for (item, machine) in names.into_iter().zip(machines).skip(1) {
            pair.points(&item.into(), 4).await.unwrap();
            pair.fail_over(&item.into(), OUT).await;
            let source = pair.primary.last_boot(&machine.into()).unwrap();
            exact(&source, &pair.recovery.last_boot(&dr(machine)).unwrap());
        }
    });
}

#[test]
fn a_test_failover_in_the_production_network_is_refused() {
    run(SEED, async |world| {
        let house = vmware(world).await;
        let before = Seen::of(&house.pair).await;
        let request = TestFailoverRequest {
            network: Network::Production,
            ..test_failover_request(&item(), PointChoice::Latest)
        };
        refused(house.pair.core.test_failover(&request).await, ErrorCode::BadRequest, "production");
        before.unchanged(&house.pair, "production").await;
    });
}

#[test]
fn a_planned_failover_starts_from_nothing_but_the_latest_point() {
    run(SEED, async |world| {
        let house = House::reached(world, &kind(Table::HyperV), &[]).await;
        let oldest = house.pair.item(&item()).await.points[0].id.clone();
        let before = Seen::of(&house.pair).await;
        let planned = |point| FailoverRequest {
            kind: FailoverKind::Planned,
            point,
            shut_down_source: true,
            ..failover(&item(), OUT)
        };
        for point in [PointChoice::Custom(oldest), PointChoice::LatestProcessed] {
            refused(house.pair.core.failover(&planned(point)).await, ErrorCode::BadRequest, "planned");
            before.unchanged(&house.pair, "planned").await;
        }
        let job = house.pair.core.failover(&planned(PointChoice::Latest)).await.unwrap();
        house.pair.completed(&job).await;
    });
}

#[test]
fn data_is_synchronised_where_a_failback_to_hyperv_says_when_and_nowhere_else() {
    use Operation::{Commit, PlannedFailover};
    let with = |request: &FailoverRequest, data_sync| FailoverRequest { data_sync, ..request.clone() };
    run(SEED, async |world| {
        let house = House::reached(world, &kind(Table::HyperV), &[PlannedFailover, Commit]).await;
        let before = Seen::of(&house.pair).await;
        let back = FailoverRequest {
            kind: FailoverKind::Planned,
            shut_down_source: true,
            ..failover(&item(), BACK)
        };
        let core = &house.pair.core;
        refused(core.failover(&back).await, ErrorCode::BadRequest, "no data sync");
        let other = FailoverRequest { point: custom("item-web-point"), ..back.clone() };
        let other = with(&other, Some(DataSync::DuringFailover));
        refused(core.failover(&other).await, ErrorCode::BadRequest, "a point where there is none");
        before.unchanged(&house.pair, "a failback to Hyper-V").await;
        let right = core.failover(&with(&back, Some(DataSync::DuringFailover))).await;
        house.pair.completed(&right.unwrap()).await;
    });
    for table in Table::ALL {
        run(SEED, async |world| {
            let house = House::reached(world, &kind(table), &[]).await;
            let before = Seen::of(&house.pair).await;
            let request = failover(&item(), OUT);
            for sync in [DataSync::BeforeFailover, DataSync::DuringFailover] {
                let answer = house.pair.core.failover(&with(&request, Some(sync))).await;
                refused(answer, ErrorCode::BadRequest, "superfluous data sync");
                before.unchanged(&house.pair, "superfluous data sync").await;
            }
            house.pair.completed(&house.pair.core.failover(&request).await.unwrap()).await;
        });
    }
}

#[test]
fn of_operations_asked_at_once_one_is_accepted_and_the_others_are_busy() {
    run(SEED, async |world| {
        let house = vmware(world).await;
        let core = &house.pair.core;
        let (item, request) = (item(), failover(&item(), OUT));
        let test_failover = test_failover_request(&item, PointChoice::Latest);
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
            refused(answer.clone(), ErrorCode::Busy, "at once");
        }
        house.pair.completed(accepted[0]).await;
        assert_eq!(Seen::of(&house.pair).await.jobs(), 2);
    });
}

#[test]
fn a_store_that_is_damaged_is_refused_and_left_as_it_is() {
    run(SEED, async |world| {
        let sites = [("primary", SimProfile::VMWARE), ("recovery", SimProfile::AZURE)]
            .map(|(id, profile)| world.site(SimConfig::new(id, profile)));
        let open = |dir: &std::path::Path| {
            let platforms: BTreeMap<SiteId, Arc<dyn Platform>> = ["primary", "recovery"]
                .into_iter()
                .zip(&sites)
                .map(|(id, site)| (id.into(), Arc::clone(site) as Arc<dyn Platform>))
                .collect();
            Core::open(Config { platforms, dir: dir.to_owned(), fault_hook: None, clock: Clock::system() })
        };
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        world.settle().await;
        let store = dir.path().join("core.db");
        std::fs::write(&store, "not a store at all ".repeat(500)).unwrap();
        let (before, prints) = (std::fs::read(&store).unwrap(), sites.each_ref().map(|s| s.fingerprint()));
        refused(open(dir.path()).map(drop), ErrorCode::Store, "a damaged store");
        world.settle().await;
        assert_eq!(std::fs::read(&store).unwrap(), before);
        assert_eq!(sites.each_ref().map(|site| site.fingerprint()), prints);
        // A directory that is none.
        refused(open(&store).map(drop), ErrorCode::Store, "a file in place of a directory");
    });
}

#[test]
fn a_full_target_fails_the_job_and_once_there_is_room_the_same_request_succeeds() {
    run(SEED, async |world| {
        let house = vmware(world).await;
        let pair = &house.pair;
        let points = pair.item(&item()).await.points;
        pair.recovery.inject(&SimFault::Full(Bytes(0)));
        let job = pair.core.failover(&failover(&item(), OUT)).await.unwrap();
        let view = pair.ended(&job).await;
        let error = view.error.expect("a full target");
        assert_eq!((view.state, error.code), (JobState::Failed, ErrorCode::Platform));
        assert!(error.message.contains("space") || error.message.contains("full"), "{error}");
        // The machine serves on, every point is there, and there is no half-built machine.
        assert_eq!(house.at().await, crate::refusals::house::BEGINNING);
        let kept = pair.item(&item()).await.points;
        assert!(points.iter().all(|point| kept.contains(point)), "{points:?} {kept:?}");
        let machines = pair.recovery.machine(&dr(MACHINE)).await;
        assert_eq!(machines.unwrap_err().kind, PlatformErrorKind::NotFound);
        // What cannot be stored meanwhile is trouble, and no point.
        pair.live(contract::Millis(INTERVAL.0 * 3 / 2)).await;
        assert_eq!(pair.item(&item()).await.health, Health::Critical);
        pair.recovery.heal();
        pair.fail_over(&item(), OUT).await;
        pair.live(contract::Millis(10_000)).await;
        let source = pair.primary.last_boot(&MACHINE.into()).unwrap();
        let target = pair.recovery.last_boot(&dr(MACHINE)).unwrap();
        let (_, record) = exact(&source, &target);
        is_up(&pair.recovery, &target, record);
    });
}

#[test]
fn a_machine_can_be_installed_and_protected_anew_after_a_full_target_refused_it() {
    run(SEED, async |world| {
        let house = House::bare(world, &kind(Table::Vmware)).await;
        let pair = &house.pair;
        pair.recovery.inject(&SimFault::Full(Bytes(0)));
        let job = pair.core.enable_protection(&enable(&item(), MACHINE)).await.unwrap();
        let view = pair.ended(&job).await;
        assert_eq!((view.state, view.error.unwrap().code), (JobState::Failed, ErrorCode::Platform));
        refused(pair.core.item(&item()).await, ErrorCode::UnknownId, "an item that came to nothing");
        assert!(pair.recovery.volumes().is_empty());
        pair.recovery.heal();
        let job = pair.core.enable_protection(&enable(&item(), MACHINE)).await.unwrap();
        pair.completed(&job).await;
        assert!(pair.primary.install(&SimInstall::new(MACHINE)).is_err());
    });
}
