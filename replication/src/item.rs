//! What the core keeps of an item.

use contract::{
    Bytes, ChangeId, ChangesUnavailable, ComponentId, ConfigurationIssue, Consistency, CoreError, DiskId,
    ErrorCode, Firmware, GroupId, GroupPointId, GuestFacts, GuestOs, Health, ItemId, ItemView, JobId,
    MachineId, MachineView, Operation, PlatformKind, PointId, Policy, PolicyId, PolicyView, Protection,
    RecoveryPoint, ReprotectRequest, Resynchronisation, Side, SiteId, TargetSettings, TestFailoverStatus,
    Timestamp, VolumeId,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::{Mutex, watch};

use crate::core::unknown;
use crate::engine::Engine;
use crate::points::offered;
use crate::resume::Pending;
use crate::resync;
use crate::table::Pair;
use crate::thinning::Thinning;

/// Between the item's name and the numbers in the name of a point.
const POINT: &str = "-point-";

/// Disks with their volumes, in the machine's order.
pub(crate) type Volumes = Vec<(DiskId, VolumeId)>;

/// A transfer that landed and is not processed yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Landed {
    /// Counted from 1 since replication in this direction began.
    pub(crate) number: u64,
    pub(crate) change: ChangeId,
    pub(crate) time: Timestamp,
    pub(crate) bytes: u64,
    pub(crate) consistency: Consistency,
    pub(crate) multi_vm: Option<GroupPointId>,
}

impl Landed {
    /// What it is named until it is a point.
    pub(crate) fn name(&self, item: &ItemId) -> PointId {
        PointId(format!("{item}-landed-{}", self.number))
    }
}

/// Replication in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replica {
    /// The side that receives.
    pub(crate) side: Side,
    /// Tells the volumes of this direction's points from those of others.
    pub(crate) round: u64,
    /// Bottom of every chain of points.
    pub(crate) base: Volumes,
    /// Processed points, oldest first.
    pub(crate) points: Vec<RecoveryPoint>,
    /// Received and not processed, oldest first.
    pub(crate) landed: Vec<Landed>,
    /// The moment on the source that was received last.
    pub(crate) received: Option<ChangeId>,
    /// Why the transfer under way compares whole disks, if it does.
    #[serde(default)]
    pub(crate) resynchronising: Option<ChangesUnavailable>,
    /// Those transfers of late, oldest first.
    #[serde(default)]
    pub(crate) resynchronised: Vec<Resynchronisation>,
    /// A merge of points that has begun.
    pub(crate) thinning: Option<Thinning>,
    /// Transfers received, points processed, since replication in this direction began.
    pub(crate) received_count: u64,
    pub(crate) processed_count: u64,
}

impl Replica {
    pub(crate) fn new(side: Side, round: u64, base: Volumes) -> Self {
        Self {
            side,
            round,
            base,
            points: Vec::new(),
            landed: Vec::new(),
            received: None,
            resynchronising: None,
            resynchronised: Vec::new(),
            thinning: None,
            received_count: 0,
            processed_count: 0,
        }
    }

    /// Volumes with the newest processed content.
    pub(crate) fn head(&self) -> &Volumes {
        self.points.last().map_or(&self.base, |point| &point.volumes)
    }

    /// What a point of this direction is named: as no point of an earlier round is, so that a name that was noted then
    /// never means another point.
    pub(crate) fn name_point(&self, item: &ItemId, number: u64) -> PointId {
        PointId(format!("{item}{POINT}{}-{number}", self.round))
    }

    /// Why there is no such point: it is not processed yet, it is gone, or there never was one.
    pub(crate) fn missing(&self, item: &ItemId, id: &PointId) -> CoreError {
        if self.landed.iter().any(|landed| landed.name(item) == *id) {
            let text = format!("recovery point {id} is not processed yet");
            return CoreError::new(ErrorCode::NoRecoveryPoint, text);
        }
        let numbers = id.0.strip_prefix(&format!("{item}{POINT}")).and_then(|rest| rest.split_once('-'));
        let numbers = numbers.and_then(|(round, number)| Some((round.parse().ok()?, number.parse().ok()?)));
        let was = |numbers: (u64, u64)| {
            numbers.0 < self.round || numbers.0 == self.round && numbers.1 <= self.processed_count
        };
        if numbers.is_some_and(was) {
            let text = format!("recovery point {id} exists no more; choose a newer one");
            return CoreError::new(ErrorCode::PointExpired, text);
        }
        unknown("recovery point", id)
    }

    /// When data was received last; `None` before the first point.
    pub(crate) fn received_at(&self) -> Option<Timestamp> {
        let landed = self.landed.last().map(|landed| landed.time);
        landed.or_else(|| self.points.last().map(|point| point.time))
    }

