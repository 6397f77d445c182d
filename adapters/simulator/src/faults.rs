//! Faults of a site, and injecting them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use contract::{Bytes, MachineId, Millis, PlatformErrorKind as Kind};
use nbd::Refusal;
use nbd::errno;

use crate::TrackerLie;

/// A method of the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is named after its method")]
pub enum Call {
    Site,
    Infrastructure,
    ConnectAgent,
    AttachToMasterTarget,
    DetachFromMasterTarget,
    MergeSnapshots,
    Machine,
    Machines,
    CreateMachine,
    DeleteMachine,
    Start,
    ShutDown,
    PowerOff,
    OpenSnapshot,
    OpenSnapshots,
    CloseSnapshot,
    StopTracking,
    Volume,
    CreateVolume,
    DeriveVolume,
    MergeVolumes,
    DeleteVolume,
    ExportVolume,
    CloseExport,
    CloseAll,
}

impl Call {
    /// All methods.
    pub const ALL: [Self; 25] = [
        Self::Site,
        Self::Infrastructure,
        Self::ConnectAgent,
        Self::AttachToMasterTarget,
        Self::DetachFromMasterTarget,
        Self::MergeSnapshots,
        Self::Machine,
        Self::Machines,
        Self::CreateMachine,
        Self::DeleteMachine,
        Self::Start,
        Self::ShutDown,
        Self::PowerOff,
        Self::OpenSnapshot,
        Self::OpenSnapshots,
        Self::CloseSnapshot,
        Self::StopTracking,
        Self::Volume,
        Self::CreateVolume,
        Self::DeriveVolume,
        Self::MergeVolumes,
        Self::DeleteVolume,
        Self::ExportVolume,
        Self::CloseExport,
        Self::CloseAll,
    ];
}

/// Makes calls of a method fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailCall {
    /// The method.
    pub call: Call,
    /// Number of the first call that fails, from 1 since the site was opened.
    pub nth: u64,
    /// How many calls fail.
    pub times: u64,
    /// Kind of the error that is returned.
    pub kind: Kind,
    /// Whether the call takes effect and only its answer is lost.
    pub takes_effect: bool,
}

impl FailCall {
    /// The `nth` call fails and has no effect.
    #[must_use]
    pub fn at(call: Call, nth: u64, kind: Kind) -> Self {
        Self { call, nth, times: 1, kind, takes_effect: false }
    }

    /// The call takes effect, and only its answer is lost.
    #[must_use]
    pub fn after_its_effect(self) -> Self {
        Self { takes_effect: true, ..self }
    }

    /// All later calls fail as well, until the fault is healed.
    #[must_use]
    pub fn from_then_on(self) -> Self {
        Self { times: u64::MAX, ..self }
    }

    fn hits(&self, call: Call, number: u64) -> bool {
        self.call == call && number >= self.nth && number - self.nth < self.times
    }
}

/// A fault, which lasts until [`SimSite::heal`](crate::SimSite::heal).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SimFault {
    /// The power of the whole site fails: guests end immediately, no call is answered, and open
    /// snapshots and exports are lost.
    SiteLost,
    /// Snapshots cannot be read, but calls are still answered.
    LinkCut,
    /// Only this many more bytes can be stored through exports. At 0 no volume can be created
    /// either.
    Full(Bytes),
    /// The nth read of a snapshot from now on fails, once.
    ReadError(u64),
    /// The nth write through an export from now on fails, once.
    WriteError(u64),
    /// Calls fail.
    Call(FailCall),
    /// A guest ignores requests to shut down, in this boot and later ones.
    ShutdownRefused(MachineId),
    /// The applications in a guest cannot be quiesced, in this boot and later ones.
    QuiesceRefused(MachineId),
    /// A running guest hangs: it writes nothing and does not shut down.
    GuestHangs(MachineId),
    /// Snapshots name the changes of the first disk of each machine only.
    FirstDiskTracked,
    /// Snapshots fail when they are asked for changes.
    TrackerFails,
    /// Snapshots say that they have a list of changes, and do not have it.
    NoListOfChanges,
    /// Snapshots name changes that are wrong.
    TrackerLies(TrackerLie),
    /// What administrators do to disks leaves the record of changes as it was.
    EventsUnnoticed,
    /// Maps of allocation say that the second half of each disk of a snapshot holds no data.
    AllocationLies,
    /// As [`Self::SiteLost`], when the next call of this method comes, which has no effect.
    LostAt(Call),
    /// The site answers no call any more from the next one of this method on, which still takes
    /// effect. Its machines run on.
    CutFrom(Call),
}

