//! Scripts and manual steps between the groups.

use contract::{
    ActionPlace, ActionWork, ErrorCode, FailoverType, JobAction, JobState, Millis, PlanAction,
    PlanFailoverRequest, PlanGroup, PlanState, ReplicationCore,
};
use simulator::run;

use crate::plans::fleet::{
    Notes, PLAN, action, children, failover, group, item, manual, plan, protect, reprotect, shell, started,
    states, test_failover_request, until,
};
use crate::support::{BACK, OUT, Pair, dr};

#[test]
fn scripts_run_at_their_place_and_are_told_what_has_started() {
    run(11, async |world| {
        let (pair, notes) = (Pair::new(world), Notes::new());
        protect(&pair, &["db", "web"]).await;
        let first = PlanGroup { before: vec![notes.script("announce")], ..group(&["db"]) };
        let second = PlanGroup { after: vec![notes.script("greet")], ..group(&["web"]) };
        pair.core.create_plan(&plan(&[first, second])).await.unwrap();
        let view = pair.completed(&pair.core.failover_plan(&failover(OUT)).await.unwrap()).await;
        let told = notes.read();
        assert_eq!(told.len(), 2);
        assert_eq!((told[0].group, told[0].place), (1, ActionPlace::Before));
        assert!(told[0].machines.is_empty(), "{told:#?}");
        assert_eq!((told[1].group, told[1].place, told[1].attempt), (2, ActionPlace::After, 1));
        assert_eq!((told[1].failover_type, told[1].direction), (FailoverType::Unplanned, OUT));
        assert_eq!(told[1].plan, PLAN.into());
        for machine in ["db", "web"] {
            let told = &told[1].machines[&item(machine)];
            let view = pair.item(&item(machine)).await;
            assert_eq!((&told.machine, &told.point), (&dr(machine), &view.failed_over_to));
        }
        assert!(view.plan.unwrap().actions.iter().all(|action| action.state == PlanState::Done));
    });
}

#[test]
fn actions_are_done_for_the_failovers_and_directions_they_are_meant_for() {
    run(12, async |world| {
        let (pair, notes) = (Pair::new(world), Notes::new());
        protect(&pair, &["db"]).await;
        let meant = |name: &str, types: &[FailoverType], directions: &[contract::Direction]| PlanAction {
            types: types.to_vec(),
            directions: directions.to_vec(),
            ..notes.script(name)
        };
        let before = vec![
            meant("test-failovers", &[FailoverType::Test], &[]),
            meant("out", &[FailoverType::Unplanned, FailoverType::Planned], &[OUT]),
            meant("back", &[], &[BACK]),
            meant("planned", &[FailoverType::Planned], &[]),
        ];
        pair.core.create_plan(&plan(&[PlanGroup { before, ..group(&["db"]) }])).await.unwrap();
        let done = |view: contract::JobView| -> Vec<String> {
            let actions = view.plan.unwrap().actions.into_iter();
            actions.filter(|action| action.state == PlanState::Done).map(|action| action.name).collect()
        };
        let job = pair.core.test_failover_plan(&test_failover_request()).await.unwrap();
        assert_eq!(done(pair.completed(&job).await), ["test-failovers"]);
        pair.completed(&pair.core.clean_up_test_failover_plan(&PLAN.into()).await.unwrap()).await;
        let job = pair.core.failover_plan(&failover(OUT)).await.unwrap();
        assert_eq!(done(pair.completed(&job).await), ["out"]);
        pair.completed(&pair.core.commit_plan(&PLAN.into()).await.unwrap()).await;
        pair.completed(&pair.core.reprotect_plan(&reprotect(&pair.core, BACK).await).await.unwrap()).await;
        let job = pair.core.failover_plan(&failover(BACK)).await.unwrap();
        assert_eq!(done(pair.completed(&job).await), ["back"]);
        let told: Vec<_> = notes.read().iter().map(|told| (told.failover_type, told.direction)).collect();
        let all =
            [(FailoverType::Test, OUT), (FailoverType::Unplanned, OUT), (FailoverType::Unplanned, BACK)];
        assert_eq!(told, all);
    });
}

#[test]
fn a_test_failovers_script_is_told_the_test_machine_and_its_point() {
    run(13, async |world| {
        let (pair, notes) = (Pair::new(world), Notes::new());
        protect(&pair, &["db"]).await;
        let after = vec![notes.script("look")];
        pair.core.create_plan(&plan(&[PlanGroup { after, ..group(&["db"]) }])).await.unwrap();
        pair.completed(&pair.core.test_failover_plan(&test_failover_request()).await.unwrap()).await;
        let (told, view) = (notes.read(), pair.item(&item("db")).await);
        let told = &told[0].machines[&item("db")];
        assert_eq!(Some(&told.machine), view.test_failover.as_ref());
        assert!(view.points.iter().any(|point| Some(&point.id) == told.point.as_ref()));
    });
}

