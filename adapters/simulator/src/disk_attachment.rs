//! Attaching a machine's disks: to the machine or to a master target, and to its own volumes or to
//! snapshots of them.

use contract::{ComponentId, MachineId, PlatformError, PlatformErrorKind as Kind, VolumeId};

use inventory::{base_below, reattach, snapshot_above};

use crate::SimSite;
use crate::state::State;

impl SimSite {
    /// Takes a snapshot of a machine that is off; from then on it writes to deltas.
    ///
    /// # Errors
    /// There is no such machine, it is running, or the deltas cannot be created.
    pub fn snapshot_machine(&self, machine: &MachineId) -> Result<(), PlatformError> {
        for (index, below) in self.offline_disks(machine)?.into_iter().enumerate() {
            let number = self.with(|state| state.next(machine));
            let above = snapshot_above(&below, number);
            self.add_delta(&above, &below)?;
            self.with(|state| attach(state, machine, index, &above));
        }
        Ok(())
    }

    pub(crate) async fn merge_machine_snapshots(&self, machine: &MachineId) -> Result<(), PlatformError> {
        self.components().check_snapshot_merge(machine).map_err(self.denied())?;
        for (index, top) in self.offline_disks(machine)?.into_iter().enumerate() {
            let Some(base) = self.with(|state| base_below(&state.store, &top)) else { continue };
            self.merge(&top, &base).await?;
            self.with(|state| attach(state, machine, index, &base));
        }
        Ok(())
    }

    pub(crate) fn attach_disks(
        &self,
        machine: &MachineId,
        to: Option<&ComponentId>,
    ) -> Result<(), PlatformError> {
        let done = match to {
            Some(target) => {
                let disks = self.offline_disks(machine)?;
                self.components().attach_to_master_target(machine, &disks, target)
            }
            None => {
                let disks = self.with(|state| self.volumes_of(state, machine))?;
                self.components().detach_from_master_target(machine, &disks)
            }
        };
        done.map_err(self.denied())
    }

    fn volumes_of(&self, state: &State, machine: &MachineId) -> Result<Vec<VolumeId>, PlatformError> {
        let record = state.machines.get(machine).ok_or_else(|| self.unknown("machine", machine))?;
        Ok(inventory::volumes_of(&record.spec))
    }

    pub(crate) fn offline_disks(&self, machine: &MachineId) -> Result<Vec<VolumeId>, PlatformError> {
        let now = self.clock().micros();
        self.with(|state| {
            state.finish_shutdowns(now);
            if state.is_running(machine) {
                let text = format!("machine {machine} is running; shut it down first");
                return Err(self.refuse(Kind::WrongPowerState, text));
            }
            self.volumes_of(state, machine)
        })
    }
}

/// Attaches another volume to a machine as its disk number `index`.
fn attach(state: &mut State, machine: &MachineId, index: usize, volume: &VolumeId) {
    let Some(record) = state.machines.get_mut(machine) else { return };
    let Some(before) = reattach(&mut record.spec, index, volume) else { return };
    if let Some(users) = state.users.get_mut(&before) {
        users.remove(machine);
        if users.is_empty() {
            state.users.remove(&before);
        }
    }
    state.users.entry(volume.clone()).or_default().insert(machine.clone());
}
