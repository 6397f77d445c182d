//! Replication groups in a plan: which points their machines go to, and what only a plan may do with them.

use contract::{
    Consistency, EnableProtection, ErrorCode, GroupId, GroupPointId, ItemId, JobState, Millis, Phase,
    PlanFailoverRequest, PlanState, Platform, PlatformKind, PointChoice, PointId, Policy, ReplicationCore,
};
use simulator::{SimInstall, SimWorld, run};

use crate::plans::fleet::{
    BOOT, PLAN, came_back, failover, group, item, plan, protect, recovered, reprotect, states,
    test_failover_request,
};
use crate::support::{BACK, INTERVAL, OUT, POLICY, Pair, dr, enable, policy, reprotection};

/// Machines with the group each is in. Every third transfer finds the applications at rest.
async fn house(world: SimWorld, machines: &[(&str, Option<&str>)]) -> Pair {
    let pair = Pair::new(world);
    let often =
        Policy { app_consistent_every: Some(Millis(3 * INTERVAL.0)), ..policy(PlatformKind::Vmware, 20) };
    pair.core.create_policy(&POLICY.into(), &often).await.unwrap();
    for (machine, group) in machines {
        pair.install(machine).await;
        let group = group.map(GroupId::from);
        let request = EnableProtection { group, ..enable(&item(machine), machine) };
        pair.completed(&pair.core.enable_protection(&request).await.unwrap()).await;
    }
    // Until the youngest of them has points of all kinds, and somewhere between two.
    pair.live(Millis(10 * INTERVAL.0 + 31_000)).await;
    pair
}

const MACHINES: [(&str, Option<&str>); 5] =
    [("a", Some("shop")), ("b", Some("shop")), ("c", None), ("x", Some("mail")), ("y", Some("mail"))];

fn both() -> contract::RecoveryPlan {
    plan(&[group(&["x", "y"]), group(&["a", "b", "c"])])
}

/// The moment, the kind and the time of the point that a machine has gone to.
async fn went_to(pair: &Pair, machine: &str) -> (Option<GroupPointId>, Consistency, u64) {
    let view = pair.item(&item(machine)).await;
    let id = view.failed_over_to.unwrap();
    let point = view.points.into_iter().find(|point| point.id == id).unwrap();
    (point.multi_vm, point.consistency, point.time.0)
}

fn to(point: PointChoice) -> PlanFailoverRequest {
    PlanFailoverRequest { point, ..failover(OUT) }
}

async fn newest(pair: &Pair, machine: &str) -> Option<PointId> {
    let points = pair.item(&item(machine)).await.points;
    points.into_iter().rfind(|point| point.processed).map(|point| point.id)
}

async fn kind_of_newest(pair: &Pair, machine: &str) -> Option<Consistency> {
    let points = pair.item(&item(machine)).await.points;
    points.into_iter().rfind(|point| point.processed).map(|point| point.consistency)
}

#[test]
fn each_group_goes_to_its_own_latest_moment_and_others_to_their_latest_processed_point() {
    run(61, async |world| {
        let pair = house(world, &MACHINES).await;
        pair.core.create_plan(&both()).await.unwrap();
        pair.primary.lose();
        let own = newest(&pair, "c").await;
        let job = pair.core.failover_plan(&to(PointChoice::LatestMultiVm)).await.unwrap();
        pair.completed(&job).await;
        let [a, b, x, y] = [
            went_to(&pair, "a").await,
            went_to(&pair, "b").await,
            went_to(&pair, "x").await,
            went_to(&pair, "y").await,
        ];
        assert!(a.0.is_some() && a.0 == b.0 && x.0.is_some() && x.0 == y.0);
        // A group has its moments for itself (PL-06).
        assert_ne!(a.0, x.0);
        assert_eq!(pair.item(&item("c")).await.failed_over_to, own);
        pair.live(BOOT).await;
        MACHINES.iter().for_each(|(machine, _)| recovered(&pair, machine));
    });
}

#[test]
fn a_newer_point_of_one_machine_alone_is_not_what_its_group_goes_to() {
    run(62, async |world| {
        let pair = house(world, &MACHINES[..3]).await;
        pair.core.create_plan(&plan(&[group(&["a", "b", "c"])])).await.unwrap();
        // One of the two vanishes from its site, so the other has its points alone from now on.
        let shared = moment(&pair, "b").await;
        pair.primary.power_off(&"b".into()).await.unwrap();
        pair.primary.delete_machine(&"b".into()).await.unwrap();
        pair.live(Millis(3 * INTERVAL.0)).await;
        let alone = pair.item(&item("a")).await.points.into_iter().rfind(|point| point.processed).unwrap();
        assert_eq!(alone.multi_vm, None);
        pair.completed(&pair.core.failover_plan(&to(PointChoice::LatestMultiVm)).await.unwrap()).await;
        let [a, b] = [went_to(&pair, "a").await, went_to(&pair, "b").await];
        assert!(a.0.is_some() && a.0 == b.0 && a.2 < alone.time.0);
        assert_eq!(b.0, shared);
    });
}

/// The moment of a machine's newest point.
async fn moment(pair: &Pair, machine: &str) -> Option<GroupPointId> {
    let points = pair.item(&item(machine)).await.points;
    points.into_iter().rfind(|point| point.processed).and_then(|point| point.multi_vm)
}

