//! Coming back to another place than the one a machine came from (RE-05, RE-26, FB-09, FB-10, PH-01 to PH-03).

use std::collections::BTreeSet;

use contract::{
    Bytes, ComponentId, DiskView, ErrorCode, Health, Millis, Phase, Platform, PlatformKind, PowerState,
    ReplicationCore, ReprotectRequest, Side,
};
use simulator::{Call, FailCall, SimFault, SimProfile, run};

use crate::infrastructure::premises::{MACHINE, Premises, machine, steps};
use crate::support::{BACK, INTERVAL, OUT, dr, exact, failover, is_up};

/// Rows with tests here.
pub const ROWS: [(&str, ErrorCode); 4] = [
    ("PH-01", ErrorCode::FailbackSiteUnfit),
    ("PH-02", ErrorCode::FailbackSiteNotGiven),
    ("EX-B2", ErrorCode::NameTaken),
    ("RE-26", ErrorCode::DatastoreUnknown),
];

/// Granularity of simulated storage, in bytes.
const CHUNK: u64 = 4096;
/// Granularity in which differences travel, in bytes.
const GRAIN: u64 = 64 * 1024;

/// What has content on the cloud machine's disks, in bytes.
async fn allocated(premises: &Premises) -> u64 {
    let disks = premises.recovery.machine(&dr(MACHINE)).await.unwrap().disks;
    let content = |disk: &DiskView| {
        let snapshot = premises.recovery.snapshot(&disk.volume).unwrap();
        let holds = |chunk: &u64| snapshot.bytes(chunk * CHUNK, CHUNK as usize).iter().any(|byte| *byte != 0);
        (0..snapshot.size() / CHUNK).filter(holds).count() as u64 * CHUNK
    };
    disks.iter().map(content).sum()
}

/// What differs between the cloud machine's disks and `others`, in bytes, as it travels.
async fn differing(premises: &Premises, others: &[DiskView]) -> Bytes {
    let disks = premises.recovery.machine(&dr(MACHINE)).await.unwrap().disks;
    let grains = disks.iter().zip(others).map(|(here, there)| {
        let here = premises.recovery.snapshot(&here.volume).unwrap();
        let differ = here.differences(&premises.primary.snapshot(&there.volume).unwrap(), 512);
        differ.into_iter().map(|offset| offset / GRAIN).collect::<BTreeSet<_>>().len() as u64
    });
    Bytes(grains.sum::<u64>() * GRAIN)
}

/// Bytes that the first point of the direction in force brought along.
async fn first_transfer(premises: &Premises) -> Bytes {
    premises.core.item(&premises.item).await.unwrap().points[0].transferred
}

#[test]
fn a_machine_that_is_gone_is_made_at_reprotect_time_and_replicated_in_full() {
    run(41, async |world| {
        let premises = Premises::in_the_cloud(world, SimProfile::VMWARE).await;
        let original = premises.primary.machine(&machine()).await.unwrap();
        premises.primary.delete_machine(&machine()).await.unwrap();
        for disk in &original.disks {
            premises.primary.delete_volume(&disk.volume).await.unwrap();
        }
        let mut request = premises.way_back(&premises.primary);
        request.datastore = Some("datastore-2".into());
        let job = premises.core.reprotect(&request).await;
        let job = premises.completed(job).await;
        assert!(steps(&job).contains(&"create machine"), "{:?}", steps(&job));
        let made = premises.primary.machine(&machine()).await.unwrap();
        assert_eq!((made.power, made.disks.len()), (PowerState::Off, original.disks.len()));
        for disk in &made.disks {
            let volume = premises.primary.volume(&disk.volume).await.unwrap();
            assert_eq!(volume.datastore, Some(ComponentId::from("datastore-2")));
        }
        assert!(first_transfer(&premises).await.0 >= allocated(&premises).await);
        premises.points(3).await;
        premises.fail_back(&premises.primary).await;
    });
}

