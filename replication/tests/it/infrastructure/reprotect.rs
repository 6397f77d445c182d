//! Reprotection back to VMware: every precondition by its refusal, and by the same request once it is cured.

use contract::{
    Access, AccountRole, Component, ComponentKind, ErrorCode, GuestFacts, GuestOs, HostEdition, JobState,
    MasterTarget, Phase, Platform, ReplicationCore, ReprotectRequest, Vcenter,
};
use simulator::{SimInstall, SimProfile, SimSite, run};

use crate::infrastructure::premises::{MACHINE, Premises, Seen, machine, put_back, target};
use crate::support::dr;

/// One thing that is wrong, and how it is put right.
pub struct Case {
    pub rule: &'static str,
    pub code: ErrorCode,
    /// Whether it is the job that fails, rather than the request that is refused.
    in_job: bool,
    spoil: fn(&Premises, &mut ReprotectRequest),
    /// Puts right what was spoilt at the sites; the request is then the good one.
    cure: fn(&Premises),
}

const fn refused(
    rule: &'static str,
    code: ErrorCode,
    spoil: fn(&Premises, &mut ReprotectRequest),
    cure: fn(&Premises),
) -> Case {
    Case { rule, code, in_job: false, spoil, cure }
}

const fn fails(
    rule: &'static str,
    code: ErrorCode,
    spoil: fn(&Premises, &mut ReprotectRequest),
    cure: fn(&Premises),
) -> Case {
    Case { rule, code, in_job: true, spoil, cure }
}

/// Nothing at the sites was spoilt.
fn only_the_request(_: &Premises) {}

fn master_target(premises: &Premises, change: fn(&mut MasterTarget)) {
    premises.primary.components().alter("master-target", |part| {
        if let ComponentKind::MasterTarget(target) = &mut part.kind {
            change(target);
        }
    });
}

fn vcenter(premises: &Premises, change: fn(&mut Vcenter)) {
    premises.primary.components().alter("vcenter", |part| {
        if let ComponentKind::Vcenter(vcenter) = &mut part.kind {
            change(vcenter);
        }
    });
}

fn ports(premises: &Premises, open: &[u16]) {
    premises.recovery.components().alter("private-link", |part| {
        if let ComponentKind::PrivateLink(link) = &mut part.kind {
            link.open_ports = open.to_vec();
        }
    });
}

fn edition(premises: &Premises, edition: HostEdition) {
    premises.primary.components().alter("host-1", |part| {
        if let ComponentKind::Host(host) = &mut part.kind {
            host.edition = edition;
        }
    });
}

fn connect(site: &SimSite, id: &str) {
    site.components().connect(id);
}

