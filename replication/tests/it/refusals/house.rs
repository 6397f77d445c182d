//! A machine under protection, brought to any state of its table by real operations, and every operation there is.

use std::collections::{BTreeMap, VecDeque};

use contract::{
    CoreError, DataSync, Direction, FailoverKind, FailoverRequest, ItemId, JobId, JobState, MachineId,
    Millis, Operation, Phase, PointChoice, Protection, ReplicationCore, Side,
};
use replication::table::{Pair as Table, Row};
use simulator::{Link, SimConfig, SimProfile, SimWorld};

use crate::support::{INTERVAL, Pair, dr, failover, reprotection, test_failover_request};

pub const MACHINE: &str = "web";
/// How long a site's link takes to open or close a view, so that jobs can be met at work.
const LATENCY: Millis = Millis(500);
/// In the midst of that.
pub const LATENCY_HALF: Millis = Millis(250);
/// Where every way begins.
pub const BEGINNING: Protection = Protection { phase: Phase::Protected, active: Side::Primary };

/// A kind of pair with sites that make it up.
#[derive(Clone, Debug)]
pub struct Kind {
    pub table: Table,
    pub primary: SimProfile,
}

/// All of them.
pub const KINDS: [Kind; 3] = [
    Kind { table: Table::Vmware, primary: SimProfile::VMWARE },
    Kind { table: Table::HyperV, primary: SimProfile::HYPERV },
    Kind { table: Table::Regions, primary: SimProfile::AZURE },
];

impl Kind {
    /// Every state that is in the table, with the shortest way there from a protected machine on its primary side. A
    /// state without a way is passed only while a job holds the item.
    pub fn states(&self) -> BTreeMap<Protection, Option<Vec<Operation>>> {
        let rows = self.table.rows();
        let all = rows.iter().flat_map(|row| [Some(row.from), row.to]).flatten();
        let mut ways: BTreeMap<_, _> = all.map(|state| (state, None)).collect();
        ways.insert(BEGINNING, Some(Vec::new()));
        let mut next = VecDeque::from([BEGINNING]);
        while let Some(from) = next.pop_front() {
            let way = ways[&from].clone().unwrap();
            for Row { operation, to, .. } in rows.iter().filter(|row| row.from == from) {
                if let Some(to) = to.filter(|to| ways[to].is_none()) {
                    ways.insert(to, Some([&way[..], &[*operation]].concat()));
                    next.push_back(to);
                }
            }
        }
        ways
    }

    /// Whether an operation is accepted where no job holds the item.
    pub fn accepts(&self, at: Protection, has_test_failover: bool, operation: Operation) -> bool {
        let met = match operation {
            Operation::TestFailover => !has_test_failover,
            Operation::TestFailoverCleanup => has_test_failover,
            // These answer to a job.
            Operation::CompleteFailover | Operation::CancelFailover => false,
            _ => true,
        };
        met && self.table.find(at, operation).is_some()
    }
}

/// A core between two sites with one item.
pub struct House {
    pub pair: Pair,
    pub kind: Kind,
}

impl House {
    /// With a machine that runs, and is not protected yet.
    pub async fn bare(world: SimWorld, kind: &Kind) -> Self {
        let link = Link { latency: LATENCY, ..Link::default() };
        let site = |id: &str, profile: &SimProfile| {
            world.site(SimConfig { link, ..SimConfig::new(id, profile.clone()) })
        };
        let (primary, recovery) = (site("primary", &kind.primary), site("recovery", &SimProfile::AZURE));
        let pair = Pair::of(world, primary, recovery);
        pair.install(MACHINE).await;
        Self { pair, kind: kind.clone() }
    }

    /// With a machine that is protected and has points to choose from.
    pub async fn protected(world: SimWorld, kind: &Kind) -> Self {
        let house = Self::bare(world, kind).await;
        let job = house.pair.core.enable_protection(&crate::support::enable(&item(), MACHINE)).await;
        house.pair.completed(&job.unwrap()).await;
        house.points().await;
        house
    }

    /// Goes where `way` leads.
    pub async fn reached(world: SimWorld, kind: &Kind, way: &[Operation]) -> Self {
        let house = Self::protected(world, kind).await;
        for operation in way {
            house.perform(*operation).await;
        }
        house.points().await;
        house.at_rest().await;
        house
    }

    /// Some points, where they come. Afterwards nothing is under way.
    async fn points(&self) {
        if self.at().await.phase == Phase::Protected {
            self.pair.points(&item(), 3).await.unwrap();
        }
    }

