//! Where a machine's disks hang: on itself or on a master target, on its own volumes or on snapshots of them.

use contract::{ComponentId, MachineId, PlatformError, PlatformErrorKind as Kind, VolumeId};

use crate::SimSite;
use crate::state::State;

impl SimSite {
    /// Takes a snapshot of a machine that is off: from then on it writes to deltas.
    ///
    /// # Errors
    /// There is no such machine, it runs, or the deltas cannot be made.
    pub fn snapshot_machine(&self, machine: &MachineId) -> Result<(), PlatformError> {
        for (index, below) in self.resting_disks(machine)?.into_iter().enumerate() {
            let number = self.with(|state| state.next(machine));
            let above = VolumeId(format!("{below}-snapshot-{number}"));
            self.add_delta(&above, &below)?;
            self.with(|state| hang(state, machine, index, &above));
        }
        Ok(())
    }

    pub(crate) async fn flatten(&self, machine: &MachineId) -> Result<(), PlatformError> {
        self.components().merge_snapshots(machine).map_err(self.denied())?;
        for (index, top) in self.resting_disks(machine)?.into_iter().enumerate() {
            let chain = self.with(|state| state.store.chain(&top));
            let Some(base) = chain.last().filter(|base| **base != top) else { continue };
            self.merge(&top, base).await?;
            self.with(|state| hang(state, machine, index, base));
        }
        Ok(())
    }

    pub(crate) fn hang_disks(
        &self,
        machine: &MachineId,
        to: Option<&ComponentId>,
    ) -> Result<(), PlatformError> {
        let done = match to {
            Some(target) => self.components().lend(machine, &self.resting_disks(machine)?, target),
            None => {
                let disks = self.with(|state| self.volumes_of(state, machine))?;
                self.components().give_back(machine, &disks)
            }
        };
        done.map_err(self.denied())
    }

    fn volumes_of(&self, state: &State, machine: &MachineId) -> Result<Vec<VolumeId>, PlatformError> {
        let record = state.machines.get(machine).ok_or_else(|| self.unknown("machine", machine))?;
        Ok(record.spec.disks.iter().map(|(_, volume)| volume.clone()).collect())
    }

    fn resting_disks(&self, machine: &MachineId) -> Result<Vec<VolumeId>, PlatformError> {
        let now = self.clock().micros();
        self.with(|state| {
            state.finish_shutdowns(now);
            if state.is_running(machine) {
                let text = format!("machine {machine} runs; switch it off first");
                return Err(self.refuse(Kind::WrongPowerState, text));
            }
            self.volumes_of(state, machine)
        })
    }
}

/// Puts a disk of a machine onto another volume.
fn hang(state: &mut State, machine: &MachineId, index: usize, volume: &VolumeId) {
    let record = state.machines.get_mut(machine);
    let Some((_, hangs)) = record.and_then(|record| record.spec.disks.get_mut(index)) else { return };
    let before = std::mem::replace(hangs, volume.clone());
    if let Some(users) = state.users.get_mut(&before) {
        users.remove(machine);
        if users.is_empty() {
            state.users.remove(&before);
        }
    }
    state.users.entry(volume.clone()).or_default().insert(machine.clone());
}
