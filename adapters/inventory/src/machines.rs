//! Views of machines, their registration, and attaching their disks to master targets.

use std::hash::{DefaultHasher, Hash, Hasher};

use contract::{
    ComponentId, ComponentKind, DiskView, MachineId, MachineSpec, MachineView, MasterTarget,
    PlatformErrorKind as Kind, PowerState, VolumeId,
};

use crate::chain::{Volumes, no_volume};
use crate::nic::Nic;
use crate::site::{Denial, Infrastructure, State, answers, gone, not_mounted};

impl Infrastructure {
    /// Gives a machine this UUID, as if it had been created from the same template as another
    /// machine (RE-17).
    pub fn set_uuid(&self, machine: &MachineId, uuid: &str) {
        self.state().facts(machine).uuid = Some(uuid.to_owned());
    }

    /// Declares a machine's migration complete (RE-21).
    pub fn complete_migration(&self, machine: &MachineId) {
        self.state().facts(machine).migrated = true;
    }

    /// Moves a machine to another resource group (RE-22).
    pub fn move_to_group(&self, machine: &MachineId, group: &str) {
        self.state().facts(machine).moved_to = Some(group.to_owned());
    }

    /// Deletes a machine from the configuration server's database (RE-07). Returns whether it was
    /// there.
    pub fn unregister(&self, machine: &MachineId) -> bool {
        self.state().database(|machines| {
            let before = machines.len();
            machines.retain(|other| other != machine);
            machines.len() < before
        })
    }

    /// Adds a machine to the configuration server's database again.
    pub fn register(&self, machine: &MachineId) {
        self.state().register(machine);
    }

    /// The view of a machine of this specification.
    ///
    /// # Errors
    /// One of its volumes is not among `volumes`.
    pub fn show(
        &self,
        spec: &MachineSpec,
        power: PowerState,
        volumes: &dyn Volumes,
    ) -> Result<MachineView, Denial> {
        let disks = spec.disks.iter().map(|(id, volume)| {
            let size = volumes.size_of(volume).ok_or_else(|| no_volume(volume))?;
            Ok(DiskView { id: id.clone(), volume: volume.clone(), size })
        });
        let depth = spec.disks.iter().map(|(_, volume)| volumes.chain(volume).len()).max();
        let facts = self.state().machines.get(&spec.id).cloned().unwrap_or_default();
        let mut placement = spec.placement.clone();
        placement.resource_group = facts.moved_to.or(placement.resource_group);
        Ok(MachineView {
            id: spec.id.clone(),
            power,
            firmware: spec.firmware,
            os: spec.os,
            memory: spec.memory,
            disks: disks.collect::<Result<_, _>>()?,
            uuid: facts.uuid.unwrap_or_else(|| own_uuid(&self.site, &spec.id)),
            snapshots: self.snapshots_in(depth.unwrap_or_default()),
            guest: spec.guest.clone(),
            placement,
            process_server: facts.process_server,
            disks_on: facts.disks_on,
            migrated: facts.migrated,
            nic: facts.nic.map(|nic| nic.view()).unwrap_or_default(),
            more_nics: facts.more_nics.iter().map(Nic::view).collect(),
            boot_entry: spec.boot_entry.clone(),
            libvirt: None,
        })
    }

    /// Number of snapshots of a machine whose deepest disk consists of `depth` volumes. In a cloud
    /// a disk may be a delta over other volumes without being a snapshot's.
    fn snapshots_in(&self, depth: usize) -> u32 {
        if self.profile().is_cloud {
            return 0;
        }
        u32::try_from(depth.saturating_sub(1)).unwrap_or(u32::MAX)
    }

    /// Removes what is known of a machine that was deleted, except its entry in the database.
    pub fn forget_machine(&self, machine: &MachineId, disks: &[VolumeId]) {
        let mut state = self.state();
        state.detach(machine, disks);
        if let Some(facts) = state.machines.remove(machine) {
            state.give_cores(facts.cores);
        }
    }

