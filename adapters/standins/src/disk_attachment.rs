//! Attaching a machine's disks: to the machine or to a master target, and to its own volumes or to
//! snapshots of them.

use contract::{ComponentId, MachineId, PlatformError, PlatformErrorKind as Kind, VolumeId};

use inventory::{base_below, reattach, snapshot_above};

use crate::StandInSite;

impl StandInSite {
    /// Takes a snapshot of a machine that is off; from then on it writes to deltas.
    ///
    /// # Errors
    /// There is no such machine, it is running, or the deltas cannot be created.
    pub async fn snapshot_machine(&self, machine: &MachineId) -> Result<(), PlatformError> {
        for (index, below) in self.offline_disks(machine).await?.into_iter().enumerate() {
            let number = self.state.lock().await.next();
            let above = snapshot_above(&below, number);
            self.add_delta(&above, &below).await?;
            self.attach(machine, index, &above).await;
        }
        Ok(())
    }

    pub(crate) async fn merge_machine_snapshots(&self, machine: &MachineId) -> Result<(), PlatformError> {
        self.components.check_snapshot_merge(machine).map_err(self.denied())?;
        for (index, top) in self.offline_disks(machine).await?.into_iter().enumerate() {
            let Some(base) = base_below(&*self.state.lock().await, &top) else { continue };
            self.merge(&top, &base).await?;
            self.attach(machine, index, &base).await;
        }
        Ok(())
    }

    pub(crate) async fn attach_disks(
        &self,
        machine: &MachineId,
        to: Option<&ComponentId>,
    ) -> Result<(), PlatformError> {
        let done = match to {
            Some(target) => {
                let disks = self.offline_disks(machine).await?;
                self.components.attach_to_master_target(machine, &disks, target)
            }
            None => {
                let disks = self.volumes_of(machine).await?;
                self.components.detach_from_master_target(machine, &disks)
            }
        };
        done.map_err(self.denied())
    }

    async fn volumes_of(&self, machine: &MachineId) -> Result<Vec<VolumeId>, PlatformError> {
        let state = self.state.lock().await;
        let record = state.machines.get(machine).ok_or_else(|| self.unknown("machine", machine))?;
        Ok(inventory::volumes_of(&record.spec))
    }

    async fn offline_disks(&self, machine: &MachineId) -> Result<Vec<VolumeId>, PlatformError> {
        if self.running_boot(machine).await?.is_some() {
            return Err(self
                .refuse(Kind::WrongPowerState, format!("machine {machine} is running; shut it down first")));
        }
        self.volumes_of(machine).await
    }

    /// Attaches another volume to a machine as its disk number `index`.
    async fn attach(&self, machine: &MachineId, index: usize, volume: &VolumeId) {
        if let Some(record) = self.state.lock().await.machines.get_mut(machine) {
            reattach(&mut record.spec, index, volume);
        }
    }
}
