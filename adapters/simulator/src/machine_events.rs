//! What administrators do to machines without the core that replicates them.

use contract::{MachineId, Platform as _, PlatformError, PlatformErrorKind as Kind, VolumeId};

use crate::SimSite;
use crate::disk::SECTOR;

impl SimSite {
    /// Copies a machine that is off, with its disks and its UUID. The copy stays off.
    ///
    /// # Errors
    /// There is no such machine, it is running, or there is a machine of that name.
    pub async fn clone_machine(&self, machine: &MachineId, name: &MachineId) -> Result<(), PlatformError> {
        let uuid = self.machine(machine).await?.uuid;
        self.offline_disks(machine)?;
        let spec = self.with(|state| state.machines.get(machine).map(|record| record.spec.clone()));
        let mut spec = spec.ok_or_else(|| self.unknown("machine", machine))?;
        spec.id = name.clone();
        for (disk, volume) in &mut spec.disks {
            let copy = VolumeId(format!("{name}-{disk}"));
            let content = self.snapshot(volume).ok_or_else(|| self.unknown("volume", volume))?;
            self.add_volume(&copy, content.size(), None)?;
            let copied = self.with(|state| {
                let empty = state.store.snapshot(&copy)?;
                let mut sectors = content.differences(&empty, SECTOR).into_iter();
                sectors.try_for_each(|at| state.store.write(&copy, at, &content.bytes(at, SECTOR)))
            });
            copied.map_err(|broken| self.refuse(Kind::Failed, broken))?;
            *volume = copy;
        }
        self.add_machine(&spec)?;
        self.components().set_uuid(name, &uuid);
        Ok(())
    }

    /// Gives a machine that is off another name.
    ///
    /// # Errors
    /// There is no such machine, it is running, or there is a machine of that name.
    pub fn rename_machine(&self, machine: &MachineId, name: &MachineId) -> Result<(), PlatformError> {
        self.offline_disks(machine)?;
        self.with(|state| {
            if state.machines.contains_key(name) {
                return Err(self.refuse(Kind::Exists, format!("there is a machine {name}")));
            }
            let record = state.machines.remove(machine);
            let mut record = record.ok_or_else(|| self.unknown("machine", machine))?;
            record.spec.id = name.clone();
            for users in state.users.values_mut().filter(|users| users.contains(machine)) {
                users.remove(machine);
                users.insert(name.clone());
            }
            state.machines.insert(name.clone(), record);
            Ok(())
        })
    }
}
