//! Failback to Hyper-V: what must hold before it, and other hosts to come back to.

use contract::{
    AlternateHost, ComponentKind, CoreError, DataSync, DiskKind, ErrorCode, FailoverKind, FailoverRequest,
    Host, HostEdition, JobId, JobState, Placement, Platform, PowerState, ReplicationCore, TargetSettings,
};
use simulator::{SimInstall, SimProfile, SimWorld, run};

use crate::infrastructure::premises::{MACHINE, Premises, Seen, machine, target};
use crate::support::{BACK, failover};

/// One thing that is wrong before a failback, and how it is put right.
pub struct Case {
    pub rule: &'static str,
    pub code: ErrorCode,
    spoil: fn(&Premises, &mut FailoverRequest),
    cure: fn(&Premises),
}

fn on(host: &str, create_machine: bool) -> Option<AlternateHost> {
    Some(AlternateHost { host: host.into(), create_machine })
}

fn host(premises: &Premises, change: fn(&mut Host)) {
    premises.primary.components().alter("host-2", |part| {
        if let ComponentKind::Host(host) = &mut part.kind {
            change(host);
        }
    });
}

/// For a machine that is gone, to be made on the other host; data in the cloud is encrypted.
pub const CASES: &[Case] = &[
    Case {
        rule: "HF-14",
        code: ErrorCode::CertificateNotGiven,
        spoil: |_, ask| ask.certificate = None,
        cure: |_| {},
    },
    Case {
        rule: "HF-14",
        code: ErrorCode::CertificateWrong,
        spoil: |_, ask| ask.certificate = Some("another".to_owned()),
        cure: |_| {},
    },
    Case {
        rule: "HF-02",
        code: ErrorCode::HostDisconnected,
        spoil: |at, _| at.primary.components().disconnect("host-connection"),
        cure: |at| at.primary.components().connect("host-connection"),
    },
    Case {
        rule: "HF-22",
        code: ErrorCode::HostUnknown,
        spoil: |_, ask| ask.alternate = on("host-9", true),
        cure: |_| {},
    },
    Case {
        rule: "HF-24",
        code: ErrorCode::HostNotPrepared,
        spoil: |at, _| host(at, |host| host.prepared = false),
        cure: |at| host(at, |host| host.prepared = true),
    },
    Case {
        rule: "HF-23",
        code: ErrorCode::SwitchMissing,
        spoil: |at, _| host(at, |host| host.switches = vec!["Internal".to_owned()]),
        cure: |at| host(at, |host| host.switches = vec!["Internal".to_owned(), "External".to_owned()]),
    },
    Case {
        rule: "HF-22",
        code: ErrorCode::MachineMissing,
        spoil: |_, ask| ask.alternate = on("host-2", false),
        cure: |_| {},
    },
    // At its original place only a full download makes it (HF-11).
    Case {
        rule: "HF-22",
        code: ErrorCode::MachineMissing,
        spoil: |_, ask| ask.alternate = None,
        cure: |_| {},
    },
];

/// Those that have tests of their own.
pub const OTHERS: [(&str, ErrorCode); 3] = [
    ("RE-23", ErrorCode::CloudMachineGone),
    ("HF-26", ErrorCode::ManagedDisks),
    ("HF-22", ErrorCode::NameTaken),
];

const CERTIFICATE: &str = "3f2a";

async fn in_the_cloud(world: SimWorld, settings: TargetSettings) -> Premises {
    let premises = Premises::new(world, SimProfile::HYPERV);
    premises.protect_as(&SimInstall::new(MACHINE), settings).await;
    premises.go_out().await;
    premises
}

fn encrypted() -> TargetSettings {
    TargetSettings { encrypted_with: Some(CERTIFICATE.to_owned()), ..target() }
}

fn back(premises: &Premises, sync: DataSync) -> FailoverRequest {
    FailoverRequest { kind: FailoverKind::Planned, data_sync: Some(sync), ..failover(&premises.item, BACK) }
}

async fn lose_the_original(premises: &Premises) {
    let disks = premises.primary.machine(&machine()).await.unwrap().disks;
    premises.primary.delete_machine(&machine()).await.unwrap();
    for disk in disks {
        premises.primary.delete_volume(&disk.volume).await.unwrap();
    }
}

/// Follows a failback through its wait to its end, and proves that nothing was lost.
async fn comes_back(premises: &Premises, job: Result<JobId, CoreError>) {
    let job = job.unwrap();
    let mut view = premises.core.job(&job).await.unwrap();
    while !view.state.ended() {
        if view.state == JobState::WaitingForCompletion {
            premises.core.complete_failover(&premises.item).await.unwrap();
            premises.world.settle().await;
            view = premises.core.job(&job).await.unwrap();
            continue;
        }
        view = premises.core.watch_job(&job, view.revision).await.unwrap();
    }
    premises.completed(Ok(job)).await;
    premises.live(contract::Millis(10_000)).await;
    premises.came_back(&premises.primary);
}

