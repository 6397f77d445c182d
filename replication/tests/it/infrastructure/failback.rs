//! Failback to VMware: what must hold before it, what breaks on the way, and the way out again.

use contract::{
    ComponentKind, ErrorCode, Health, HostEdition, JobState, Millis, Phase, Platform, PowerState,
    ReplicationCore, Side,
};
use simulator::{SimProfile, run};

use crate::infrastructure::premises::{MACHINE, Premises, Seen, machine, put_back};
use crate::support::{BACK, INTERVAL, dr, failover};

/// One thing that is wrong before a failback.
pub struct Case {
    pub rule: &'static str,
    pub code: ErrorCode,
    spoil: fn(&Premises),
    cure: fn(&Premises),
}

fn edition(premises: &Premises, edition: HostEdition) {
    premises.primary.components().alter("host-1", |part| {
        if let ComponentKind::Host(host) = &mut part.kind {
            host.edition = edition;
        }
    });
}

/// What can be put right.
pub const CASES: &[Case] = &[
    Case {
        rule: "RE-22",
        code: ErrorCode::MachineMoved,
        spoil: |at| at.recovery.components().move_to_group(&dr(MACHINE), "archive"),
        cure: |at| at.recovery.components().move_to_group(&dr(MACHINE), "recovery"),
    },
    Case {
        rule: "RE-06",
        code: ErrorCode::ConfigurationServerDisconnected,
        spoil: |at| at.primary.components().disconnect("configuration-server"),
        cure: |at| at.primary.components().connect("configuration-server"),
    },
    Case {
        rule: "RE-07",
        code: ErrorCode::MachineNotRegistered,
        spoil: |at| assert!(at.primary.components().unregister(&machine()), "it was registered"),
        cure: |at| at.primary.components().register(&machine()),
    },
    Case {
        rule: "IN-01",
        code: ErrorCode::ProcessServerUnknown,
        spoil: |at| drop(at.recovery.components().remove("cloud-process-server")),
        cure: |at| put_back(&at.recovery, "cloud-process-server"),
    },
    Case {
        rule: "IN-05",
        code: ErrorCode::ProcessServerDisconnected,
        spoil: |at| at.recovery.components().disconnect("cloud-process-server"),
        cure: |at| at.recovery.components().connect("cloud-process-server"),
    },
    Case {
        rule: "IN-02",
        code: ErrorCode::PrivateLinkDown,
        spoil: |at| at.recovery.components().disconnect("private-link"),
        cure: |at| at.recovery.components().connect("private-link"),
    },
    Case {
        rule: "RE-13",
        code: ErrorCode::PortBlocked,
        spoil: |at| {
            at.recovery.components().alter("private-link", |part| {
                if let ComponentKind::PrivateLink(link) = &mut part.kind {
                    link.open_ports.clear();
                }
            });
        },
        cure: |at| put_back(&at.recovery, "private-link"),
    },
    Case {
        rule: "IN-05",
        code: ErrorCode::MasterTargetDisconnected,
        spoil: |at| at.primary.components().disconnect("master-target"),
        cure: |at| at.primary.components().connect("master-target"),
    },
    Case {
        rule: "RE-19",
        code: ErrorCode::HostEditionFree,
        spoil: |at| edition(at, HostEdition::Free),
        cure: |at| edition(at, HostEdition::Full),
    },
];

/// What cannot be put right.
pub const FOR_GOOD: [(&str, ErrorCode); 3] = [
    ("RE-21", ErrorCode::MachineMigrated),
    ("RE-23", ErrorCode::CloudMachineGone),
    ("PH-02", ErrorCode::MasterTargetUnknown),
];

async fn on_its_way(world: simulator::SimWorld) -> Premises {
    let premises = Premises::in_the_cloud(world, SimProfile::VMWARE).await;
    let job = premises.core.reprotect(&premises.way_back(&premises.primary)).await;
    premises.completed(job).await;
    premises.points(2).await;
    premises.live(Millis(INTERVAL.0 / 2)).await;
    premises
}

#[test]
fn each_precondition_refuses_a_failback_without_a_trace_and_lets_the_cured_one_pass() {
    for (seed, case) in (200..).zip(CASES) {
        run(seed, async |world| {
            let premises = on_its_way(world).await;
            (case.spoil)(&premises);
            let before = Seen::of(&premises).await;
            let error = premises.core.failover(&failover(&premises.item, BACK)).await.unwrap_err();
            assert_eq!(error.code, case.code, "{}: {error}", case.rule);
            assert!(error.message.contains(case.rule), "{error}");
            assert!(Seen::of(&premises).await == before, "{} left a trace", case.rule);
            let cloud = premises.recovery.machine(&dr(MACHINE)).await.unwrap();
            assert_eq!(cloud.power, PowerState::On);
            (case.cure)(&premises);
            premises.fail_back(&premises.primary).await;
        });
    }
}

