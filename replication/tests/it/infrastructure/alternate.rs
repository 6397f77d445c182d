//! Failback to another machine or another site than the one that was protected (RE-05, RE-26,
//! FB-09, FB-10, PH-01 to PH-03).

use std::collections::BTreeSet;

use contract::{
    Bytes, ComponentId, DiskView, ErrorCode, FailoverRequest, Health, JobState, Phase, Platform,
    PlatformErrorKind, PlatformKind, PowerState, ReprotectRequest, Side,
};
use simulator::testbed::{BACK, BOOT, Boots, INTERVAL, OUT, Testbed, cloud_machine};
use simulator::{Call, FailCall, SimFault, SimInstall, SimProfile, run};

use crate::infrastructure::fixture::{
    MACHINE, committed_in_cloud, fail_back, item, machine, reprotect_and_fail_back, steps,
};
use crate::support::assert_up;

/// The preconditions that this file tests.
pub const ROWS: [(&str, ErrorCode); 4] = [
    ("PH-01", ErrorCode::FailbackSiteUnfit),
    ("PH-02", ErrorCode::FailbackSiteNotGiven),
    ("EX-B2", ErrorCode::NameTaken),
    ("RE-26", ErrorCode::DatastoreUnknown),
];

/// Granularity of simulated storage, in bytes.
const CHUNK: u64 = 4096;
/// Granularity in which differences are transferred, in bytes.
const GRAIN: u64 = 64 * 1024;

/// How much of the cloud machine's disks is not zero, in bytes.
async fn allocated(testbed: &Testbed) -> u64 {
    let disks = testbed.recovery.machine(&cloud_machine(MACHINE)).await.unwrap().disks;
    let content = |disk: &DiskView| {
        let snapshot = testbed.recovery.snapshot(&disk.volume).unwrap();
        let holds = |chunk: &u64| snapshot.bytes(chunk * CHUNK, CHUNK as usize).iter().any(|byte| *byte != 0);
        (0..snapshot.size() / CHUNK).filter(holds).count() as u64 * CHUNK
    };
    disks.iter().map(content).sum()
}

/// How much of the cloud machine's disks differs from `others`, in bytes, in the granularity of
/// transfers.
async fn differing(testbed: &Testbed, others: &[DiskView]) -> Bytes {
    let disks = testbed.recovery.machine(&cloud_machine(MACHINE)).await.unwrap().disks;
    let grains = disks.iter().zip(others).map(|(here, there)| {
        let here = testbed.recovery.snapshot(&here.volume).unwrap();
        let differ = here.differences(&testbed.primary.snapshot(&there.volume).unwrap(), 512);
        differ.into_iter().map(|offset| offset / GRAIN).collect::<BTreeSet<_>>().len() as u64
    });
    Bytes(grains.sum::<u64>() * GRAIN)
}

/// How many bytes the first point of the current direction needed.
async fn first_transfer(testbed: &Testbed) -> Bytes {
    testbed.item(&item()).await.unwrap().points[0].transferred
}

#[test]
fn a_deleted_machine_is_created_by_its_reprotection_and_replicated_in_full() {
    run(41, async |world| {
        let testbed = committed_in_cloud(world, SimProfile::VMWARE).await;
        let original = testbed.primary.machine(&machine()).await.unwrap();
        testbed.primary.delete_machine(&machine()).await.unwrap();
        for disk in &original.disks {
            testbed.primary.delete_volume(&disk.volume).await.unwrap();
        }
        let mut request = testbed.reprotection_to(&item(), &testbed.primary);
        request.datastore = Some("datastore-2".into());
        let job = testbed.reprotect(&request).await.unwrap();
        assert!(steps(&job).contains(&"create machine"), "{:?}", steps(&job));
        let made = testbed.primary.machine(&machine()).await.unwrap();
        assert_eq!((made.power, made.disks.len()), (PowerState::Off, original.disks.len()));
        for disk in &made.disks {
            let volume = testbed.primary.volume(&disk.volume).await.unwrap();
            assert_eq!(volume.datastore, Some(ComponentId::from("datastore-2")));
        }
        assert!(first_transfer(&testbed).await.0 >= allocated(&testbed).await);
        testbed.wait_for_points(&item(), 3).await.unwrap();
        fail_back(&testbed, &testbed.primary).await;
    });
}