#[test]
fn a_machine_that_is_there_takes_only_what_differs_on_its_own_disks_wherever_new_ones_would_go() {
    run(42, async |world| {
        let premises = Premises::in_the_cloud(world, SimProfile::VMWARE).await;
        let before = premises.primary.machine(&machine()).await.unwrap();
        let differing = differing(&premises, &before.disks).await;
        let mut request = premises.way_back(&premises.primary);
        request.datastore = Some("datastore-2".into());
        let job = premises.core.reprotect(&request).await;
        assert!(!steps(&premises.completed(job).await).contains(&"create machine"));
        assert_eq!(first_transfer(&premises).await, differing);
        premises.points(3).await;
        premises.fail_back(&premises.primary).await;
        let after = premises.primary.machine(&machine()).await.unwrap();
        assert_eq!((before.uuid, before.disks), (after.uuid, after.disks));
        for disk in &premises.primary.machine(&machine()).await.unwrap().disks {
            let volume = premises.primary.volume(&disk.volume).await.unwrap();
            assert_eq!(volume.datastore, Some(ComponentId::from("datastore-1")));
        }
    });
}

#[test]
fn a_machine_comes_back_to_another_vmware_site_and_stays_at_home_there() {
    run(43, async |world| {
        let premises = Premises::in_the_cloud(world, SimProfile::VMWARE).await;
        let request =
            ReprotectRequest { failback_site: Some("other".into()), ..premises.way_back(&premises.other) };
        premises.come_back(&request, &premises.other).await;
        let job = premises.core.commit(&premises.item).await;
        premises.completed(job).await;
        // The old one was left behind, off.
        assert_eq!(premises.primary.machine(&machine()).await.unwrap().power, PowerState::Off);
        let job = premises.core.reprotect(&premises.way_out(&premises.other)).await;
        premises.completed(job).await;
        premises.points(3).await;
        let view = premises.core.item(&premises.item).await.unwrap();
        assert_eq!(view.primary, ("other".into(), machine()));
        assert_eq!((view.protection.phase, view.protection.active), (Phase::Protected, Side::Primary));
        assert_eq!((view.health, view.trouble.as_str()), (Health::Healthy, ""));
    });
}

/// Out and back twice: the second time the machine is VMware's.
#[test]
fn a_physical_server_goes_round_through_azure_to_vmware_and_round_again() {
    for seed in 44..48 {
        run(seed, async |world| {
            let premises = Premises::in_the_cloud(world, SimProfile::PHYSICAL).await;
            let request = ReprotectRequest {
                failback_site: Some("other".into()),
                ..premises.way_back(&premises.other)
            };
            let job = premises.core.reprotect(&request).await;
            let job = premises.completed(job).await;
            assert!(steps(&job).contains(&"create machine"), "{:?}", steps(&job));
            assert!(first_transfer(&premises).await.0 >= allocated(&premises).await);
            premises.points(3).await;
            premises.fail_back(&premises.other).await;
            let job = premises.core.commit(&premises.item).await;
            premises.completed(job).await;
            assert!(premises.recovery.machines().await.unwrap().is_empty());
            let job = premises.core.reprotect(&premises.way_out(&premises.other)).await;
            premises.completed(job).await;
            // Only what was written since.
            assert!(first_transfer(&premises).await.0 < 1 << 20);
            premises.points(3).await;

            let struck = premises.other.lose();
            let job = premises.core.failover(&failover(&premises.item, OUT)).await;
            premises.completed(job).await;
            premises.live(Millis(10_000)).await;
            let source = premises.other.last_boot(&machine()).unwrap();
            let target = premises.recovery.last_boot(&dr(MACHINE)).unwrap();
            let (_, record) = exact(&source, &target);
            is_up(&premises.recovery, &target, record);
            assert!(crate::support::lost(&source, record, struck) <= INTERVAL);
            let job = premises.core.commit(&premises.item).await;
            premises.completed(job).await;
            premises.other.restore();
            // No site has to be named: it is at home there.
            premises.come_back(&premises.way_back(&premises.other), &premises.other).await;
        });
    }
}

