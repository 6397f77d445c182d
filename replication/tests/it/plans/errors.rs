//! Errors in a plan: a planned failover stops, an unplanned one continues, and either can be
//! retried.

use contract::{
    ErrorCode, JobAction, JobState, PlanFailoverRequest, PlanGroup, PlanState, Platform, PointChoice,
};
use simulator::testbed::{
    BACK, BOOT, OUT, ScriptNotes, Testbed, cloud_machine, failover_plan_request, group, item_of,
    member_states, plan_id, planned_failover_plan_request, shell, test_failover_plan_request,
};
use simulator::{SimFault, SimInstall, run};

use crate::support::{assert_recovered, hyperv_testbed, vmware_testbed};

/// Takes the name that a machine is to have at the recovery site.
fn occupy(testbed: &Testbed, machine: &str) {
    testbed.recovery.install(&SimInstall::new(cloud_machine(machine))).unwrap();
}

async fn vacate(testbed: &Testbed, machine: &str) {
    testbed.recovery.delete_machine(&cloud_machine(machine)).await.unwrap();
}

#[test]
fn an_unplanned_failover_continues_after_an_error_and_its_retry_does_only_what_failed() {
    run(21, async |world| {
        let testbed = vmware_testbed(world);
        let notes = ScriptNotes::new().unwrap();
        testbed.protect_all(&["db", "cache", "web"]).await.unwrap();
        let first = PlanGroup { after: vec![notes.script("after")], ..group(&["db", "cache"]) };
        testbed.create_plan(&[first, group(&["web"])]).await.unwrap();
        occupy(&testbed, "db");
        let job = testbed.core.failover_plan(&failover_plan_request(OUT)).await.unwrap();
        let view = testbed.ended(&job).await.unwrap();
        assert_eq!(view.state, JobState::PartiallySucceeded);
        assert_eq!(view.error.as_ref().unwrap().code, ErrorCode::MemberFailed);
        let ended = [("db", PlanState::Failed), ("cache", PlanState::Done), ("web", PlanState::Done)];
        assert_eq!(member_states(&view), ended);
        // A script is given only the machines that succeeded.
        let given: Vec<_> = notes.read().unwrap()[0].machines.keys().cloned().collect();
        assert_eq!(given, [item_of("cache")]);

        vacate(&testbed, "db").await;
        let failed = testbed.child_jobs(&job).await.unwrap()[0].id.clone();
        assert_eq!(testbed.core.job(&job).await.unwrap().actions, [JobAction::Retry]);
        testbed.core.retry_job(&job).await.unwrap();
        let view = testbed.completed(&job).await.unwrap();
        assert_eq!(view.attempt, 2);
        let below = testbed.child_jobs(&job).await.unwrap();
        assert_eq!((below.len(), &below[0].id, below[0].attempt), (3, &failed, 2));
        assert_eq!(notes.read().unwrap().len(), 1);
        testbed.advance(BOOT).await;
        for machine in ["db", "cache", "web"] {
            assert_recovered(&testbed, machine);
        }
    });
}

#[test]
fn a_planned_failover_stops_after_the_group_that_failed_and_its_retry_continues_from_there() {
    run(22, async |world| {
        let testbed = hyperv_testbed(world);
        let notes = ScriptNotes::new().unwrap();
        testbed.protect_all(&["db", "cache", "web"]).await.unwrap();
        let first = PlanGroup { after: vec![notes.script("after")], ..group(&["db", "cache"]) };
        testbed.create_plan(&[first, group(&["web"])]).await.unwrap();
        testbed.primary.inject(&SimFault::ShutdownRefused("db".into()));
        let job = testbed.core.failover_plan(&planned_failover_plan_request(OUT)).await.unwrap();
        let view = testbed.ended(&job).await.unwrap();
        assert_eq!(view.state, JobState::Failed);
        let ended = [("db", PlanState::Failed), ("cache", PlanState::Done), ("web", PlanState::Waiting)];
        assert_eq!(member_states(&view), ended);
        assert!(notes.read().unwrap().is_empty());
        testbed.world.heal();
        testbed.core.retry_job(&job).await.unwrap();
        let view = testbed.completed(&job).await.unwrap();
        assert!(member_states(&view).iter().all(|(_, state)| *state == PlanState::Done));
        assert_eq!(notes.read().unwrap().len(), 1);
    });
}