#[test]
fn an_existing_machine_receives_only_differences_on_its_own_disks_whatever_datastore_is_named() {
    run(42, async |world| {
        let testbed = committed_in_cloud(world, SimProfile::VMWARE).await;
        let before = testbed.primary.machine(&machine()).await.unwrap();
        let differing = differing(&testbed, &before.disks).await;
        let mut request = testbed.reprotection_to(&item(), &testbed.primary);
        request.datastore = Some("datastore-2".into());
        let job = testbed.core.reprotect(&request).await;
        assert!(!steps(&testbed.completed(job).await.unwrap()).contains(&"create machine"));
        assert_eq!(first_transfer(&testbed).await, differing);
        testbed.wait_for_points(&item(), 3).await.unwrap();
        fail_back(&testbed, &testbed.primary).await;
        let after = testbed.primary.machine(&machine()).await.unwrap();
        assert_eq!((before.uuid, before.disks), (after.uuid, after.disks));
        for disk in &testbed.primary.machine(&machine()).await.unwrap().disks {
            let volume = testbed.primary.volume(&disk.volume).await.unwrap();
            assert_eq!(volume.datastore, Some(ComponentId::from("datastore-1")));
        }
    });
}

#[test]
fn a_machine_fails_back_to_another_vmware_site_and_is_protected_there_from_then_on() {
    run(43, async |world| {
        let testbed = committed_in_cloud(world, SimProfile::VMWARE).await;
        let request = ReprotectRequest {
            failback_site: Some("other".into()),
            ..testbed.reprotection_to(&item(), &testbed.other)
        };
        reprotect_and_fail_back(&testbed, &request, &testbed.other).await;
        testbed.commit(&item()).await.unwrap();
        // The original is still there, off.
        assert_eq!(testbed.primary.machine(&machine()).await.unwrap().power, PowerState::Off);
        testbed.reprotect(&testbed.reprotection_from(&item(), &testbed.other)).await.unwrap();
        testbed.wait_for_points(&item(), 3).await.unwrap();
        let view = testbed.item(&item()).await.unwrap();
        assert_eq!(view.primary, ("other".into(), machine()));
        assert_eq!((view.protection.phase, view.protection.active), (Phase::Protected, Side::Primary));
        assert_eq!((view.health, view.trouble.as_str()), (Health::Healthy, ""));
    });
}

/// The second round starts with the VMware machine that the first failback created.
#[test]
fn a_physical_server_fails_back_to_vmware_and_goes_round_once_more_from_there() {
    for seed in 44..48 {
        run(seed, async |world| {
            let testbed = committed_in_cloud(world, SimProfile::PHYSICAL).await;
            let request = ReprotectRequest {
                failback_site: Some("other".into()),
                ..testbed.reprotection_to(&item(), &testbed.other)
            };
            let job = testbed.reprotect(&request).await.unwrap();
            assert!(steps(&job).contains(&"create machine"), "{:?}", steps(&job));
            assert!(first_transfer(&testbed).await.0 >= allocated(&testbed).await);
            testbed.wait_for_points(&item(), 3).await.unwrap();
            fail_back(&testbed, &testbed.other).await;
            testbed.commit(&item()).await.unwrap();
            assert!(testbed.recovery.machines().await.unwrap().is_empty());
            testbed.reprotect(&testbed.reprotection_from(&item(), &testbed.other)).await.unwrap();
            // Only what was written since the failback is transferred.
            assert!(first_transfer(&testbed).await.0 < 1 << 20);
            testbed.wait_for_points(&item(), 3).await.unwrap();

            let disaster = testbed.other.lose();
            testbed
                .completed(testbed.core.failover(&FailoverRequest::unplanned(&item(), OUT)).await)
                .await
                .unwrap();
            testbed.advance(BOOT).await;
            let source = testbed.other.last_boot(&machine()).unwrap();
            let target = testbed.recovery.last_boot(&cloud_machine(MACHINE)).unwrap();
            let boots = Boots { source, target };
            let record = boots.contained().unwrap().last_record;
            assert_up(&testbed.recovery, &boots.target, record);
            assert!(boots.lost(record, disaster) <= INTERVAL);
            testbed.commit(&item()).await.unwrap();
            testbed.other.restore();
            // The request names no site, because the machine is now protected there.
            reprotect_and_fail_back(
                &testbed,
                &testbed.reprotection_to(&item(), &testbed.other),
                &testbed.other,
            )
            .await;
        });
    }
}