/// What can be put right.
pub const CASES: &[Case] = &[
    refused(
        "RE-22",
        ErrorCode::MachineMoved,
        |at, _| at.recovery.components().move_to_group(&dr(MACHINE), "archive"),
        |at| at.recovery.components().move_to_group(&dr(MACHINE), "recovery"),
    ),
    refused("RE-25", ErrorCode::ProcessServerNotGiven, |_, ask| ask.process_server = None, only_the_request),
    refused("RE-25", ErrorCode::MasterTargetNotGiven, |_, ask| ask.master_target = None, only_the_request),
    refused(
        "RE-25",
        ErrorCode::RetentionDriveNotGiven,
        |_, ask| ask.retention_drive = None,
        only_the_request,
    ),
    refused("RE-26", ErrorCode::DatastoreNotGiven, |_, ask| ask.datastore = None, only_the_request),
    refused(
        "RE-06",
        ErrorCode::ConfigurationServerDisconnected,
        |at, _| at.primary.components().disconnect("configuration-server"),
        |at| connect(&at.primary, "configuration-server"),
    ),
    refused(
        "IN-01",
        ErrorCode::ProcessServerUnknown,
        |at, _| drop(at.recovery.components().remove("cloud-process-server")),
        |at| put_back(&at.recovery, "cloud-process-server"),
    ),
    // The one on premises is of no use on the way back.
    refused(
        "IN-01",
        ErrorCode::ProcessServerUnknown,
        |_, ask| ask.process_server = Some("process-server".into()),
        only_the_request,
    ),
    refused(
        "IN-05",
        ErrorCode::ProcessServerDisconnected,
        |at, _| at.recovery.components().disconnect("cloud-process-server"),
        |at| connect(&at.recovery, "cloud-process-server"),
    ),
    refused(
        "IN-02",
        ErrorCode::PrivateLinkDown,
        |at, _| at.recovery.components().disconnect("private-link"),
        |at| connect(&at.recovery, "private-link"),
    ),
    refused(
        "IN-02",
        ErrorCode::PrivateLinkDown,
        |at, _| drop(at.recovery.components().remove("private-link")),
        |at| put_back(&at.recovery, "private-link"),
    ),
    refused("RE-13", ErrorCode::PortBlocked, |at, _| ports(at, &[443]), |at| ports(at, &[443, 9443])),
    refused("RE-13", ErrorCode::PortBlocked, |at, _| ports(at, &[9443]), |at| ports(at, &[443, 9443])),
    refused(
        "IN-05",
        ErrorCode::VcenterDisconnected,
        |at, _| at.primary.components().disconnect("vcenter"),
        |at| connect(&at.primary, "vcenter"),
    ),
    refused(
        "RE-18",
        ErrorCode::VcenterNotDiscovered,
        |at, _| vcenter(at, |vcenter| vcenter.discovered = false),
        |at| vcenter(at, |vcenter| vcenter.discovered = true),
    ),
    refused(
        "PH-02",
        ErrorCode::MasterTargetUnknown,
        |_, ask| ask.master_target = Some("nobody".into()),
        only_the_request,
    ),
    refused(
        "IN-05",
        ErrorCode::MasterTargetDisconnected,
        |at, _| at.primary.components().disconnect("master-target"),
        |at| connect(&at.primary, "master-target"),
    ),
    refused(
        "PO-05",
        ErrorCode::MasterTargetForeign,
        |at, _| master_target(at, |target| target.configuration_server = "another".into()),
        |at| master_target(at, |target| target.configuration_server = "configuration-server".into()),
    ),
    refused(
        "RE-11",
        ErrorCode::MasterTargetWrongOs,
        |at, _| master_target(at, |target| target.os = GuestOs::Windows),
        |at| master_target(at, |target| target.os = GuestOs::Linux),
    ),
    refused(
        "IN-04",
        ErrorCode::RetentionDriveUnknown,
        |at, _| master_target(at, |target| target.retention_drives.clear()),
        |at| put_back(&at.primary, "master-target"),
    ),
    refused(
        "EX-B3",
        ErrorCode::MasterTargetFull,
        |at, _| {
            master_target(at, |target| {
                target.disks = (0..59).map(|number| contract::VolumeId(format!("disk-{number}"))).collect();
            });
        },
        |at| {
            master_target(at, |target| {
                target.disks.pop();
            });
        },
    ),
    refused(
        "RE-19",
        ErrorCode::HostEditionFree,
        |at, _| edition(at, HostEdition::Free),
        |at| edition(at, HostEdition::Full),
    ),
    refused(
        "RE-28",
        ErrorCode::DatastoreNotMounted,
        |at, _| master_target(at, |target| target.mounts[0].access = Access::Read),
        |at| master_target(at, |target| target.mounts[0].access = Access::Write),
    ),
    refused(
        "RE-28",
        ErrorCode::DatastoreNotMounted,
        |at, _| master_target(at, |target| drop(target.mounts.remove(0))),
        |at| put_back(&at.primary, "master-target"),
    ),
    fails(
        "RE-08",
        ErrorCode::MasterTargetHasSnapshots,
        |at, _| master_target(at, |target| target.snapshots = 1),
        |at| master_target(at, |target| target.snapshots = 0),
    ),
    fails(
        "RE-15",
        ErrorCode::DatastoresNotListed,
        |at, _| vcenter(at, |vcenter| vcenter.role = AccountRole::ReadOnly),
        |at| vcenter(at, |vcenter| vcenter.role = AccountRole::Full),
    ),
    fails(
        "RE-17",
        ErrorCode::UuidClash,
        |at, _| at.primary.components().set_uuid(&machine(), "4d540000-0000-4000-8000-000000000001"),
        |at| master_target(at, |target| target.uuid = "4d540000-0000-4000-8000-000000000002".to_owned()),
    ),
];

/// Only of a physical server.
pub const RELEASE: (&str, ErrorCode) = ("RE-20", ErrorCode::ReleaseNotSupported);

/// What is gone for good; the twin is a machine to which it did not happen.
pub const FOR_GOOD: [(&str, ErrorCode); 3] = [
    ("RE-21", ErrorCode::MachineMigrated),
    ("RE-23", ErrorCode::CloudMachineGone),
    ("EX-B1", ErrorCode::CloudMachineOff),
];

