//! The simulated platform by itself: snapshots, change tracking, faults, and what it refuses.
#![expect(clippy::unwrap_used, reason = "tests")]

use contract::{
    Access, Acknowledge, Bytes, DiskSnapshot, MachineId, MachineSpec, Millis, Platform,
    PlatformErrorKind as Kind, PowerState,
};
use nbd::{ALLOCATION, Client};
use simulator::{
    Call, Cut, End, FailCall, Link, Load, SimConfig, SimFault, SimInstall, SimProcess, SimProfile, SimSite,
    SimWorld, cut_of, run,
};

mod socket;

const MINUTE: Millis = Millis(60_000);

fn config(profile: SimProfile) -> SimConfig {
    SimConfig::new("site", profile)
}

fn web() -> MachineId {
    "web".into()
}

async fn running(world: &SimWorld, config: SimConfig) -> std::sync::Arc<SimSite> {
    let site = world.site(config);
    site.install(&SimInstall::new("web")).unwrap();
    site.start(&web()).await.unwrap();
    world.clock().sleep(MINUTE).await;
    site
}

/// The content of a disk of a snapshot.
fn content(snapshot: &DiskSnapshot, disk: usize) -> Vec<u8> {
    let mut client = Client::connect(&snapshot.disks[disk].uri).unwrap();
    let mut bytes = vec![0; snapshot.disks[disk].size.0 as usize];
    client.read(0, &mut bytes).unwrap();
    bytes
}

/// The extents of a disk that a snapshot reports as changed; `None` if it cannot report changes.
fn changed(snapshot: &DiskSnapshot, disk: usize) -> Option<Vec<(usize, usize)>> {
    let context = snapshot.disks[disk].changed.as_deref()?;
    let mut client = Client::connect_with(&snapshot.disks[disk].uri, &[context]).unwrap();
    let extents = client.extents(context).unwrap();
    let dirty = extents.iter().filter(|extent| extent.is_dirty());
    Some(dirty.map(|extent| (extent.offset as usize, extent.length as usize)).collect())
}

/// Whether a copy of `older` equals `newer` on every disk once the changes that `newer` reports are
/// copied.
fn reports_all_changes(older: &DiskSnapshot, newer: &DiskSnapshot, old: &[Vec<u8>]) -> bool {
    (0..older.disks.len()).all(|disk| {
        let (mut copy, new) = (old[disk].clone(), content(newer, disk));
        for (offset, length) in changed(newer, disk).expect("changes are reported") {
            copy[offset..offset + length].copy_from_slice(&new[offset..offset + length]);
        }
        copy == new
    })
}

fn contents(snapshot: &DiskSnapshot) -> Vec<Vec<u8>> {
    (0..snapshot.disks.len()).map(|disk| content(snapshot, disk)).collect()
}

#[test]
fn a_snapshot_shows_all_disks_at_one_moment_and_does_not_change() {
    run(1, async |world| {
        let site = running(&world, config(SimProfile::VMWARE)).await;
        let snapshot = site.open_snapshot(&web(), None).await.unwrap();
        let boot = site.last_boot(&web()).unwrap();
        let now = boot.log().len();
        let before = contents(&snapshot);
        world.clock().sleep(MINUTE).await;
        assert_eq!(before, contents(&snapshot));
        let disks: Vec<_> = boot
            .disks
            .iter()
            .map(|disk| site.snapshot(&format!("web-{}", disk.id).as_str().into()).unwrap())
            .collect();
        let Cut::Exact(all) = cut_of(&boot.bases(), &site.last_boot(&web()).unwrap().log(), &disks, &[])
        else {
            panic!("a live disk is not what was written to it");
        };
        assert!(now > 60 && *all.start() > now + 60, "{now} then {all:?}");
        assert_eq!(
            snapshot.taken_at,
            world.clock().now().0.checked_sub(MINUTE.0).map(contract::Timestamp).unwrap()
        );
        site.close_snapshot(&snapshot.id, Acknowledge::Advance).await.unwrap();
        assert!(Client::connect(&snapshot.disks[0].uri).is_err());
    });
}

