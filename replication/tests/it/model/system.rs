//! The system under test: a core in a process that can be killed, between two simulated sites.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contract::{
    CoreError, Direction, FailoverRequest, ItemId, ItemView, JobId, JobState, JobView, MachineId, Millis,
    Platform, PlatformErrorKind, PointChoice, PowerState, ReplicationCore, Side, SiteId, TestFailoverRequest,
};
use simulator::testbed::{
    CoreParts, Setup, Testbed, TestbedError, cloud_machine, enable_request, item_of, test_machine,
};
use simulator::{Call, FailCall, Link, Load, SimBoot, SimFault, SimInstall, SimProcess, SimSite, SimWorld};

use crate::model::reference::Power;
use crate::model::rules::Kind;
use crate::model::step::{Ask, Choice, Disturbance};
use crate::support::open_core_over;

pub const MACHINE: &str = "web";
/// How long a snapshot takes to open or close, so that steps interrupt transfers.
const LATENCY: Millis = Millis(300);
const LOAD: Load =
    Load { record_every: Millis(3000), churn_every: Millis(7000), churn_bytes: 1024, ..Load::USUAL };
/// How many points are kept, so that merges are due often.
const KEPT: u32 = 3;
/// Time between the death of a process and the start of the next.
const DOWN: Millis = Millis(3000);

pub struct System {
    pub testbed: Testbed,
    pub process: Arc<SimProcess>,
    /// Calls that are yet to fail.
    armed: Vec<(Side, Call, u64)>,
    /// Whether a read or a write is yet to fail.
    media: bool,
}

impl System {
    /// A machine runs on the primary site and is not protected.
    pub async fn new(world: SimWorld, kind: Kind) -> Self {
        let process = SimProcess::new();
        let setup = Setup::of(kind.primary()).keeping(KEPT);
        let testbed = Testbed::open(world, setup, |parts| open(parts, &process)).unwrap();
        let link = Link { latency: LATENCY, ..Link::default() };
        testbed.primary.set_link(link);
        testbed.recovery.set_link(link);
        testbed.primary.install(&SimInstall { load: LOAD, ..SimInstall::new(MACHINE) }).unwrap();
        testbed.primary.start(&MACHINE.into()).await.unwrap();
        testbed.make_policy().await.unwrap();
        testbed.advance(Millis(10_000)).await;
        Self { testbed, process, armed: Vec::new(), media: false }
    }

    pub fn site(&self, side: Side) -> &Arc<SimSite> {
        match side {
            Side::Primary => &self.testbed.primary,
            Side::Recovery => &self.testbed.recovery,
        }
    }

    /// Name of the machine that serves on a side.
    pub fn machine(side: Side) -> MachineId {
        match side {
            Side::Primary => MACHINE.into(),
            Side::Recovery => cloud_machine(MACHINE),
        }
    }

    pub fn test_machine() -> MachineId {
        test_machine(MACHINE)
    }

    pub fn item_id() -> ItemId {
        item_of(MACHINE)
    }

    /// The power state of a machine, even if its site answers no call.
    pub fn power(&self, side: Side, machine: &MachineId) -> Power {
        match (self.site(side).spec(machine), self.site(side).last_boot(machine)) {
            (None, _) => Power::Absent,
            (Some(_), Some(boot)) if boot.ended().is_none() => Power::On,
            (Some(_), _) => Power::Off,
        }
    }

    pub fn boots(&self, side: Side) -> Vec<Arc<SimBoot>> {
        self.site(side).boots(&Self::machine(side))
    }

    /// Number of the last boot on a side; 0 if there was none.
    pub fn last_boot(&self, side: Side) -> u32 {
        self.boots(side).last().map_or(0, |boot| boot.number)
    }

    pub async fn item(&self) -> Option<ItemView> {
        self.testbed.core.item(&Self::item_id()).await.ok()
    }

