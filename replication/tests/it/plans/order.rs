//! Groups in their order, in both directions, and test failovers.

use contract::{
    DataSync, JobAction, JobFilter, JobKind, JobState, JobSubject, Phase, PlanFailoverRequest, PlanState,
    Platform, PointChoice, ReplicationCore, Side,
};
use simulator::run;

use crate::plans::fleet::{
    BOOT, PLAN, came_back, children, failover, group, hyperv, item, plan, planned, protect, recovered,
    reprotect, started, states, test_failover_request, until,
};
use crate::support::{BACK, OUT, Pair, dr};

const MACHINES: [&str; 5] = ["db", "cache", "app", "web", "mail"];

fn shop() -> contract::RecoveryPlan {
    plan(&[group(&["db", "cache"]), group(&["app"]), group(&["web", "mail"])])
}

/// Each machine of a group is started before any of the next.
fn in_order(started: &[String], name: impl Fn(&str) -> String) {
    let place = |machine: &str| started.iter().rposition(|other| *other == name(machine)).unwrap();
    let groups = [&["db", "cache"][..], &["app"], &["web", "mail"]];
    for pair in groups.windows(2) {
        let last = pair[0].iter().map(|machine| place(machine)).max();
        let first = pair[1].iter().map(|machine| place(machine)).min();
        assert!(last < first, "{started:?}");
    }
}

#[test]
fn one_plan_takes_its_machines_out_and_back_group_by_group() {
    run(1, async |world| {
        let pair = Pair::new(world);
        protect(&pair, &MACHINES).await;
        pair.core.create_plan(&shop()).await.unwrap();
        pair.primary.lose();
        let job = pair.core.failover_plan(&failover(OUT)).await.unwrap();
        let view = pair.completed(&job).await;
        assert_eq!((view.kind, view.direction), (JobKind::UnplannedFailover, OUT));
        assert_eq!(view.subject, JobSubject::Plan(PLAN.into()));
        assert!(states(&view).iter().all(|(_, state)| *state == PlanState::Done));
        in_order(&started(&pair.recovery), |machine| dr(machine).0);
        pair.live(BOOT).await;
        MACHINES.iter().for_each(|machine| recovered(&pair, machine));

        pair.completed(&pair.core.commit_plan(&PLAN.into()).await.unwrap()).await;
        pair.primary.restore();
        pair.completed(&pair.core.reprotect_plan(&reprotect(&pair.core, BACK).await).await.unwrap()).await;
        for machine in MACHINES {
            pair.points(&item(machine), 2).await.unwrap();
        }
        let job = pair.core.failover_plan(&failover(BACK)).await.unwrap();
        assert_eq!(pair.completed(&job).await.direction, BACK);
        in_order(&started(&pair.primary), ToOwned::to_owned);
        pair.live(BOOT).await;
        MACHINES.iter().for_each(|machine| came_back(&pair, machine));
        pair.completed(&pair.core.commit_plan(&PLAN.into()).await.unwrap()).await;
        pair.completed(&pair.core.reprotect_plan(&reprotect(&pair.core, OUT).await).await.unwrap()).await;
        for machine in MACHINES {
            let at = pair.item(&item(machine)).await.protection;
            assert_eq!((at.phase, at.active), (Phase::Protected, Side::Primary));
        }
    });
}

#[test]
fn every_machine_has_a_job_of_its_own_below_the_plans() {
    run(2, async |world| {
        let pair = Pair::new(world);
        protect(&pair, &["db", "web"]).await;
        pair.core.create_plan(&plan(&[group(&["db"]), group(&["web"])])).await.unwrap();
        let job = pair.core.failover_plan(&failover(OUT)).await.unwrap();
        let view = pair.completed(&job).await;
        let below = children(&pair, &job).await;
        let items = below.iter().map(|job| job.subject.clone()).collect::<Vec<_>>();
        assert_eq!(items, [JobSubject::Item(item("db")), JobSubject::Item(item("web"))]);
        assert!(below.iter().all(|child| child.parent == Some(job.clone()) && child.kind == view.kind));
        let told: Vec<_> = view.plan.unwrap().members.into_iter().map(|member| member.job.unwrap()).collect();
        assert_eq!(told, below.into_iter().map(|job| job.id).collect::<Vec<_>>());
        let of_plan = JobFilter { plan: Some(PLAN.into()), ..JobFilter::default() };
        assert_eq!(pair.core.jobs(&of_plan).await.unwrap().len(), 3);
    });
}

#[test]
fn a_machine_that_is_there_already_is_skipped() {
    run(3, async |world| {
        let pair = Pair::new(world);
        protect(&pair, &["db", "web"]).await;
        pair.core.create_plan(&plan(&[group(&["db"]), group(&["web"])])).await.unwrap();
        pair.fail_over(&item("db"), OUT).await;
        let job = pair.core.failover_plan(&failover(OUT)).await.unwrap();
        let view = pair.completed(&job).await;
        assert_eq!(states(&view), [("db", PlanState::Skipped), ("web", PlanState::Done)]);
        assert_eq!(pair.recovery.boots(&dr("db")).len(), 1);
    });
}

