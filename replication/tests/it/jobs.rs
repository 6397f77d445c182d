//! Jobs of the built-in core: what may be said to them, and what is refused.

use crate::support::{BACK, INTERVAL, OUT, POLICY, Pair, dr, exact, failover, is_up, policy};
use contract::{
    DataSync, ErrorCode, FailoverKind, FailoverRequest, ItemId, ItemView, JobAction, JobFilter, JobId,
    JobKind, JobState, JobView, Millis, Network, Platform, PlatformErrorKind as Kind, PlatformKind,
    PointChoice, Policy, ReplicationCore, TestFailoverRequest,
};
use simulator::{Call, FailCall, SimConfig, SimFault, SimInstall, SimProfile, SimSite, SimWorld, run};

const BOOT: Millis = Millis(10_000);

/// The next call of a kind fails.
fn fail_next(site: &SimSite, call: Call) {
    site.inject(&SimFault::Call(FailCall::at(call, site.calls(call) + 1, Kind::Unreachable)));
}

async fn failed_failover(pair: &Pair, item: &ItemId) -> JobId {
    fail_next(&pair.recovery, Call::CreateMachine);
    let job = pair.core.failover(&failover(item, OUT)).await.unwrap();
    let view = pair.ended(&job).await;
    assert_eq!(view.state, JobState::Failed, "{view:#?}");
    job
}

/// All that is shown.
async fn all(pair: &Pair) -> (Vec<ItemView>, Vec<JobView>) {
    (pair.core.items().await.unwrap(), pair.core.jobs(&JobFilter::default()).await.unwrap())
}

#[test]
fn a_failover_that_failed_is_retried_under_the_same_id() {
    run(1, async |world| {
        let mut pair = Pair::new(world);
        let item = pair.protect("web").await;
        pair.points(&item, 2).await.unwrap();
        let job = failed_failover(&pair, &item).await;
        assert_eq!(pair.core.job(&job).await.unwrap().actions, [JobAction::Retry]);
        // What it was asked to do outlives the core.
        pair.reopen().await;
        let jobs = pair.core.jobs(&JobFilter::default()).await.unwrap().len();
        pair.core.retry_job(&job).await.unwrap();
        let view = pair.completed(&job).await;
        assert_eq!((view.attempt, view.error, view.actions), (2, None, Vec::new()));
        assert_eq!(pair.core.jobs(&JobFilter::default()).await.unwrap().len(), jobs);
        pair.live(BOOT).await;
        let target = pair.recovery.last_boot(&dr("web")).unwrap();
        let (_, record) = exact(&pair.primary.last_boot(&"web".into()).unwrap(), &target);
        is_up(&pair.recovery, &target, record);
    });
}

#[test]
fn protection_that_could_not_begin_is_retried_under_the_same_id() {
    run(2, async |world| {
        let pair = Pair::new(world);
        pair.primary.install(&SimInstall::new("web")).unwrap();
        pair.primary.start(&"web".into()).await.unwrap();
        fail_next(&pair.recovery, Call::CreateVolume);
        let item = ItemId::from("item-web");
        let job = pair.ask_to_protect(&item, "web").await.unwrap();
        assert_eq!(pair.ended(&job).await.state, JobState::Failed);
        assert!(pair.core.items().await.unwrap().is_empty());
        assert_eq!(pair.core.job(&job).await.unwrap().actions, [JobAction::Retry]);
        pair.core.retry_job(&job).await.unwrap();
        assert_eq!(pair.completed(&job).await.attempt, 2);
        pair.points(&item, 2).await.unwrap();
    });
}

#[test]
fn a_test_failover_since_does_not_stand_in_the_way_of_a_retry() {
    run(3, async |world| {
        let pair = Pair::new(world);
        let item = pair.protect("web").await;
        let job = failed_failover(&pair, &item).await;
        let (point, network) = (PointChoice::Latest, Network::Isolated);
        let test_failover = TestFailoverRequest { item: item.clone(), point, network };
        let test_failover = pair.core.test_failover(&test_failover).await.unwrap();
        pair.completed(&test_failover).await;
        pair.completed(&pair.core.clean_up_test_failover(&item).await.unwrap()).await;
        pair.core.retry_job(&job).await.unwrap();
        pair.completed(&job).await;
    });
}

