//! The order of a plan's groups, in both directions and in test failovers.

use contract::{
    DataSync, JobAction, JobFilter, JobKind, JobState, JobSubject, Phase, PlanFailoverRequest, PlanGroup,
    PlanState, Platform, PointChoice, Side, TestFailoverStatus,
};
use simulator::run;
use simulator::testbed::{
    BACK, BOOT, OUT, cloud_machine, failover_plan_request, failover_plan_to, group, item_of,
    machines_started, member_states, plan_id, planned_failover_plan_request, test_failover_plan_request,
};

use crate::support::{assert_came_back, assert_recovered, hyperv_testbed, vmware_testbed};

const MACHINES: [&str; 5] = ["db", "cache", "app", "web", "mail"];

fn groups() -> [PlanGroup; 3] {
    [group(&["db", "cache"]), group(&["app"]), group(&["web", "mail"])]
}

/// Asserts that each machine of a group was started before every machine of the next group.
fn assert_in_order(started: &[String], name: impl Fn(&str) -> String) {
    let place = |machine: &str| started.iter().rposition(|other| *other == name(machine)).unwrap();
    let groups = [&["db", "cache"][..], &["app"], &["web", "mail"]];
    for two in groups.windows(2) {
        let last = two[0].iter().map(|machine| place(machine)).max();
        let first = two[1].iter().map(|machine| place(machine)).min();
        assert!(last < first, "{started:?}");
    }
}

#[test]
fn one_plan_fails_its_machines_over_and_back_group_by_group() {
    run(1, async |world| {
        let testbed = vmware_testbed(world);
        testbed.protect_all(&MACHINES).await.unwrap();
        testbed.create_plan(&groups()).await.unwrap();
        testbed.primary.lose();
        let job = testbed.core.failover_plan(&failover_plan_request(OUT)).await.unwrap();
        let view = testbed.completed(&job).await.unwrap();
        assert_eq!((view.kind, view.direction), (JobKind::UnplannedFailover, OUT));
        assert_eq!(view.subject, JobSubject::Plan(plan_id()));
        assert!(member_states(&view).iter().all(|(_, state)| *state == PlanState::Done));
        assert_in_order(&machines_started(&testbed.recovery), |machine| cloud_machine(machine).0);
        testbed.advance(BOOT).await;
        for machine in MACHINES {
            assert_recovered(&testbed, machine);
        }

        testbed.commit_plan().await.unwrap();
        testbed.primary.restore();
        testbed
            .completed(testbed.core.reprotect_plan(&testbed.plan_reprotection(BACK, &MACHINES)).await)
            .await
            .unwrap();
        for machine in MACHINES {
            testbed.wait_for_points(&item_of(machine), 2).await.unwrap();
        }
        let job = testbed.core.failover_plan(&failover_plan_request(BACK)).await.unwrap();
        assert_eq!(testbed.completed(&job).await.unwrap().direction, BACK);
        assert_in_order(&machines_started(&testbed.primary), ToOwned::to_owned);
        testbed.advance(BOOT).await;
        MACHINES.iter().for_each(|machine| assert_came_back(&testbed, machine, &testbed.primary));
        testbed.commit_plan().await.unwrap();
        testbed
            .completed(testbed.core.reprotect_plan(&testbed.plan_reprotection(OUT, &MACHINES)).await)
            .await
            .unwrap();
        for machine in MACHINES {
            let at = testbed.item(&item_of(machine)).await.unwrap().protection;
            assert_eq!((at.phase, at.active), (Phase::Protected, Side::Primary));
        }
    });
}

#[test]
fn every_machine_has_a_job_of_its_own_below_the_plans_job() {
    run(2, async |world| {
        let testbed = vmware_testbed(world);
        testbed.protect_all(&["db", "web"]).await.unwrap();
        testbed.create_plan(&[group(&["db"]), group(&["web"])]).await.unwrap();
        let job = testbed.core.failover_plan(&failover_plan_request(OUT)).await.unwrap();
        let view = testbed.completed(&job).await.unwrap();
        let below = testbed.child_jobs(&job).await.unwrap();
        let items = below.iter().map(|job| job.subject.clone()).collect::<Vec<_>>();
        assert_eq!(items, [JobSubject::Item(item_of("db")), JobSubject::Item(item_of("web"))]);
        assert!(below.iter().all(|child| child.parent == Some(job.clone()) && child.kind == view.kind));
        let shown: Vec<_> =
            view.plan.unwrap().members.into_iter().map(|member| member.job.unwrap()).collect();
        assert_eq!(shown, below.into_iter().map(|job| job.id).collect::<Vec<_>>());
        let of_plan = JobFilter { plan: Some(plan_id()), ..JobFilter::default() };
        assert_eq!(testbed.core.jobs(&of_plan).await.unwrap().len(), 3);
    });
}

#[test]
fn a_machine_that_has_already_failed_over_is_skipped() {
    run(3, async |world| {
        let testbed = vmware_testbed(world);
        testbed.protect_all(&["db", "web"]).await.unwrap();
        testbed.create_plan(&[group(&["db"]), group(&["web"])]).await.unwrap();
        testbed.fail_over(&item_of("db"), PointChoice::Latest).await.unwrap();
        let job = testbed.core.failover_plan(&failover_plan_request(OUT)).await.unwrap();
        let view = testbed.completed(&job).await.unwrap();
        assert_eq!(member_states(&view), [("db", PlanState::Skipped), ("web", PlanState::Done)]);
        assert_eq!(testbed.recovery.boots(&cloud_machine("db")).len(), 1);
    });
}