    /// See [`contract::Platform::connect_agent`].
    pub fn connect_agent(&self, machine: &MachineId, server: Option<&ComponentId>) -> Result<(), Denial> {
        let mut state = self.state();
        if let Some(id) = server {
            let there = state.find(id).filter(|component| component.kind == ComponentKind::ProcessServer);
            answers(there.ok_or_else(|| gone(id))?)?;
        }
        state.register(machine);
        state.facts(machine).process_server = server.cloned();
        Ok(())
    }

    /// See [`contract::Platform::attach_to_master_target`].
    pub fn attach_to_master_target(
        &self,
        machine: &MachineId,
        disks: &[VolumeId],
        to: &ComponentId,
    ) -> Result<(), Denial> {
        let mut state = self.state();
        state.manager_answers()?;
        state.may_change(&format!("detach the disks of {machine}"))?;
        let component = state.find(to).ok_or_else(|| gone(to))?;
        answers(component)?;
        let target = component.master_target().ok_or_else(|| gone(to))?;
        let more = disks.iter().filter(|disk| !target.disks.contains(disk)).count();
        if target.disks.len() + more > MasterTarget::MOST_DISKS {
            let text = format!("{more} more disks cannot be attached to master target {to}");
            return Err(Denial::new(Kind::Full, text));
        }
        for datastore in disks.iter().filter_map(|disk| state.datastores.get(disk)) {
            if !target.can_write(datastore) {
                return Err(not_mounted(datastore, to));
            }
        }
        state.detach(machine, disks);
        for component in state.components.iter_mut().filter(|component| component.id == *to) {
            if let ComponentKind::MasterTarget(target) = &mut component.kind {
                target.disks.extend_from_slice(disks);
            }
        }
        state.facts(machine).disks_on = Some(to.clone());
        Ok(())
    }

    /// See [`contract::Platform::detach_from_master_target`].
    pub fn detach_from_master_target(&self, machine: &MachineId, disks: &[VolumeId]) -> Result<(), Denial> {
        let mut state = self.state();
        if state.machines.get(machine).is_none_or(|facts| facts.disks_on.is_none()) {
            return Ok(());
        }
        state.manager_answers()?;
        state.may_change(&format!("attach the disks of {machine}"))?;
        state.detach(machine, disks);
        Ok(())
    }

    /// Checks whether the snapshots of a machine may be merged.
    pub fn check_snapshot_merge(&self, machine: &MachineId) -> Result<(), Denial> {
        let state = self.state();
        state.manager_answers()?;
        state.may_change(&format!("merge the snapshots of {machine}"))
    }
}

impl State {
    fn database<T: Default>(&mut self, work: impl FnOnce(&mut Vec<MachineId>) -> T) -> T {
        let server = self.components.iter_mut().find_map(|component| match &mut component.kind {
            ComponentKind::ConfigurationServer(server) => Some(&mut server.machines),
            _ => None,
        });
        server.map(work).unwrap_or_default()
    }

    fn register(&mut self, machine: &MachineId) {
        self.database(|machines| {
            if !machines.contains(machine) {
                machines.push(machine.clone());
            }
        });
    }

    /// Detaches disks from the master target to which they are attached.
    fn detach(&mut self, machine: &MachineId, disks: &[VolumeId]) {
        for component in &mut self.components {
            if let ComponentKind::MasterTarget(target) = &mut component.kind {
                target.disks.retain(|disk| !disks.contains(disk));
            }
        }
        if let Some(facts) = self.machines.get_mut(machine) {
            facts.disks_on = None;
        }
    }
}

/// A UUID derived from the machine's name and its site.
fn own_uuid(site: &str, machine: &MachineId) -> String {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, site, &machine.0).hash(&mut hasher);
        hasher.finish()
    };
    let (high, low) = (half(0), half(1));
    let (a, b, c) = (high >> 32, (high >> 16) & 0xffff, high & 0xfff);
    let (d, e) = ((low >> 48) & 0x3fff | 0x8000, low & 0xffff_ffff_ffff);
    format!("{a:08x}-{b:04x}-4{c:03x}-{d:04x}-{e:012x}")
}