/// What is said to a job, and the code it is refused with.
type Refusal = (&'static str, JobId, ErrorCode);

async fn refused(pair: &Pair, refusals: &[Refusal]) {
    for (verb, job, code) in refusals {
        let before = all(pair).await;
        let answer = match *verb {
            "retry" => pair.core.retry_job(job).await,
            "resume" => pair.core.resume_job(job).await,
            _ => pair.core.cancel_job(job).await,
        };
        assert_eq!(answer.map_err(|error| error.code), Err(*code), "{verb} {job}");
        assert_eq!(all(pair).await, before, "{verb} {job} changed something");
    }
}

#[test]
fn what_cannot_be_said_to_a_job_is_refused_and_changes_nothing() {
    run(4, async |world| {
        let pair = Pair::new(world);
        let item = pair.protect("web").await;
        pair.points(&item, 2).await.unwrap();
        let enabled = pair.core.jobs(&JobFilter::default()).await.unwrap()[0].id.clone();
        let failed = failed_failover(&pair, &item).await;
        refused(
            &pair,
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
        let second = pair.core.failover(&failover(&item, OUT)).await.unwrap();
        // While another job works on the item, and after.
        refused(&pair, &[("retry", failed.clone(), ErrorCode::MovedOn)]).await;
        pair.completed(&second).await;
        refused(&pair, &[("retry", failed, ErrorCode::MovedOn)]).await;
    });
}

#[test]
fn a_retry_while_a_test_failover_is_under_way_is_refused_as_busy() {
    run(5, async |world| {
        let pair = Pair::new(world);
        let item = pair.protect("web").await;
        let failed = failed_failover(&pair, &item).await;
        let (point, network) = (PointChoice::Latest, Network::Isolated);
        let test_failover = TestFailoverRequest { item, point, network };
        let test_failover = pair.core.test_failover(&test_failover).await.unwrap();
        assert_eq!(pair.core.retry_job(&failed).await.unwrap_err().code, ErrorCode::Busy);
        pair.completed(&test_failover).await;
    });
}

#[test]
fn what_no_retry_cures_is_not_retried() {
    run(6, async |world| {
        let pair = Pair::new(world);
        let item = pair.protect("web").await;
        let oldest = pair.item(&item).await.points[0].id.clone();
        let short = Policy { retention: Millis(10 * INTERVAL.0), ..policy(PlatformKind::Vmware, 3) };
        pair.core.update_policy(&POLICY.into(), &short).await.unwrap();
        // While the source does not shut down, the chosen point's time passes.
        pair.primary.inject(&SimFault::ShutdownRefused("web".into()));
        let request = FailoverRequest {
            point: PointChoice::Custom(oldest),
            shut_down_source: true,
            shutdown_within: Millis(20 * INTERVAL.0),
            ..failover(&item, OUT)
        };
        let job = pair.core.failover(&request).await.unwrap();
        let view = pair.ended(&job).await;
        assert_eq!(view.error.unwrap().code, ErrorCode::PointExpired);
        refused(&pair, &[("retry", job, ErrorCode::NotCurable)]).await;
    });
}

fn hyperv(world: SimWorld) -> Pair {
    let primary = world.site(SimConfig::new("primary", SimProfile::HYPERV));
    let recovery = world.site(SimConfig::new("recovery", SimProfile::AZURE));
    Pair::of(world, primary, recovery)
}

#[test]
fn a_failback_that_waits_can_be_completed_or_cancelled_by_its_job() {
    run(7, async |world| {
        let pair = hyperv(world);
        let item = pair.protect("web").await;
        pair.fail_over(&item, OUT).await;
        pair.commit(&item).await;
        let request = FailoverRequest {
            kind: FailoverKind::Planned,
            data_sync: Some(DataSync::BeforeFailover),
            ..failover(&item, BACK)
        };
        let job = pair.core.failover(&request).await.unwrap();
        assert_eq!(pair.core.job(&job).await.unwrap().actions, [JobAction::Cancel]);
        let mut view = pair.core.job(&job).await.unwrap();
        while view.state != JobState::WaitingForCompletion {
            view = pair.core.watch_job(&job, view.revision).await.unwrap();
        }
        assert_eq!(view.actions, [JobAction::Complete, JobAction::Cancel]);
        refused(&pair, &[("resume", job.clone(), ErrorCode::NotAllowedInState)]).await;
        pair.core.cancel_job(&job).await.unwrap();
        let view = pair.ended(&job).await;
        assert_eq!((view.state, view.actions), (JobState::Cancelled, Vec::new()));
        refused(&pair, &[("retry", job, ErrorCode::NotAllowedInState)]).await;
    });
}

#[test]
fn jobs_are_listed_newest_last_test_failovers_among_them_and_by_what_is_asked() {
    run(8, async |world| {
        let pair = Pair::new(world);
        let [web, db] = [pair.protect("web").await, pair.protect("db").await];
        for _ in 0..5 {
            let (point, network) = (PointChoice::Latest, Network::Isolated);
            let test_failover = TestFailoverRequest { item: web.clone(), point, network };
            pair.completed(&pair.core.test_failover(&test_failover).await.unwrap()).await;
            pair.completed(&pair.core.clean_up_test_failover(&web).await.unwrap()).await;
        }
        let failed = failed_failover(&pair, &db).await;
        let ids = async |filter: JobFilter| -> Vec<String> {
            pair.core.jobs(&filter).await.unwrap().into_iter().map(|job| job.id.0).collect()
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