    /// When the applications were at rest last, of what was received.
    pub(crate) fn last_at_rest(&self) -> Option<Timestamp> {
        let landed = self.landed.iter().rev().find(|landed| landed.consistency == Consistency::App);
        let point = || self.points.iter().rev().find(|point| point.consistency == Consistency::App);
        landed.map(|landed| landed.time).or_else(|| point().map(|point| point.time))
    }

    pub(crate) fn point(&self, id: &PointId) -> Option<&RecoveryPoint> {
        self.points.iter().find(|point| point.id == *id)
    }
}

/// A test failover that was not cleaned up yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TestFailoverCopy {
    pub(crate) machine: MachineId,
    /// The point it was started from.
    pub(crate) point: PointId,
    pub(crate) disks: Volumes,
}

/// What a machine was when it last became protected on the primary side. Its site may be gone when it is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) kind: PlatformKind,
    pub(crate) firmware: Firmware,
    pub(crate) os: GuestOs,
    pub(crate) memory: Bytes,
    pub(crate) guest: GuestFacts,
    /// The host it ran on, and the virtual switch it hung on.
    pub(crate) host: Option<ComponentId>,
    pub(crate) switch: Option<String>,
}

impl Origin {
    pub(crate) fn of(kind: PlatformKind, machine: &MachineView) -> Self {
        Self {
            kind,
            firmware: machine.firmware,
            os: machine.os,
            memory: machine.memory,
            guest: machine.guest.clone(),
            host: machine.placement.host.clone(),
            switch: machine.placement.switch.clone(),
        }
    }
}

/// A machine made on the primary side to come back to, which has not served yet (RE-05).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placed {
    pub(crate) at: (SiteId, MachineId),
    pub(crate) disks: Volumes,
    /// The machine in whose stead it is.
    pub(crate) replaces: (SiteId, MachineId),
}

/// Everything about an item that outlives the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: ItemId,
    pub(crate) pair: Pair,
    pub(crate) protection: Protection,
    pub(crate) primary: (SiteId, MachineId),
    pub(crate) recovery: (SiteId, MachineId),
    pub(crate) origin: Origin,
    /// The site in whose configuration server's database the machine is.
    pub(crate) registered_at: SiteId,
    pub(crate) placed: Option<Placed>,
    /// The resource group in which the machine on the recovery side was made (RE-22).
    pub(crate) group_there: Option<String>,
    /// What the way back goes through, while replication goes that way.
    pub(crate) route: Option<ReprotectRequest>,
    pub(crate) target: TargetSettings,
    pub(crate) policy: PolicyId,
    pub(crate) group: Option<GroupId>,
    pub(crate) replica: Option<Replica>,
    /// What the recovery side keeps of earlier rounds, so that only changes travel again (C-18).
    pub(crate) seed: Option<Volumes>,
    /// Disks of the machine that a failover built, until they go with it.
    pub(crate) built: Volumes,
    pub(crate) failed_over_to: Option<PointId>,
    pub(crate) trouble: Option<String>,
    /// What is not as it should be although replication runs.
    pub(crate) warning: Option<String>,
    /// When an application-consistent point was asked for last.
    pub(crate) rest_asked: Option<Timestamp>,
    /// What was found at the last look at the configuration.
    pub(crate) issues: Vec<ConfigurationIssue>,
    pub(crate) test_failover: Option<TestFailoverCopy>,
    /// A test failover has succeeded and was cleaned up since the item became protected.
    pub(crate) test_failover_performed: bool,
    /// The primary machine's disks are half old, half new (HF-19).
    pub(crate) sync_incomplete: bool,
    /// The machine on the active side ran until a failover that is under way shut it down.
    #[serde(default)]
    pub(crate) served: bool,
    /// The target of a failover that is under way may have been started.
    #[serde(default)]
    pub(crate) starting: bool,
    /// The failback that is under way was told to go on to its second phase (HF-08).
    #[serde(default)]
    pub(crate) completing: bool,
    /// A commit has begun to delete points: there is no other point to change to any more (FO-03).
    #[serde(default)]
    pub(crate) committing: bool,
    /// The point whose merge into the original disks has begun.
    pub(crate) merging: Option<RecoveryPoint>,
    /// The job that holds the item, and what it was asked to do.
    pub(crate) pending: Option<Pending>,
    /// Numbers for volume names; never used twice.
    pub(crate) counter: u64,
}

impl Record {
    pub(crate) fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// Site and machine on a side.
    pub(crate) fn on(&self, side: Side) -> &(SiteId, MachineId) {
        match side {
            Side::Primary => &self.primary,
            Side::Recovery => &self.recovery,
        }
    }

    fn test_failover_status(&self) -> TestFailoverStatus {
        match self.pair.find(self.protection, Operation::TestFailover) {
            Some(_) if self.test_failover_performed => TestFailoverStatus::Performed,
            Some(_) => TestFailoverStatus::Recommended,
            None => TestFailoverStatus::NotApplicable,
        }
    }

