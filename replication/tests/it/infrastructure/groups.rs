//! Reprotection of replication groups: one operating system, one master target (RE-10, RE-12).

use contract::{ErrorCode, GuestOs, Millis, PlanReprotectRequest, PointChoice, ReprotectRequest};
use simulator::testbed::preconditions::add_master_target;
use simulator::testbed::{BACK, INTERVAL, Testbed, failover_plan_to, group};
use simulator::{SimInstall, SimWorld, run};

use crate::support::{ObservableState, setup, testbed_with};

/// A testbed with a group of two machines that was failed over through a plan and committed.
async fn group_in_cloud(world: SimWorld, systems: [GuestOs; 2]) -> Testbed {
    let testbed = testbed_with(world, setup().keeping(5));
    for (name, os) in ["a", "b"].into_iter().zip(systems) {
        let drivers = Some(["vmw_pvscsi", "ata_piix"].map(ToOwned::to_owned).to_vec());
        let install = SimInstall { os, loads: drivers, ..SimInstall::new(name) };
        testbed.protect_in_group(&install, Some("shop")).await.unwrap();
    }
    testbed.create_plan(&[group(&["a", "b"])]).await.unwrap();
    testbed.advance(Millis(3 * INTERVAL.0)).await;
    let request = failover_plan_to(PointChoice::LatestMultiVm);
    testbed.completed(testbed.core.failover_plan(&request).await).await.unwrap();
    testbed.commit_plan().await.unwrap();
    testbed
}

/// The request to reprotect the group, each machine through the master target given for it.
fn through(testbed: &Testbed, master_targets: [&str; 2]) -> PlanReprotectRequest {
    let mut request = testbed.plan_reprotection(BACK, &["a", "b"]);
    for (setting, target) in request.settings.iter_mut().zip(master_targets) {
        *setting = ReprotectRequest { master_target: Some(target.into()), ..setting.clone() };
    }
    request
}

async fn assert_refused(testbed: &Testbed, request: &PlanReprotectRequest, code: ErrorCode) {
    let before = ObservableState::of(testbed).await;
    let error = testbed.core.reprotect_plan(request).await.unwrap_err();
    assert_eq!(error.code, code, "{error}");
    before.assert_unchanged(testbed, "the plan's reprotection").await;
}

#[test]
fn a_group_is_reprotected_through_one_master_target() {
    run(600, async |world| {
        let testbed = group_in_cloud(world, [GuestOs::Linux; 2]).await;
        add_master_target(&testbed, "second", GuestOs::Linux);
        let different = through(&testbed, ["master-target", "second"]);
        assert_refused(&testbed, &different, ErrorCode::GroupMixesMasterTargets).await;
        let same = through(&testbed, ["second", "second"]);
        testbed.completed(testbed.core.reprotect_plan(&same).await).await.unwrap();
    });
}

#[test]
fn a_group_of_linux_and_windows_machines_is_not_reprotected() {
    run(601, async |world| {
        let testbed = group_in_cloud(world, [GuestOs::Linux, GuestOs::Windows]).await;
        add_master_target(&testbed, "windows", GuestOs::Windows);
        let request = through(&testbed, ["master-target", "windows"]);
        assert_refused(&testbed, &request, ErrorCode::GroupMixesOs).await;
    });
}

#[test]
fn a_group_of_windows_machines_is_reprotected_through_a_windows_master_target() {
    run(602, async |world| {
        let testbed = group_in_cloud(world, [GuestOs::Windows; 2]).await;
        add_master_target(&testbed, "windows", GuestOs::Windows);
        let wrong = through(&testbed, ["master-target", "master-target"]);
        assert_refused(&testbed, &wrong, ErrorCode::MasterTargetWrongOs).await;
        let right = through(&testbed, ["windows", "windows"]);
        testbed.completed(testbed.core.reprotect_plan(&right).await).await.unwrap();
    });
}
