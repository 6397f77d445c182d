//! Failback to Hyper-V: its preconditions, and other hosts as its target.

use contract::{
    CoreError, DataSync, DiskKind, ErrorCode, FailoverRequest, HostEdition, JobId, JobState, Placement,
    Platform, PowerState, TargetSettings,
};
use simulator::testbed::preconditions::{self, CERTIFICATE, HYPERV_FAILBACK, alternate_host};
use simulator::testbed::{BACK, BOOT, Testbed, cloud_machine};
use simulator::{SimInstall, SimWorld, run};

use crate::infrastructure::fixture::{MACHINE, item, machine, protect, target};
use crate::support::{ObservableState, assert_came_back, hyperv_testbed};

/// Preconditions with tests of their own.
pub const OTHERS: [(&str, ErrorCode); 3] = [
    ("RE-23", ErrorCode::CloudMachineGone),
    ("HF-26", ErrorCode::ManagedDisks),
    ("HF-22", ErrorCode::NameTaken),
];

/// A testbed with a machine that has these target settings, was failed over from its lost site and
/// committed.
async fn in_cloud(world: SimWorld, settings: TargetSettings) -> Testbed {
    let testbed = hyperv_testbed(world);
    protect(&testbed, &SimInstall::new(MACHINE), settings).await;
    testbed.fail_over_from_lost_site(&item()).await.unwrap();
    testbed
}

fn encrypted() -> TargetSettings {
    TargetSettings { encrypted_with: Some(CERTIFICATE.to_owned()), ..target() }
}

fn failback(sync: DataSync) -> FailoverRequest {
    FailoverRequest { data_sync: Some(sync), ..FailoverRequest::planned(&item(), BACK) }
}

async fn delete_original(testbed: &Testbed) {
    let disks = testbed.primary.machine(&machine()).await.unwrap().disks;
    testbed.primary.delete_machine(&machine()).await.unwrap();
    for disk in disks {
        testbed.primary.delete_volume(&disk.volume).await.unwrap();
    }
}

/// Follows a failback to its end, completing it if it waits, and asserts that nothing was lost.
async fn assert_fails_back(testbed: &Testbed, answer: Result<JobId, CoreError>) {
    let job = answer.unwrap();
    let view = testbed.until(&job, |view| view.state == JobState::WaitingForCompletion).await.unwrap();
    if view.state == JobState::WaitingForCompletion {
        testbed.core.complete_failover(&item()).await.unwrap();
    }
    testbed.completed(&job).await.unwrap();
    testbed.advance(BOOT).await;
    assert_came_back(testbed, MACHINE, &testbed.primary);
}

#[test]
fn a_failback_is_refused_for_each_broken_precondition_and_succeeds_once_it_is_repaired() {
    for (seed, row) in (300..).zip(HYPERV_FAILBACK) {
        run(seed, async |world| {
            let testbed = in_cloud(world, encrypted()).await;
            delete_original(&testbed).await;
            let good = FailoverRequest {
                certificate: Some(CERTIFICATE.to_owned()),
                alternate: alternate_host("host-2", true),
                ..failback(DataSync::BeforeFailover)
            };
            let mut broken = good.clone();
            (row.break_it)(&testbed, &mut broken);
            let before = ObservableState::of(&testbed).await;
            let error = testbed.core.failover(&broken).await.unwrap_err();
            assert_eq!(error.code, row.code, "{}: {error}", row.rule);
            assert!(error.message.contains(row.rule), "{error}");
            before.assert_unchanged(&testbed, row.rule).await;
            (row.repair)(&testbed);
            assert_fails_back(&testbed, testbed.core.failover(&good).await).await;
            let created = testbed.primary.machine(&machine()).await.unwrap();
            assert_eq!(created.placement.host, Some("host-2".into()));
            assert_eq!(created.placement.switch.as_deref(), Some("External"));
        });
    }
}

#[test]
fn a_full_download_creates_a_deleted_machine_on_its_original_host() {
    run(320, async |world| {
        let testbed = in_cloud(world, target()).await;
        delete_original(&testbed).await;
        let job = testbed.core.failover(&failback(DataSync::DuringFailover)).await;
        assert_fails_back(&testbed, job).await;
        let created = testbed.primary.machine(&machine()).await.unwrap();
        assert_eq!((created.power, created.placement.host), (PowerState::On, Some("host-1".into())));
        testbed.commit(&item()).await.unwrap();
        testbed.completed(testbed.core.reverse_replicate(&item()).await).await.unwrap();
        testbed.wait_for_points(&item(), 2).await.unwrap();
    });
}

#[test]
fn an_existing_machine_does_not_fail_back_to_another_host() {
    run(321, async |world| {
        let testbed = in_cloud(world, target()).await;
        let good = failback(DataSync::DuringFailover);
        let to = |host: &str| FailoverRequest { alternate: alternate_host(host, true), ..good.clone() };
        let error = testbed.core.failover(&to("host-2")).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::NameTaken, "{error}");
        // Its own host may be named.
        assert_fails_back(&testbed, testbed.core.failover(&to("host-1")).await).await;
    });
}

#[test]
fn a_machine_on_managed_disks_is_not_failed_back_and_one_in_a_storage_account_is() {
    for (disk_kind, expected) in
        [(DiskKind::Managed, Some(ErrorCode::ManagedDisks)), (DiskKind::StorageAccount, None)]
    {
        run(322, async |world| {
            let placement = Placement { disk_kind, ..Placement::default() };
            let testbed = in_cloud(world, TargetSettings { placement, ..target() }).await;
            let asked = testbed.core.failover(&failback(DataSync::DuringFailover)).await;
            assert_eq!(asked.as_ref().err().map(|error| error.code), expected);
            if asked.is_ok() {
                assert_fails_back(&testbed, asked).await;
            }
        });
    }
}

#[test]
fn a_deleted_cloud_machine_is_not_failed_back() {
    run(323, async |world| {
        let testbed = in_cloud(world, target()).await;
        let cloud = &testbed.recovery;
        cloud.power_off(&cloud_machine(MACHINE)).await.unwrap();
        cloud.delete_machine(&cloud_machine(MACHINE)).await.unwrap();
        let error = testbed.core.failover(&failback(DataSync::DuringFailover)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::CloudMachineGone);
    });
}

/// HF-27: a failback to Hyper-V needs neither process server nor private connection, and its site
/// has no master target.
#[test]
fn no_process_server_and_no_private_connection_are_needed() {
    run(324, async |world| {
        let testbed = in_cloud(world, target()).await;
        testbed.recovery.components().remove("cloud-process-server");
        testbed.recovery.components().remove("private-link");
        let parts = testbed.primary.components().all();
        assert!(parts.iter().all(|part| part.master_target().is_none()));
        let job = testbed.core.failover(&failback(DataSync::BeforeFailover)).await;
        assert_fails_back(&testbed, job).await;
    });
}

/// RE-19 is about VMware alone.
#[test]
fn a_free_host_edition_does_not_prevent_a_failback_to_hyperv() {
    run(325, async |world| {
        let testbed = in_cloud(world, target()).await;
        preconditions::host(&testbed.primary, "host-1", |host| host.edition = HostEdition::Free);
        let job = testbed.core.failover(&failback(DataSync::DuringFailover)).await;
        assert_fails_back(&testbed, job).await;
    });
}
