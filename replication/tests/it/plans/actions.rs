//! Actions of a plan: scripts and manual steps between its groups.

use std::path::Path;

use contract::{
    ActionPlace, ActionWork, Direction, ErrorCode, FailoverType, JobAction, JobState, JobView, Millis,
    PlanAction, PlanFailoverRequest, PlanGroup, PlanState,
};
use simulator::testbed::{
    BACK, HOUR, OUT, ScriptNotes, action, cloud_machine, failover_plan_request, group, item_of,
    machines_started, manual, member_states, plan_id, shell, test_failover_plan_request,
};
use simulator::{SimFault, run};

use crate::support::vmware_testbed;

#[test]
fn scripts_run_at_their_place_and_are_given_what_has_started() {
    run(11, async |world| {
        let testbed = vmware_testbed(world);
        let notes = ScriptNotes::new().unwrap();
        testbed.protect_all(&["db", "web"]).await.unwrap();
        let first = PlanGroup { before: vec![notes.script("announce")], ..group(&["db"]) };
        let second = PlanGroup { after: vec![notes.script("greet")], ..group(&["web"]) };
        testbed.create_plan(&[first, second]).await.unwrap();
        let view =
            testbed.completed(testbed.core.failover_plan(&failover_plan_request(OUT)).await).await.unwrap();
        let contexts = notes.read().unwrap();
        assert_eq!(contexts.len(), 2);
        assert_eq!((contexts[0].group, contexts[0].place), (1, ActionPlace::Before));
        assert!(contexts[0].machines.is_empty(), "{contexts:#?}");
        assert_eq!((contexts[1].group, contexts[1].place, contexts[1].attempt), (2, ActionPlace::After, 1));
        assert_eq!((contexts[1].failover_type, contexts[1].direction), (FailoverType::Unplanned, OUT));
        assert_eq!(contexts[1].plan, plan_id());
        for machine in ["db", "web"] {
            let started = &contexts[1].machines[&item_of(machine)];
            let view = testbed.item(&item_of(machine)).await.unwrap();
            assert_eq!((&started.machine, &started.point), (&cloud_machine(machine), &view.failed_over_to));
        }
        assert!(view.plan.unwrap().actions.iter().all(|action| action.state == PlanState::Done));
    });
}

#[test]
fn actions_are_done_for_the_failovers_and_directions_they_are_meant_for() {
    run(12, async |world| {
        let testbed = vmware_testbed(world);
        let notes = ScriptNotes::new().unwrap();
        testbed.protect_all(&["db"]).await.unwrap();
        let script_for = |name: &str, types: &[FailoverType], directions: &[Direction]| PlanAction {
            types: types.to_vec(),
            directions: directions.to_vec(),
            ..notes.script(name)
        };
        let before = vec![
            script_for("test-failovers", &[FailoverType::Test], &[]),
            script_for("out", &[FailoverType::Unplanned, FailoverType::Planned], &[OUT]),
            script_for("back", &[], &[BACK]),
            script_for("planned", &[FailoverType::Planned], &[]),
        ];
        testbed.create_plan(&[PlanGroup { before, ..group(&["db"]) }]).await.unwrap();
        let done = |view: JobView| -> Vec<String> {
            let actions = view.plan.unwrap().actions.into_iter();
            actions.filter(|action| action.state == PlanState::Done).map(|action| action.name).collect()
        };
        let job = testbed.core.test_failover_plan(&test_failover_plan_request()).await.unwrap();
        assert_eq!(done(testbed.completed(&job).await.unwrap()), ["test-failovers"]);
        testbed.completed(testbed.core.clean_up_test_failover_plan(&plan_id()).await).await.unwrap();
        let job = testbed.core.failover_plan(&failover_plan_request(OUT)).await.unwrap();
        assert_eq!(done(testbed.completed(&job).await.unwrap()), ["out"]);
        testbed.commit_plan().await.unwrap();
        testbed
            .completed(testbed.core.reprotect_plan(&testbed.plan_reprotection(BACK, &["db"])).await)
            .await
            .unwrap();
        let job = testbed.core.failover_plan(&failover_plan_request(BACK)).await.unwrap();
        assert_eq!(done(testbed.completed(&job).await.unwrap()), ["back"]);
        let contexts = notes.read().unwrap();
        let found: Vec<_> =
            contexts.iter().map(|context| (context.failover_type, context.direction)).collect();
        let all =
            [(FailoverType::Test, OUT), (FailoverType::Unplanned, OUT), (FailoverType::Unplanned, BACK)];
        assert_eq!(found, all);
    });
}