/// The link out of a site, over which snapshots are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Time to open a snapshot, and to close it.
    pub latency: Millis,
    /// Bandwidth for content, charged when the snapshot is closed; 0: unlimited.
    pub bytes_per_second: u64,
    /// Every how many reads of a snapshot one fails; 0: none.
    pub lose_every: u64,
}

impl Link {
    /// Time to transfer `bytes`.
    pub(crate) fn takes(&self, bytes: u64) -> Millis {
        let moving = bytes.saturating_mul(1000).checked_div(self.bytes_per_second).unwrap_or(0);
        Millis(self.latency.0 + moving)
    }
}

/// The current faults of a site.
#[derive(Debug)]
pub(crate) struct Faults(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    link: Link,
    lost: bool,
    cut: bool,
    room: Option<u64>,
    first_disk_tracked: bool,
    tracker_fails: bool,
    no_list_of_changes: bool,
    tracker_lie: Option<TrackerLie>,
    events_unnoticed: bool,
    allocation_lies: bool,
    lost_at: Vec<Call>,
    cut_from: Option<Call>,
    silent: bool,
    calls: BTreeMap<Call, u64>,
    failing: Vec<FailCall>,
    /// Reads left until one fails; the next field counts writes.
    read_error: Option<u64>,
    write_error: Option<u64>,
}

/// An injected failure of one call.
#[derive(Clone, Copy)]
pub(crate) struct Failing {
    pub(crate) number: u64,
    pub(crate) fault: FailCall,
}

