//! What is known of machines besides their disks: identity, agent, where their disks hang.

use std::hash::{DefaultHasher, Hash, Hasher};

use contract::{
    ComponentId, ComponentKind, MachineId, MachineView, MasterTarget, PlatformErrorKind as Kind,
    PlatformKind, VolumeId,
};

use super::admission::{answers, gone, not_mounted};
use super::network::Nic;
use super::{Denial, Infrastructure, State};

/// What a site knows of a machine besides its disks.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// A UUID other than its own.
    uuid: Option<String>,
    pub(super) process_server: Option<ComponentId>,
    pub(super) disks_on: Option<ComponentId>,
    migrated: bool,
    /// The resource group it was moved to.
    moved_to: Option<String>,
    /// Cores it takes of the quota.
    pub(super) cores: u32,
    pub(super) nic: Option<Nic>,
}

impl Infrastructure {
    /// Gives a machine this UUID, as if it and whatever else has it came from one template (RE-17).
    pub fn set_uuid(&self, machine: &MachineId, uuid: &str) {
        self.state().extra(machine).uuid = Some(uuid.to_owned());
    }

    /// Declares a machine's migration complete (RE-21).
    pub fn complete_migration(&self, machine: &MachineId) {
        self.state().extra(machine).migrated = true;
    }

    /// Moves a machine to another resource group (RE-22).
    pub fn move_to_group(&self, machine: &MachineId, group: &str) {
        self.state().extra(machine).moved_to = Some(group.to_owned());
    }

    /// Deletes a machine's row in the configuration server's database (RE-07). Returns whether there was one.
    pub fn unregister(&self, machine: &MachineId) -> bool {
        self.state().database(|machines| {
            let before = machines.len();
            machines.retain(|other| other != machine);
            machines.len() < before
        })
    }

    /// Enters a machine into the configuration server's database again.
    pub fn register(&self, machine: &MachineId) {
        self.state().register(machine);
    }

    /// Adds what is known here to a machine's view; `depth` is how many volumes its deepest disk consists of.
    pub fn complete(&self, view: &mut MachineView, depth: usize) {
        let state = self.state();
        let extra = state.machines.get(&view.id).cloned().unwrap_or_default();
        view.uuid = extra.uuid.unwrap_or_else(|| own_uuid(&self.site, &view.id));
        // In a cloud a disk may stand on others without being a snapshot's.
        if self.kind != PlatformKind::Azure {
            view.snapshots = u32::try_from(depth.saturating_sub(1)).unwrap_or(u32::MAX);
        }
        view.process_server = extra.process_server;
        view.disks_on = extra.disks_on;
        view.migrated = extra.migrated;
        view.nic = extra.nic.map(|nic| nic.view()).unwrap_or_default();
        view.placement.resource_group = extra.moved_to.or(view.placement.resource_group.take());
    }

    /// A machine is gone, and with it all that was known of it but its row in the database.
    pub fn forget_machine(&self, machine: &MachineId, disks: &[VolumeId]) {
        let mut state = self.state();
        state.take_off(machine, disks);
        if let Some(extra) = state.machines.remove(machine) {
            state.give_cores(extra.cores);
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
        state.extra(machine).process_server = server.cloned();
        Ok(())
    }

    /// See [`contract::Platform::attach_to_master_target`].
    pub fn lend(&self, machine: &MachineId, disks: &[VolumeId], to: &ComponentId) -> Result<(), Denial> {
        let mut state = self.state();
        state.manager_answers()?;
        state.may_change(&format!("detach the disks of {machine}"))?;
        let component = state.find(to).ok_or_else(|| gone(to))?;
        answers(component)?;
        let target = component.master_target().ok_or_else(|| gone(to))?;
        let more = disks.iter().filter(|disk| !target.disks.contains(disk)).count();
        if target.disks.len() + more > MasterTarget::MOST_DISKS {
            let text = format!("master target {to} cannot carry {more} more disks");
            return Err(Denial::new(Kind::Full, text));
        }
        for datastore in disks.iter().filter_map(|disk| state.datastores.get(disk)) {
            if !target.can_write(datastore) {
                return Err(not_mounted(datastore, to));
            }
        }
        state.take_off(machine, disks);
        for component in state.components.iter_mut().filter(|component| component.id == *to) {
            if let ComponentKind::MasterTarget(target) = &mut component.kind {
                target.disks.extend_from_slice(disks);
            }
        }
        state.extra(machine).disks_on = Some(to.clone());
        Ok(())
    }

    /// See [`contract::Platform::detach_from_master_target`].
    pub fn give_back(&self, machine: &MachineId, disks: &[VolumeId]) -> Result<(), Denial> {
        let mut state = self.state();
        if state.machines.get(machine).is_none_or(|extra| extra.disks_on.is_none()) {
            return Ok(());
        }
        state.manager_answers()?;
        state.may_change(&format!("attach the disks of {machine}"))?;
        state.take_off(machine, disks);
        Ok(())
    }

    /// Whether snapshots may be merged away.
    pub fn merge_snapshots(&self, machine: &MachineId) -> Result<(), Denial> {
        let state = self.state();
        state.manager_answers()?;
        state.may_change(&format!("merge the snapshots of {machine}"))
    }
}

impl State {
    pub(super) fn extra(&mut self, machine: &MachineId) -> &mut Extra {
        self.machines.entry(machine.clone()).or_default()
    }

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

    /// Takes disks off whatever master target they hang on.
    fn take_off(&mut self, machine: &MachineId, disks: &[VolumeId]) {
        for component in &mut self.components {
            if let ComponentKind::MasterTarget(target) = &mut component.kind {
                target.disks.retain(|disk| !disks.contains(disk));
            }
        }
        if let Some(extra) = self.machines.get_mut(machine) {
            extra.disks_on = None;
        }
    }
}

/// A UUID that stays with a machine's name and its site.
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
