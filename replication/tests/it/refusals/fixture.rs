//! A machine under protection, brought to any state of its table by real operations, and every
//! operation there is.

use std::collections::{BTreeMap, VecDeque};

use contract::{
    CoreError, DataSync, Direction, FailoverKind, FailoverRequest, ItemId, JobId, JobState, Millis,
    Operation, Phase, PointChoice, Protection, Side, TestFailoverRequest,
};
use replication::table::{Pair, Row};
use simulator::testbed::{INTERVAL, Testbed, enable_request, item_of};
use simulator::{Link, SimInstall, SimProfile, SimWorld};

use crate::support::testbed_of;

pub const MACHINE: &str = "web";
/// How long a site takes to open or close a snapshot, so that requests arrive while jobs run.
const LATENCY: Millis = Millis(500);
/// Half of that, after which a job still runs.
pub const HALF_LATENCY: Millis = Millis(250);
/// The state in which every path begins.
pub const BEGINNING: Protection = Protection { phase: Phase::Protected, active: Side::Primary };

/// A kind of pair, with a platform for its primary site.
#[derive(Clone, Debug)]
pub struct Kind {
    pub table: Pair,
    pub primary: SimProfile,
}

/// Every kind of pair.
pub const KINDS: [Kind; 4] = [
    Kind { table: Pair::Vmware, primary: SimProfile::VMWARE },
    Kind { table: Pair::HyperV, primary: SimProfile::HYPERV },
    Kind { table: Pair::Regions, primary: SimProfile::AZURE },
    Kind { table: Pair::Kvm, primary: SimProfile::KVM },
];

impl Kind {
    /// Every state in the table, with the shortest path of operations to it from a machine that is
    /// protected on its primary side. A state without a path occurs only while a job holds the
    /// item.
    pub fn states(&self) -> BTreeMap<Protection, Option<Vec<Operation>>> {
        let rows = self.table.rows();
        let all = rows.iter().flat_map(|row| [Some(row.from), row.to]).flatten();
        let mut paths: BTreeMap<_, _> = all.map(|state| (state, None)).collect();
        paths.insert(BEGINNING, Some(Vec::new()));
        let mut next = VecDeque::from([BEGINNING]);
        while let Some(from) = next.pop_front() {
            let path = paths[&from].clone().unwrap();
            for Row { operation, to, .. } in rows.iter().filter(|row| row.from == from) {
                if let Some(to) = to.filter(|to| paths[to].is_none()) {
                    paths.insert(to, Some([&path[..], &[*operation]].concat()));
                    next.push_back(to);
                }
            }
        }
        paths
    }

    /// Whether an operation is accepted while no job holds the item.
    pub fn accepts(&self, at: Protection, has_test_failover: bool, operation: Operation) -> bool {
        let possible = match operation {
            Operation::TestFailover => !has_test_failover,
            Operation::TestFailoverCleanup => has_test_failover,
            // These act on a job that runs.
            Operation::CompleteFailover | Operation::CancelFailover => false,
            _ => true,
        };
        possible && self.table.find(at, operation).is_some()
    }
}

/// A testbed with one machine, and every operation in the form that its kind of pair needs.
pub struct StateFixture {
    pub testbed: Testbed,
    pub kind: Kind,
}

impl StateFixture {
    /// The machine runs and is not protected.
    pub async fn unprotected(world: SimWorld, kind: &Kind) -> Self {
        let testbed = testbed_of(world, kind.primary.clone());
        let link = Link { latency: LATENCY, ..Link::default() };
        testbed.primary.set_link(link);
        testbed.recovery.set_link(link);
        testbed.install(&SimInstall::new(MACHINE)).await.unwrap();
        Self { testbed, kind: kind.clone() }
    }

    /// The machine is protected and has points to choose from.
    pub async fn protected(world: SimWorld, kind: &Kind) -> Self {
        let fixture = Self::unprotected(world, kind).await;
        let job = fixture.testbed.core.enable_protection(&enable_request(MACHINE)).await;
        fixture.testbed.completed(job).await.unwrap();
        fixture.wait_for_points().await;
        fixture
    }

    /// The machine has gone through the operations of a path, and nothing is at work.
    pub async fn after(world: SimWorld, kind: &Kind, path: &[Operation]) -> Self {
        let fixture = Self::protected(world, kind).await;
        for operation in path {
            fixture.perform(*operation).await;
        }
        fixture.wait_for_points().await;
        fixture.until_between_transfers().await;
        fixture
    }

    /// Waits for three points, if the machine replicates.
    async fn wait_for_points(&self) {
        if self.at().await.phase == Phase::Protected {
            self.testbed.wait_for_points(&item(), 3).await.unwrap();
        }
    }