    /// A moment between two transfers.
    pub async fn at_rest(&self) {
        self.pair.live(Millis(INTERVAL.0 / 3)).await;
    }

    pub async fn at(&self) -> Protection {
        self.pair.item(&item()).await.protection
    }

    /// Does an operation and waits until it is done.
    pub async fn perform(&self, operation: Operation) {
        match operation {
            Operation::CancelFailover => {
                let job = self.waiting_failover().await;
                self.pair.core.cancel_failover(&item()).await.unwrap();
                assert_eq!(self.pair.ended(&job).await.state, JobState::Cancelled);
            }
            Operation::CompleteFailover => {
                let job = self.waiting_failover().await;
                self.pair.core.complete_failover(&item()).await.unwrap();
                self.pair.completed(&job).await;
            }
            _ => {
                let job = self.ask(operation).await.unwrap().unwrap();
                self.pair.completed(&job).await;
            }
        }
    }

    /// A failover that waits: to be completed where it has two phases, else for its source to shut down.
    async fn waiting_failover(&self) -> JobId {
        let at = self.at().await;
        let kind = if self.is_back_to_hyperv(at) { FailoverKind::Planned } else { FailoverKind::Unplanned };
        let request = FailoverRequest {
            data_sync: self.is_back_to_hyperv(at).then_some(DataSync::BeforeFailover),
            ..self.failover(kind, at)
        };
        let job = self.pair.core.failover(&request).await.unwrap();
        if self.is_back_to_hyperv(at) {
            let mut view = self.pair.core.job(&job).await.unwrap();
            while view.state != JobState::WaitingForCompletion {
                view = self.pair.core.watch_job(&job, view.revision).await.unwrap();
            }
        } else {
            self.pair.live(Millis(1000)).await;
        }
        job
    }

    fn is_back_to_hyperv(&self, at: Protection) -> bool {
        self.kind.table == Table::HyperV && at.active == Side::Recovery
    }

    fn failover(&self, kind: FailoverKind, at: Protection) -> FailoverRequest {
        let back = self.is_back_to_hyperv(at) && kind == FailoverKind::Planned;
        FailoverRequest {
            kind,
            shut_down_source: true,
            data_sync: back.then_some(DataSync::DuringFailover),
            ..failover(&item(), Direction::from_side(at.active))
        }
    }

    /// Asks for an operation as it would be right, if it is allowed. Returns the job if that starts one.
    pub async fn ask(&self, operation: Operation) -> Result<Option<JobId>, CoreError> {
        let (core, item, at) = (&self.pair.core, item(), self.at().await);
        let direction = Direction::from_side(at.active);
        let job = match operation {
            Operation::UnplannedFailover => {
                core.failover(&self.failover(FailoverKind::Unplanned, at)).await?
            }
            Operation::PlannedFailover => core.failover(&self.failover(FailoverKind::Planned, at)).await?,
            Operation::TestFailover => {
                core.test_failover(&test_failover_request(&item, PointChoice::Latest)).await?
            }
            Operation::TestFailoverCleanup => core.clean_up_test_failover(&item).await?,
            Operation::ChangePoint => core.change_point(&item, &PointChoice::LatestProcessed).await?,
            Operation::Commit => core.commit(&item).await?,
            Operation::Reprotect => core.reprotect(&reprotection(&item, direction)).await?,
            Operation::ReverseReplicate => core.reverse_replicate(&item).await?,
            Operation::DisableProtection => core.disable_protection(&item).await?,
            Operation::CompleteFailover => return core.complete_failover(&item).await.map(|()| None),
            Operation::CancelFailover => return core.cancel_failover(&item).await.map(|()| None),
        };
        Ok(Some(job))
    }

    /// The same, in the direction in which it cannot go; `None` if it has no direction.
    pub async fn ask_astray(&self, operation: Operation) -> Option<Result<JobId, CoreError>> {
        let at = self.at().await;
        let direction = Direction::from_side(at.active.other());
        let astray = |kind| FailoverRequest { direction, ..self.failover(kind, at) };
        let core = &self.pair.core;
        Some(match operation {
            Operation::UnplannedFailover => core.failover(&astray(FailoverKind::Unplanned)).await,
            Operation::PlannedFailover => core.failover(&astray(FailoverKind::Planned)).await,
            Operation::Reprotect => core.reprotect(&reprotection(&item(), direction)).await,
            _ => return None,
        })
    }
}

pub fn item() -> ItemId {
    ItemId(format!("item-{MACHINE}"))
}

/// The machine of a test failover.
pub fn test_machine() -> MachineId {
    MachineId(format!("{}-test", dr(MACHINE)))
}