#[test]
fn all_changes_since_a_snapshot_are_reported_even_after_one_that_was_not_acknowledged() {
    run(2, async |world| {
        let site = running(&world, config(SimProfile::VMWARE)).await;
        let first = site.open_snapshot(&web(), None).await.unwrap();
        let copy = contents(&first);
        assert!(first.disks.iter().all(|disk| disk.changed.is_none()));
        site.close_snapshot(&first.id, Acknowledge::Advance).await.unwrap();
        world.clock().sleep(MINUTE).await;
        let second = site.open_snapshot(&web(), Some(&first.change_id)).await.unwrap();
        world.clock().sleep(MINUTE).await;
        site.close_snapshot(&second.id, Acknowledge::Keep).await.unwrap();
        world.clock().sleep(MINUTE).await;
        let third = site.open_snapshot(&web(), Some(&first.change_id)).await.unwrap();
        assert!(reports_all_changes(&first, &third, &copy));
        let copy = contents(&third);
        site.close_snapshot(&third.id, Acknowledge::Advance).await.unwrap();
        world.clock().sleep(Millis(500)).await;
        let fourth = site.open_snapshot(&web(), Some(&third.change_id)).await.unwrap();
        assert!(reports_all_changes(&third, &fourth, &copy));
        site.close_snapshot(&fourth.id, Acknowledge::Advance).await.unwrap();
        // Changes since a snapshot are unknown once a later one was acknowledged.
        for old in [&first.change_id, &second.change_id, &third.change_id] {
            let snapshot = site.open_snapshot(&web(), Some(old)).await.unwrap();
            assert!(snapshot.disks.iter().all(|disk| disk.changed.is_none()));
            site.close_snapshot(&snapshot.id, Acknowledge::Keep).await.unwrap();
        }
        assert_eq!(site.snapshots_taken(&web()), 7);
    });
}

#[test]
fn change_tracking_survives_shutdowns_and_power_cuts_as_its_platform_says() {
    // After a shutdown, and after a power cut.
    let expected = [
        (SimProfile::AZURE, [true, false]),
        (SimProfile::VMWARE, [false, false]),
        (SimProfile::HYPERV, [false, false]),
        (SimProfile::PHYSICAL, [false, false]),
    ];
    for (profile, kept) in expected {
        for (orderly, kept) in [true, false].into_iter().zip(kept) {
            let label = profile.label;
            run(3, async |world| {
                let site = running(&world, config(profile.clone())).await;
                let first = site.open_snapshot(&web(), None).await.unwrap();
                let copy = contents(&first);
                site.close_snapshot(&first.id, Acknowledge::Advance).await.unwrap();
                world.clock().sleep(MINUTE).await;
                if orderly {
                    site.shut_down(&web(), MINUTE).await.unwrap();
                } else {
                    site.power_off(&web()).await.unwrap();
                }
                let powered_off = site.open_snapshot(&web(), Some(&first.change_id)).await.unwrap();
                assert_eq!(
                    changed(&powered_off, 0).is_some(),
                    kept,
                    "{label} powered off, shut down: {orderly}"
                );
                if kept {
                    assert!(reports_all_changes(&first, &powered_off, &copy));
                }
                site.close_snapshot(&powered_off.id, Acknowledge::Keep).await.unwrap();
                site.start(&web()).await.unwrap();
                world.clock().sleep(MINUTE).await;
                let live = site.open_snapshot(&web(), Some(&first.change_id)).await.unwrap();
                assert_eq!(changed(&live, 0).is_some(), kept, "{label} started again, shut down: {orderly}");
                if kept {
                    assert!(reports_all_changes(&first, &live, &copy));
                }
            });
        }
    }
}