#[test]
fn a_plan_stops_at_a_manual_step_until_it_is_done() {
    run(14, async |world| {
        let pair = Pair::new(world);
        protect(&pair, &["db", "web"]).await;
        let first = PlanGroup { after: vec![manual("check"), manual("sign")], ..group(&["db"]) };
        pair.core.create_plan(&plan(&[first, group(&["web"])])).await.unwrap();
        let job = pair.core.failover_plan(&failover(OUT)).await.unwrap();
        let view = until(&pair, &job, JobState::WaitingForManualAction).await;
        assert_eq!(view.actions, [JobAction::Resume, JobAction::Cancel]);
        assert_eq!(view.steps.last().unwrap().note, "please check");
        pair.live(Millis(3_600_000)).await;
        assert_eq!(started(&pair.recovery), ["db-dr"]);
        pair.core.resume_job(&job).await.unwrap();
        pair.world.settle().await;
        // The second step waits for an answer of its own.
        let view = until(&pair, &job, JobState::WaitingForManualAction).await;
        assert_eq!(view.steps.last().unwrap().note, "please sign");
        assert_eq!(started(&pair.recovery), ["db-dr"]);
        pair.core.resume_job(&job).await.unwrap();
        pair.completed(&job).await;
        assert_eq!(started(&pair.recovery), ["db-dr", "web-dr"]);
    });
}

#[test]
fn a_plan_that_is_cancelled_at_a_manual_step_starts_nothing_more() {
    run(15, async |world| {
        let pair = Pair::new(world);
        protect(&pair, &["db", "web"]).await;
        let first = PlanGroup { after: vec![manual("check")], ..group(&["db"]) };
        pair.core.create_plan(&plan(&[first, group(&["web"])])).await.unwrap();
        let job = pair.core.failover_plan(&failover(OUT)).await.unwrap();
        until(&pair, &job, JobState::WaitingForManualAction).await;
        pair.core.cancel_job(&job).await.unwrap();
        let view = pair.ended(&job).await;
        assert_eq!(view.state, JobState::Cancelled);
        assert_eq!(states(&view), [("db", PlanState::Done), ("web", PlanState::Waiting)]);
        assert_eq!(children(&pair, &job).await.len(), 1);
        assert_eq!(pair.core.retry_job(&job).await.unwrap_err().code, ErrorCode::NotAllowedInState);
        // What is left goes with the next.
        pair.completed(&{
            let job = pair.core.failover_plan(&failover(OUT)).await.unwrap();
            until(&pair, &job, JobState::WaitingForManualAction).await;
            pair.core.resume_job(&job).await.unwrap();
            job
        })
        .await;
    });
}

#[test]
fn a_script_fails_by_its_end_its_words_or_its_slowness_and_when_it_cannot_be_started() {
    let file = std::path::Path::new("unused");
    let slow = |seconds: &str| {
        // Its child would outlive it, and hold on to its standard error.
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
            let pair = Pair::new(world);
            protect(&pair, &["db"]).await;
            let name = script.name.clone();
            let after = vec![script];
            pair.core.create_plan(&plan(&[PlanGroup { after, ..group(&["db"]) }])).await.unwrap();
            let job = pair.core.failover_plan(&failover(OUT)).await.unwrap();
            let view = pair.ended(&job).await;
            let error = view.error.unwrap();
            assert_eq!((view.state, error.code), (JobState::PartiallySucceeded, ErrorCode::ScriptFailed));
            assert!(error.message.contains(words), "{name}: {error}");
        });
    }
}

#[test]
fn a_plans_own_time_does_not_count_what_people_take() {
    run(18, async |world| {
        let pair = Pair::new(world);
        protect(&pair, &["db"]).await;
        let after = vec![manual("check")];
        pair.core.create_plan(&plan(&[PlanGroup { after, ..group(&["db"]) }])).await.unwrap();
        pair.primary.inject(&simulator::SimFault::ShutdownRefused("db".into()));
        let request = PlanFailoverRequest { shut_down_source: true, ..failover(OUT) };
        let job = pair.core.failover_plan(&request).await.unwrap();
        until(&pair, &job, JobState::WaitingForManualAction).await;
        pair.live(Millis(3_600_000)).await;
        pair.core.resume_job(&job).await.unwrap();
        let progress = pair.completed(&job).await.plan.unwrap();
        // What the source was given to shut down counts, an hour's wait for a person does not.
        let took = progress.took.unwrap();
        assert!((60_000..600_000).contains(&took.0), "{took}");
        assert!((3_600_000..3_700_000).contains(&progress.manual.0), "{}", progress.manual);
    });
}

#[test]
fn a_script_that_reads_nothing_and_prints_much_is_fine() {
    run(17, async |world| {
        let pair = Pair::new(world);
        protect(&pair, &["db"]).await;
        let after = vec![shell("print", "head -c 300000 /dev/zero", std::path::Path::new("unused"))];
        pair.core.create_plan(&plan(&[PlanGroup { after, ..group(&["db"]) }])).await.unwrap();
        pair.completed(&pair.core.failover_plan(&failover(OUT)).await.unwrap()).await;
    });
}
