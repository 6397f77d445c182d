//! Replication groups in a plan: the points that their machines fail over to, and what only a plan
//! may do with them.

use contract::{
    Consistency, ErrorCode, GroupPointId, JobState, Millis, Operation, Phase, PlanGroup, PlanState,
    PlanTestFailoverRequest, Platform, PointChoice, Policy,
};
use simulator::testbed::{
    BACK, BOOT, INTERVAL, Testbed, cloud_machine, failover_plan_request, failover_plan_to, failover_to,
    group, item_of, member_states, plan, test_failover_plan_request,
};
use simulator::{SimInstall, SimWorld, run};

use crate::support::{assert_came_back, assert_recovered, setup, testbed_with, vmware_testbed};

/// A testbed with machines, each in the group given with it, under a policy that takes every third
/// point application-consistent. All have points of every kind, and no transfer is near.
async fn grouped(world: SimWorld, machines: &[(&str, Option<&str>)]) -> Testbed {
    let app_consistent_every = Some(Millis(3 * INTERVAL.0));
    let setup = setup().keeping(20).with_policy(|policy| Policy { app_consistent_every, ..policy });
    let testbed = testbed_with(world, setup);
    for (machine, group) in machines {
        testbed.protect_in_group(&SimInstall::new(*machine), *group).await.unwrap();
    }
    testbed.advance(Millis(10 * INTERVAL.0 + 31_000)).await;
    testbed
}

const MACHINES: [(&str, Option<&str>); 5] =
    [("a", Some("shop")), ("b", Some("shop")), ("c", None), ("x", Some("mail")), ("y", Some("mail"))];

fn both_groups() -> [PlanGroup; 2] {
    [group(&["x", "y"]), group(&["a", "b", "c"])]
}

/// The point that a machine has failed over to.
struct Chosen {
    shared: Option<GroupPointId>,
    consistency: Consistency,
    time: u64,
}

async fn chosen(testbed: &Testbed, machine: &str) -> Chosen {
    let view = testbed.item(&item_of(machine)).await.unwrap();
    let id = view.failed_over_to.unwrap();
    let point = view.points.into_iter().find(|point| point.id == id).unwrap();
    Chosen { shared: point.multi_vm, consistency: point.consistency, time: point.time.0 }
}

/// Fails the plan over to these points.
async fn fail_plan_over(testbed: &Testbed, point: PointChoice) {
    let job = testbed.core.failover_plan(&failover_plan_to(point)).await;
    testbed.completed(job).await.unwrap();
}

#[test]
fn each_group_fails_over_to_its_latest_shared_point_and_others_to_their_latest_processed_point() {
    run(61, async |world| {
        let testbed = grouped(world, &MACHINES).await;
        testbed.create_plan(&both_groups()).await.unwrap();
        testbed.primary.lose();
        let newest = testbed.newest_point(&item_of("c")).await.unwrap().id;
        fail_plan_over(&testbed, PointChoice::LatestMultiVm).await;
        let a = chosen(&testbed, "a").await.shared;
        let b = chosen(&testbed, "b").await.shared;
        let x = chosen(&testbed, "x").await.shared;
        let y = chosen(&testbed, "y").await.shared;
        assert!(a.is_some() && a == b && x.is_some() && x == y);
        // Groups share no points with each other (PL-06).
        assert_ne!(a, x);
        assert_eq!(testbed.item(&item_of("c")).await.unwrap().failed_over_to, Some(newest));
        testbed.advance(BOOT).await;
        for (machine, _) in MACHINES {
            assert_recovered(&testbed, machine);
        }
    });
}

#[test]
fn a_group_does_not_fail_over_to_a_newer_point_of_one_machine_alone() {
    run(62, async |world| {
        let testbed = grouped(world, &MACHINES[..3]).await;
        testbed.create_plan(&[group(&["a", "b", "c"])]).await.unwrap();
        // One of the two disappears from its site, so that from then on the other one has points of
        // its own.
        let shared = testbed.newest_point(&item_of("b")).await.unwrap().multi_vm;
        testbed.primary.power_off(&"b".into()).await.unwrap();
        testbed.primary.delete_machine(&"b".into()).await.unwrap();
        testbed.advance(Millis(3 * INTERVAL.0)).await;
        let alone = testbed.newest_point(&item_of("a")).await.unwrap();
        assert_eq!(alone.multi_vm, None);
        fail_plan_over(&testbed, PointChoice::LatestMultiVm).await;
        let a = chosen(&testbed, "a").await;
        let b = chosen(&testbed, "b").await;
        assert!(a.shared.is_some() && a.shared == b.shared && a.time < alone.time.0);
        assert_eq!(b.shared, shared);
    });
}

#[test]
fn latest_multi_vm_app_consistent_chooses_application_consistent_points_for_other_machines_too() {
    run(63, async |world| {
        let testbed = grouped(world, &MACHINES[..3]).await;
        testbed.create_plan(&[group(&["a", "b", "c"])]).await.unwrap();
        // The newest point of the machine without a group has to be crash-consistent.
        while testbed.newest_point(&item_of("c")).await.unwrap().consistency != Consistency::Crash {
            testbed.advance(INTERVAL).await;
        }
        testbed.primary.lose();
        let newest = testbed.newest_point(&item_of("c")).await.unwrap().id;
        fail_plan_over(&testbed, PointChoice::LatestMultiVmAppConsistent).await;
        let a = chosen(&testbed, "a").await;
        let b = chosen(&testbed, "b").await;
        let c = chosen(&testbed, "c").await;
        assert!(a.shared.is_some() && a.shared == b.shared);
        assert_eq!([a.consistency, b.consistency, c.consistency], [Consistency::App; 3]);
        assert_eq!(c.shared, None);
        assert_ne!(testbed.item(&item_of("c")).await.unwrap().failed_over_to, Some(newest));
    });
}