#[test]
fn a_physical_machine_never_reports_changes_and_stop_tracking_ends_reports() {
    run(4, async |world| {
        for (profile, reports) in [(SimProfile::PHYSICAL, false), (SimProfile::VMWARE, true)] {
            let site = running(&world, SimConfig::new(profile.label, profile)).await;
            let first = site.open_snapshot(&web(), None).await.unwrap();
            site.close_snapshot(&first.id, Acknowledge::Advance).await.unwrap();
            let second = site.open_snapshot(&web(), Some(&first.change_id)).await.unwrap();
            assert_eq!(changed(&second, 1).is_some(), reports);
            site.close_snapshot(&second.id, Acknowledge::Advance).await.unwrap();
            site.stop_tracking(&web()).await.unwrap();
            let third = site.open_snapshot(&web(), Some(&second.change_id)).await.unwrap();
            assert_eq!(changed(&third, 1), None);
        }
    });
}

#[test]
fn a_snapshot_left_open_is_closed_by_the_next_and_loses_no_change() {
    run(5, async |world| {
        let site = running(&world, config(SimProfile::VMWARE)).await;
        let first = site.open_snapshot(&web(), None).await.unwrap();
        let copy = contents(&first);
        site.close_snapshot(&first.id, Acknowledge::Advance).await.unwrap();
        world.clock().sleep(MINUTE).await;
        let left = site.open_snapshot(&web(), Some(&first.change_id)).await.unwrap();
        world.clock().sleep(MINUTE).await;
        let next = site.open_snapshot(&web(), Some(&first.change_id)).await.unwrap();
        assert!(reports_all_changes(&first, &next, &copy));
        assert!(Client::connect(&left.disks[0].uri).is_err());
    });
}

#[test]
fn a_guest_shuts_down_or_refuses_to_or_hangs() {
    run(6, async |world| {
        let site = running(&world, config(SimProfile::VMWARE)).await;
        let clock = world.clock();
        site.inject(&SimFault::ShutdownRefused(web()));
        let asked = clock.now();
        assert_eq!(site.shut_down(&web(), MINUTE).await.unwrap_err().kind, Kind::TimedOut);
        assert_eq!(clock.now().since(asked), MINUTE);
        site.heal();
        site.inject(&SimFault::GuestHangs(web()));
        let writes = site.last_boot(&web()).unwrap().log().len();
        clock.sleep(MINUTE).await;
        assert_eq!(site.last_boot(&web()).unwrap().log().len(), writes);
        assert_eq!(site.shut_down(&web(), Millis(10)).await.unwrap_err().kind, Kind::TimedOut);
        site.heal();
        clock.sleep(MINUTE).await;
        assert!(site.last_boot(&web()).unwrap().log().len() > writes);
        site.shut_down(&web(), MINUTE).await.unwrap();
        let boot = site.last_boot(&web()).unwrap();
        assert_eq!(boot.ended(), Some((clock.now(), End::ShutDown)));
        assert!(boot.log().last().unwrap().record().unwrap().quiesced);
        site.start(&web()).await.unwrap();
        let again = site.last_boot(&web()).unwrap();
        let found = again.found.as_ref().unwrap();
        assert_eq!((found.highest, found.ends_quiesced), (boot.acks().last().unwrap().number, true));
        assert!(again.epoch > boot.epoch);
    });
}

#[test]
fn a_shutdown_that_takes_longer_than_the_caller_waits_happens_later() {
    run(7, async |world| {
        let site = running(&world, config(SimProfile::VMWARE)).await;
        assert_eq!(site.shut_down(&web(), Millis(500)).await.unwrap_err().kind, Kind::TimedOut);
        assert_eq!(site.machine(&web()).await.unwrap().power, PowerState::On);
        world.clock().sleep(Millis(1600)).await;
        assert_eq!(site.machines().await.unwrap()[0].power, PowerState::Off);
    });
}

#[test]
fn a_guest_whose_drivers_do_not_fit_does_not_come_up() {
    run(8, async |world| {
        let site = world.site(config(SimProfile::AZURE));
        let loads = Some(vec!["vmw_pvscsi".to_owned()]);
        site.install(&SimInstall { loads, ..SimInstall::new("web") }).unwrap();
        site.start(&web()).await.unwrap();
        world.clock().sleep(MINUTE).await;
        let boot = site.last_boot(&web()).unwrap();
        assert!(boot.up.as_ref().unwrap_err().contains("ata_piix"), "{:?}", boot.up);
        assert!(boot.log().is_empty() && boot.found.is_none());
        assert_eq!(site.shut_down(&web(), MINUTE).await.unwrap_err().kind, Kind::TimedOut);
        site.power_off(&web()).await.unwrap();
        assert_eq!(site.last_boot(&web()).unwrap().ended().unwrap().1, End::PoweredOff);
    });
}

