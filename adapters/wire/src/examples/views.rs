//! What cores report in the examples.

use contract::*;

use super::example::NOW;

const INTERVAL: Millis = Millis(60_000);

pub(super) fn policy() -> Policy {
    Policy { most_points: Some(20), ..Policy::for_machines_of(PlatformKind::Vmware, INTERVAL) }
}

pub(super) fn policy_view() -> PolicyView {
    PolicyView {
        id: "standard".into(),
        policy: policy(),
        direction: Direction::PrimaryToRecovery,
        counterpart: Some("standard-failback".into()),
        configuration_servers: Vec::new(),
    }
}

pub(super) fn target() -> TargetSettings {
    TargetSettings::new("web-dr", Bytes(1 << 30))
}

fn point() -> RecoveryPoint {
    RecoveryPoint {
        id: "web-17".into(),
        time: Timestamp(NOW.0 - INTERVAL.0),
        consistency: Consistency::Crash,
        processed: true,
        multi_vm: None,
        change_id: "c17".into(),
        transferred: Bytes(4 << 20),
        volumes: vec![("system".into(), "web-system-17".into()), ("data".into(), "web-data-17".into())],
    }
}

pub(super) fn item() -> ItemView {
    ItemView {
        id: "web".into(),
        protection: Protection { phase: Phase::Protected, active: Side::Primary },
        health: Health::Healthy,
        trouble: String::new(),
        primary: ("primary".into(), "web".into()),
        recovery: ("recovery".into(), "web-dr".into()),
        allowed: vec![Operation::UnplannedFailover, Operation::TestFailover],
        job: None,
        policy: policy_view(),
        group: None,
        points: vec![point()],
        failed_over_to: None,
        test_failover: None,
        test_failover_status: TestFailoverStatus::Recommended,
        synchronisation_incomplete: false,
        target: target(),
        issues: Vec::new(),
        resynchronisations: Vec::new(),
        verification: None,
    }
}

pub(super) fn job() -> JobView {
    JobView {
        id: "job-4".into(),
        subject: JobSubject::Item("web".into()),
        parent: None,
        kind: JobKind::UnplannedFailover,
        direction: Direction::PrimaryToRecovery,
        state: JobState::InProgress,
        revision: 4,
        actions: vec![JobAction::Cancel],
        attempt: 1,
        plan: None,
        steps: vec![Step {
            name: Step::PROCESS_RECEIVED.to_owned(),
            state: StepState::InProgress,
            started: NOW,
            took: None,
            note: String::new(),
            progress: Some((Bytes(1 << 20), Bytes(4 << 20))),
        }],
        error: None,
        started: NOW,
        ended: None,
    }
}

pub(super) fn plan() -> RecoveryPlan {
    let wait = PlanAction {
        name: "change the DNS record".to_owned(),
        types: vec![FailoverType::Planned, FailoverType::Unplanned],
        directions: Vec::new(),
        work: ActionWork::Manual { instruction: "Point www to the recovery site.".to_owned() },
    };
    RecoveryPlan {
        id: "shop".into(),
        groups: vec![
            PlanGroup { items: vec!["database".into()], ..PlanGroup::default() },
            PlanGroup { items: vec!["web".into()], before: Vec::new(), after: vec![wait] },
        ],
    }
}