#[test]
fn a_script_of_a_test_failover_is_given_the_test_machine_and_its_point() {
    run(13, async |world| {
        let testbed = vmware_testbed(world);
        let notes = ScriptNotes::new().unwrap();
        testbed.protect_all(&["db"]).await.unwrap();
        let after = vec![notes.script("look")];
        testbed.create_plan(&[PlanGroup { after, ..group(&["db"]) }]).await.unwrap();
        testbed
            .completed(testbed.core.test_failover_plan(&test_failover_plan_request()).await)
            .await
            .unwrap();
        let contexts = notes.read().unwrap();
        let view = testbed.item(&item_of("db")).await.unwrap();
        let started = &contexts[0].machines[&item_of("db")];
        assert_eq!(Some(&started.machine), view.test_failover.as_ref());
        assert!(view.points.iter().any(|point| Some(&point.id) == started.point.as_ref()));
    });
}

#[test]
fn a_plan_stops_at_a_manual_step_until_it_is_done() {
    run(14, async |world| {
        let testbed = vmware_testbed(world);
        testbed.protect_all(&["db", "web"]).await.unwrap();
        let first = PlanGroup { after: vec![manual("check"), manual("sign")], ..group(&["db"]) };
        testbed.create_plan(&[first, group(&["web"])]).await.unwrap();
        let job = testbed.core.failover_plan(&failover_plan_request(OUT)).await.unwrap();
        let view = testbed.reaches(&job, JobState::WaitingForManualAction).await.unwrap();
        assert_eq!(view.actions, [JobAction::Resume, JobAction::Cancel]);
        assert_eq!(view.steps.last().unwrap().note, "please check");
        testbed.advance(HOUR).await;
        assert_eq!(machines_started(&testbed.recovery), ["db-dr"]);
        testbed.core.resume_job(&job).await.unwrap();
        testbed.world.settle().await;
        // The second manual step has to be confirmed on its own.
        let view = testbed.reaches(&job, JobState::WaitingForManualAction).await.unwrap();
        assert_eq!(view.steps.last().unwrap().note, "please sign");
        assert_eq!(machines_started(&testbed.recovery), ["db-dr"]);
        testbed.core.resume_job(&job).await.unwrap();
        testbed.completed(&job).await.unwrap();
        assert_eq!(machines_started(&testbed.recovery), ["db-dr", "web-dr"]);
    });
}

#[test]
fn a_plan_that_is_cancelled_at_a_manual_step_starts_nothing_more() {
    run(15, async |world| {
        let testbed = vmware_testbed(world);
        testbed.protect_all(&["db", "web"]).await.unwrap();
        let first = PlanGroup { after: vec![manual("check")], ..group(&["db"]) };
        testbed.create_plan(&[first, group(&["web"])]).await.unwrap();
        let job = testbed.core.failover_plan(&failover_plan_request(OUT)).await.unwrap();
        testbed.reaches(&job, JobState::WaitingForManualAction).await.unwrap();
        testbed.core.cancel_job(&job).await.unwrap();
        let view = testbed.ended(&job).await.unwrap();
        assert_eq!(view.state, JobState::Cancelled);
        assert_eq!(member_states(&view), [("db", PlanState::Done), ("web", PlanState::Waiting)]);
        assert_eq!(testbed.child_jobs(&job).await.unwrap().len(), 1);
        assert_eq!(testbed.core.retry_job(&job).await.unwrap_err().code, ErrorCode::NotAllowedInState);
        // Another failover of the plan takes the machines that are left.
        testbed
            .completed(&{
                let job = testbed.core.failover_plan(&failover_plan_request(OUT)).await.unwrap();
                testbed.reaches(&job, JobState::WaitingForManualAction).await.unwrap();
                testbed.core.resume_job(&job).await.unwrap();
                job
            })
            .await
            .unwrap();
    });
}

