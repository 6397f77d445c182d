//! Jobs: retried, resumed and cancelled where their state allows it, and listed.

use contract::{
    DataSync, EnableProtection, ErrorCode, FailoverRequest, ItemId, JobAction, JobFilter, JobId, JobKind,
    JobState, Platform, PlatformErrorKind as Kind, PointChoice, StepState, TestFailoverRequest,
};
use simulator::testbed::{BACK, BOOT, OUT, Testbed, enable_request, fail_next_call, item_of};
use simulator::{Call, SimInstall, run};

use crate::support::{ObservableState, assert_recovered, hyperv_testbed, reopen, vmware_testbed};

/// Lets a failover fail because its target machine cannot be created.
async fn failed_failover(testbed: &Testbed, item: &ItemId) -> JobId {
    fail_next_call(&testbed.recovery, Call::CreateMachine, Kind::Unreachable);
    let job = testbed.core.failover(&FailoverRequest::unplanned(item, OUT)).await.unwrap();
    let view = testbed.ended(&job).await.unwrap();
    assert_eq!(view.state, JobState::Failed, "{view:#?}");
    job
}

async fn test_failover(testbed: &Testbed, item: &ItemId) -> JobId {
    let request = TestFailoverRequest::isolated(item, PointChoice::Latest);
    testbed.core.test_failover(&request).await.unwrap()
}

#[test]
fn a_failover_that_failed_is_retried_under_the_same_id() {
    run(1, async |world| {
        let mut testbed = vmware_testbed(world);
        let item = testbed.protect("web").await.unwrap();
        testbed.wait_for_points(&item, 2).await.unwrap();
        let job = failed_failover(&testbed, &item).await;
        assert_eq!(testbed.core.job(&job).await.unwrap().actions, [JobAction::Retry]);
        // The request of the job outlives the core.
        reopen(&mut testbed).await;
        let jobs = testbed.core.jobs(&JobFilter::default()).await.unwrap().len();
        testbed.core.retry_job(&job).await.unwrap();
        let view = testbed.completed(&job).await.unwrap();
        assert_eq!((view.attempt, view.error, view.actions), (2, None, Vec::new()));
        assert_eq!(testbed.core.jobs(&JobFilter::default()).await.unwrap().len(), jobs);
        testbed.advance(BOOT).await;
        assert_recovered(&testbed, "web");
    });
}

#[test]
fn protection_that_could_not_begin_is_retried_under_the_same_id() {
    run(2, async |world| {
        let testbed = vmware_testbed(world);
        testbed.primary.install(&SimInstall::new("web")).unwrap();
        testbed.primary.start(&"web".into()).await.unwrap();
        fail_next_call(&testbed.recovery, Call::CreateVolume, Kind::Unreachable);
        let item = item_of("web");
        testbed.make_policy().await.unwrap();
        let job = testbed.core.enable_protection(&enable_request("web")).await.unwrap();
        assert_eq!(testbed.ended(&job).await.unwrap().state, JobState::Failed);
        assert!(testbed.core.items().await.unwrap().is_empty());
        assert_eq!(testbed.core.job(&job).await.unwrap().actions, [JobAction::Retry]);
        testbed.core.retry_job(&job).await.unwrap();
        assert_eq!(testbed.completed(&job).await.unwrap().attempt, 2);
        testbed.wait_for_points(&item, 2).await.unwrap();
    });
}

#[test]
fn a_test_failover_after_a_failed_job_does_not_prevent_its_retry() {
    run(3, async |world| {
        let testbed = vmware_testbed(world);
        let item = testbed.protect("web").await.unwrap();
        let job = failed_failover(&testbed, &item).await;
        let test = test_failover(&testbed, &item).await;
        testbed.completed(&test).await.unwrap();
        testbed.completed(testbed.core.clean_up_test_failover(&item).await).await.unwrap();
        testbed.core.retry_job(&job).await.unwrap();
        testbed.completed(&job).await.unwrap();
    });
}