    fn health(&self, warning: Option<&String>) -> Health {
        use contract::Phase::{CommitPending, Committed, InitialReplication, Protected, Stopped};
        if self.sync_incomplete {
            return Health::Critical;
        }
        match (self.protection.phase, &self.trouble, warning) {
            (CommitPending | Committed, ..) => Health::NotApplicable,
            (Stopped, ..) | (_, Some(_), _) => Health::Critical,
            (Protected, None, Some(_)) => Health::Warning,
            (InitialReplication | Protected, None, _) => Health::Healthy,
        }
    }

    /// What is not as it should be although replication runs: data older than the threshold (MO-01), a
    /// resynchronisation, or an application that did not come to rest.
    fn warning(&self, policy: &Policy, now: Timestamp) -> Option<String> {
        let received = self.replica.as_ref().and_then(Replica::received_at);
        let age = received.map(|received| now.since(received)).filter(|age| *age > policy.rpo_threshold);
        let behind =
            age.map(|age| format!("the newest data is {age} old; the threshold is {}", policy.rpo_threshold));
        let resync = self.replica.as_ref().and_then(|replica| replica.resynchronising).map(resync::told);
        behind.or(resync).or_else(|| self.warning.clone())
    }
}

/// An item at run time.
pub(crate) struct Item {
    pub(crate) id: ItemId,
    pub(crate) record: Mutex<Record>,
    /// Changes with every change of the record, to wake who watches.
    pub(crate) changed: watch::Sender<u64>,
    pub(crate) engine: Mutex<Option<Engine>>,
    /// The job that holds the item.
    pub(crate) job: std::sync::Mutex<Option<JobId>>,
    /// One processes at a time: the processor, or a failover that wants the latest.
    pub(crate) processing: Mutex<()>,
    /// Whether its tasks run; those of its group take it along only then.
    pub(crate) replicating: AtomicBool,
    /// Held while a transfer of it is under way.
    pub(crate) receiving: Arc<Mutex<()>>,
    /// Number of the transfer that landed last, to wake the processor.
    pub(crate) landed: watch::Sender<u64>,
}

impl Item {
    pub(crate) fn new(record: Record) -> Self {
        let (changed, _) = watch::channel(0);
        Self {
            id: record.id.clone(),
            record: Mutex::new(record),
            changed,
            engine: Mutex::default(),
            job: std::sync::Mutex::default(),
            processing: Mutex::default(),
            replicating: AtomicBool::new(false),
            receiving: Arc::default(),
            landed: watch::Sender::new(0),
        }
    }

    pub(crate) fn holder(&self) -> Option<JobId> {
        self.job.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    pub(crate) fn set_holder(&self, job: Option<JobId>) {
        *self.job.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = job;
    }

    pub(crate) async fn view(&self, policy: PolicyView, now: Timestamp) -> ItemView {
        let record = self.record.lock().await.clone();
        let warning = record.warning(&policy.policy, now);
        let job = self.holder();
        let allowed = if job.is_some() { Vec::new() } else { allowed(&record) };
        let offer = |replica| offered(replica, &policy.policy, now).collect();
        let mut points: Vec<_> = record.replica.as_ref().map(offer).unwrap_or_default();
        let landed = record.replica.iter().flat_map(|replica| &replica.landed);
        points.extend(landed.map(|landed| RecoveryPoint {
            id: landed.name(&record.id),
            time: landed.time,
            consistency: landed.consistency,
            processed: false,
            multi_vm: landed.multi_vm.clone(),
            change_id: landed.change.clone(),
            transferred: contract::Bytes(landed.bytes),
            volumes: Vec::new(),
        }));
        ItemView {
            health: record.health(warning.as_ref()),
            test_failover_status: record.test_failover_status(),
            test_failover: record.test_failover.as_ref().map(|test_failover| test_failover.machine.clone()),
            synchronisation_incomplete: record.sync_incomplete,
            trouble: record.trouble.clone().or(warning).unwrap_or_default(),
            id: record.id,
            protection: record.protection,
            primary: record.primary,
            recovery: record.recovery,
            allowed,
            job,
            policy,
            group: record.group,
            points,
            failed_over_to: record.failed_over_to,
            target: record.target,
            issues: record.issues,
            resynchronisations: record.replica.map(|replica| replica.resynchronised).unwrap_or_default(),
        }
    }
}

/// What may be asked of an item that no job holds.
fn allowed(record: &Record) -> Vec<Operation> {
    let mut allowed = record.pair.allowed(record.protection);
    // These two are answers to a job that waits or runs.
    allowed.retain(|op| !matches!(op, Operation::CompleteFailover | Operation::CancelFailover));
    let pointless =
        if record.test_failover.is_some() { Operation::TestFailover } else { Operation::TestFailoverCleanup };
    allowed.retain(|op| *op != pointless && !(record.committing && *op == Operation::ChangePoint));
    // A replication group is reprotected as a whole, by a plan (EX-R13).
    allowed.retain(|op| *op != Operation::Reprotect || record.group.is_none());
    allowed
}