#[test]
fn a_script_fails_by_its_exit_code_its_standard_error_its_time_and_when_it_cannot_be_started() {
    let file = Path::new("unused");
    let slow = |seconds: &str| {
        // The child process would outlive the shell and keep its standard error open.
        let arguments = ["-c", &format!("sleep {seconds} & wait")].map(ToOwned::to_owned).to_vec();
        ActionWork::Script { program: "sh".to_owned(), arguments, timeout: Millis(200) }
    };
    let missing = ActionWork::Script {
        program: "/nowhere/at/all".to_owned(),
        arguments: Vec::new(),
        timeout: Millis(200),
    };
    let bad = [
        (shell("ends badly", "exit 3", file), "exit status: 3"),
        (shell("complains", "echo no room >&2", file), "no room"),
        (shell("talks much", "head -c 300000 /dev/zero >&2", file), "standard error"),
        (action("is slow", slow("600")), "killed"),
        (action("is missing", missing), "cannot be started"),
    ];
    for (script, words) in bad {
        run(16, async |world| {
            let testbed = vmware_testbed(world);
            testbed.protect_all(&["db"]).await.unwrap();
            let name = script.name.clone();
            let after = vec![script];
            testbed.create_plan(&[PlanGroup { after, ..group(&["db"]) }]).await.unwrap();
            let job = testbed.core.failover_plan(&failover_plan_request(OUT)).await.unwrap();
            let view = testbed.ended(&job).await.unwrap();
            let error = view.error.unwrap();
            assert_eq!((view.state, error.code), (JobState::PartiallySucceeded, ErrorCode::ScriptFailed));
            assert!(error.message.contains(words), "{name}: {error}");
        });
    }
}

#[test]
fn the_time_of_manual_steps_does_not_count_as_the_plans_own() {
    run(18, async |world| {
        let testbed = vmware_testbed(world);
        testbed.protect_all(&["db"]).await.unwrap();
        let after = vec![manual("check")];
        testbed.create_plan(&[PlanGroup { after, ..group(&["db"]) }]).await.unwrap();
        testbed.primary.inject(&SimFault::ShutdownRefused("db".into()));
        let request = PlanFailoverRequest { shut_down_source: true, ..failover_plan_request(OUT) };
        let job = testbed.core.failover_plan(&request).await.unwrap();
        testbed.reaches(&job, JobState::WaitingForManualAction).await.unwrap();
        testbed.advance(HOUR).await;
        testbed.core.resume_job(&job).await.unwrap();
        let progress = testbed.completed(&job).await.unwrap().plan.unwrap();
        // The time that the source has to shut down counts, an hour of waiting for a person does
        // not.
        let took = progress.took.unwrap();
        assert!((60_000..600_000).contains(&took.0), "{took}");
        assert!((3_600_000..3_700_000).contains(&progress.manual.0), "{}", progress.manual);
    });
}

#[test]
fn a_script_may_ignore_its_input_and_print_much() {
    run(17, async |world| {
        let testbed = vmware_testbed(world);
        testbed.protect_all(&["db"]).await.unwrap();
        let after = vec![shell("print", "head -c 300000 /dev/zero", Path::new("unused"))];
        testbed.create_plan(&[PlanGroup { after, ..group(&["db"]) }]).await.unwrap();
        testbed.completed(testbed.core.failover_plan(&failover_plan_request(OUT)).await).await.unwrap();
    });
}