#[test]
fn a_physical_server_fails_back_to_a_vmware_site_and_to_no_other() {
    run(49, async |world| {
        let testbed = committed_in_cloud(world, SimProfile::PHYSICAL).await;
        let back = testbed.reprotection_to(&item(), &testbed.other);
        let to = |site: &str| ReprotectRequest { failback_site: Some(site.into()), ..back.clone() };
        let cases = [
            (back.clone(), ErrorCode::FailbackSiteNotGiven),
            (to("primary"), ErrorCode::FailbackSiteUnfit),
            (to("recovery"), ErrorCode::FailbackSiteUnfit),
            (to("nowhere"), ErrorCode::UnknownId),
        ];
        for (request, code) in cases {
            let error = testbed.core.reprotect(&request).await.unwrap_err();
            assert_eq!(error.code, code, "{error}");
        }
        assert_eq!(testbed.other.site().await.unwrap().kind, PlatformKind::Vmware);
        testbed.completed(testbed.core.reprotect(&to("other")).await).await.unwrap();
    });
}

#[test]
fn another_machine_of_the_same_name_at_the_other_site_is_left_alone() {
    run(50, async |world| {
        let testbed = committed_in_cloud(world, SimProfile::VMWARE).await;
        testbed.other.install(&SimInstall::new(MACHINE)).unwrap();
        let before = testbed.other.machine(&machine()).await.unwrap();
        let request = ReprotectRequest {
            failback_site: Some("other".into()),
            ..testbed.reprotection_to(&item(), &testbed.other)
        };
        let error = testbed.core.reprotect(&request).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::NameTaken);
        assert_eq!(testbed.other.machine(&machine()).await.unwrap(), before);
    });
}

#[test]
fn a_reprotection_that_fails_or_is_disabled_leaves_nothing_at_the_other_site() {
    run(51, async |world| {
        let testbed = committed_in_cloud(world, SimProfile::VMWARE).await;
        let request = ReprotectRequest {
            failback_site: Some("other".into()),
            ..testbed.reprotection_to(&item(), &testbed.other)
        };
        // The third export is that of the data disk.
        let next = testbed.other.calls(Call::ExportVolume) + 2;
        let failing = FailCall::at(Call::ExportVolume, next, PlatformErrorKind::Failed);
        testbed.other.inject(&SimFault::Call(failing));
        let job = testbed.core.reprotect(&request).await;
        assert_eq!(testbed.ended(job).await.unwrap().state, JobState::Failed);
        assert!(testbed.other.machines().await.unwrap().is_empty());
        assert!(testbed.other.volumes().is_empty());
        let view = testbed.item(&item()).await.unwrap();
        assert_eq!((view.protection.phase, view.primary), (Phase::Committed, ("primary".into(), machine())));

        testbed.reprotect(&request).await.unwrap();
        testbed.wait_for_points(&item(), 3).await.unwrap();
        testbed.completed(testbed.core.disable_protection(&item()).await).await.unwrap();
        assert!(testbed.other.machines().await.unwrap().is_empty());
        assert!(testbed.other.volumes().is_empty(), "{:?}", testbed.other.volumes());
    });
}

#[test]
fn a_machine_whose_disks_are_attached_to_a_master_target_cannot_be_started() {
    run(52, async |world| {
        let testbed = committed_in_cloud(world, SimProfile::VMWARE).await;
        testbed.reprotect(&testbed.reprotection_to(&item(), &testbed.primary)).await.unwrap();
        let error = testbed.primary.start(&machine()).await.unwrap_err();
        assert!(error.message.contains("master target"), "{error}");
        testbed.wait_for_points(&item(), 3).await.unwrap();
        assert_eq!(testbed.item(&item()).await.unwrap().health, Health::Healthy);
        testbed
            .completed(testbed.core.failover(&FailoverRequest::unplanned(&item(), BACK)).await)
            .await
            .unwrap();
    });
}