#[test]
fn with_the_applications_at_rest_others_go_to_their_own_point_at_rest() {
    run(63, async |world| {
        let pair = house(world, &MACHINES[..3]).await;
        pair.core.create_plan(&plan(&[group(&["a", "b", "c"])])).await.unwrap();
        // Its newest point is to be one that was taken without rest.
        while kind_of_newest(&pair, "c").await != Some(Consistency::Crash) {
            pair.live(INTERVAL).await;
        }
        pair.primary.lose();
        let own = newest(&pair, "c").await;
        let request = to(PointChoice::LatestMultiVmAppConsistent);
        pair.completed(&pair.core.failover_plan(&request).await.unwrap()).await;
        let [a, b, c] = [went_to(&pair, "a").await, went_to(&pair, "b").await, went_to(&pair, "c").await];
        assert!(a.0.is_some() && a.0 == b.0);
        assert_eq!([a.1, b.1, c.1], [Consistency::App; 3]);
        assert_eq!(c.0, None);
        // Its latest processed point is a newer one.
        assert_ne!(pair.item(&item("c")).await.failed_over_to, own);
    });
}

#[test]
fn points_that_span_machines_are_for_plans_with_a_group() {
    run(64, async |world| {
        let pair = house(world, &MACHINES[2..3]).await;
        pair.core.create_plan(&plan(&[group(&["c"])])).await.unwrap();
        for point in [PointChoice::LatestMultiVm, PointChoice::LatestMultiVmAppConsistent] {
            let code = ErrorCode::MultiVmNeedsGroup;
            let request = to(point.clone());
            assert_eq!(pair.core.failover_plan(&request).await.unwrap_err().code, code);
            let request =
                contract::PlanTestFailoverRequest { point: point.clone(), ..test_failover_request() };
            assert_eq!(pair.core.test_failover_plan(&request).await.unwrap_err().code, code);
            let request = contract::FailoverRequest { point, ..crate::support::failover(&item("c"), OUT) };
            assert_eq!(pair.core.failover(&request).await.unwrap_err().code, code);
        }
        assert_eq!(pair.item(&item("c")).await.protection.phase, Phase::Protected);
    });
}

#[test]
fn a_group_is_reprotected_only_through_a_plan_and_comes_back_to_one_moment() {
    run(65, async |world| {
        let pair = house(world, &MACHINES[..3]).await;
        pair.core.create_plan(&plan(&[group(&["a", "b", "c"])])).await.unwrap();
        pair.completed(&pair.core.failover_plan(&to(PointChoice::LatestMultiVm)).await.unwrap()).await;
        pair.completed(&pair.core.commit_plan(&PLAN.into()).await.unwrap()).await;
        let request = reprotection(&item("a"), BACK);
        let error = pair.core.reprotect(&request).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::OnlyThroughPlan);
        let view = pair.item(&item("a")).await;
        assert!(!view.allowed.contains(&contract::Operation::Reprotect));
        pair.completed(&pair.core.reprotect_plan(&reprotect(&pair.core, BACK).await).await.unwrap()).await;
        for machine in ["a", "b", "c"] {
            pair.points(&item(machine), 3).await.unwrap();
        }
        // FB-05: each group to its common point.
        let request = PlanFailoverRequest { point: PointChoice::Latest, ..failover(BACK) };
        pair.completed(&pair.core.failover_plan(&request).await.unwrap()).await;
        pair.live(BOOT).await;
        ["a", "b", "c"].iter().for_each(|machine| came_back(&pair, machine));
    });
}

#[test]
fn a_plan_does_not_tear_a_group_apart() {
    run(66, async |world| {
        let pair = house(world, &MACHINES[..2]).await;
        let torn = plan(&[group(&["a"]), group(&["b"])]);
        assert_eq!(pair.core.create_plan(&torn).await.unwrap_err().code, ErrorCode::BadRequest);
        assert!(pair.core.plans().await.unwrap().is_empty());
        pair.core.create_plan(&plan(&[group(&["a"])])).await.unwrap();
    });
}

#[test]
fn a_retry_sends_what_is_left_of_a_group_to_where_the_others_went() {
    run(67, async |world| {
        let pair = house(world, &MACHINES[..2]).await;
        pair.core.create_plan(&plan(&[group(&["a", "b"])])).await.unwrap();
        pair.recovery.install(&SimInstall::new(dr("b"))).unwrap();
        let job = pair.core.failover_plan(&to(PointChoice::LatestMultiVm)).await.unwrap();
        let view = pair.ended(&job).await;
        assert_eq!(view.state, JobState::PartiallySucceeded);
        assert_eq!(states(&view), [("a", PlanState::Done), ("b", PlanState::Failed)]);
        // Meanwhile the one that stayed has points that the other never will have.
        pair.live(Millis(5 * INTERVAL.0)).await;
        pair.recovery.delete_machine(&dr("b")).await.unwrap();
        pair.core.retry_job(&job).await.unwrap();
        pair.completed(&job).await;
        let [a, b] = [went_to(&pair, "a").await, went_to(&pair, "b").await];
        assert!(a.0.is_some() && a.0 == b.0);
    });
}

#[test]
fn a_group_without_a_common_moment_cannot_go_to_one() {
    run(68, async |world| {
        let pair = Pair::new(world);
        protect(&pair, &["c"]).await;
        // Fresh ones have a first point each, alone.
        for machine in ["a", "b"] {
            pair.install(machine).await;
            let request = EnableProtection { group: Some("shop".into()), ..enable(&item(machine), machine) };
            pair.completed(&pair.core.enable_protection(&request).await.unwrap()).await;
        }
        pair.core.create_plan(&plan(&[group(&["a", "b"])])).await.unwrap();
        let items: Vec<ItemId> = vec![item("a"), item("b")];
        let error = pair.core.failover_plan(&to(PointChoice::LatestMultiVm)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::NoRecoveryPoint);
        for item in items {
            assert_eq!(pair.item(&item).await.protection.phase, Phase::Protected);
        }
    });
}
