//! Snapshots of physical servers, taken by the agent inside.
//!
//! The agent takes the snapshot and serves it over the machine's network. Its record of changes is
//! lost when it ends, and the disks of a machine that is off cannot be read. In the first case the
//! core has to compare the disks.

use std::sync::Arc;
use std::time::Duration;

use agent::protocol::{Answer, CHANGED, Disk, NBD_PORT, Question};
use contract::{
    Acknowledge, Bytes, ChangeId, ChangesUnavailable, Consistency, DiskId, DiskSnapshot, MachineId,
    PlatformError, PlatformErrorKind as Kind, SnapshotDisk, SnapshotId, SnapshotRequest,
};
use harness::machine::disk_serial;
use harness::relay::Upstream;

use crate::agent_link::{agent_error, ask, reach};
use crate::boot::role;
use crate::snapshots::now;
use crate::state::{SnapshotRecord, SnapshotSource};
use crate::{Boot, StandInSite};

/// Whether both snapshots were taken by the same start of the agent: a change id is the id of the
/// start and a number. Such an agent has lost nothing, so changes that it does not know overflowed
/// its store.
fn same_start(one: &ChangeId, other: &ChangeId) -> bool {
    let start = |moment: &ChangeId| moment.0.rsplit_once('-').map(|(start, _)| start.to_owned());
    start(one).is_some() && start(one) == start(other)
}

impl StandInSite {
    pub(crate) async fn request_snapshot(
        &self,
        machine: &MachineId,
        since: Option<&ChangeId>,
    ) -> Result<DiskSnapshot, PlatformError> {
        let (boot, disks) = self.seen_by_agent(machine).await?;
        let question = Question::Open { since: since.map(|id| id.0.clone()) };
        let failed = || self.failed("take a snapshot through the agent");
        // Without the site's lock, so that a fault can be injected meanwhile.
        let opened = async {
            reach(&boot.guest).await?;
            // Before the agent freezes the disks, so that everything acknowledged until then is in
            // the snapshot.
            let taken_at = now();
            Ok((taken_at, ask(&boot.guest, question).await?))
        };
        let (taken_at, answer) = opened.await.map_err(failed())?;
        let Answer::DiskSnapshot { change, tells_changes, disks: shown } = answer else {
            return Err(failed()(agent_error(
                &boot.guest,
                &format!("answered {answer:?} to a request for a snapshot"),
            )));
        };
        tracing::debug!(%machine, change, tells_changes, "the agent took a snapshot");
        let id = SnapshotId(format!("snapshot-{}", self.state.lock().await.next()));
        let change = ChangeId(change);
        let disks = disks.iter().map(|id| self.show_disk(&boot, id, &shown, tells_changes));
        let disks = disks.collect::<Result<_, _>>()?;
        let mut state = self.state.lock().await;
        let record = SnapshotRecord {
            machine: machine.clone(),
            change: change.clone(),
            since: since.cloned(),
            source: SnapshotSource::Agent { boot: boot.number },
        };
        state.snapshots.insert(id.clone(), record);
        if let Some(machine) = state.machines.get_mut(machine) {
            machine.snapshots_taken += 1;
        }
        let why = if since.is_some_and(|since| same_start(since, &change)) {
            ChangesUnavailable::LogFull
        } else {
            ChangesUnavailable::RecordLost
        };
        let mut snapshot = DiskSnapshot { id, taken_at, change_id: change, disks, changes_unavailable: None };
        state.record_answer_about_changes(machine, since.is_some(), why, &mut snapshot);
        Ok(snapshot)
    }

    /// Takes a snapshot of one machine. Agents do not know each other, so they cannot take
    /// snapshots of several machines at one moment.
    pub(crate) async fn request_snapshots(
        &self,
        request: &SnapshotRequest,
    ) -> Result<Vec<DiskSnapshot>, PlatformError> {
        let [(machine, since)] = request.machines.as_slice() else {
            let text = "agents of several machines cannot take snapshots at one moment; take them one by one";
            return Err(self.refuse(Kind::Unsupported, text));
        };
        if request.consistency == Consistency::App {
            let text = format!("the agent of {machine} cannot quiesce applications");
            return Err(self.refuse(Kind::NotQuiesced, text));
        }
        Ok(vec![self.request_snapshot(machine, since.as_ref()).await?])
    }

    /// The running boot of a machine, and its disks.
    async fn seen_by_agent(&self, machine: &MachineId) -> Result<(Arc<Boot>, Vec<DiskId>), PlatformError> {
        let state = self.state.lock().await;
        let record = state.machines.get(machine).ok_or_else(|| self.unknown("machine", machine))?;
        let boot = record.running().cloned().ok_or_else(|| {
            let text = format!("machine {machine} is off, so its agent cannot serve its disks; power it on");
            self.refuse(Kind::WrongPowerState, text)
        })?;
        Ok((boot, record.spec.disks.iter().map(|(id, _)| id.clone()).collect()))
    }

    fn show_disk(
        &self,
        boot: &Boot,
        id: &DiskId,
        shown: &[Disk],
        tells_changes: bool,
    ) -> Result<SnapshotDisk, PlatformError> {
        let serial = disk_serial(role(id));
        let disk = shown.iter().find(|disk| disk.serial == serial);
        let (Some(disk), Some(port)) = (disk, boot.guest.forward(NBD_PORT)) else {
            let seen: Vec<_> = shown.iter().map(|disk| disk.serial.as_str()).collect();
            let text =
                format!("the agent serves disks {seen:?} but not {serial}, or its port is not forwarded");
            return Err(self.refuse(Kind::Failed, text));
        };
        Ok(SnapshotDisk {
            id: id.clone(),
            size: Bytes(disk.bytes),
            uri: self.over_link(&serial, Upstream::Tcp(format!("127.0.0.1:{port}")))?,
            changed: tells_changes.then(|| CHANGED.to_owned()),
        })
    }

    pub(crate) async fn report_snapshot_closed(
        &self,
        machine: &MachineId,
        boot: u32,
        change: &ChangeId,
        acknowledge: Acknowledge,
    ) -> Result<(), PlatformError> {
        // The snapshot ended with the boot in which it was taken.
        let running = self.running_boot(machine).await?.filter(|running| running.number == boot);
        let Some(running) = running else { return Ok(()) };
        let question =
            Question::Close { change: change.0.clone(), acknowledge: acknowledge == Acknowledge::Advance };
        ask(&running.guest, question).await.map(drop).map_err(self.failed("close a snapshot"))
    }

    pub(crate) async fn ask_to_forget(&self, machine: &MachineId) -> Result<(), PlatformError> {
        let running = {
            let state = self.state.lock().await;
            state.machines.get(machine).and_then(|record| record.running().cloned())
        };
        let Some(running) = running else { return Ok(()) };
        ask(&running.guest, Question::Forget).await.map(drop).map_err(self.failed("stop tracking"))
    }

    /// Asks the agent to shut the machine down. Writes made meanwhile are in no snapshot.
    pub(crate) async fn ask_to_shut_down(&self, boot: &Boot, within: Duration) -> Result<(), PlatformError> {
        let guest = &boot.guest;
        let asked = async { ask(guest, Question::ShutDown).await.map(drop) };
        guest.shut_down_by(within, asked).await.map_err(self.failed("shut down"))
    }
}