    /// Waits for a moment between two transfers.
    pub async fn until_between_transfers(&self) {
        self.testbed.advance(Millis(INTERVAL.0 / 3)).await;
    }

    pub async fn at(&self) -> Protection {
        self.testbed.item(&item()).await.unwrap().protection
    }

    /// Performs an operation to its end.
    pub async fn perform(&self, operation: Operation) {
        let core = &self.testbed.core;
        match operation {
            Operation::CancelFailover => {
                let job = self.waiting_failover().await;
                core.cancel_failover(&item()).await.unwrap();
                assert_eq!(self.testbed.ended(&job).await.unwrap().state, JobState::Cancelled);
            }
            Operation::CompleteFailover => {
                let job = self.waiting_failover().await;
                core.complete_failover(&item()).await.unwrap();
                self.testbed.completed(&job).await.unwrap();
            }
            _ => {
                let job = self.request(operation).await.unwrap().unwrap();
                self.testbed.completed(&job).await.unwrap();
            }
        }
    }

    /// Starts a failover that waits: to be completed if it has two phases, else for its source to
    /// shut down.
    async fn waiting_failover(&self) -> JobId {
        let at = self.at().await;
        if self.is_back_to_hyperv(at) {
            let data_sync = Some(DataSync::BeforeFailover);
            let request = FailoverRequest { data_sync, ..self.failover(FailoverKind::Planned, at) };
            let job = self.testbed.core.failover(&request).await.unwrap();
            self.testbed.reaches(&job, JobState::WaitingForCompletion).await.unwrap();
            job
        } else {
            let request = self.failover(FailoverKind::Unplanned, at);
            let job = self.testbed.core.failover(&request).await.unwrap();
            self.testbed.advance(Millis(1000)).await;
            job
        }
    }

    fn is_back_to_hyperv(&self, at: Protection) -> bool {
        self.kind.table == Pair::HyperV && at.active == Side::Recovery
    }

    fn failover(&self, kind: FailoverKind, at: Protection) -> FailoverRequest {
        let synchronises = self.is_back_to_hyperv(at) && kind == FailoverKind::Planned;
        FailoverRequest {
            kind,
            shut_down_source: true,
            data_sync: synchronises.then_some(DataSync::DuringFailover),
            ..FailoverRequest::unplanned(&item(), Direction::from_side(at.active))
        }
    }

    /// Requests an operation in the form that is right where it is allowed. Returns the job that it
    /// starts; `None` if it starts none.
    pub async fn request(&self, operation: Operation) -> Result<Option<JobId>, CoreError> {
        let core = &self.testbed.core;
        let item = item();
        let at = self.at().await;
        let direction = Direction::from_side(at.active);
        let job = match operation {
            Operation::UnplannedFailover => {
                core.failover(&self.failover(FailoverKind::Unplanned, at)).await?
            }
            Operation::PlannedFailover => core.failover(&self.failover(FailoverKind::Planned, at)).await?,
            Operation::TestFailover => {
                core.test_failover(&TestFailoverRequest::isolated(&item, PointChoice::Latest)).await?
            }
            Operation::TestFailoverCleanup => core.clean_up_test_failover(&item).await?,
            Operation::ChangePoint => core.change_point(&item, &PointChoice::LatestProcessed).await?,
            Operation::Commit => core.commit(&item).await?,
            Operation::Reprotect => core.reprotect(&self.testbed.reprotection(&item, direction)).await?,
            Operation::ReverseReplicate => core.reverse_replicate(&item).await?,
            Operation::DisableProtection => core.disable_protection(&item).await?,
            Operation::Verify => core.verify(&item).await?,
            Operation::CompleteFailover => return core.complete_failover(&item).await.map(|()| None),
            Operation::CancelFailover => return core.cancel_failover(&item).await.map(|()| None),
        };
        Ok(Some(job))
    }

    /// Requests an operation in the direction that is impossible; `None` if the operation has no
    /// direction.
    pub async fn request_wrong_direction(&self, operation: Operation) -> Option<Result<JobId, CoreError>> {
        let at = self.at().await;
        let direction = Direction::from_side(at.active.other());
        let failover = |kind| FailoverRequest { direction, ..self.failover(kind, at) };
        let core = &self.testbed.core;
        Some(match operation {
            Operation::UnplannedFailover => core.failover(&failover(FailoverKind::Unplanned)).await,
            Operation::PlannedFailover => core.failover(&failover(FailoverKind::Planned)).await,
            Operation::Reprotect => core.reprotect(&self.testbed.reprotection(&item(), direction)).await,
            _ => return None,
        })
    }
}

pub fn item() -> ItemId {
    item_of(MACHINE)
}