#[test]
fn a_test_failover_of_a_plan_is_cleaned_up_and_leaves_nothing() {
    run(4, async |world| {
        let testbed = vmware_testbed(world);
        testbed.protect_all(&["db", "web"]).await.unwrap();
        testbed.create_plan(&[group(&["db"]), group(&["web"])]).await.unwrap();
        let job = testbed.core.test_failover_plan(&test_failover_plan_request()).await.unwrap();
        assert_eq!(testbed.completed(&job).await.unwrap().kind, JobKind::TestFailover);
        assert_eq!(machines_started(&testbed.recovery), ["db-dr-test", "web-dr-test"]);
        testbed.completed(testbed.core.clean_up_test_failover_plan(&plan_id()).await).await.unwrap();
        assert!(testbed.recovery.machines().await.unwrap().is_empty());
        for machine in ["db", "web"] {
            let view = testbed.item(&item_of(machine)).await.unwrap();
            assert_eq!(view.test_failover_status, TestFailoverStatus::Performed);
            assert_eq!(view.protection.phase, Phase::Protected);
        }
        let test_failovers = JobFilter { kind: Some(JobKind::TestFailover), ..JobFilter::default() };
        assert_eq!(testbed.core.jobs(&test_failovers).await.unwrap().len(), 3);
    });
}

#[test]
fn a_plan_of_hyperv_machines_has_planned_failovers_in_both_directions_and_loses_nothing() {
    run(5, async |world| {
        let testbed = hyperv_testbed(world);
        testbed.protect_all(&["db", "web"]).await.unwrap();
        testbed.create_plan(&[group(&["db"]), group(&["web"])]).await.unwrap();
        testbed
            .completed(testbed.core.failover_plan(&planned_failover_plan_request(OUT)).await)
            .await
            .unwrap();
        testbed.advance(BOOT).await;
        testbed.commit_plan().await.unwrap();
        let back = PlanFailoverRequest {
            data_sync: Some(DataSync::DuringFailover),
            ..planned_failover_plan_request(BACK)
        };
        testbed.completed(testbed.core.failover_plan(&back).await).await.unwrap();
        testbed.advance(BOOT).await;
        ["db", "web"].iter().for_each(|machine| assert_came_back(&testbed, machine, &testbed.primary));
        testbed.commit_plan().await.unwrap();
        // Hyper-V machines are protected again by reverse replication (HF-17).
        let job = testbed.core.reprotect_plan(&testbed.plan_reprotection(OUT, &["db", "web"])).await.unwrap();
        testbed.completed(&job).await.unwrap();
        let below = testbed.child_jobs(&job).await.unwrap();
        assert!(below.iter().all(|job| job.kind == JobKind::ReverseReplicate), "{below:#?}");
    });
}

#[test]
fn machines_that_wait_to_be_completed_hold_the_next_group_up_and_are_cancelled_with_the_plan() {
    run(6, async |world| {
        let testbed = hyperv_testbed(world);
        testbed.protect_all(&["db", "cache", "web"]).await.unwrap();
        testbed.create_plan(&[group(&["db", "cache"]), group(&["web"])]).await.unwrap();
        testbed
            .completed(testbed.core.failover_plan(&planned_failover_plan_request(OUT)).await)
            .await
            .unwrap();
        testbed.commit_plan().await.unwrap();
        let back = PlanFailoverRequest {
            data_sync: Some(DataSync::BeforeFailover),
            ..planned_failover_plan_request(BACK)
        };
        let job = testbed.core.failover_plan(&back).await.unwrap();
        testbed.advance(BOOT).await;
        let below = testbed.child_jobs(&job).await.unwrap();
        assert_eq!(below.len(), 2);
        for child in &below {
            let view = testbed.reaches(&child.id, JobState::WaitingForCompletion).await.unwrap();
            assert_eq!(view.actions, [JobAction::Complete, JobAction::Cancel]);
        }
        testbed.core.complete_failover(&item_of("db")).await.unwrap();
        testbed.completed(&below[0].id).await.unwrap();
        testbed.core.cancel_job(&job).await.unwrap();
        let view = testbed.ended(&job).await.unwrap();
        assert_eq!(view.state, JobState::Cancelled);
        let ended = [("db", PlanState::Done), ("cache", PlanState::Failed), ("web", PlanState::Waiting)];
        assert_eq!(member_states(&view), ended);
        assert_eq!(testbed.ended(&below[1].id).await.unwrap().state, JobState::Cancelled);
        assert_eq!(testbed.child_jobs(&job).await.unwrap().len(), 2);
    });
}

#[test]
fn a_plan_can_fail_over_to_the_latest_processed_points() {
    run(7, async |world| {
        let testbed = vmware_testbed(world);
        testbed.protect_all(&["db", "web"]).await.unwrap();
        testbed.create_plan(&[group(&["db", "web"])]).await.unwrap();
        let request = failover_plan_to(PointChoice::LatestProcessed);
        testbed.completed(testbed.core.failover_plan(&request).await).await.unwrap();
        testbed.advance(BOOT).await;
        assert_recovered(&testbed, "db");
        assert_recovered(&testbed, "web");
    });
}