#[test]
fn invalid_calls_are_refused_and_repeated_calls_succeed() {
    run(9, async |world| {
        let site = running(&world, config(SimProfile::VMWARE)).await;
        let (disk, delta, other) = ("web-system".into(), "delta".into(), "other".into());
        let kind = |error: contract::PlatformError| error.kind;
        assert_eq!(site.export_volume(&disk, Access::Write).await.map_err(kind), Err(Kind::WrongPowerState));
        assert_eq!(site.delete_machine(&web()).await.map_err(kind), Err(Kind::WrongPowerState));
        assert_eq!(site.delete_volume(&disk).await.map_err(kind), Err(Kind::WrongPowerState));
        assert_eq!(site.create_volume(&disk, Bytes(1), None).await.map_err(kind), Err(Kind::Exists));
        assert_eq!(site.derive_volume(&delta, &other).await.map_err(kind), Err(Kind::NotFound));
        site.derive_volume(&delta, &disk).await.unwrap();
        assert_eq!(site.delete_volume(&disk).await.map_err(kind), Err(Kind::WrongPowerState));
        assert_eq!(site.merge_volumes(&disk, &delta).await.map_err(kind), Err(Kind::NotFound));
        assert_eq!(site.merge_volumes(&delta, &disk).await.map_err(kind), Err(Kind::Failed));
        assert_eq!(site.start(&"nobody".into()).await.map_err(kind), Err(Kind::NotFound));
        // A call whose effect is already there succeeds.
        site.delete_volume(&delta).await.unwrap();
        site.delete_volume(&delta).await.unwrap();
        site.power_off(&web()).await.unwrap();
        site.power_off(&web()).await.unwrap();
        site.delete_machine(&web()).await.unwrap();
        site.delete_machine(&web()).await.unwrap();
        site.close_export(&"nothing".into()).await.unwrap();
        site.close_snapshot(&"nothing".into(), Acknowledge::Advance).await.unwrap();
        site.stop_tracking(&web()).await.unwrap();
    });
}

#[test]
fn a_machine_does_not_start_on_a_volume_that_is_open_for_writing() {
    run(10, async |world| {
        let site = world.site(config(SimProfile::VMWARE));
        site.install(&SimInstall::new("web")).unwrap();
        let export = site.export_volume(&"web-data".into(), Access::Write).await.unwrap();
        assert_eq!(site.start(&web()).await.unwrap_err().kind, Kind::Failed);
        site.close_export(&export.id).await.unwrap();
        site.start(&web()).await.unwrap();
        let spec = MachineSpec { id: "twin".into(), ..site.spec(&web()).unwrap() };
        site.create_machine(&spec).await.unwrap();
        assert_eq!(site.start(&"twin".into()).await.unwrap_err().kind, Kind::Failed);
    });
}

