//! Failback to VMware: its preconditions, outages during replication back to the site, and the
//! reprotection to the cloud after it.

use contract::{
    Access, ErrorCode, FailoverRequest, Health, JobState, Millis, Phase, Platform, PowerState,
    ReprotectRequest, Side,
};
use simulator::testbed::preconditions::{FAILBACK, mount};
use simulator::testbed::{BACK, BOOT, INTERVAL, OUT, Testbed, cloud_machine};
use simulator::{SimProfile, SimWorld, run};

use crate::infrastructure::fixture::{MACHINE, committed_in_cloud, fail_back, item};
use crate::support::{ObservableState, assert_came_back};

/// Preconditions that cannot be repaired.
pub const FOR_GOOD: [(&str, ErrorCode); 3] = [
    ("RE-21", ErrorCode::MachineMigrated),
    ("RE-23", ErrorCode::CloudMachineGone),
    ("PH-02", ErrorCode::MasterTargetUnknown),
];

/// A testbed with a machine that replicates back to its site, between two transfers.
async fn replicating_back(world: SimWorld) -> Testbed {
    let testbed = committed_in_cloud(world, SimProfile::VMWARE).await;
    testbed.reprotect(&testbed.reprotection(&item(), BACK)).await.unwrap();
    testbed.wait_for_points(&item(), 2).await.unwrap();
    testbed.advance(Millis(INTERVAL.0 / 2)).await;
    testbed
}

#[test]
fn a_failback_is_refused_for_each_broken_precondition_and_succeeds_once_it_is_repaired() {
    for (seed, row) in (200..).zip(FAILBACK) {
        run(seed, async |world| {
            let testbed = replicating_back(world).await;
            let mut request = FailoverRequest::unplanned(&item(), BACK);
            (row.break_it)(&testbed, &mut request);
            let before = ObservableState::of(&testbed).await;
            let error = testbed.core.failover(&request).await.unwrap_err();
            assert_eq!(error.code, row.code, "{}: {error}", row.rule);
            assert!(error.message.contains(row.rule), "{error}");
            before.assert_unchanged(&testbed, row.rule).await;
            assert_eq!(testbed.copy_of(MACHINE).await.unwrap().power, PowerState::On);
            (row.repair)(&testbed);
            fail_back(&testbed, &testbed.primary).await;
        });
    }
}

#[test]
fn a_cloud_machine_that_is_gone_or_migrated_is_not_failed_back() {
    for (rule, code) in FOR_GOOD {
        run(220, async |world| {
            let testbed = replicating_back(world).await;
            let cloud = &testbed.recovery;
            match code {
                ErrorCode::MachineMigrated => cloud.components().complete_migration(&cloud_machine(MACHINE)),
                ErrorCode::CloudMachineGone => {
                    cloud.power_off(&cloud_machine(MACHINE)).await.unwrap();
                    cloud.delete_machine(&cloud_machine(MACHINE)).await.unwrap();
                }
                _ => drop(testbed.primary.components().remove("master-target")),
            }
            let before = ObservableState::of(&testbed).await;
            let error = testbed.core.failover(&FailoverRequest::unplanned(&item(), BACK)).await.unwrap_err();
            assert_eq!(error.code, code, "{rule}: {error}");
            before.assert_unchanged(&testbed, rule).await;
        });
    }
}

/// RE-14: without vCenter the disks cannot be attached to the machine again. The cloud machine goes
/// on serving, and the job can be retried.
#[test]
fn a_failback_without_vcenter_fails_where_disks_are_attached_and_loses_nothing() {
    run(221, async |world| {
        let testbed = replicating_back(world).await;
        testbed.primary.components().disconnect("vcenter");
        let job = testbed.core.failover(&FailoverRequest::unplanned(&item(), BACK)).await.unwrap();
        let view = testbed.ended(&job).await.unwrap();
        assert_eq!(
            (view.state, view.error.map(|error| error.code)),
            (JobState::Failed, Some(ErrorCode::Platform))
        );
        assert_eq!(view.steps.last().map(|step| step.name.as_str()), Some("attach disks to machine"));
        assert_eq!(testbed.copy_of(MACHINE).await.unwrap().power, PowerState::On);
        testbed.advance(Millis(INTERVAL.0 * 2)).await;
        let view = testbed.item(&item()).await.unwrap();
        assert_eq!((view.protection.phase, view.protection.active), (Phase::Protected, Side::Recovery));
        assert_eq!((view.health, view.trouble.as_str()), (Health::Healthy, ""));
        testbed.primary.components().connect("vcenter");
        testbed.core.retry_job(&job).await.unwrap();
        testbed.completed(&job).await.unwrap();
        testbed.advance(BOOT).await;
        assert_came_back(&testbed, MACHINE, &testbed.primary);
    });
}

/// Begins or ends an outage.
type Act = fn(&Testbed);

/// IN-02: replication back to the site stalls during an outage, health shows it, and replication
/// resumes afterwards.
#[test]
fn replication_back_stalls_during_an_outage_and_resumes_after_it() {
    let outages: [(Act, Act); 4] = [
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
        (|at| mount(at, Access::Read), |at| mount(at, Access::Write)),
    ];
    for (number, (begin, end)) in outages.into_iter().enumerate() {
        run(222, async |world| {
            let testbed = replicating_back(world).await;
            begin(&testbed);
            testbed.advance(Millis(INTERVAL.0 * 2)).await;
            let view = testbed.item(&item()).await.unwrap();
            assert_eq!(view.health, Health::Critical, "outage {number}");
            assert!(!view.trouble.is_empty());
            end(&testbed);
            testbed.advance(Millis(INTERVAL.0 * 8)).await;
            let view = testbed.item(&item()).await.unwrap();
            assert_eq!((view.health, view.trouble.as_str()), (Health::Healthy, ""), "outage {number}");
            fail_back(&testbed, &testbed.primary).await;
        });
    }
}

/// Reprotection to the cloud needs a process server on premises (RE-29). The one in the cloud may
/// be gone by then (IN-01).
#[test]
fn reprotection_to_the_cloud_needs_a_process_server_on_premises_and_none_in_the_cloud() {
    run(223, async |world| {
        let testbed = replicating_back(world).await;
        fail_back(&testbed, &testbed.primary).await;
        testbed.commit(&item()).await.unwrap();
        testbed.recovery.components().remove("cloud-process-server");
        testbed.recovery.components().disconnect("private-link");
        let good = testbed.reprotection(&item(), OUT);
        let through = |server: Option<&str>| ReprotectRequest {
            process_server: server.map(Into::into),
            ..good.clone()
        };
        testbed.primary.components().disconnect("process-server");
        for (request, code) in [
            (through(None), ErrorCode::ProcessServerNotGiven),
            (through(Some("cloud-process-server")), ErrorCode::ProcessServerUnknown),
            (good.clone(), ErrorCode::ProcessServerDisconnected),
        ] {
            let before = ObservableState::of(&testbed).await;
            assert_eq!(testbed.core.reprotect(&request).await.unwrap_err().code, code);
            before.assert_unchanged(&testbed, &format!("{code:?}")).await;
        }
        testbed.primary.components().connect("process-server");
        testbed.reprotect(&good).await.unwrap();
        testbed.wait_for_points(&item(), 2).await.unwrap();
        testbed.fail_over_from_lost_site(&item()).await.unwrap();
    });
}