#[test]
fn points_that_several_machines_share_can_be_chosen_only_for_plans_with_a_group() {
    run(64, async |world| {
        let testbed = grouped(world, &MACHINES[2..3]).await;
        testbed.create_plan(&[group(&["c"])]).await.unwrap();
        for point in [PointChoice::LatestMultiVm, PointChoice::LatestMultiVmAppConsistent] {
            let code = ErrorCode::MultiVmNeedsGroup;
            let request = failover_plan_to(point.clone());
            assert_eq!(testbed.core.failover_plan(&request).await.unwrap_err().code, code);
            let request = PlanTestFailoverRequest { point: point.clone(), ..test_failover_plan_request() };
            assert_eq!(testbed.core.test_failover_plan(&request).await.unwrap_err().code, code);
            let request = failover_to(&item_of("c"), point);
            assert_eq!(testbed.core.failover(&request).await.unwrap_err().code, code);
        }
        assert_eq!(testbed.item(&item_of("c")).await.unwrap().protection.phase, Phase::Protected);
    });
}

#[test]
fn a_group_is_reprotected_only_through_a_plan_and_fails_back_to_one_moment() {
    run(65, async |world| {
        let testbed = grouped(world, &MACHINES[..3]).await;
        testbed.create_plan(&[group(&["a", "b", "c"])]).await.unwrap();
        fail_plan_over(&testbed, PointChoice::LatestMultiVm).await;
        testbed.commit_plan().await.unwrap();
        let request = testbed.reprotection(&item_of("a"), BACK);
        let error = testbed.core.reprotect(&request).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::OnlyThroughPlan);
        let view = testbed.item(&item_of("a")).await.unwrap();
        assert!(!view.allowed.contains(&Operation::Reprotect));
        testbed
            .completed(testbed.core.reprotect_plan(&testbed.plan_reprotection(BACK, &["a", "b", "c"])).await)
            .await
            .unwrap();
        for machine in ["a", "b", "c"] {
            testbed.wait_for_points(&item_of(machine), 3).await.unwrap();
        }
        // FB-05: a group fails back to a point that its machines share.
        let request = failover_plan_request(BACK);
        testbed.completed(testbed.core.failover_plan(&request).await).await.unwrap();
        testbed.advance(BOOT).await;
        ["a", "b", "c"].iter().for_each(|machine| assert_came_back(&testbed, machine, &testbed.primary));
    });
}

#[test]
fn a_plan_cannot_split_a_replication_group() {
    run(66, async |world| {
        let testbed = grouped(world, &MACHINES[..2]).await;
        let split = plan(&[group(&["a"]), group(&["b"])]);
        assert_eq!(testbed.core.create_plan(&split).await.unwrap_err().code, ErrorCode::BadRequest);
        assert!(testbed.core.plans().await.unwrap().is_empty());
        testbed.create_plan(&[group(&["a"])]).await.unwrap();
    });
}

#[test]
fn a_retry_fails_the_rest_of_a_group_over_to_the_point_of_the_others() {
    run(67, async |world| {
        let testbed = grouped(world, &MACHINES[..2]).await;
        testbed.create_plan(&[group(&["a", "b"])]).await.unwrap();
        testbed.recovery.install(&SimInstall::new(cloud_machine("b"))).unwrap();
        let job = testbed.core.failover_plan(&failover_plan_to(PointChoice::LatestMultiVm)).await.unwrap();
        let view = testbed.ended(&job).await.unwrap();
        assert_eq!(view.state, JobState::PartiallySucceeded);
        assert_eq!(member_states(&view), [("a", PlanState::Done), ("b", PlanState::Failed)]);
        // Meanwhile the machine that was not failed over gets points that the other one will never
        // have.
        testbed.advance(Millis(5 * INTERVAL.0)).await;
        testbed.recovery.delete_machine(&cloud_machine("b")).await.unwrap();
        testbed.core.retry_job(&job).await.unwrap();
        testbed.completed(&job).await.unwrap();
        let a = chosen(&testbed, "a").await.shared;
        assert!(a.is_some() && a == chosen(&testbed, "b").await.shared);
    });
}

#[test]
fn a_group_without_a_shared_point_cannot_fail_over_to_one() {
    run(68, async |world| {
        let testbed = vmware_testbed(world);
        testbed.protect_all(&["c"]).await.unwrap();
        // Each machine has only its first point, which it does not share.
        for machine in ["a", "b"] {
            testbed.protect_in_group(&SimInstall::new(machine), Some("shop")).await.unwrap();
        }
        testbed.create_plan(&[group(&["a", "b"])]).await.unwrap();
        let error =
            testbed.core.failover_plan(&failover_plan_to(PointChoice::LatestMultiVm)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::NoRecoveryPoint);
        for machine in ["a", "b"] {
            assert_eq!(testbed.item(&item_of(machine)).await.unwrap().protection.phase, Phase::Protected);
        }
    });
}
