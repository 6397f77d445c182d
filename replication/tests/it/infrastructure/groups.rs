//! Replication groups on their way back: one operating system, one master target (RE-10, RE-12).

use contract::{
    Component, ComponentKind, EnableProtection, ErrorCode, FailoverKind, GuestOs, ItemId, JobFilter, Millis,
    PlanFailoverRequest, PlanGroup, PlanReprotectRequest, Platform, PlatformKind, PointChoice, RecoveryPlan,
    ReplicationCore, ReprotectRequest,
};
use simulator::{SimInstall, SimWorld, run};

use crate::support::{BACK, INTERVAL, OUT, POLICY, Pair, enable, policy, reprotection};

async fn machine(pair: &Pair, name: &str, os: GuestOs) {
    let both = Some(["vmw_pvscsi", "ata_piix"].map(ToOwned::to_owned).to_vec());
    pair.primary.install(&SimInstall { os, loads: both, ..SimInstall::new(name) }).unwrap();
    pair.primary.start(&name.into()).await.unwrap();
    pair.live(INTERVAL).await;
    let item = ItemId(format!("item-{name}"));
    let request = EnableProtection { group: Some("shop".into()), ..enable(&item, name) };
    pair.completed(&pair.core.enable_protection(&request).await.unwrap()).await;
}

/// A group of two, failed over and committed by a plan.
async fn in_the_cloud(world: SimWorld, systems: [GuestOs; 2]) -> Pair {
    let pair = Pair::new(world);
    pair.core.create_policy(&POLICY.into(), &policy(PlatformKind::Vmware, 5)).await.unwrap();
    machine(&pair, "a", systems[0]).await;
    machine(&pair, "b", systems[1]).await;
    let group =
        PlanGroup { items: vec!["item-a".into(), "item-b".into()], before: Vec::new(), after: Vec::new() };
    pair.core.create_plan(&RecoveryPlan { id: "shop".into(), groups: vec![group] }).await.unwrap();
    pair.live(Millis(3 * INTERVAL.0)).await;
    let out = PlanFailoverRequest {
        plan: "shop".into(),
        kind: FailoverKind::Unplanned,
        direction: OUT,
        point: PointChoice::LatestMultiVm,
        shut_down_source: false,
        shutdown_within: Millis(60_000),
        data_sync: None,
    };
    pair.completed(&pair.core.failover_plan(&out).await.unwrap()).await;
    pair.completed(&pair.core.commit_plan(&"shop".into()).await.unwrap()).await;
    pair
}

fn back(settings: [ReprotectRequest; 2]) -> PlanReprotectRequest {
    PlanReprotectRequest { plan: "shop".into(), direction: BACK, settings: settings.to_vec() }
}

fn through(item: &str, target: &str) -> ReprotectRequest {
    ReprotectRequest { master_target: Some(target.into()), ..reprotection(&item.into(), BACK) }
}

/// Another master target beside the built-in one, for machines of this system.
fn add_master_target(pair: &Pair, id: &str, os: GuestOs) {
    let parts = pair.primary.components().all();
    let own = parts.iter().find(|part| part.id.0 == "master-target").unwrap();
    let mut target = own.master_target().unwrap().clone();
    (target.built_in, target.os) = (false, os);
    target.uuid = format!("4d540000-0000-4000-8000-0000000000{:02}", parts.len());
    let kind = ComponentKind::MasterTarget(target);
    pair.primary.components().add(Component { id: id.into(), connected: true, kind });
}

async fn refused(pair: &Pair, request: &PlanReprotectRequest, code: ErrorCode) {
    let before = (pair.core.items().await.unwrap(), pair.core.jobs(&JobFilter::default()).await.unwrap());
    let error = pair.core.reprotect_plan(request).await.unwrap_err();
    assert_eq!(error.code, code, "{error}");
    let after = (pair.core.items().await.unwrap(), pair.core.jobs(&JobFilter::default()).await.unwrap());
    assert_eq!(before, after);
}

#[test]
fn a_group_comes_back_through_one_master_target() {
    run(600, async |world| {
        let pair = in_the_cloud(world, [GuestOs::Linux; 2]).await;
        add_master_target(&pair, "second", GuestOs::Linux);
        let apart = back([through("item-a", "master-target"), through("item-b", "second")]);
        refused(&pair, &apart, ErrorCode::GroupMixesMasterTargets).await;
        // Either will do for both.
        let together = back([through("item-a", "second"), through("item-b", "second")]);
        pair.completed(&pair.core.reprotect_plan(&together).await.unwrap()).await;
    });
}

#[test]
fn a_group_of_linux_and_windows_does_not_come_back() {
    run(601, async |world| {
        let pair = in_the_cloud(world, [GuestOs::Linux, GuestOs::Windows]).await;
        add_master_target(&pair, "windows", GuestOs::Windows);
        let request = back([through("item-a", "master-target"), through("item-b", "windows")]);
        refused(&pair, &request, ErrorCode::GroupMixesOs).await;
    });
}

#[test]
fn a_group_of_windows_machines_comes_back() {
    run(602, async |world| {
        let pair = in_the_cloud(world, [GuestOs::Windows; 2]).await;
        add_master_target(&pair, "windows", GuestOs::Windows);
        let wrong = back([through("item-a", "master-target"), through("item-b", "master-target")]);
        refused(&pair, &wrong, ErrorCode::MasterTargetWrongOs).await;
        let request = back([through("item-a", "windows"), through("item-b", "windows")]);
        pair.completed(&pair.core.reprotect_plan(&request).await.unwrap()).await;
    });
}