#[test]
fn a_cloud_machine_that_is_gone_or_has_moved_in_for_good_does_not_come_back() {
    for (rule, code) in FOR_GOOD {
        run(220, async |world| {
            let premises = on_its_way(world).await;
            let cloud = &premises.recovery;
            match code {
                ErrorCode::MachineMigrated => cloud.components().complete_migration(&dr(MACHINE)),
                ErrorCode::CloudMachineGone => {
                    cloud.power_off(&dr(MACHINE)).await.unwrap();
                    cloud.delete_machine(&dr(MACHINE)).await.unwrap();
                }
                _ => drop(premises.primary.components().remove("master-target")),
            }
            let before = Seen::of(&premises).await;
            let error = premises.core.failover(&failover(&premises.item, BACK)).await.unwrap_err();
            assert_eq!(error.code, code, "{rule}: {error}");
            assert!(Seen::of(&premises).await == before, "{rule} left a trace");
        });
    }
}

/// RE-14: without vCenter the disks cannot be hung back on the machine. The cloud machine serves on, and the job can
/// be retried.
#[test]
fn a_vcenter_that_goes_down_before_failback_fails_it_where_disks_are_attached_and_loses_nothing() {
    run(221, async |world| {
        let premises = on_its_way(world).await;
        premises.primary.components().disconnect("vcenter");
        let job = premises.core.failover(&failover(&premises.item, BACK)).await.unwrap();
        let view = premises.ended(Ok(job.clone())).await;
        assert_eq!(
            (view.state, view.error.map(|error| error.code)),
            (JobState::Failed, Some(ErrorCode::Platform))
        );
        assert_eq!(view.steps.last().map(|step| step.name.as_str()), Some("attach disks to machine"));
        let cloud = premises.recovery.machine(&dr(MACHINE)).await.unwrap();
        assert_eq!(cloud.power, PowerState::On);
        premises.live(Millis(INTERVAL.0 * 2)).await;
        let item = premises.core.item(&premises.item).await.unwrap();
        assert_eq!((item.protection.phase, item.protection.active), (Phase::Protected, Side::Recovery));
        assert_eq!((item.health, item.trouble.as_str()), (Health::Healthy, ""));
        premises.primary.components().connect("vcenter");
        premises.core.retry_job(&job).await.unwrap();
        premises.completed(Ok(job)).await;
        premises.live(Millis(10_000)).await;
        premises.came_back(&premises.primary);
    });
}

/// IN-02: what replicates back stalls, is shown, and goes on.
#[test]
fn replication_back_stalls_while_process_server_link_or_datastore_are_away_and_goes_on_after() {
    type Act = fn(&Premises);
    let mount = |premises: &Premises, access| {
        premises.primary.components().alter("master-target", |part| {
            if let ComponentKind::MasterTarget(target) = &mut part.kind {
                target.mounts[0].access = access;
            }
        });
    };
    let cases: [(Act, Act); 4] = [
        (
            |at| at.recovery.components().disconnect("private-link"),
            |at| at.recovery.components().connect("private-link"),
        ),
        (
            |at| at.recovery.components().disconnect("cloud-process-server"),
            |at| at.recovery.components().connect("cloud-process-server"),
        ),
        (
            |at| at.primary.components().disconnect("master-target"),
            |at| at.primary.components().connect("master-target"),
        ),
        (|_| {}, |_| {}),
    ];
    for (number, (spoil, cure)) in cases.into_iter().enumerate() {
        run(222, async |world| {
            let premises = on_its_way(world).await;
            spoil(&premises);
            if number == 3 {
                mount(&premises, contract::Access::Read);
            }
            premises.live(Millis(INTERVAL.0 * 2)).await;
            let item = premises.core.item(&premises.item).await.unwrap();
            assert_eq!(item.health, Health::Critical, "case {number}");
            assert!(!item.trouble.is_empty());
            cure(&premises);
            mount(&premises, contract::Access::Write);
            premises.live(Millis(INTERVAL.0 * 8)).await;
            let item = premises.core.item(&premises.item).await.unwrap();
            assert_eq!((item.health, item.trouble.as_str()), (Health::Healthy, ""), "case {number}");
            premises.fail_back(&premises.primary).await;
        });
    }
}

/// Stage 4 asks for a process server on premises (RE-29); the one in the cloud may be gone by then (IN-01).
#[test]
fn the_way_out_again_needs_a_process_server_on_premises_and_none_in_the_cloud() {
    run(223, async |world| {
        let premises = on_its_way(world).await;
        premises.fail_back(&premises.primary).await;
        let job = premises.core.commit(&premises.item).await;
        premises.completed(job).await;
        premises.recovery.components().remove("cloud-process-server");
        premises.recovery.components().disconnect("private-link");
        let good = premises.way_out(&premises.primary);
        let with = |server: Option<&str>| contract::ReprotectRequest {
            process_server: server.map(Into::into),
            ..good.clone()
        };
        let down = premises.primary.components();
        down.disconnect("process-server");
        for (request, code) in [
            (with(None), ErrorCode::ProcessServerNotGiven),
            (with(Some("cloud-process-server")), ErrorCode::ProcessServerUnknown),
            (good.clone(), ErrorCode::ProcessServerDisconnected),
        ] {
            let before = Seen::of(&premises).await;
            assert_eq!(premises.core.reprotect(&request).await.unwrap_err().code, code);
            assert!(Seen::of(&premises).await == before);
        }
        down.connect("process-server");
        let job = premises.core.reprotect(&good).await;
        premises.completed(job).await;
        premises.points(2).await;
        premises.go_out().await;
    });
}
