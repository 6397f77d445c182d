//! What administrators do to a machine's disks without the core that replicates it.

use contract::{Bytes, DiskId, MachineId, Platform as _, PlatformError, PlatformErrorKind as Kind, VolumeId};

use crate::disk::{BOOT_PARTITION, Layout, SECTOR};
use crate::state::State;
use crate::{SimSite, Snapshot, boot_partition};

impl SimSite {
    /// Adds an empty disk to a machine that is off. Its guest uses it from the next boot on.
    ///
    /// # Errors
    /// There is no such machine, it is running, or it has such a disk.
    pub fn add_disk(&self, machine: &MachineId, disk: &DiskId, size: Bytes) -> Result<(), PlatformError> {
        self.offline_disks(machine)?;
        let volume = VolumeId(format!("{machine}-{disk}"));
        self.add_volume(&volume, size.0, None)?;
        self.with(|state| {
            if let Some(record) = state.machines.get_mut(machine) {
                record.spec.disks.push((disk.clone(), volume.clone()));
            }
            state.users.entry(volume).or_default().insert(machine.clone());
            self.lay_out_disks(state, machine)
        })
    }

    /// Makes a disk of a machine that is off larger. Its guest uses the new end from the next boot
    /// on.
    ///
    /// # Errors
    /// There is no such machine, it is running, or it has no such disk.
    pub fn grow_disk(&self, machine: &MachineId, disk: usize, by: Bytes) -> Result<(), PlatformError> {
        let volumes = self.offline_disks(machine)?;
        let volume = volumes.get(disk).ok_or_else(|| self.unknown("disk", &disk))?;
        self.with(|state| {
            state.store.grow(volume, by.0);
            self.lay_out_disks(state, machine)
        })
    }

    /// Removes the last disk of a machine that is off. Its volume stays.
    ///
    /// # Errors
    /// There is no such machine, it is running, or it has one disk only.
    pub fn remove_last_disk(&self, machine: &MachineId) -> Result<(), PlatformError> {
        if self.offline_disks(machine)?.len() < 2 {
            return Err(self.refuse(Kind::Failed, format!("machine {machine} has no second disk")));
        }
        self.with(|state| {
            self.detach_last(state, machine);
            self.lay_out_disks(state, machine)
        })
    }

    /// Replaces the last disk of a machine that is off by an empty one of the same name and size.
    /// The site knows no changes of the new one, or, if it does not notice, names none.
    ///
    /// # Errors
    /// There is no such machine, or it is running.
    pub fn replace_last_disk(&self, machine: &MachineId) -> Result<(), PlatformError> {
        self.offline_disks(machine)?;
        let replaced = self.with(|state| {
            let (disk, old) = self.detach_last(state, machine)?;
            let size = state.store.snapshot(&old).ok()?.size();
            let volume = VolumeId(format!("{old}-{}", state.next(machine)));
            Some((disk, old, volume, size))
        });
        let Some((disk, old, volume, size)) = replaced else { return Ok(()) };
        self.add_volume(&volume, size, None)?;
        self.with(|state| {
            if !self.faults().notices_events() {
                state.store.track_anew(&volume, &old);
            }
            if let Some(record) = state.machines.get_mut(machine) {
                record.spec.disks.push((disk, volume.clone()));
            }
            state.users.entry(volume).or_default().insert(machine.clone());
            self.lay_out_disks(state, machine)
        })
    }

    /// Moves a machine to another host while it runs. The site no longer knows what has changed
    /// since any moment, or, if it does not notice, takes everything for unchanged.
    ///
    /// # Errors
    /// There is no such machine.
    pub async fn migrate(&self, machine: &MachineId) -> Result<(), PlatformError> {
        let disks = self.machine(machine).await?.disks;
        if self.faults().notices_events() {
            return self.forget_changes(machine);
        }
        let now = self.clock().micros();
        self.with(|state| {
            state.catch_up(machine, now);
            disks.iter().for_each(|disk| state.store.track_anew(&disk.volume, &disk.volume));
        });
        Ok(())
    }

    /// Puts the disks of a machine that is off back to what they held at an earlier moment. The
    /// site no longer knows what has changed since any moment, unless it does not notice.
    ///
    /// # Errors
    /// There is no such machine, it is running, or its disks have other sizes.
    pub fn revert_disks(&self, machine: &MachineId, disks: &[Snapshot]) -> Result<(), PlatformError> {
        for (volume, earlier) in self.offline_disks(machine)?.iter().zip(disks) {
            self.change_offline(|state| {
                let now = state.store.snapshot(volume)?;
                for offset in now.differences(earlier, SECTOR) {
                    state.store.write(volume, offset, &earlier.bytes(offset, SECTOR))?;
                }
                Ok(())
            })?;
        }
        self.forget_if_noticed(machine)
    }

    /// Changes disks of a machine that is off, and records the changes if the site notices them.
    fn change_offline(
        &self,
        change: impl FnOnce(&mut State) -> Result<(), String>,
    ) -> Result<(), PlatformError> {
        let changed = self.with(|state| {
            state.store.record_changes(self.faults().notices_events());
            let changed = change(state);
            state.store.record_changes(true);
            changed
        });
        changed.map_err(|broken| self.refuse(Kind::Failed, broken))
    }

    fn forget_if_noticed(&self, machine: &MachineId) -> Result<(), PlatformError> {
        match self.faults().notices_events() {
            true => self.forget_changes(machine),
            false => Ok(()),
        }
    }

    /// Writes to a disk of a machine that is off. The site no longer knows what has changed since
    /// any moment, unless it does not notice.
    ///
    /// # Errors
    /// There is no such machine, it is running, or it has no such disk.
    pub fn edit_disk(
        &self,
        machine: &MachineId,
        disk: usize,
        offset: u64,
        data: &[u8],
    ) -> Result<(), PlatformError> {
        let volumes = self.offline_disks(machine)?;
        let volume = volumes.get(disk).ok_or_else(|| self.unknown("disk", &disk))?;
        self.change_offline(|state| state.store.write(volume, offset, data))?;
        self.forget_if_noticed(machine)
    }

    fn detach_last(&self, state: &mut State, machine: &MachineId) -> Option<(DiskId, VolumeId)> {
        let (disk, volume) = state.machines.get_mut(machine)?.spec.disks.pop()?;
        if let Some(users) = state.users.get_mut(&volume) {
            users.remove(machine);
            if users.is_empty() {
                state.users.remove(&volume);
            }
        }
        Some((disk, volume))
    }

    /// Tells the guest, in the layouts on its disks, which disks it has.
    fn lay_out_disks(&self, state: &mut State, machine: &MachineId) -> Result<(), PlatformError> {
        let Some(record) = state.machines.get(machine) else { return Err(self.unknown("machine", machine)) };
        let volumes = inventory::volumes_of(&record.spec);
        let lay_out = |state: &mut State| -> Result<(), String> {
            let first = volumes.first().ok_or_else(|| "the machine has no disk".to_owned())?;
            let first = state.store.snapshot(first)?;
            let load = Layout::read(&first, 0)?.load;
            let boot = boot_partition::place(&first).unwrap_or(BOOT_PARTITION);
            for (index, volume) in volumes.iter().enumerate() {
                let size = state.store.snapshot(volume)?.size();
                let layout = Layout::new(index, volumes.len(), size, load, &boot).encode();
                state.store.write(volume, SECTOR as u64, &layout)?;
            }
            Ok(())
        };
        lay_out(state).map_err(|broken| self.refuse(Kind::Failed, broken))
    }
}
