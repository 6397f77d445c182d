//! Reprotection back to VMware: each precondition is refused or fails by its code, and the request
//! succeeds once it is repaired.

use contract::{
    Access, AccountRole, ErrorCode, GuestFacts, GuestOs, JobState, MachineView, Millis, Phase, Platform,
    ReprotectRequest,
};
use simulator::testbed::preconditions::{
    REPROTECTION, REPROTECTION_JOB, account_role, master_target, open_ports,
};
use simulator::testbed::{BACK, cloud_machine, enable_request};
use simulator::{SimInstall, SimProfile, run};

use crate::infrastructure::fixture::{
    MACHINE, committed_in_cloud, fail_back, item, machine, protect, target,
};
use crate::support::{ObservableState, testbed_of};

/// A precondition of physical servers alone.
pub const RELEASE: (&str, ErrorCode) = ("RE-20", ErrorCode::ReleaseNotSupported);

/// Preconditions that cannot be repaired.
pub const FOR_GOOD: [(&str, ErrorCode); 3] = [
    ("RE-21", ErrorCode::MachineMigrated),
    ("RE-23", ErrorCode::CloudMachineGone),
    ("EX-B1", ErrorCode::CloudMachineOff),
];

#[test]
fn a_reprotection_is_refused_for_each_broken_precondition_and_succeeds_once_it_is_repaired() {
    for (seed, row) in (100..).zip(REPROTECTION) {
        run(seed, async |world| {
            let testbed = committed_in_cloud(world, SimProfile::VMWARE).await;
            let good = testbed.reprotection(&item(), BACK);
            let mut broken = good.clone();
            (row.break_it)(&testbed, &mut broken);
            let before = ObservableState::of(&testbed).await;
            let error = testbed.core.reprotect(&broken).await.unwrap_err();
            assert_eq!(error.code, row.code, "{}: {error}", row.rule);
            assert!(error.message.contains(row.rule), "{error}");
            before.assert_unchanged(&testbed, row.rule).await;
            (row.repair)(&testbed);
            testbed.reprotect(&good).await.unwrap();
            testbed.wait_for_points(&item(), 2).await.unwrap();
        });
    }
}

/// RE-16, JO-03: a retry of the failed job succeeds.
#[test]
fn a_reprotection_fails_in_its_first_step_for_each_broken_precondition_and_its_retry_succeeds_once_it_is_repaired()
 {
    for (seed, row) in (124..).zip(REPROTECTION_JOB) {
        run(seed, async |world| {
            let testbed = committed_in_cloud(world, SimProfile::VMWARE).await;
            let mut request = testbed.reprotection(&item(), BACK);
            (row.break_it)(&testbed, &mut request);
            let before = ObservableState::of(&testbed).await;
            let job = testbed.core.reprotect(&request).await.unwrap();
            let view = testbed.ended(&job).await.unwrap();
            assert_eq!(view.state, JobState::Failed);
            assert_eq!(view.error.map(|error| error.code), Some(row.code), "{}", row.rule);
            assert_eq!(view.steps.len(), 1, "{:?}", view.steps);
            before.assert_same_stock(&testbed, row.rule).await;
            (row.repair)(&testbed);
            testbed.core.retry_job(&job).await.unwrap();
            testbed.completed(&job).await.unwrap();
            testbed.wait_for_points(&item(), 2).await.unwrap();
        });
    }
}

#[test]
fn a_blocked_port_is_named() {
    run(140, async |world| {
        let testbed = committed_in_cloud(world, SimProfile::VMWARE).await;
        open_ports(&testbed, &[443]);
        let error =
            testbed.core.reprotect(&testbed.reprotection_to(&item(), &testbed.primary)).await.unwrap_err();
        assert!(error.message.contains("9443"), "{error}");
    });
}

#[test]
fn each_reason_why_a_cloud_machine_is_gone_has_its_own_code() {
    for (rule, code) in FOR_GOOD {
        run(141, async |world| {
            let testbed = committed_in_cloud(world, SimProfile::VMWARE).await;
            let cloud = &testbed.recovery;
            match code {
                ErrorCode::MachineMigrated => cloud.components().complete_migration(&cloud_machine(MACHINE)),
                ErrorCode::CloudMachineOff => cloud.power_off(&cloud_machine(MACHINE)).await.unwrap(),
                _ => {
                    cloud.power_off(&cloud_machine(MACHINE)).await.unwrap();
                    cloud.delete_machine(&cloud_machine(MACHINE)).await.unwrap();
                }
            }
            let before = ObservableState::of(&testbed).await;
            let error = testbed
                .core
                .reprotect(&testbed.reprotection_to(&item(), &testbed.primary))
                .await
                .unwrap_err();
            assert_eq!(error.code, code, "{rule}: {error}");
            before.assert_unchanged(&testbed, rule).await;
        });
    }
}

#[test]
fn new_disks_need_a_datastore_that_exists_and_is_mounted() {
    run(142, async |world| {
        let testbed = committed_in_cloud(world, SimProfile::VMWARE).await;
        testbed.primary.delete_machine(&machine()).await.unwrap();
        let good = testbed.reprotection_to(&item(), &testbed.primary);
        let to = |datastore: &str| ReprotectRequest { datastore: Some(datastore.into()), ..good.clone() };
        let error = testbed.core.reprotect(&to("nowhere")).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::DatastoreUnknown);
        master_target(&testbed.primary, |target| target.mounts[1].access = Access::Read);
        let error = testbed.core.reprotect(&to("datastore-2")).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::DatastoreNotMounted);
        testbed.completed(testbed.core.reprotect(&to("datastore-1")).await).await.unwrap();
    });
}