#[test]
fn a_script_that_failed_stops_a_planned_failover_and_is_run_again_by_its_retry() {
    run(23, async |world| {
        let testbed = hyperv_testbed(world);
        let notes = ScriptNotes::new().unwrap();
        testbed.protect_all(&["db", "web"]).await.unwrap();
        let gate = notes.path("gate");
        let before = vec![notes.script("first"), shell("gate", r#"test -e "$0""#, &gate)];
        let groups = [group(&["db"]), PlanGroup { before, ..group(&["web"]) }];
        testbed.create_plan(&groups).await.unwrap();
        let job = testbed.core.failover_plan(&planned_failover_plan_request(OUT)).await.unwrap();
        let view = testbed.ended(&job).await.unwrap();
        assert_eq!(member_states(&view), [("db", PlanState::Done), ("web", PlanState::Waiting)]);
        assert_eq!((view.state, view.error.unwrap().code), (JobState::Failed, ErrorCode::ScriptFailed));
        notes.make_file("gate").unwrap();
        testbed.core.retry_job(&job).await.unwrap();
        let view = testbed.completed(&job).await.unwrap();
        let runs: Vec<_> = view.plan.unwrap().actions.iter().map(|action| action.runs).collect();
        assert_eq!((runs, notes.read().unwrap().len()), (vec![1, 2], 1));
    });
}

#[test]
fn a_machine_that_was_failed_over_by_hand_meanwhile_is_skipped_by_the_retry() {
    run(24, async |world| {
        let testbed = vmware_testbed(world);
        testbed.protect_all(&["db", "web"]).await.unwrap();
        testbed.create_plan(&[group(&["db", "web"])]).await.unwrap();
        occupy(&testbed, "db");
        let job = testbed.core.failover_plan(&failover_plan_request(OUT)).await.unwrap();
        assert_eq!(testbed.ended(&job).await.unwrap().state, JobState::PartiallySucceeded);
        vacate(&testbed, "db").await;
        testbed.fail_over(&item_of("db"), PointChoice::Latest).await.unwrap();
        testbed.core.retry_job(&job).await.unwrap();
        let view = testbed.completed(&job).await.unwrap();
        assert_eq!(member_states(&view), [("db", PlanState::Skipped), ("web", PlanState::Done)]);
    });
}

#[test]
fn a_plan_whose_machines_all_fail_has_failed() {
    run(25, async |world| {
        let testbed = vmware_testbed(world);
        testbed.protect_all(&["db"]).await.unwrap();
        testbed.create_plan(&[group(&["db"])]).await.unwrap();
        occupy(&testbed, "db");
        let job = testbed.core.failover_plan(&failover_plan_request(OUT)).await.unwrap();
        let view = testbed.ended(&job).await.unwrap();
        assert_eq!((view.state, view.error.unwrap().code), (JobState::Failed, ErrorCode::MemberFailed));
    });
}

#[test]
fn an_unplanned_failover_takes_the_machines_that_can_go_and_shows_why_the_others_did_not() {
    run(26, async |world| {
        let testbed = vmware_testbed(world);
        testbed.protect_all(&["db", "web"]).await.unwrap();
        testbed.create_plan(&[group(&["db"]), group(&["web"])]).await.unwrap();
        testbed.completed(testbed.core.disable_protection(&item_of("db")).await).await.unwrap();
        testbed.primary.lose();
        let job = testbed.core.failover_plan(&failover_plan_request(OUT)).await.unwrap();
        let view = testbed.ended(&job).await.unwrap();
        assert_eq!(member_states(&view), [("db", PlanState::Failed), ("web", PlanState::Done)]);
        let why = view.plan.unwrap().members[0].why.clone().unwrap();
        assert_eq!(why.code, ErrorCode::UnknownId);
    });
}

#[test]
fn a_plans_job_is_not_retried_once_another_job_of_the_plan_came_after() {
    run(27, async |world| {
        let testbed = vmware_testbed(world);
        testbed.protect_all(&["db", "web"]).await.unwrap();
        testbed.create_plan(&[group(&["db", "web"])]).await.unwrap();
        occupy(&testbed, "db");
        let job = testbed.core.failover_plan(&failover_plan_request(OUT)).await.unwrap();
        assert_eq!(testbed.ended(&job).await.unwrap().state, JobState::PartiallySucceeded);
        let commit = testbed.core.commit_plan(&plan_id()).await.unwrap();
        let view = testbed.completed(&commit).await.unwrap();
        assert_eq!(member_states(&view), [("db", PlanState::Skipped), ("web", PlanState::Done)]);
        assert_eq!(testbed.core.retry_job(&job).await.unwrap_err().code, ErrorCode::MovedOn);
        vacate(&testbed, "db").await;
        testbed.fail_over(&item_of("db"), PointChoice::Latest).await.unwrap();
        testbed.commit_plan().await.unwrap();
        let back =
            testbed.core.reprotect_plan(&testbed.plan_reprotection(BACK, &["db", "web"])).await.unwrap();
        testbed.completed(&back).await.unwrap();
    });
}

#[test]
fn a_test_failover_continues_after_an_error_and_is_not_retried_once_cleaned_up() {
    run(28, async |world| {
        let testbed = vmware_testbed(world);
        testbed.protect_all(&["db", "web"]).await.unwrap();
        testbed.create_plan(&[group(&["db"]), group(&["web"])]).await.unwrap();
        testbed.recovery.install(&SimInstall::new("db-dr-test")).unwrap();
        let job = testbed.core.test_failover_plan(&test_failover_plan_request()).await.unwrap();
        let view = testbed.ended(&job).await.unwrap();
        assert_eq!(view.state, JobState::PartiallySucceeded);
        assert_eq!(member_states(&view), [("db", PlanState::Failed), ("web", PlanState::Done)]);
        testbed.completed(testbed.core.clean_up_test_failover_plan(&plan_id()).await).await.unwrap();
        assert_eq!(testbed.core.retry_job(&job).await.unwrap_err().code, ErrorCode::MovedOn);
    });
}

#[test]
fn a_source_that_does_not_shut_down_is_a_warning_of_the_plan_too() {
    run(29, async |world| {
        let testbed = vmware_testbed(world);
        testbed.protect_all(&["db"]).await.unwrap();
        testbed.create_plan(&[group(&["db"])]).await.unwrap();
        testbed.primary.inject(&SimFault::ShutdownRefused("db".into()));
        let request = PlanFailoverRequest { shut_down_source: true, ..failover_plan_request(OUT) };
        let job = testbed.core.failover_plan(&request).await.unwrap();
        assert_eq!(testbed.ended(&job).await.unwrap().state, JobState::CompletedWithWarning);
    });
}