impl Faults {
    pub(crate) fn new(link: Link) -> Self {
        Self(Mutex::new(Inner { link, ..Inner::default() }))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a fault of the site; faults of its guests are ignored.
    pub(crate) fn apply(&self, fault: &SimFault) {
        let mut inner = self.inner();
        match fault {
            SimFault::SiteLost => inner.lost = true,
            SimFault::LinkCut => inner.cut = true,
            SimFault::Full(room) => inner.room = Some(room.0),
            SimFault::ReadError(nth) => inner.read_error = Some(*nth),
            SimFault::WriteError(nth) => inner.write_error = Some(*nth),
            SimFault::Call(failing) => inner.failing.push(*failing),
            SimFault::FirstDiskTracked => inner.first_disk_tracked = true,
            SimFault::TrackerFails => inner.tracker_fails = true,
            SimFault::NoListOfChanges => inner.no_list_of_changes = true,
            SimFault::TrackerLies(lie) => inner.tracker_lie = Some(*lie),
            SimFault::EventsUnnoticed => inner.events_unnoticed = true,
            SimFault::AllocationLies => inner.allocation_lies = true,
            SimFault::LostAt(call) => inner.lost_at.push(*call),
            SimFault::CutFrom(call) => inner.cut_from = Some(*call),
            SimFault::ShutdownRefused(_) | SimFault::QuiesceRefused(_) | SimFault::GuestHangs(_) => {}
        }
    }

    /// Ends all faults; the counts of calls continue.
    pub(crate) fn heal(&self) {
        let mut inner = self.inner();
        *inner = Inner { link: inner.link, calls: std::mem::take(&mut inner.calls), ..Inner::default() };
    }

    pub(crate) fn restore(&self) {
        self.inner().lost = false;
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.inner().lost
    }

    /// Whether the site has to be lost at this call. It is so once.
    pub(crate) fn strikes_at(&self, call: Call) -> bool {
        let mut inner = self.inner();
        let strikes = inner.lost_at.contains(&call);
        if strikes {
            inner.lost_at.clear();
        }
        strikes
    }

    /// Whether the site answers no calls.
    pub(crate) fn is_silent(&self) -> bool {
        self.inner().silent
    }

    /// Makes the site answer no calls, if it has to from this one on. It does so once.
    pub(crate) fn cut_after(&self, call: Call) {
        let mut inner = self.inner();
        let cuts = inner.cut_from.take_if(|from| *from == call).is_some();
        inner.silent |= cuts;
    }

    /// Whether a snapshot names the changes of a machine's disk with this number.
    pub(crate) fn names_changes_of(&self, disk: usize) -> bool {
        disk == 0 || !self.inner().first_disk_tracked
    }

    /// Whether the list of changes that a snapshot speaks of is there.
    pub(crate) fn has_list_of_changes(&self) -> bool {
        !self.inner().no_list_of_changes
    }

    /// How the record of changes is wrong.
    pub(crate) fn tracker_lie(&self) -> Option<TrackerLie> {
        self.inner().tracker_lie
    }

    /// Whether the site notices what administrators do to disks.
    pub(crate) fn notices_events(&self) -> bool {
        !self.inner().events_unnoticed
    }

    /// Whether maps of allocation are wrong.
    pub(crate) fn allocation_lies(&self) -> bool {
        self.inner().allocation_lies
    }

    /// Fails if snapshots cannot be asked for changes.
    pub(crate) fn tracker_answers(&self) -> Result<(), Refusal> {
        if self.inner().tracker_fails {
            return Err(Refusal::new("the changes cannot be read", errno::EIO));
        }
        Ok(())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.inner().room == Some(0)
    }

    pub(crate) fn link(&self) -> Link {
        self.inner().link
    }

    pub(crate) fn set_link(&self, link: Link) {
        self.inner().link = link;
    }

    pub(crate) fn calls(&self, call: Call) -> u64 {
        self.inner().calls.get(&call).copied().unwrap_or(0)
    }

    /// Counts a call, and returns the failure injected into it, if there is one.
    pub(crate) fn count(&self, call: Call) -> Option<Failing> {
        let mut inner = self.inner();
        let number = inner.calls.entry(call).or_default();
        *number += 1;
        let number = *number;
        let fault = inner.failing.iter().find(|fault| fault.hits(call, number)).copied()?;
        Some(Failing { number, fault })
    }

    /// Fails if the `nth` read of a snapshot must fail.
    pub(crate) fn snapshot_read(&self, nth: u64) -> Result<(), Refusal> {
        let mut inner = self.inner();
        let lossy = inner.link.lose_every;
        if inner.lost || inner.cut || (lossy > 0 && nth.is_multiple_of(lossy)) {
            return Err(Refusal::new("the link is down", errno::ENOTCONN));
        }
        countdown(&mut inner.read_error, "read")
    }

    /// Fails if exports of volumes do not answer.
    pub(crate) fn export_answers(&self) -> Result<(), Refusal> {
        if self.inner().lost {
            return Err(Refusal::new("the site does not answer", errno::ENOTCONN));
        }
        Ok(())
    }

    /// Fails if a write through an export that needs `room` more bytes must fail; otherwise takes
    /// the space.
    pub(crate) fn export_write(&self, room: u64) -> Result<(), Refusal> {
        let mut inner = self.inner();
        countdown(&mut inner.write_error, "write")?;
        match &mut inner.room {
            Some(left) if *left < room => Err(Refusal::new("no space left at the site", errno::ENOSPC)),
            Some(left) => {
                *left -= room;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn countdown(left: &mut Option<u64>, what: &str) -> Result<(), Refusal> {
    match left {
        Some(0 | 1) => {
            *left = None;
            Err(Refusal::new(format!("the medium failed to {what}"), errno::EIO))
        }
        Some(more) => {
            *more -= 1;
            Ok(())
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_calls_fail() {
        let faults = Faults::new(Link::default());
        faults.apply(&SimFault::Call(FailCall { times: 2, ..FailCall::at(Call::Start, 2, Kind::Failed) }));
        faults.count(Call::PowerOff);
        let failed = [(); 5].map(|()| faults.count(Call::Start).is_some());
        assert_eq!(failed, [false, true, true, false, false]);
        assert_eq!(faults.calls(Call::Start), 5);
    }

    #[test]
    fn the_nth_write_fails_once_and_space_runs_out() {
        let faults = Faults::new(Link::default());
        faults.apply(&SimFault::WriteError(2));
        faults.apply(&SimFault::Full(Bytes(100)));
        let codes = [0, 0, 60, 60, 40].map(|room| faults.export_write(room).err().map(|e| e.errno));
        assert_eq!(codes, [None, Some(errno::EIO), None, Some(errno::ENOSPC), None]);
        assert!(faults.is_full());
        faults.heal();
        assert!(faults.export_write(1 << 40).is_ok());
    }

    #[test]
    fn a_transfer_takes_latency_and_bandwidth_into_account() {
        let link = Link { latency: Millis(20), bytes_per_second: 1000, lose_every: 0 };
        assert_eq!(link.takes(500), Millis(520));
        assert_eq!(Link::default().takes(u64::MAX), Millis(0));
    }
}
