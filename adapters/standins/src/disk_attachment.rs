//! Where a machine's disks hang: on itself or on a master target, on its own volumes or on snapshots of them.

use contract::{ComponentId, MachineId, PlatformError, PlatformErrorKind as Kind, VolumeId};

use crate::StandInSite;

impl StandInSite {
    /// Takes a snapshot of a machine that is off: from then on it writes to deltas.
    ///
    /// # Errors
    /// There is no such machine, it runs, or the deltas cannot be made.
    pub async fn snapshot_machine(&self, machine: &MachineId) -> Result<(), PlatformError> {
        for (index, below) in self.resting_disks(machine).await?.into_iter().enumerate() {
            let number = self.state.lock().await.next();
            let above = VolumeId(format!("{below}-snapshot-{number}"));
            self.add_delta(&above, &below).await?;
            self.hang(machine, index, above).await;
        }
        Ok(())
    }

    pub(crate) async fn flatten(&self, machine: &MachineId) -> Result<(), PlatformError> {
        self.components.merge_snapshots(machine).map_err(self.denied())?;
        for (index, top) in self.resting_disks(machine).await?.into_iter().enumerate() {
            let chain = self.state.lock().await.chain(&top);
            let Some(base) = chain.last().filter(|base| **base != top) else { continue };
            self.merge(&top, base).await?;
            self.hang(machine, index, base.clone()).await;
        }
        Ok(())
    }

    pub(crate) async fn hang_disks(
        &self,
        machine: &MachineId,
        to: Option<&ComponentId>,
    ) -> Result<(), PlatformError> {
        let done = match to {
            Some(target) => {
                let disks = self.resting_disks(machine).await?;
                self.components.lend(machine, &disks, target)
            }
            None => self.components.give_back(machine, &self.volumes_of(machine).await?),
        };
        done.map_err(self.denied())
    }

    async fn volumes_of(&self, machine: &MachineId) -> Result<Vec<VolumeId>, PlatformError> {
        let state = self.state.lock().await;
        let record = state.machines.get(machine).ok_or_else(|| self.unknown("machine", machine))?;
        Ok(record.spec.disks.iter().map(|(_, volume)| volume.clone()).collect())
    }

    async fn resting_disks(&self, machine: &MachineId) -> Result<Vec<VolumeId>, PlatformError> {
        if self.running_boot(machine).await?.is_some() {
            return Err(
                self.refuse(Kind::WrongPowerState, format!("machine {machine} runs; switch it off first"))
            );
        }
        self.volumes_of(machine).await
    }

    async fn hang(&self, machine: &MachineId, index: usize, volume: VolumeId) {
        if let Some(record) = self.state.lock().await.machines.get_mut(machine)
            && let Some((_, hangs)) = record.spec.disks.get_mut(index)
        {
            *hangs = volume;
        }
    }
}
