//! Plans and requests about plans that the core refuses: each by its code, and without any change.

use contract::{
    ActionWork, CoreError, ErrorCode, JobState, Millis, Network, PlanFailoverRequest, PlanGroup,
    PlanReprotectRequest, PlanTestFailoverRequest, PointChoice, RecoveryPlan,
};
use simulator::run;
use simulator::testbed::{
    BACK, OUT, Testbed, action, failover_plan_request, failover_plan_to, group, item_of, manual, plan,
    plan_id, planned_failover_plan_request, test_failover_plan_request,
};

use crate::support::{ObservableState, hyperv_testbed, vmware_testbed};

async fn assert_refused<T>(
    testbed: &Testbed,
    what: &str,
    code: ErrorCode,
    request: impl Future<Output = Result<T, CoreError>>,
) {
    let before = ObservableState::of(testbed).await;
    let error = request.await.map(drop).expect_err(what);
    assert_eq!(error.code, code, "{what}: {error}");
    assert!(error.message.contains(' '), "{what}: {error:?} is not a sentence");
    before.assert_unchanged(testbed, what).await;
}

const BOTH: [&str; 2] = ["db", "web"];

#[test]
fn malformed_plans_are_refused() {
    run(31, async |world| {
        let testbed = vmware_testbed(world);
        testbed.protect_all(&["db", "web"]).await.unwrap();
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
            ("an item that does not exist", plan(&[group(&["db", "mail"])]), ErrorCode::UnknownId),
            ("an item twice in a group", plan(&[group(&["db", "db"])]), ErrorCode::BadRequest),
            ("an item in two groups", plan(&[group(&["db"]), group(&["web", "db"])]), ErrorCode::BadRequest),
            ("eight groups", plan(&vec![group(&["db"]); 8]), ErrorCode::PlanTooLarge),
            ("101 items", plan(&[group(&many)]), ErrorCode::PlanTooLarge),
            ("an action without a name", with(action("", script("true", 1))), ErrorCode::BadRequest),
            ("no program", with(action("a", script("", 1))), ErrorCode::BadRequest),
            ("no time", with(action("a", script("true", 0))), ErrorCode::BadRequest),
            (
                "no instruction",
                with(action("a", ActionWork::Manual { instruction: String::new() })),
                ErrorCode::BadRequest,
            ),
        ];
        for (what, plan, code) in bad {
            assert_refused(&testbed, what, code, testbed.core.create_plan(&plan)).await;
        }
        testbed.create_plan(&[group(&["db"])]).await.unwrap();
        let again = plan(&[group(&["web"])]);
        assert_refused(
            &testbed,
            "a plan of the same name",
            ErrorCode::PlanExists,
            testbed.core.create_plan(&again),
        )
        .await;
        assert_refused(
            &testbed,
            "unknown plan",
            ErrorCode::UnknownId,
            testbed.core.delete_plan(&"mail".into()),
        )
        .await;
        testbed.core.delete_plan(&plan_id()).await.unwrap();
        testbed.core.create_plan(&again).await.unwrap();
        assert_eq!(testbed.core.plans().await.unwrap(), [again]);
    });
}

#[test]
fn requests_that_a_plan_cannot_meet_are_refused() {
    run(32, async |world| {
        let testbed = vmware_testbed(world);
        testbed.protect_all(&["db", "web"]).await.unwrap();
        testbed.create_plan(&[group(&["db"]), group(&["web"])]).await.unwrap();
        let core = &testbed.core;
        let point = testbed.item(&item_of("db")).await.unwrap().points[0].id.clone();
        let custom = PointChoice::Custom(point);
        let bad = ErrorCode::BadRequest;
        assert_refused(&testbed, "custom point", bad, core.failover_plan(&failover_plan_to(custom.clone())))
            .await;
        let request = PlanTestFailoverRequest { point: custom, ..test_failover_plan_request() };
        assert_refused(&testbed, "custom point", bad, core.test_failover_plan(&request)).await;
        let request =
            PlanTestFailoverRequest { network: Network::Production, ..test_failover_plan_request() };
        assert_refused(&testbed, "production", bad, core.test_failover_plan(&request)).await;
        let settings = vec![testbed.reprotection(&item_of("mail"), BACK)];
        let request = PlanReprotectRequest { settings, ..testbed.plan_reprotection(BACK, &BOTH) };
        assert_refused(
            &testbed,
            "settings of an item that is not in the plan",
            bad,
            core.reprotect_plan(&request),
        )
        .await;

        let state = ErrorCode::NotAllowedInState;
        assert_refused(
            &testbed,
            "a failback from the primary site",
            state,
            core.failover_plan(&failover_plan_request(BACK)),
        )
        .await;
        assert_refused(
            &testbed,
            "a planned failover of VMware machines",
            state,
            core.failover_plan(&planned_failover_plan_request(OUT)),
        )
        .await;
        assert_refused(
            &testbed,
            "a clean-up without a test failover",
            state,
            core.clean_up_test_failover_plan(&plan_id()),
        )
        .await;
        assert_refused(&testbed, "nothing to commit", state, core.commit_plan(&plan_id())).await;
        assert_refused(
            &testbed,
            "nothing to reprotect",
            state,
            core.reprotect_plan(&testbed.plan_reprotection(BACK, &BOTH)),
        )
        .await;

        let unknown = ErrorCode::UnknownId;
        let request = PlanFailoverRequest { plan: "mail".into(), ..failover_plan_request(OUT) };
        assert_refused(&testbed, "unknown plan", unknown, core.failover_plan(&request)).await;
        let request = PlanTestFailoverRequest { plan: "mail".into(), ..test_failover_plan_request() };
        assert_refused(&testbed, "unknown plan", unknown, core.test_failover_plan(&request)).await;
        assert_refused(&testbed, "unknown plan", unknown, core.clean_up_test_failover_plan(&"mail".into()))
            .await;
        assert_refused(&testbed, "unknown plan", unknown, core.commit_plan(&"mail".into())).await;
        let request = PlanReprotectRequest { plan: "mail".into(), ..testbed.plan_reprotection(BACK, &BOTH) };
        assert_refused(&testbed, "unknown plan", unknown, core.reprotect_plan(&request)).await;
    });
}