/// A request to a job, and the code with which the core refuses it.
type Refusal = (&'static str, JobId, ErrorCode);

async fn assert_refused(testbed: &Testbed, refusals: &[Refusal]) {
    for (verb, job, code) in refusals {
        let before = ObservableState::of(testbed).await;
        let answer = match *verb {
            "retry" => testbed.core.retry_job(job).await,
            "resume" => testbed.core.resume_job(job).await,
            _ => testbed.core.cancel_job(job).await,
        };
        assert_eq!(answer.map_err(|error| error.code), Err(*code), "{verb} {job}");
        before.assert_unchanged(testbed, &format!("{verb} {job}")).await;
    }
}

#[test]
fn requests_that_a_jobs_state_does_not_allow_are_refused_and_change_nothing() {
    run(4, async |world| {
        let testbed = vmware_testbed(world);
        let item = testbed.protect("web").await.unwrap();
        testbed.wait_for_points(&item, 2).await.unwrap();
        let enabled = testbed.core.jobs(&JobFilter::default()).await.unwrap()[0].id.clone();
        let failed = failed_failover(&testbed, &item).await;
        assert_refused(
            &testbed,
            &[
                ("retry", "job-99".into(), ErrorCode::UnknownId),
                ("resume", "job-99".into(), ErrorCode::UnknownId),
                ("cancel", "job-99".into(), ErrorCode::UnknownId),
                ("retry", enabled.clone(), ErrorCode::NotAllowedInState),
                ("resume", enabled.clone(), ErrorCode::NotAllowedInState),
                ("cancel", enabled, ErrorCode::NotAllowedInState),
                ("resume", failed.clone(), ErrorCode::NotAllowedInState),
                ("cancel", failed.clone(), ErrorCode::NotAllowedInState),
            ],
        )
        .await;
        let second = testbed.core.failover(&FailoverRequest::unplanned(&item, OUT)).await.unwrap();
        // Both while another job works on the item and after that.
        assert_refused(&testbed, &[("retry", failed.clone(), ErrorCode::MovedOn)]).await;
        testbed.completed(&second).await.unwrap();
        assert_refused(&testbed, &[("retry", failed, ErrorCode::MovedOn)]).await;
    });
}

#[test]
fn a_retry_while_a_test_failover_is_under_way_is_refused_as_busy() {
    run(5, async |world| {
        let testbed = vmware_testbed(world);
        let item = testbed.protect("web").await.unwrap();
        let failed = failed_failover(&testbed, &item).await;
        let test = test_failover(&testbed, &item).await;
        assert_eq!(testbed.core.retry_job(&failed).await.unwrap_err().code, ErrorCode::Busy);
        testbed.completed(&test).await.unwrap();
    });
}

#[test]
fn a_failback_that_waits_can_be_completed_or_cancelled_by_its_job() {
    run(7, async |world| {
        let testbed = hyperv_testbed(world);
        let item = testbed.protect("web").await.unwrap();
        testbed.fail_over(&item, PointChoice::Latest).await.unwrap();
        testbed.commit(&item).await.unwrap();
        let request = FailoverRequest {
            data_sync: Some(DataSync::BeforeFailover),
            ..FailoverRequest::planned(&item, BACK)
        };
        let job = testbed.core.failover(&request).await.unwrap();
        assert_eq!(testbed.core.job(&job).await.unwrap().actions, [JobAction::Cancel]);
        let view = testbed.reaches(&job, JobState::WaitingForCompletion).await.unwrap();
        assert_eq!(view.actions, [JobAction::Complete, JobAction::Cancel]);
        assert_refused(&testbed, &[("resume", job.clone(), ErrorCode::NotAllowedInState)]).await;
        testbed.core.cancel_job(&job).await.unwrap();
        let view = testbed.ended(&job).await.unwrap();
        assert_eq!((view.state, view.actions), (JobState::Cancelled, Vec::new()));
        assert_refused(&testbed, &[("retry", job, ErrorCode::NotAllowedInState)]).await;
    });
}

#[test]
fn jobs_are_listed_newest_last_and_by_filter() {
    run(8, async |world| {
        let testbed = vmware_testbed(world);
        let web = testbed.protect("web").await.unwrap();
        let db = testbed.protect("db").await.unwrap();
        for _ in 0..5 {
            let test = test_failover(&testbed, &web).await;
            testbed.completed(&test).await.unwrap();
            testbed.completed(testbed.core.clean_up_test_failover(&web).await).await.unwrap();
        }
        let failed = failed_failover(&testbed, &db).await;
        let ids = async |filter: JobFilter| -> Vec<String> {
            testbed.core.jobs(&filter).await.unwrap().into_iter().map(|job| job.id.0).collect()
        };
        let every: Vec<_> = (1..=13).map(|number| format!("job-{number}")).collect();
        assert_eq!(ids(JobFilter::default()).await, every);
        let of_db = JobFilter { item: Some(db), ..JobFilter::default() };
        assert_eq!(ids(of_db.clone()).await, ["job-2", "job-13"]);
        let failures = JobFilter { state: Some(JobState::Failed), ..of_db };
        assert_eq!(ids(failures).await, [failed.0]);
        let test_failovers = JobFilter { kind: Some(JobKind::TestFailover), ..JobFilter::default() };
        assert_eq!(ids(test_failovers.clone()).await, ["job-3", "job-5", "job-7", "job-9", "job-11"]);
        let nothing = JobFilter { parent: Some("job-1".into()), ..test_failovers };
        assert_eq!(ids(nothing).await, Vec::<String>::new());
    });
}

#[test]
fn protection_ends_while_the_recovery_site_does_not_answer() {
    run(43, async |world| {
        let testbed = vmware_testbed(world);
        let item = testbed.protect("web").await.unwrap();
        testbed.wait_for_points(&item, 3).await.unwrap();
        testbed.recovery.lose();
        let job = testbed.completed(testbed.core.disable_protection(&item).await).await.unwrap();
        assert!(job.steps.iter().any(|step| step.state == StepState::Warning), "{:?}", job.steps);
        assert!(testbed.core.item(&item).await.is_err());
        testbed.recovery.restore();
        let again = EnableProtection { item: "again".into(), ..enable_request("web") };
        testbed.completed(testbed.core.enable_protection(&again).await).await.unwrap();
        testbed.wait_for_points(&again.item, 3).await.unwrap();
        testbed.fail_over(&again.item, PointChoice::Latest).await.unwrap();
        testbed.recovered("web").unwrap();
    });
}
