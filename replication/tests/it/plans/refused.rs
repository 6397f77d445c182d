//! What a core refuses to plan or to do with a plan: each with its code, and nothing changed.

use contract::{
    ActionWork, CoreError, ErrorCode, ItemView, JobFilter, JobId, JobState, JobView, Millis, Network,
    PlanFailoverRequest, PlanGroup, PlanReprotectRequest, PlanTestFailoverRequest, PointChoice, RecoveryPlan,
    ReplicationCore,
};
use simulator::{Event, run};

use crate::plans::fleet::{
    PLAN, action, failover, group, hyperv, item, manual, plan, planned, protect, reprotect,
    test_failover_request, until,
};
use crate::support::{BACK, OUT, Pair, reprotection};

/// Calls that change nothing at a site.
const READS: [&str; 4] = ["Site:", "Machine:", "Machines:", "Volume:"];

/// All that is shown, and all that was done at the sites.
async fn all(pair: &Pair) -> (Vec<RecoveryPlan>, Vec<ItemView>, Vec<JobView>, Vec<Event>) {
    let events = [&pair.primary, &pair.recovery].into_iter().flat_map(|site| site.trace());
    let done = events.filter(|event| !READS.iter().any(|read| event.what.starts_with(read))).collect();
    let jobs = pair.core.jobs(&JobFilter::default()).await.unwrap();
    (pair.core.plans().await.unwrap(), pair.core.items().await.unwrap(), jobs, done)
}

async fn refused<T>(
    pair: &Pair,
    what: &str,
    code: ErrorCode,
    answer: impl Future<Output = Result<T, CoreError>>,
) {
    let before = all(pair).await;
    let answer = answer.await.map(drop);
    let error = answer.expect_err(what);
    assert_eq!(error.code, code, "{what}: {error}");
    assert!(error.message.contains(' '), "{what}: {error:?} is no sentence");
    assert_eq!(all(pair).await, before, "{what}: something changed");
}