#[test]
fn a_plan_is_tested_and_cleaned_up_and_nothing_stays() {
    run(4, async |world| {
        let pair = Pair::new(world);
        protect(&pair, &["db", "web"]).await;
        pair.core.create_plan(&plan(&[group(&["db"]), group(&["web"])])).await.unwrap();
        let job = pair.core.test_failover_plan(&test_failover_request()).await.unwrap();
        assert_eq!(pair.completed(&job).await.kind, JobKind::TestFailover);
        assert_eq!(started(&pair.recovery), ["db-dr-test", "web-dr-test"]);
        pair.completed(&pair.core.clean_up_test_failover_plan(&PLAN.into()).await.unwrap()).await;
        assert!(pair.recovery.machines().await.unwrap().is_empty());
        for machine in ["db", "web"] {
            let view = pair.item(&item(machine)).await;
            assert_eq!(view.test_failover_status, contract::TestFailoverStatus::Performed);
            assert_eq!(view.protection.phase, Phase::Protected);
        }
        let test_failovers = JobFilter { kind: Some(JobKind::TestFailover), ..JobFilter::default() };
        assert_eq!(pair.core.jobs(&test_failovers).await.unwrap().len(), 3);
    });
}

#[test]
fn a_plan_of_hyperv_machines_goes_out_and_back_as_planned_and_loses_nothing() {
    run(5, async |world| {
        let pair = hyperv(world);
        protect(&pair, &["db", "web"]).await;
        pair.core.create_plan(&plan(&[group(&["db"]), group(&["web"])])).await.unwrap();
        pair.completed(&pair.core.failover_plan(&planned(OUT)).await.unwrap()).await;
        pair.live(BOOT).await;
        pair.completed(&pair.core.commit_plan(&PLAN.into()).await.unwrap()).await;
        let back = PlanFailoverRequest { data_sync: Some(DataSync::DuringFailover), ..planned(BACK) };
        pair.completed(&pair.core.failover_plan(&back).await.unwrap()).await;
        pair.live(BOOT).await;
        ["db", "web"].iter().for_each(|machine| came_back(&pair, machine));
        pair.completed(&pair.core.commit_plan(&PLAN.into()).await.unwrap()).await;
        // Hyper-V machines replicate again in their own way (HF-17).
        let job = pair.core.reprotect_plan(&reprotect(&pair.core, OUT).await).await.unwrap();
        pair.completed(&job).await;
        let below = children(&pair, &job).await;
        assert!(below.iter().all(|job| job.kind == JobKind::ReverseReplicate), "{below:#?}");
    });
}

#[test]
fn machines_that_wait_to_be_completed_hold_up_the_next_group_and_go_with_the_plans_end() {
    run(6, async |world| {
        let pair = hyperv(world);
        protect(&pair, &["db", "cache", "web"]).await;
        pair.core.create_plan(&plan(&[group(&["db", "cache"]), group(&["web"])])).await.unwrap();
        pair.completed(&pair.core.failover_plan(&planned(OUT)).await.unwrap()).await;
        pair.completed(&pair.core.commit_plan(&PLAN.into()).await.unwrap()).await;
        let back = PlanFailoverRequest { data_sync: Some(DataSync::BeforeFailover), ..planned(BACK) };
        let job = pair.core.failover_plan(&back).await.unwrap();
        pair.live(BOOT).await;
        let below = children(&pair, &job).await;
        assert_eq!(below.len(), 2);
        for child in &below {
            let view = until(&pair, &child.id, JobState::WaitingForCompletion).await;
            assert_eq!(view.actions, [JobAction::Complete, JobAction::Cancel]);
        }
        pair.core.complete_failover(&item("db")).await.unwrap();
        pair.completed(&below[0].id).await;
        pair.core.cancel_job(&job).await.unwrap();
        let view = pair.ended(&job).await;
        assert_eq!(view.state, JobState::Cancelled);
        let ended = [("db", PlanState::Done), ("cache", PlanState::Failed), ("web", PlanState::Waiting)];
        assert_eq!(states(&view), ended);
        assert_eq!(pair.ended(&below[1].id).await.state, JobState::Cancelled);
        assert_eq!(children(&pair, &job).await.len(), 2);
    });
}

#[test]
fn a_plan_can_go_to_what_is_processed_already() {
    run(7, async |world| {
        let pair = Pair::new(world);
        protect(&pair, &["db", "web"]).await;
        pair.core.create_plan(&plan(&[group(&["db", "web"])])).await.unwrap();
        let request = PlanFailoverRequest { point: PointChoice::LatestProcessed, ..failover(OUT) };
        pair.completed(&pair.core.failover_plan(&request).await.unwrap()).await;
        pair.live(BOOT).await;
        recovered(&pair, "db");
        recovered(&pair, "web");
    });
}