#[test]
fn each_precondition_refuses_a_failback_without_a_trace_and_lets_the_cured_one_pass() {
    for (seed, case) in (300..).zip(CASES) {
        run(seed, async |world| {
            let premises = in_the_cloud(world, encrypted()).await;
            lose_the_original(&premises).await;
            let good = FailoverRequest {
                certificate: Some(CERTIFICATE.to_owned()),
                alternate: on("host-2", true),
                ..back(&premises, DataSync::BeforeFailover)
            };
            let mut spoilt = good.clone();
            (case.spoil)(&premises, &mut spoilt);
            let before = Seen::of(&premises).await;
            let error = premises.core.failover(&spoilt).await.unwrap_err();
            assert_eq!(error.code, case.code, "{}: {error}", case.rule);
            assert!(error.message.contains(case.rule), "{error}");
            assert!(Seen::of(&premises).await == before, "{} left a trace", case.rule);
            (case.cure)(&premises);
            comes_back(&premises, premises.core.failover(&good).await).await;
            let made = premises.primary.machine(&machine()).await.unwrap();
            assert_eq!(made.placement.host, Some("host-2".into()));
            assert_eq!(made.placement.switch.as_deref(), Some("External"));
        });
    }
}

#[test]
fn a_full_download_makes_a_machine_that_was_deleted_where_it_was() {
    run(320, async |world| {
        let premises = in_the_cloud(world, target()).await;
        lose_the_original(&premises).await;
        let job = premises.core.failover(&back(&premises, DataSync::DuringFailover)).await;
        comes_back(&premises, job).await;
        let made = premises.primary.machine(&machine()).await.unwrap();
        assert_eq!((made.power, made.placement.host), (PowerState::On, Some("host-1".into())));
        let job = premises.core.commit(&premises.item).await;
        premises.completed(job).await;
        let job = premises.core.reverse_replicate(&premises.item).await;
        premises.completed(job).await;
        premises.points(2).await;
    });
}

#[test]
fn a_machine_that_is_there_on_one_host_does_not_come_back_to_another() {
    run(321, async |world| {
        let premises = in_the_cloud(world, target()).await;
        let good = back(&premises, DataSync::DuringFailover);
        let to = |host: &str| FailoverRequest { alternate: on(host, true), ..good.clone() };
        let error = premises.core.failover(&to("host-2")).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::NameTaken, "{error}");
        // Its own is as good as none.
        comes_back(&premises, premises.core.failover(&to("host-1")).await).await;
    });
}

#[test]
fn a_machine_on_managed_disks_stays_in_the_cloud_and_one_in_a_storage_account_comes_back() {
    for (disk_kind, expected) in
        [(DiskKind::Managed, Some(ErrorCode::ManagedDisks)), (DiskKind::StorageAccount, None)]
    {
        run(322, async |world| {
            let placement = Placement { disk_kind, ..Placement::default() };
            let premises = in_the_cloud(world, TargetSettings { placement, ..target() }).await;
            let asked = premises.core.failover(&back(&premises, DataSync::DuringFailover)).await;
            assert_eq!(asked.as_ref().err().map(|error| error.code), expected);
            if asked.is_ok() {
                comes_back(&premises, asked).await;
            }
        });
    }
}

#[test]
fn a_cloud_machine_that_was_deleted_does_not_come_back() {
    run(323, async |world| {
        let premises = in_the_cloud(world, target()).await;
        let cloud = &premises.recovery;
        cloud.power_off(&crate::support::dr(MACHINE)).await.unwrap();
        cloud.delete_machine(&crate::support::dr(MACHINE)).await.unwrap();
        let error = premises.core.failover(&back(&premises, DataSync::DuringFailover)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::CloudMachineGone);
    });
}

/// HF-27: neither process server nor private connection is asked for, and no master target was ever there.
#[test]
fn no_process_server_and_no_private_connection_are_needed() {
    run(324, async |world| {
        let premises = in_the_cloud(world, target()).await;
        premises.recovery.components().remove("cloud-process-server");
        premises.recovery.components().remove("private-link");
        let parts = premises.primary.components().all();
        assert!(parts.iter().all(|part| part.master_target().is_none()));
        let job = premises.core.failover(&back(&premises, DataSync::BeforeFailover)).await;
        comes_back(&premises, job).await;
    });
}

/// A licence is not asked about here (RE-19 is VMware's).
#[test]
fn a_free_edition_is_vmwares_trouble_alone() {
    run(325, async |world| {
        let premises = in_the_cloud(world, target()).await;
        premises.primary.components().alter("host-1", |part| {
            if let ComponentKind::Host(host) = &mut part.kind {
                host.edition = HostEdition::Free;
            }
        });
        let job = premises.core.failover(&back(&premises, DataSync::DuringFailover)).await;
        comes_back(&premises, job).await;
    });
}
