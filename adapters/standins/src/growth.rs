//! Disks that grow while their machine runs, as their owner may let them.

use std::sync::Arc;

use contract::{Bytes, DiskId, MachineId, PlatformError, PlatformErrorKind as Kind};

use crate::boot::role;
use crate::{Boot, StandInSite};

impl StandInSite {
    /// Grows a disk of a running machine, between two snapshots of the site. From then on the
    /// machine's last boot has the disk with the new size; what is new of it held zeroes before the
    /// guest wrote there.
    pub(crate) async fn grow_disk(
        &self,
        machine: &MachineId,
        disk: &DiskId,
        to: Bytes,
    ) -> Result<(), PlatformError> {
        let _blocked = self.block_snapshots().await?;
        let mut state = self.state.lock().await;
        let record = state.machines.get_mut(machine).ok_or_else(|| self.unknown("machine", machine))?;
        let off = || self.refuse(Kind::WrongPowerState, format!("machine {machine} is off"));
        let boot = record.running().cloned().ok_or_else(off)?;
        let mut disks = boot.disks.clone();
        let grown = disks.iter_mut().find(|known| known.id == *disk);
        let grown = grown.ok_or_else(|| self.unknown("disk", disk))?;
        boot.guest.grow_disk(role(disk), to.0).await.map_err(self.failed("grow a disk"))?;
        grown.bytes = to.0;
        std::fs::OpenOptions::new()
            .write(true)
            .open(&grown.base)
            .and_then(|base| base.set_len(to.0))
            .map_err(|error| self.refuse(Kind::Failed, format!("{}: {error}", grown.base)))?;
        record.last_boot = Some(Arc::new(Boot {
            machine: boot.machine.clone(),
            number: boot.number,
            profile: boot.profile.clone(),
            guest: Arc::clone(&boot.guest),
            disks,
            capture_time: boot.capture_time,
            dir: boot.dir.clone(),
        }));
        let volume = record.spec.disks.iter().find(|(id, _)| id == disk).map(|(_, volume)| volume.clone());
        if let Some(volume) = volume.and_then(|volume| state.volumes.get_mut(&volume)) {
            volume.bytes = to.0;
        }
        Ok(())
    }
}