#[test]
fn each_precondition_refuses_or_fails_by_its_code_without_a_trace_and_lets_the_cured_request_pass() {
    for (seed, case) in (100..).zip(CASES) {
        run(seed, async |world| {
            let premises = Premises::in_the_cloud(world, SimProfile::VMWARE).await;
            let good = premises.way_back(&premises.primary);
            let mut spoilt = good.clone();
            (case.spoil)(&premises, &mut spoilt);
            let before = Seen::of(&premises).await;
            if case.in_job {
                let job = premises.core.reprotect(&spoilt).await.unwrap();
                let view = premises.ended(Ok(job.clone())).await;
                assert_eq!(view.state, JobState::Failed);
                assert_eq!(view.error.map(|error| error.code), Some(case.code), "{}", case.rule);
                assert_eq!(view.steps.len(), 1, "{:?}", view.steps);
                assert!(Seen::of(&premises).await.sites == before.sites, "{} left a trace", case.rule);
                (case.cure)(&premises);
                // RE-16, JO-03: the same job.
                premises.core.retry_job(&job).await.unwrap();
                premises.completed(Ok(job)).await;
            } else {
                let error = premises.core.reprotect(&spoilt).await.unwrap_err();
                assert_eq!(error.code, case.code, "{}: {error}", case.rule);
                assert!(error.message.contains(case.rule), "{error}");
                assert!(Seen::of(&premises).await == before, "{} left a trace", case.rule);
                (case.cure)(&premises);
                let job = premises.core.reprotect(&good).await;
                premises.completed(job).await;
            }
            premises.points(2).await;
        });
    }
}

#[test]
fn a_blocked_port_is_named() {
    run(140, async |world| {
        let premises = Premises::in_the_cloud(world, SimProfile::VMWARE).await;
        ports(&premises, &[443]);
        let error = premises.core.reprotect(&premises.way_back(&premises.primary)).await.unwrap_err();
        assert!(error.message.contains("9443"), "{error}");
    });
}

#[test]
fn what_happened_to_the_cloud_machine_is_told_apart() {
    for (rule, code) in FOR_GOOD {
        run(141, async |world| {
            let premises = Premises::in_the_cloud(world, SimProfile::VMWARE).await;
            let cloud = &premises.recovery;
            match code {
                ErrorCode::MachineMigrated => cloud.components().complete_migration(&dr(MACHINE)),
                ErrorCode::CloudMachineOff => cloud.power_off(&dr(MACHINE)).await.unwrap(),
                _ => {
                    cloud.power_off(&dr(MACHINE)).await.unwrap();
                    cloud.delete_machine(&dr(MACHINE)).await.unwrap();
                }
            }
            let before = Seen::of(&premises).await;
            let error = premises.core.reprotect(&premises.way_back(&premises.primary)).await.unwrap_err();
            assert_eq!(error.code, code, "{rule}: {error}");
            assert!(Seen::of(&premises).await == before, "{rule} left a trace");
        });
    }
}

#[test]
fn disks_that_have_to_be_made_need_a_datastore_that_is_there_and_mounted() {
    run(142, async |world| {
        let premises = Premises::in_the_cloud(world, SimProfile::VMWARE).await;
        premises.primary.delete_machine(&machine()).await.unwrap();
        let good = premises.way_back(&premises.primary);
        let to = |datastore: &str| ReprotectRequest { datastore: Some(datastore.into()), ..good.clone() };
        let error = premises.core.reprotect(&to("nowhere")).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::DatastoreUnknown);
        master_target(&premises, |target| target.mounts[1].access = Access::Read);
        let error = premises.core.reprotect(&to("datastore-2")).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::DatastoreNotMounted);
        let job = premises.core.reprotect(&to("datastore-1")).await;
        premises.completed(job).await;
    });
}

#[test]
fn a_datastore_that_does_not_exist_is_ignored_where_the_disks_are_there() {
    run(143, async |world| {
        let premises = Premises::in_the_cloud(world, SimProfile::VMWARE).await;
        let good = premises.way_back(&premises.primary);
        let job =
            premises.core.reprotect(&ReprotectRequest { datastore: Some("nowhere".into()), ..good }).await;
        premises.completed(job).await;
    });
}