#[test]
fn what_is_no_plan_is_refused() {
    run(31, async |world| {
        let pair = Pair::new(world);
        protect(&pair, &["db", "web"]).await;
        let with = |action| plan(&[PlanGroup { before: vec![action], ..group(&["db"]) }]);
        let script = |program: &str, timeout| ActionWork::Script {
            program: program.to_owned(),
            arguments: Vec::new(),
            timeout: Millis(timeout),
        };
        let many: Vec<_> = (0..101).map(|number| format!("m{number}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let bad = [
            ("no name", RecoveryPlan { id: "".into(), ..plan(&[group(&["db"])]) }, ErrorCode::BadRequest),
            ("no group", plan(&[]), ErrorCode::BadRequest),
            ("no item", plan(&[group(&[])]), ErrorCode::BadRequest),
            ("a stranger", plan(&[group(&["db", "mail"])]), ErrorCode::UnknownId),
            ("twice in a group", plan(&[group(&["db", "db"])]), ErrorCode::BadRequest),
            ("in two groups", plan(&[group(&["db"]), group(&["web", "db"])]), ErrorCode::BadRequest),
            ("eight groups", plan(&vec![group(&["db"]); 8]), ErrorCode::PlanTooLarge),
            ("101 items", plan(&[group(&many)]), ErrorCode::PlanTooLarge),
            ("a nameless action", with(action("", script("true", 1))), ErrorCode::BadRequest),
            ("no program", with(action("a", script("", 1))), ErrorCode::BadRequest),
            ("no time", with(action("a", script("true", 0))), ErrorCode::BadRequest),
            (
                "no instruction",
                with(action("a", ActionWork::Manual { instruction: String::new() })),
                ErrorCode::BadRequest,
            ),
        ];
        for (what, plan, code) in bad {
            refused(&pair, what, code, pair.core.create_plan(&plan)).await;
        }
        pair.core.create_plan(&plan(&[group(&["db"])])).await.unwrap();
        let again = plan(&[group(&["web"])]);
        refused(&pair, "the same name", ErrorCode::PlanExists, pair.core.create_plan(&again)).await;
        refused(&pair, "unknown plan", ErrorCode::UnknownId, pair.core.delete_plan(&"mail".into())).await;
        pair.core.delete_plan(&PLAN.into()).await.unwrap();
        pair.core.create_plan(&again).await.unwrap();
        assert_eq!(pair.core.plans().await.unwrap(), [again]);
    });
}

#[test]
fn what_cannot_be_done_with_a_plan_is_refused() {
    run(32, async |world| {
        let pair = Pair::new(world);
        protect(&pair, &["db", "web"]).await;
        pair.core.create_plan(&plan(&[group(&["db"]), group(&["web"])])).await.unwrap();
        let core = &pair.core;
        let point = pair.item(&item("db")).await.points[0].id.clone();
        let custom = PointChoice::Custom(point);
        let out = |point: &PointChoice| PlanFailoverRequest { point: point.clone(), ..failover(OUT) };
        let bad = ErrorCode::BadRequest;
        refused(&pair, "custom point", bad, core.failover_plan(&out(&custom))).await;
        let request = PlanTestFailoverRequest { point: custom, ..test_failover_request() };
        refused(&pair, "custom point", bad, core.test_failover_plan(&request)).await;
        let request = PlanTestFailoverRequest { network: Network::Production, ..test_failover_request() };
        refused(&pair, "production", bad, core.test_failover_plan(&request)).await;
        let settings = vec![reprotection(&item("mail"), BACK)];
        let request = PlanReprotectRequest { settings, ..reprotect(&pair.core, BACK).await };
        refused(&pair, "a stranger's settings", bad, core.reprotect_plan(&request)).await;

        let state = ErrorCode::NotAllowedInState;
        refused(&pair, "back from home", state, core.failover_plan(&failover(BACK))).await;
        refused(&pair, "no planned one", state, core.failover_plan(&planned(OUT))).await;
        refused(&pair, "no test failover", state, core.clean_up_test_failover_plan(&PLAN.into())).await;
        refused(&pair, "nothing to commit", state, core.commit_plan(&PLAN.into())).await;
        refused(
            &pair,
            "nothing to reprotect",
            state,
            core.reprotect_plan(&reprotect(&pair.core, BACK).await),
        )
        .await;

        let unknown = ErrorCode::UnknownId;
        let request = PlanFailoverRequest { plan: "mail".into(), ..failover(OUT) };
        refused(&pair, "unknown plan", unknown, core.failover_plan(&request)).await;
        let request = PlanTestFailoverRequest { plan: "mail".into(), ..test_failover_request() };
        refused(&pair, "unknown plan", unknown, core.test_failover_plan(&request)).await;
        refused(&pair, "unknown plan", unknown, core.clean_up_test_failover_plan(&"mail".into())).await;
        refused(&pair, "unknown plan", unknown, core.commit_plan(&"mail".into())).await;
        let request = PlanReprotectRequest { plan: "mail".into(), ..reprotect(&pair.core, BACK).await };
        refused(&pair, "unknown plan", unknown, core.reprotect_plan(&request)).await;
    });
}

#[test]
fn a_plan_at_work_is_busy_for_all_else() {
    run(33, async |world| {
        let pair = Pair::new(world);
        protect(&pair, &["db", "web"]).await;
        let first = PlanGroup { before: vec![manual("wait")], ..group(&["db", "web"]) };
        pair.core.create_plan(&plan(&[first])).await.unwrap();
        let job: JobId = pair.core.failover_plan(&failover(OUT)).await.unwrap();
        until(&pair, &job, JobState::WaitingForManualAction).await;
        let (core, busy) = (&pair.core, ErrorCode::Busy);
        refused(&pair, "failover", busy, core.failover_plan(&failover(OUT))).await;
        refused(&pair, "test failover", busy, core.test_failover_plan(&test_failover_request())).await;
        refused(&pair, "clean-up", busy, core.clean_up_test_failover_plan(&PLAN.into())).await;
        refused(&pair, "commit", busy, core.commit_plan(&PLAN.into())).await;
        refused(&pair, "reprotect", busy, core.reprotect_plan(&reprotect(&pair.core, BACK).await)).await;
        refused(&pair, "delete", busy, core.delete_plan(&PLAN.into())).await;
        refused(&pair, "retry", ErrorCode::NotAllowedInState, core.retry_job(&job)).await;
        pair.core.resume_job(&job).await.unwrap();
        pair.completed(&job).await;
    });
}

#[test]
fn a_failback_is_refused_unless_every_machine_has_a_point_and_none_is_touched() {
    run(34, async |world| {
        let pair = Pair::new(world);
        protect(&pair, &["db", "web"]).await;
        pair.core.create_plan(&plan(&[group(&["db"]), group(&["web"])])).await.unwrap();
        pair.completed(&pair.core.failover_plan(&failover(OUT)).await.unwrap()).await;
        pair.completed(&pair.core.commit_plan(&PLAN.into()).await.unwrap()).await;
        // One of the two replicates home.
        pair.reprotect(&item("db"), BACK).await;
        pair.points(&item("db"), 2).await.unwrap();
        let (request, state) = (failover(BACK), ErrorCode::NotAllowedInState);
        refused(&pair, "one without a point", state, pair.core.failover_plan(&request)).await;
        pair.reprotect(&item("web"), BACK).await;
        pair.completed(&pair.core.failover_plan(&failover(BACK)).await.unwrap()).await;
    });
}

#[test]
fn a_planned_failover_is_refused_if_one_machine_cannot_go_and_none_is_touched() {
    run(35, async |world| {
        let pair = hyperv(world);
        protect(&pair, &["db", "web"]).await;
        pair.core.create_plan(&plan(&[group(&["db"]), group(&["web"])])).await.unwrap();
        pair.completed(&pair.core.disable_protection(&item("web")).await.unwrap()).await;
        let request = planned(OUT);
        refused(&pair, "one is gone", ErrorCode::UnknownId, pair.core.failover_plan(&request)).await;
    });
}