#[test]
fn a_plan_with_a_running_job_refuses_other_requests_as_busy() {
    run(33, async |world| {
        let testbed = vmware_testbed(world);
        testbed.protect_all(&["db", "web"]).await.unwrap();
        let first = PlanGroup { before: vec![manual("wait")], ..group(&["db", "web"]) };
        testbed.create_plan(&[first]).await.unwrap();
        let job = testbed.core.failover_plan(&failover_plan_request(OUT)).await.unwrap();
        testbed.reaches(&job, JobState::WaitingForManualAction).await.unwrap();
        let core = &testbed.core;
        let busy = ErrorCode::Busy;
        assert_refused(&testbed, "failover", busy, core.failover_plan(&failover_plan_request(OUT))).await;
        assert_refused(
            &testbed,
            "test failover",
            busy,
            core.test_failover_plan(&test_failover_plan_request()),
        )
        .await;
        assert_refused(&testbed, "clean-up", busy, core.clean_up_test_failover_plan(&plan_id())).await;
        assert_refused(&testbed, "commit", busy, core.commit_plan(&plan_id())).await;
        assert_refused(
            &testbed,
            "reprotect",
            busy,
            core.reprotect_plan(&testbed.plan_reprotection(BACK, &BOTH)),
        )
        .await;
        assert_refused(&testbed, "delete", busy, core.delete_plan(&plan_id())).await;
        assert_refused(&testbed, "retry", ErrorCode::NotAllowedInState, core.retry_job(&job)).await;
        testbed.core.resume_job(&job).await.unwrap();
        testbed.completed(&job).await.unwrap();
    });
}

#[test]
fn a_failback_is_refused_unless_every_machine_has_a_point_and_changes_no_machine() {
    run(34, async |world| {
        let testbed = vmware_testbed(world);
        testbed.protect_all(&["db", "web"]).await.unwrap();
        testbed.create_plan(&[group(&["db"]), group(&["web"])]).await.unwrap();
        testbed.completed(testbed.core.failover_plan(&failover_plan_request(OUT)).await).await.unwrap();
        testbed.commit_plan().await.unwrap();
        // Only one of the two replicates back.
        testbed.reprotect(&testbed.reprotection(&item_of("db"), BACK)).await.unwrap();
        testbed.wait_for_points(&item_of("db"), 2).await.unwrap();
        let request = failover_plan_request(BACK);
        let state = ErrorCode::NotAllowedInState;
        assert_refused(&testbed, "a machine without a point", state, testbed.core.failover_plan(&request))
            .await;
        testbed.reprotect(&testbed.reprotection(&item_of("web"), BACK)).await.unwrap();
        testbed.completed(testbed.core.failover_plan(&failover_plan_request(BACK)).await).await.unwrap();
    });
}

#[test]
fn a_planned_failover_is_refused_if_one_machine_cannot_go_and_changes_no_machine() {
    run(35, async |world| {
        let testbed = hyperv_testbed(world);
        testbed.protect_all(&["db", "web"]).await.unwrap();
        testbed.create_plan(&[group(&["db"]), group(&["web"])]).await.unwrap();
        testbed.completed(testbed.core.disable_protection(&item_of("web")).await).await.unwrap();
        let request = planned_failover_plan_request(OUT);
        assert_refused(
            &testbed,
            "a plan with a machine that is not protected",
            ErrorCode::UnknownId,
            testbed.core.failover_plan(&request),
        )
        .await;
    });
}