/// RE-20: of a physical server and not of a machine of VMware's.
#[test]
fn an_old_windows_comes_back_from_vmware_and_not_from_a_physical_server() {
    for (profile, expected) in
        [(SimProfile::PHYSICAL, Some(ErrorCode::ReleaseNotSupported)), (SimProfile::VMWARE, None)]
    {
        run(144, async |world| {
            let premises = Premises::new(world, profile);
            let guest =
                GuestFacts { release: GuestFacts::WINDOWS_2008_R2_SP1.to_owned(), ..GuestFacts::default() };
            let both = Some(vec!["ahci".to_owned(), "vmw_pvscsi".to_owned(), "ata_piix".to_owned()]);
            let install = SimInstall { os: GuestOs::Windows, guest, loads: both, ..SimInstall::new(MACHINE) };
            premises.protect(&install).await;
            premises.go_out().await;
            for site in [&premises.primary, &premises.other] {
                let windows = |part: &mut Component| {
                    if let ComponentKind::MasterTarget(target) = &mut part.kind {
                        target.os = GuestOs::Windows;
                    }
                };
                if site.components().all().iter().any(|part| part.id.0 == "master-target") {
                    site.components().alter("master-target", windows);
                }
            }
            let request = ReprotectRequest {
                failback_site: Some("other".into()),
                ..premises.way_back(&premises.other)
            };
            let asked = premises.core.reprotect(&request).await;
            assert_eq!(asked.as_ref().err().map(|error| error.code), expected);
            if asked.is_ok() {
                premises.completed(asked).await;
            }
        });
    }
}

/// RE-15, RE-16 in one story: protection and failover go well, reprotection does not, its retry does.
#[test]
fn a_read_only_account_protects_and_fails_over_but_does_not_come_back_until_it_may() {
    run(145, async |world| {
        let premises = Premises::new(world, SimProfile::VMWARE);
        vcenter(&premises, |vcenter| vcenter.role = AccountRole::ReadOnly);
        let listed = |premises: &Premises| {
            let parts = premises.primary.components().all();
            parts.iter().find_map(|part| Some(part.vcenter()?.datastores.len())).unwrap()
        };
        // The factory is not bound by the account.
        vcenter(&premises, |vcenter| vcenter.role = AccountRole::Full);
        premises.primary.install(&SimInstall::new(MACHINE)).unwrap();
        vcenter(&premises, |vcenter| vcenter.role = AccountRole::ReadOnly);
        premises.protect_installed(&SimInstall::new(MACHINE), target()).await;
        premises.go_out().await;
        assert_eq!(listed(&premises), 0);
        let job = premises.core.reprotect(&premises.way_back(&premises.primary)).await.unwrap();
        let view = premises.ended(Ok(job.clone())).await;
        assert_eq!(view.error.map(|error| error.code), Some(ErrorCode::DatastoresNotListed));
        let phase = premises.core.item(&premises.item).await.unwrap().protection.phase;
        assert_eq!(phase, Phase::Committed);
        vcenter(&premises, |vcenter| vcenter.role = AccountRole::Full);
        assert_eq!(listed(&premises), 2);
        premises.core.retry_job(&job).await.unwrap();
        premises.completed(Ok(job)).await;
        premises.points(2).await;
        premises.fail_back(&premises.primary).await;
    });
}

/// RE-09: they are merged by the job, and do not make it fail.
#[test]
fn snapshots_of_the_machine_are_merged_into_its_own_disks() {
    run(146, async |world| {
        let premises = Premises::in_the_cloud(world, SimProfile::VMWARE).await;
        let own = premises.primary.machine(&machine()).await.unwrap().disks;
        for _ in 0..2 {
            premises.primary.snapshot_machine(&machine()).unwrap();
        }
        assert_eq!(premises.primary.machine(&machine()).await.unwrap().snapshots, 2);
        let job = premises.core.reprotect(&premises.way_back(&premises.primary)).await;
        let job = premises.completed(job).await;
        assert!(job.steps.iter().any(|step| step.name == "merge snapshots"), "{:?}", job.steps);
        let view = premises.primary.machine(&machine()).await.unwrap();
        assert_eq!((view.snapshots, &view.disks), (0, &own));
        for disk in &view.disks {
            assert_eq!(premises.primary.volume(&disk.volume).await.unwrap().parent, None);
        }
        premises.points(2).await;
        premises.fail_back(&premises.primary).await;
    });
}

#[test]
fn a_merged_snapshot_holds_what_was_written_above_it() {
    run(147, async |world| {
        let premises = Premises::in_the_cloud(world, SimProfile::VMWARE).await;
        let site = &premises.primary;
        site.snapshot_machine(&machine()).unwrap();
        site.start(&machine()).await.unwrap();
        premises.live(contract::Millis(30_000)).await;
        site.power_off(&machine()).await.unwrap();
        site.snapshot_machine(&machine()).unwrap();
        let content = |view: &contract::MachineView| -> Vec<_> {
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