#[test]
fn a_physical_server_comes_back_to_vmware_and_to_nothing_else() {
    run(49, async |world| {
        let premises = Premises::in_the_cloud(world, SimProfile::PHYSICAL).await;
        let back = premises.way_back(&premises.other);
        let to = |site: &str| ReprotectRequest { failback_site: Some(site.into()), ..back.clone() };
        let cases = [
            (back.clone(), ErrorCode::FailbackSiteNotGiven),
            (to("primary"), ErrorCode::FailbackSiteUnfit),
            (to("recovery"), ErrorCode::FailbackSiteUnfit),
            (to("nowhere"), ErrorCode::UnknownId),
        ];
        for (request, code) in cases {
            let error = premises.core.reprotect(&request).await.unwrap_err();
            assert_eq!(error.code, code, "{error}");
        }
        assert_eq!(premises.other.site().await.unwrap().kind, PlatformKind::Vmware);
        let job = premises.core.reprotect(&to("other")).await;
        premises.completed(job).await;
    });
}

#[test]
fn a_stranger_of_the_same_name_at_the_other_site_is_left_alone() {
    run(50, async |world| {
        let premises = Premises::in_the_cloud(world, SimProfile::VMWARE).await;
        premises.other.install(&simulator::SimInstall::new(MACHINE)).unwrap();
        let before = premises.other.machine(&machine()).await.unwrap();
        let request =
            ReprotectRequest { failback_site: Some("other".into()), ..premises.way_back(&premises.other) };
        let error = premises.core.reprotect(&request).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::NameTaken);
        assert_eq!(premises.other.machine(&machine()).await.unwrap(), before);
    });
}

#[test]
fn a_way_back_that_does_not_begin_or_is_given_up_leaves_nothing_at_the_other_site() {
    run(51, async |world| {
        let premises = Premises::in_the_cloud(world, SimProfile::VMWARE).await;
        let request =
            ReprotectRequest { failback_site: Some("other".into()), ..premises.way_back(&premises.other) };
        // The third volume to be opened is the data disk's.
        let next = premises.other.calls(Call::ExportVolume) + 2;
        let failing = FailCall::at(Call::ExportVolume, next, contract::PlatformErrorKind::Failed);
        premises.other.inject(&SimFault::Call(failing));
        let job = premises.core.reprotect(&request).await;
        assert_eq!(premises.ended(job).await.state, contract::JobState::Failed);
        assert!(premises.other.machines().await.unwrap().is_empty());
        assert!(premises.other.volumes().is_empty());
        let view = premises.core.item(&premises.item).await.unwrap();
        assert_eq!((view.protection.phase, view.primary), (Phase::Committed, ("primary".into(), machine())));

        let job = premises.core.reprotect(&request).await;
        premises.completed(job).await;
        premises.points(3).await;
        let job = premises.core.disable_protection(&premises.item).await;
        premises.completed(job).await;
        assert!(premises.other.machines().await.unwrap().is_empty());
        assert!(premises.other.volumes().is_empty(), "{:?}", premises.other.volumes());
    });
}

#[test]
fn a_machine_on_its_way_back_cannot_be_switched_on() {
    run(52, async |world| {
        let premises = Premises::in_the_cloud(world, SimProfile::VMWARE).await;
        let job = premises.core.reprotect(&premises.way_back(&premises.primary)).await;
        premises.completed(job).await;
        let error = premises.primary.start(&machine()).await.unwrap_err();
        assert!(error.message.contains("master target"), "{error}");
        premises.points(3).await;
        assert_eq!(premises.core.item(&premises.item).await.unwrap().health, Health::Healthy);
        let job = premises.core.failover(&failover(&premises.item, BACK)).await;
        premises.completed(job).await;
    });
}
