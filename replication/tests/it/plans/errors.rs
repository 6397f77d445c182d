//! A planned failover stops on error, an unplanned one carries on to the end; and either is retried.

use contract::{
    ErrorCode, FailoverKind, JobAction, JobState, PlanFailoverRequest, PlanGroup, PlanState, Platform,
    ReplicationCore,
};
use simulator::{SimFault, SimInstall, run};

use crate::plans::fleet::{
    BOOT, Notes, PLAN, children, failover, group, hyperv, item, plan, planned, protect, recovered, reprotect,
    shell, states, test_failover_request,
};
use crate::support::{BACK, OUT, Pair, dr};

/// A stranger has taken the name that a machine is to have on the recovery side.
fn occupy(pair: &Pair, machine: &str) {
    pair.recovery.install(&SimInstall::new(dr(machine))).unwrap();
}

async fn vacate(pair: &Pair, machine: &str) {
    pair.recovery.delete_machine(&dr(machine)).await.unwrap();
}

#[test]
fn an_unplanned_failover_carries_on_and_its_retry_does_only_what_failed() {
    run(21, async |world| {
        let (pair, notes) = (Pair::new(world), Notes::new());
        protect(&pair, &["db", "cache", "web"]).await;
        let first = PlanGroup { after: vec![notes.script("after")], ..group(&["db", "cache"]) };
        pair.core.create_plan(&plan(&[first, group(&["web"])])).await.unwrap();
        occupy(&pair, "db");
        let job = pair.core.failover_plan(&failover(OUT)).await.unwrap();
        let view = pair.ended(&job).await;
        assert_eq!(view.state, JobState::PartiallySucceeded);
        assert_eq!(view.error.as_ref().unwrap().code, ErrorCode::MemberFailed);
        let ended = [("db", PlanState::Failed), ("cache", PlanState::Done), ("web", PlanState::Done)];
        assert_eq!(states(&view), ended);
        // A script hears only of those that succeeded.
        let told: Vec<_> = notes.read()[0].machines.keys().cloned().collect();
        assert_eq!(told, [item("cache")]);

        vacate(&pair, "db").await;
        let failed = children(&pair, &job).await[0].id.clone();
        assert_eq!(pair.core.job(&job).await.unwrap().actions, [JobAction::Retry]);
        pair.core.retry_job(&job).await.unwrap();
        let view = pair.completed(&job).await;
        assert_eq!(view.attempt, 2);
        let below = children(&pair, &job).await;
        assert_eq!((below.len(), &below[0].id, below[0].attempt), (3, &failed, 2));
        assert_eq!(notes.read().len(), 1);
        pair.live(BOOT).await;
        ["db", "cache", "web"].iter().for_each(|machine| recovered(&pair, machine));
    });
}

#[test]
fn a_planned_failover_stops_after_the_group_that_failed_and_its_retry_goes_on_from_there() {
    run(22, async |world| {
        let (pair, notes) = (hyperv(world), Notes::new());
        protect(&pair, &["db", "cache", "web"]).await;
        let first = PlanGroup { after: vec![notes.script("after")], ..group(&["db", "cache"]) };
        pair.core.create_plan(&plan(&[first, group(&["web"])])).await.unwrap();
        pair.primary.inject(&SimFault::ShutdownRefused("db".into()));
        let job = pair.core.failover_plan(&planned(OUT)).await.unwrap();
        let view = pair.ended(&job).await;
        assert_eq!(view.state, JobState::Failed);
        let ended = [("db", PlanState::Failed), ("cache", PlanState::Done), ("web", PlanState::Waiting)];
        assert_eq!(states(&view), ended);
        assert!(notes.read().is_empty());
        pair.world.heal();
        pair.core.retry_job(&job).await.unwrap();
        let view = pair.completed(&job).await;
        assert!(states(&view).iter().all(|(_, state)| *state == PlanState::Done));
        assert_eq!(notes.read().len(), 1);
    });
}

