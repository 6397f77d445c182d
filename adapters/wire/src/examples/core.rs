//! Examples of the calls of the suite.

use contract::*;

use super::example::{Example, NOW};
use super::views::{item, job, plan, policy, policy_view, target};
use crate::methods::core as calls;

/// An example for a method: its parameters and its result.
macro_rules! example {
    ($name:ident { $($argument:ident: $value:expr),* } => $result:expr) => {
        Example::of(&calls::$name::Params { $($argument: $value),* }, &$result)
    };
}

pub(super) fn all() -> Vec<Example> {
    [policies(), items(), failovers(), plans(), jobs()].concat()
}

fn web() -> ItemId {
    "web".into()
}

fn started() -> JobId {
    "job-4".into()
}

fn policies() -> Vec<Example> {
    let capabilities = Capabilities {
        name: "my-core 2.4".to_owned(),
        operations: vec![Operation::UnplannedFailover, Operation::TestFailover, Operation::Commit],
        plans: PlanLimits { groups: 0, items: 0 },
        windows_registry: false,
        several_nics: false,
    };
    vec![
        example!(capabilities {} => capabilities),
        example!(create_policy { id: "standard".into(), policy: policy() } => ()),
        example!(update_policy { id: "standard".into(), policy: policy() } => ()),
        example!(delete_policy { id: "standard".into() } => ()),
        example!(policies {} => vec![policy_view()]),
    ]
}

fn items() -> Vec<Example> {
    let request = EnableProtection {
        item: web(),
        primary: "primary".into(),
        machine: "web".into(),
        recovery: "recovery".into(),
        target: target(),
        policy: "standard".into(),
        group: None,
    };
    let warned =
        ItemView { health: Health::Warning, trouble: "the newest data is 16.0 min old".to_owned(), ..item() };
    vec![
        example!(enable_protection { request: request } => started()),
        example!(disable_protection { item: web() } => started()),
        example!(update_target { item: web(), target: target() } => item()),
        example!(check_configuration { item: web() } => item()),
        example!(item { item: web() } => item()),
        example!(items {} => vec![item()]),
        example!(watch_points { item: web(), count: 17 } => item()),
        example!(watch_health { item: web(), known: Health::Healthy } => warned),
    ]
}

fn failovers() -> Vec<Example> {
    let failover = FailoverRequest::unplanned(&web(), Direction::PrimaryToRecovery);
    let test = TestFailoverRequest::isolated(&web(), PointChoice::LatestProcessed);
    let reprotect = ReprotectRequest {
        process_server: Some("ps-1".into()),
        master_target: Some("mt-1".into()),
        datastore: Some("ds-1".into()),
        retention_drive: Some("/retention".to_owned()),
        ..ReprotectRequest::new(&web(), Direction::RecoveryToPrimary)
    };
    vec![
        example!(failover { request: failover } => started()),
        example!(test_failover { request: test } => started()),
        example!(clean_up_test_failover { item: web() } => started()),
        example!(complete_failover { item: web() } => ()),
        example!(cancel_failover { item: web() } => ()),
        example!(change_point { item: web(), point: PointChoice::Custom("web-16".into()) } => started()),
        example!(commit { item: web() } => started()),
        example!(reprotect { request: reprotect } => started()),
        example!(reverse_replicate { item: web() } => started()),
        example!(verify { item: web() } => started()),
    ]
}

fn plans() -> Vec<Example> {
    let failover = PlanFailoverRequest {
        plan: "shop".into(),
        kind: FailoverKind::Unplanned,
        direction: Direction::PrimaryToRecovery,
        point: PointChoice::Latest,
        shut_down_source: false,
        shutdown_within: Millis(60_000),
        data_sync: None,
    };
    let test = PlanTestFailoverRequest {
        plan: "shop".into(),
        point: PointChoice::LatestProcessed,
        network: Network::Isolated,
    };
    let reprotect = PlanReprotectRequest {
        plan: "shop".into(),
        direction: Direction::RecoveryToPrimary,
        settings: Vec::new(),
    };
    vec![
        example!(create_plan { plan: plan() } => ()),
        example!(delete_plan { plan: "shop".into() } => ()),
        example!(plans {} => vec![plan()]),
        example!(failover_plan { request: failover } => started()),
        example!(test_failover_plan { request: test } => started()),
        example!(clean_up_test_failover_plan { plan: "shop".into() } => started()),
        example!(commit_plan { plan: "shop".into() } => started()),
        example!(reprotect_plan { request: reprotect } => started()),
    ]
}

fn jobs() -> Vec<Example> {
    let filter = JobFilter { item: Some(web()), ..JobFilter::default() };
    let ended = JobView {
        state: JobState::Completed,
        revision: 9,
        actions: Vec::new(),
        ended: Some(Timestamp(NOW.0 + 8_000)),
        ..job()
    };
    vec![
        example!(jobs { filter: filter } => vec![job()]),
        example!(retry_job { job: started() } => ()),
        example!(resume_job { job: started() } => ()),
        example!(cancel_job { job: started() } => ()),
        example!(job { job: started() } => job()),
        example!(watch_job { job: started(), after: 4 } => ended),
        example!(close {} => ()),
    ]
}