#[test]
fn a_datastore_that_does_not_exist_is_ignored_for_existing_disks() {
    run(143, async |world| {
        let testbed = committed_in_cloud(world, SimProfile::VMWARE).await;
        let good = testbed.reprotection_to(&item(), &testbed.primary);
        let job =
            testbed.core.reprotect(&ReprotectRequest { datastore: Some("nowhere".into()), ..good }).await;
        testbed.completed(job).await.unwrap();
    });
}

/// RE-20 is about physical servers alone.
#[test]
fn a_vmware_machine_with_an_old_windows_fails_back_and_a_physical_server_does_not() {
    for (profile, expected) in
        [(SimProfile::PHYSICAL, Some(ErrorCode::ReleaseNotSupported)), (SimProfile::VMWARE, None)]
    {
        run(144, async |world| {
            let testbed = testbed_of(world, profile.clone());
            let guest =
                GuestFacts { release: GuestFacts::WINDOWS_2008_R2_SP1.to_owned(), ..GuestFacts::default() };
            let both = Some(vec!["ahci".to_owned(), "vmw_pvscsi".to_owned(), "ata_piix".to_owned()]);
            let install = SimInstall { os: GuestOs::Windows, guest, loads: both, ..SimInstall::new(MACHINE) };
            protect(&testbed, &install, target()).await;
            testbed.fail_over_from_lost_site(&item()).await.unwrap();
            master_target(&testbed.other, |target| target.os = GuestOs::Windows);
            if profile == SimProfile::VMWARE {
                master_target(&testbed.primary, |target| target.os = GuestOs::Windows);
            }
            let request = ReprotectRequest {
                failback_site: Some("other".into()),
                ..testbed.reprotection_to(&item(), &testbed.other)
            };
            let asked = testbed.core.reprotect(&request).await;
            assert_eq!(asked.as_ref().err().map(|error| error.code), expected);
            if asked.is_ok() {
                testbed.completed(asked).await.unwrap();
            }
        });
    }
}

/// RE-15, RE-16: protection and failover succeed, reprotection does not, and its retry does once
/// the account may do more.
#[test]
fn a_read_only_account_is_enough_for_protection_and_failover_and_not_for_reprotection() {
    run(145, async |world| {
        let testbed = testbed_of(world, SimProfile::VMWARE);
        let datastores = || {
            let components = testbed.primary.components().all();
            components.iter().find_map(|component| Some(component.vcenter()?.datastores.len())).unwrap()
        };
        testbed.install(&SimInstall::new(MACHINE)).await.unwrap();
        account_role(&testbed, AccountRole::ReadOnly);
        testbed.completed(testbed.core.enable_protection(&enable_request(MACHINE)).await).await.unwrap();
        testbed.wait_for_points(&item(), 3).await.unwrap();
        testbed.fail_over_from_lost_site(&item()).await.unwrap();
        assert_eq!(datastores(), 0);
        let job = testbed.core.reprotect(&testbed.reprotection(&item(), BACK)).await.unwrap();
        let view = testbed.ended(&job).await.unwrap();
        assert_eq!(view.error.map(|error| error.code), Some(ErrorCode::DatastoresNotListed));
        let phase = testbed.item(&item()).await.unwrap().protection.phase;
        assert_eq!(phase, Phase::Committed);
        account_role(&testbed, AccountRole::Full);
        assert_eq!(datastores(), 2);
        testbed.core.retry_job(&job).await.unwrap();
        testbed.completed(&job).await.unwrap();
        testbed.wait_for_points(&item(), 2).await.unwrap();
        fail_back(&testbed, &testbed.primary).await;
    });
}

/// RE-09: the snapshots do not make the job fail.
#[test]
fn reprotection_merges_snapshots_of_the_machine_into_its_own_disks() {
    run(146, async |world| {
        let testbed = committed_in_cloud(world, SimProfile::VMWARE).await;
        let own = testbed.primary.machine(&machine()).await.unwrap().disks;
        for _ in 0..2 {
            testbed.primary.snapshot_machine(&machine()).unwrap();
        }
        assert_eq!(testbed.primary.machine(&machine()).await.unwrap().snapshots, 2);
        let job = testbed.reprotect(&testbed.reprotection_to(&item(), &testbed.primary)).await.unwrap();
        assert!(job.steps.iter().any(|step| step.name == "merge snapshots"), "{:?}", job.steps);
        let view = testbed.primary.machine(&machine()).await.unwrap();
        assert_eq!((view.snapshots, &view.disks), (0, &own));
        for disk in &view.disks {
            assert_eq!(testbed.primary.volume(&disk.volume).await.unwrap().parent, None);
        }
        testbed.wait_for_points(&item(), 2).await.unwrap();
        fail_back(&testbed, &testbed.primary).await;
    });
}

#[test]
fn a_merge_of_snapshots_keeps_what_was_written_after_them() {
    run(147, async |world| {
        let testbed = committed_in_cloud(world, SimProfile::VMWARE).await;
        let site = &testbed.primary;
        site.snapshot_machine(&machine()).unwrap();
        site.start(&machine()).await.unwrap();
        testbed.advance(Millis(30_000)).await;
        site.power_off(&machine()).await.unwrap();
        site.snapshot_machine(&machine()).unwrap();
        let content = |view: &MachineView| -> Vec<_> {
            view.disks.iter().map(|disk| site.snapshot(&disk.volume).unwrap()).collect()
        };
        let before = content(&site.machine(&machine()).await.unwrap());
        site.merge_snapshots(&machine()).await.unwrap();
        let after = content(&site.machine(&machine()).await.unwrap());
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before.differences(after, 512), Vec::<u64>::new());
        }
    });
}