#[test]
fn a_script_that_failed_stops_a_planned_failover_and_is_run_again_by_its_retry() {
    run(23, async |world| {
        let (pair, notes) = (hyperv(world), Notes::new());
        protect(&pair, &["db", "web"]).await;
        let gate = notes.path().join("gate");
        let before = vec![notes.script("first"), shell("gate", r#"test -e "$0""#, &gate)];
        let groups = [group(&["db"]), PlanGroup { before, ..group(&["web"]) }];
        pair.core.create_plan(&plan(&groups)).await.unwrap();
        let job = pair.core.failover_plan(&planned(OUT)).await.unwrap();
        let view = pair.ended(&job).await;
        assert_eq!(states(&view), [("db", PlanState::Done), ("web", PlanState::Waiting)]);
        assert_eq!((view.state, view.error.unwrap().code), (JobState::Failed, ErrorCode::ScriptFailed));
        std::fs::write(gate, "").unwrap();
        pair.core.retry_job(&job).await.unwrap();
        let view = pair.completed(&job).await;
        let runs: Vec<_> = view.plan.unwrap().actions.iter().map(|action| action.runs).collect();
        assert_eq!((runs, notes.read().len()), (vec![1, 2], 1));
    });
}

#[test]
fn a_machine_that_was_taken_over_by_hand_meanwhile_is_skipped_by_the_retry() {
    run(24, async |world| {
        let pair = Pair::new(world);
        protect(&pair, &["db", "web"]).await;
        pair.core.create_plan(&plan(&[group(&["db", "web"])])).await.unwrap();
        occupy(&pair, "db");
        let job = pair.core.failover_plan(&failover(OUT)).await.unwrap();
        assert_eq!(pair.ended(&job).await.state, JobState::PartiallySucceeded);
        vacate(&pair, "db").await;
        pair.fail_over(&item("db"), OUT).await;
        pair.core.retry_job(&job).await.unwrap();
        let view = pair.completed(&job).await;
        assert_eq!(states(&view), [("db", PlanState::Skipped), ("web", PlanState::Done)]);
    });
}

#[test]
fn a_plan_whose_machines_all_fail_has_failed() {
    run(25, async |world| {
        let pair = Pair::new(world);
        protect(&pair, &["db"]).await;
        pair.core.create_plan(&plan(&[group(&["db"])])).await.unwrap();
        occupy(&pair, "db");
        let job = pair.core.failover_plan(&failover(OUT)).await.unwrap();
        let view = pair.ended(&job).await;
        assert_eq!((view.state, view.error.unwrap().code), (JobState::Failed, ErrorCode::MemberFailed));
    });
}

#[test]
fn a_disaster_takes_out_those_that_can_go_and_says_why_the_others_did_not() {
    run(26, async |world| {
        let pair = Pair::new(world);
        protect(&pair, &["db", "web"]).await;
        pair.core.create_plan(&plan(&[group(&["db"]), group(&["web"])])).await.unwrap();
        pair.completed(&pair.core.disable_protection(&item("db")).await.unwrap()).await;
        pair.primary.lose();
        let job = pair.core.failover_plan(&failover(OUT)).await.unwrap();
        let view = pair.ended(&job).await;
        assert_eq!(states(&view), [("db", PlanState::Failed), ("web", PlanState::Done)]);
        let why = view.plan.unwrap().members[0].why.clone().unwrap();
        assert_eq!(why.code, ErrorCode::UnknownId);
    });
}

#[test]
fn a_plans_job_is_not_retried_once_another_job_of_the_plan_came_after() {
    run(27, async |world| {
        let pair = Pair::new(world);
        protect(&pair, &["db", "web"]).await;
        pair.core.create_plan(&plan(&[group(&["db", "web"])])).await.unwrap();
        occupy(&pair, "db");
        let job = pair.core.failover_plan(&failover(OUT)).await.unwrap();
        assert_eq!(pair.ended(&job).await.state, JobState::PartiallySucceeded);
        let commit = pair.core.commit_plan(&PLAN.into()).await.unwrap();
        let view = pair.completed(&commit).await;
        assert_eq!(states(&view), [("db", PlanState::Skipped), ("web", PlanState::Done)]);
        assert_eq!(pair.core.retry_job(&job).await.unwrap_err().code, ErrorCode::MovedOn);
        vacate(&pair, "db").await;
        pair.fail_over(&item("db"), OUT).await;
        pair.completed(&pair.core.commit_plan(&PLAN.into()).await.unwrap()).await;
        let back = pair.core.reprotect_plan(&reprotect(&pair.core, BACK).await).await.unwrap();
        pair.completed(&back).await;
    });
}

#[test]
fn a_test_failover_carries_on_and_is_not_retried_once_cleaned_up() {
    run(28, async |world| {
        let pair = Pair::new(world);
        protect(&pair, &["db", "web"]).await;
        pair.core.create_plan(&plan(&[group(&["db"]), group(&["web"])])).await.unwrap();
        pair.recovery.install(&SimInstall::new("db-dr-test")).unwrap();
        let job = pair.core.test_failover_plan(&test_failover_request()).await.unwrap();
        let view = pair.ended(&job).await;
        assert_eq!(view.state, JobState::PartiallySucceeded);
        assert_eq!(states(&view), [("db", PlanState::Failed), ("web", PlanState::Done)]);
        pair.completed(&pair.core.clean_up_test_failover_plan(&PLAN.into()).await.unwrap()).await;
        assert_eq!(pair.core.retry_job(&job).await.unwrap_err().code, ErrorCode::MovedOn);
    });
}

#[test]
fn a_source_that_does_not_shut_down_is_a_warning_of_the_plan_too() {
    run(29, async |world| {
        let pair = Pair::new(world);
        protect(&pair, &["db"]).await;
        pair.core.create_plan(&plan(&[group(&["db"])])).await.unwrap();
        pair.primary.inject(&SimFault::ShutdownRefused("db".into()));
        let request =
            PlanFailoverRequest { kind: FailoverKind::Unplanned, shut_down_source: true, ..failover(OUT) };
        let job = pair.core.failover_plan(&request).await.unwrap();
        assert_eq!(pair.ended(&job).await.state, JobState::CompletedWithWarning);
    });
}