    /// Makes a request. Returns the job that it starts; `None` if it starts none.
    pub async fn ask(&self, ask: Ask) -> Result<Option<JobId>, CoreError> {
        let core = &self.testbed.core;
        let item = Self::item_id();
        let view = self.item().await;
        let active = view.as_ref().map_or(Side::Primary, |view| view.protection.active);
        let towards =
            |wrong_direction| Direction::from_side(if wrong_direction { active.other() } else { active });
        let point = |choice| choose(view.as_ref(), choice);
        let job = match ask {
            Ask::Protect => core.enable_protection(&enable_request(MACHINE)).await?,
            Ask::FailOver(request) => {
                let request = FailoverRequest {
                    kind: request.kind,
                    point: point(request.point),
                    shut_down_source: request.shut_down,
                    data_sync: request.sync,
                    ..FailoverRequest::unplanned(&item, towards(request.wrong_direction))
                };
                core.failover(&request).await?
            }
            Ask::TestFailover(choice) => {
                core.test_failover(&TestFailoverRequest::isolated(&item, point(choice))).await?
            }
            Ask::CleanUp => core.clean_up_test_failover(&item).await?,
            Ask::ChangePoint(choice) => core.change_point(&item, &point(choice)).await?,
            Ask::Commit => core.commit(&item).await?,
            Ask::Reprotect { wrong_direction } => {
                core.reprotect(&self.testbed.reprotection(&item, towards(wrong_direction))).await?
            }
            Ask::Reverse => core.reverse_replicate(&item).await?,
            Ask::Disable => core.disable_protection(&item).await?,
            Ask::Complete => return core.complete_failover(&item).await.map(|()| None),
            Ask::Cancel => return core.cancel_failover(&item).await.map(|()| None),
        };
        Ok(Some(job))
    }

    /// Follows a job until it has ended or waits to be completed.
    pub async fn follow(&self, job: &JobId) -> Result<JobView, TestbedError> {
        self.testbed.until(job, |view| view.state == JobState::WaitingForCompletion).await
    }

    /// Whether the process is dead.
    pub async fn is_dead(&self) -> bool {
        tokio::time::timeout(Duration::from_millis(5), self.process.died()).await.is_ok()
    }

    /// Kills the process, and starts another one with a new core.
    pub async fn restart(&mut self) {
        self.process.kill();
        self.process.died().await;
        self.testbed.advance(DOWN).await;
        self.process = SimProcess::new();
        self.testbed.core = open(self.testbed.parts(), &self.process).unwrap();
        self.testbed.world.settle().await;
    }

    pub fn inject(&mut self, disturbance: Disturbance) {
        let side = disturbance.side();
        let fault = match disturbance {
            Disturbance::Call { call, takes_effect, .. } => {
                let call = Disturbance::call(call);
                let nth = self.site(side).calls(call) + 1;
                self.armed.push((side, call, nth));
                let fault = FailCall::at(call, nth, PlatformErrorKind::Unreachable);
                SimFault::Call(if takes_effect { fault.after_its_effect() } else { fault })
            }
            Disturbance::Read(_, nth) => SimFault::ReadError(nth.into()),
            Disturbance::Write(_, nth) => SimFault::WriteError(nth.into()),
            Disturbance::LinkCut(_) => SimFault::LinkCut,
            Disturbance::RefusesShutdown(_) => SimFault::ShutdownRefused(Self::machine(side)),
            Disturbance::Lost(_) => SimFault::SiteLost,
        };
        self.media |= matches!(disturbance, Disturbance::Read(..) | Disturbance::Write(..));
        self.site(side).inject(&fault);
    }

    pub fn heal(&mut self) {
        self.testbed.world.heal();
        self.armed.clear();
        self.media = false;
    }

    /// Whether a call, a read or a write is yet to fail.
    pub fn is_armed(&mut self) -> bool {
        let mut armed = std::mem::take(&mut self.armed);
        armed.retain(|(side, call, nth)| self.site(*side).calls(*call) < *nth);
        self.armed = armed;
        self.media || !self.armed.is_empty()
    }

    /// Starts a machine, as an operator does.
    pub async fn power_on(&self, side: Side) {
        let machine = Self::machine(side);
        // The call may fail, or its answer may be lost. Only the state afterwards counts.
        if self.site(side).start(&machine).await.is_ok() {
            let view = self.site(side).machine(&machine).await;
            assert!(view.is_err() || view.is_ok_and(|view| view.power == PowerState::On));
        }
    }
}

fn choose(view: Option<&ItemView>, choice: Choice) -> PointChoice {
    match choice {
        Choice::Latest => PointChoice::Latest,
        Choice::Processed => PointChoice::LatestProcessed,
        Choice::Oldest => {
            let oldest = view.and_then(|view| view.points.iter().find(|point| point.processed));
            oldest.map_or(PointChoice::LatestProcessed, |point| PointChoice::Custom(point.id.clone()))
        }
        Choice::NeverExisted => PointChoice::Custom("never-existed".into()),
    }
}

/// Opens a core whose calls to the primary and the recovery site belong to a process.
fn open(parts: CoreParts, process: &Arc<SimProcess>) -> Result<Arc<dyn ReplicationCore>, CoreError> {
    let of_process =
        |id: &str| -> (SiteId, Arc<dyn Platform>) { (id.into(), process.platform(&parts.sites[&id.into()])) };
    let platforms: BTreeMap<_, _> = ["primary", "recovery"].map(of_process).into();
    open_core_over(platforms, parts, None)
}