#[test]
fn a_merge_waits_for_exports_and_does_not_change_what_a_running_machine_reads() {
    run(11, async |world| {
        let site = world.site(config(SimProfile::AZURE));
        site.install(&SimInstall::new("web")).unwrap();
        let spec = site.spec(&web()).unwrap();
        site.delete_machine(&web()).await.unwrap();
        let mut disks = Vec::new();
        for (disk, base) in spec.disks.clone() {
            let (point, run) =
                (format!("{disk}-point").as_str().into(), format!("{disk}-run").as_str().into());
            site.derive_volume(&point, &base).await.unwrap();
            site.derive_volume(&run, &point).await.unwrap();
            disks.push((disk, run));
        }
        site.create_machine(&MachineSpec { disks: disks.clone(), ..spec }).await.unwrap();
        site.start(&web()).await.unwrap();
        world.clock().sleep(MINUTE).await;
        let reader = site.export_volume(&"system-point".into(), Access::Read).await.unwrap();
        let began = world.clock().now();
        let (merged, ()) = tokio::join!(
            async { site.merge_volumes(&"system-point".into(), &"web-system".into()).await },
            async {
                world.clock().sleep(Millis(700)).await;
                site.close_export(&reader.id).await.unwrap();
            }
        );
        merged.unwrap();
        assert_eq!(world.clock().now().since(began), Millis(700));
        world.clock().sleep(MINUTE).await;
        let boot = site.last_boot(&web()).unwrap();
        let now: Vec<_> = disks.iter().map(|(_, volume)| site.snapshot(volume).unwrap()).collect();
        let log = boot.log();
        assert_eq!(cut_of(&boot.bases(), &log, &now, &[]), Cut::Exact(log.len()..=log.len()));
        assert_eq!(site.volume(&"system-run".into()).await.unwrap().parent, Some("web-system".into()));
    });
}

#[test]
fn a_lost_site_answers_nothing_and_keeps_its_disks() {
    run(12, async |world| {
        let site = running(&world, config(SimProfile::AZURE)).await;
        let snapshot = site.open_snapshot(&web(), None).await.unwrap();
        let mut client = Client::connect(&snapshot.disks[0].uri).unwrap();
        let disaster = site.lose();
        assert!(client.read(0, &mut [0; 512]).is_err());
        assert_eq!(site.machines().await.unwrap_err().kind, Kind::Unreachable);
        world.clock().sleep(MINUTE).await;
        site.restore();
        assert_eq!(site.machine(&web()).await.unwrap().power, PowerState::Off);
        let boot = site.last_boot(&web()).unwrap();
        assert_eq!(boot.ended(), Some((disaster, End::SiteLost)));
        assert!(boot.log().iter().all(|write| write.at <= disaster));
        site.start(&web()).await.unwrap();
        let found = site.last_boot(&web()).unwrap().found.clone().unwrap();
        assert_eq!(found.highest, boot.acked_by(disaster).unwrap().number);
        assert_eq!(site.left_open(), 0);
    });
}

#[test]
fn a_link_takes_time_and_fails_as_configured() {
    run(13, async |world| {
        let link = Link { latency: Millis(50), bytes_per_second: 1 << 20, lose_every: 0 };
        let site = running(&world, SimConfig { link, ..config(SimProfile::VMWARE) }).await;
        let began = world.clock().now();
        let snapshot = site.open_snapshot(&web(), None).await.unwrap();
        assert_eq!(snapshot.taken_at.since(began), Millis(50));
        contents(&snapshot);
        site.close_snapshot(&snapshot.id, Acknowledge::Advance).await.unwrap();
        assert_eq!(world.clock().now().since(began), Millis(50 + 50 + 2000));
        site.set_link(Link { lose_every: 3, ..Link::default() });
        let snapshot = site.open_snapshot(&web(), None).await.unwrap();
        let mut client = Client::connect_with(&snapshot.disks[0].uri, &[ALLOCATION]).unwrap();
        let mut read = || client.read(0, &mut [0; 512]).is_ok();
        assert_eq!([(); 6].map(|()| read()), [true, true, false, true, true, false]);
        site.inject(&SimFault::LinkCut);
        assert!(!read());
        world.heal();
        assert!(read());
    });
}

#[test]
fn an_injected_failure_of_a_call_comes_before_or_after_the_calls_effect() {
    run(14, async |world| {
        let site = world.site(config(SimProfile::VMWARE));
        site.install(&SimInstall::new("web")).unwrap();
        site.inject(&SimFault::Call(FailCall::at(Call::CreateVolume, 1, Kind::Unreachable)));
        site.inject(&SimFault::Call(FailCall::at(Call::CreateVolume, 2, Kind::TimedOut).after_its_effect()));
        let mut create = Vec::new();
        for _ in 0..3 {
            create.push(
                site.create_volume(&"v".into(), Bytes(4096), None)
                    .await
                    .map(drop)
                    .map_err(|error| error.kind),
            );
        }
        assert_eq!(create, [Err(Kind::Unreachable), Err(Kind::TimedOut), Err(Kind::Exists)]);
        assert_eq!(site.calls(Call::CreateVolume), 3);
    });
}

#[test]
fn a_core_that_dies_gets_no_further_answer_and_its_last_call_may_take_effect() {
    run(16, async |world| {
        let site = running(&world, config(SimProfile::VMWARE)).await;
        for (takes_effect, volumes) in [(false, 0), (true, 1)] {
            let process = SimProcess::new();
            let platform = process.platform(&site);
            process.die_at(2, takes_effect);
            let core = tokio::spawn(async move {
                platform.machines().await.unwrap();
                platform.create_volume(&"v".into(), Bytes(512), None).await.unwrap();
                platform.create_volume(&"w".into(), Bytes(512), None).await.unwrap();
            });
            process.died().await;
            world.clock().sleep(MINUTE).await;
            assert!(!core.is_finished());
            let made = site.volumes().iter().filter(|id| id.0.len() == 1).count();
            assert_eq!((process.calls(), made), (2, volumes));
        }
    });
}

#[test]
fn on_a_multi_thread_runtime_time_is_real() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let world = SimWorld::new(17);
        let site = world.site(SimConfig { boot_takes: Millis(0), ..config(SimProfile::VMWARE) });
        let load = Load { record_every: Millis(1), ..Load::default() };
        site.install(&SimInstall { load, ..SimInstall::new("web") }).unwrap();
        site.start(&web()).await.unwrap();
        let began = std::time::Instant::now();
        world.clock().sleep(Millis(50)).await;
        let records = site.last_boot(&web()).unwrap().acks().len() as u128;
        let passed = began.elapsed().as_millis();
        assert!(records >= 10 && records <= 2 * passed + 2, "{records} records in {passed} ms");
    });
}

#[test]
fn a_full_site_takes_no_more_data_and_the_nth_write_fails() {
    run(15, async |world| {
        let site = world.site(config(SimProfile::VMWARE));
        site.create_volume(&"v".into(), Bytes(1 << 20), None).await.unwrap();
        let export = site.export_volume(&"v".into(), Access::Write).await.unwrap();
        let mut client = Client::connect(&export.uri).unwrap();
        site.inject(&SimFault::Full(Bytes(8192)));
        client.write(0, &[1; 8192]).unwrap();
        client.write(100, &[2; 100]).unwrap();
        assert_eq!(client.write(8192, &[1]).unwrap_err().errno, nbd::errno::ENOSPC);
        assert_eq!(site.create_volume(&"w".into(), Bytes(1), None).await.unwrap_err().kind, Kind::Full);
        site.heal();
        site.inject(&SimFault::WriteError(2));
        client.write(8192, &[1]).unwrap();
        assert_eq!(client.write(8192, &[1]).unwrap_err().errno, nbd::errno::EIO);
        client.write(8192, &[1]).unwrap();
    });
}

#[test]
fn a_run_is_determined_by_its_seed() {
    // When and how often the test reads the site must make no difference.
    let writes = |seed, looks: u32| {
        run(seed, async |world| {
            let site = running(&world, config(SimProfile::VMWARE)).await;
            for _ in 0..looks {
                world.clock().sleep(Millis(MINUTE.0 / u64::from(looks))).await;
                site.machine(&web()).await.unwrap();
                site.last_boot(&web()).unwrap();
            }
            world.clock().sleep(Millis(2 * MINUTE.0 - world.clock().now().0 % MINUTE.0)).await;
            site.lose();
            site.last_boot(&web()).unwrap().log()
        })
    };
    assert_eq!(writes(21, 1), writes(21, 30));
    assert_ne!(writes(21, 1), writes(22, 1));
    let shown = run(77, async |world| format!("{world:?} {:?}", world.site(config(SimProfile::AZURE))));
    assert_eq!(shown.matches("seed: 77").count(), 2, "{shown}");
}
