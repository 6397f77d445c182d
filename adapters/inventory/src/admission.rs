//! What components let through.

use contract::{
    Access, AccountRole, Component, ComponentId, ComponentKind, MachineId, MachineSpec,
    PlatformErrorKind as Kind, PlatformKind, PrivateLink, Subscription, VolumeId,
};

use super::{Denial, Infrastructure, State};

impl Infrastructure {
    /// Machines can be looked at, made and changed only through whatever manages the hosts.
    pub fn inventory(&self) -> Result<(), Denial> {
        self.state().manager_answers()
    }

    /// Whether a volume may be made, and in which datastore it will lie.
    pub fn new_volume(
        &self,
        id: &VolumeId,
        datastore: Option<&ComponentId>,
    ) -> Result<Option<ComponentId>, Denial> {
        let mut state = self.state();
        state.manager_answers()?;
        state.may_change(&format!("make volume {id}"))?;
        let datastore = match datastore {
            Some(wanted) => {
                let there = state.find(wanted).filter(|c| c.kind == ComponentKind::Datastore);
                let there = there
                    .ok_or_else(|| Denial::new(Kind::NotFound, format!("there is no datastore {wanted}")))?;
                answers(there)?;
                Some(wanted.clone())
            }
            None => state.first_datastore(),
        };
        if let Some(datastore) = &datastore {
            state.datastores.insert(id.clone(), datastore.clone());
        }
        Ok(datastore)
    }

    /// Whether a delta may be made; it lies where its parent does.
    pub fn new_delta(&self, id: &VolumeId, parent: &VolumeId) -> Result<(), Denial> {
        let mut state = self.state();
        state.may_change(&format!("make volume {id}"))?;
        if let Some(datastore) = state.datastores.get(parent).cloned() {
            state.datastores.insert(id.clone(), datastore);
        }
        Ok(())
    }

    /// A volume is gone.
    pub fn forget_volume(&self, id: &VolumeId) {
        self.state().datastores.remove(id);
    }

    /// The datastore of a volume.
    pub fn datastore_of(&self, id: &VolumeId) -> Option<ComponentId> {
        self.state().datastores.get(id).cloned()
    }

    /// Whether a volume may be opened. `chain` are the volumes it stands on, itself included: if one of them hangs on
    /// a master target, that writes it, and only where its host can.
    pub fn open_volume(&self, chain: &[VolumeId], access: Access) -> Result<(), Denial> {
        let state = self.state();
        let Some(top) = chain.first() else { return Ok(()) };
        if access == Access::Read {
            return Ok(());
        }
        state.may_change(&format!("write volume {top}"))?;
        let carrier = state.components.iter().find_map(|component| {
            let target = component.master_target()?;
            let volume = target.disks.iter().find(|disk| chain.contains(disk))?;
            Some((component, target, volume))
        });
        let Some((component, target, volume)) = carrier else { return Ok(()) };
        answers(component)?;
        match state.datastores.get(volume).filter(|datastore| !target.can_write(datastore)) {
            Some(datastore) => Err(not_mounted(datastore, &component.id)),
            None => Ok(()),
        }
    }

    /// Whether the agent of a machine can send: through its process server, and from a cloud through the private
    /// connection.
    pub fn view(&self, machine: &MachineId) -> Result<(), Denial> {
        let state = self.state();
        if self.kind == PlatformKind::HyperV {
            state.manager_answers()?;
        }
        let sends_to = state.machines.get(machine).and_then(|extra| extra.process_server.as_ref());
        match sends_to.or_else(|| self.first_process_server(&state)) {
            Some(server) => answers(state.find(server).ok_or_else(|| gone(server))?)?,
            None => return Ok(()),
        }
        if self.kind != PlatformKind::Azure {
            return Ok(());
        }
        let link = state.components.iter().find_map(|c| Some((c, c.private_link()?)));
        let (component, link) = link.ok_or_else(|| {
            Denial::new(Kind::Unreachable, "there is no private connection to the premises")
        })?;
        answers(component)?;
        match PrivateLink::NEEDED_PORTS.iter().find(|port| !link.open_ports.contains(port)) {
            Some(port) => {
                Err(Denial::new(Kind::Unreachable, format!("port {port} of {} does not pass", component.id)))
            }
            None => Ok(()),
        }
    }

    /// Where agents of machines on premises send if nobody told them.
    fn first_process_server<'a>(&self, state: &'a State) -> Option<&'a ComponentId> {
        if !matches!(self.kind, PlatformKind::Vmware | PlatformKind::Physical) {
            return None;
        }
        let server = state.components.iter().find(|component| component.kind == ComponentKind::ProcessServer);
        server.map(|component| &component.id)
    }

    /// What a machine will be if it may be made: the platform fills in what was left to it.
    pub fn admit(&self, spec: &MachineSpec) -> Result<MachineSpec, Denial> {
        let mut state = self.state();
        state.manager_answers()?;
        state.may_change(&format!("make machine {}", spec.id))?;
        let mut spec = spec.clone();
        let cloud = state.kinds().find_map(subscription).cloned();
        let Some(subscription) = cloud else {
            state.place_on_host(&mut spec)?;
            state.connect(&spec, self.production)?;
            return Ok(spec);
        };
        let cores = place_in_cloud(&subscription, &mut spec)?;
        state.connect(&spec, self.production)?;
        state.take_cores(cores);
        state.extra(&spec.id).cores = cores;
        Ok(spec)
    }

    /// Whether a machine may be switched on: not while its disks hang elsewhere (EX-B8).
    pub fn start(&self, machine: &MachineId) -> Result<(), Denial> {
        let state = self.state();
        if self.kind == PlatformKind::HyperV {
            state.manager_answers()?;
        }
        match state.machines.get(machine).and_then(|extra| extra.disks_on.as_ref()) {
            Some(target) => {
                let text =
                    format!("machine {machine} cannot start: its disks hang on master target {target}");
                Err(Denial::new(Kind::WrongPowerState, text))
            }
            None => Ok(()),
        }
    }
}

impl State {
    /// vCenter, or the connection to the Hyper-V hosts.
    pub(super) fn manager_answers(&self) -> Result<(), Denial> {
        let is_manager =
            |kind: &ComponentKind| matches!(kind, ComponentKind::Vcenter(_) | ComponentKind::HostConnection);
        self.components.iter().filter(|component| is_manager(&component.kind)).try_for_each(answers)
    }

    /// Whether the account may change anything.
    pub(super) fn may_change(&self, what: &str) -> Result<(), Denial> {
        let looks_only = self.kinds().any(
            |kind| matches!(kind, ComponentKind::Vcenter(vcenter) if vcenter.role == AccountRole::ReadOnly),
        );
        if looks_only {
            let text = format!("{what}: the vCenter account is read-only; give it the role for failback");
            return Err(Denial::new(Kind::Denied, text));
        }
        Ok(())
    }

    fn first_datastore(&self) -> Option<ComponentId> {
        let store = self.components.iter().find(|component| component.kind == ComponentKind::Datastore);
        store.map(|component| component.id.clone())
    }

    fn take_cores(&mut self, cores: u32) {
        for component in &mut self.components {
            if let ComponentKind::Subscription(subscription) = &mut component.kind {
                subscription.cores_left = subscription.cores_left.saturating_sub(cores);
            }
        }
    }

    pub(super) fn give_cores(&mut self, cores: u32) {
        for component in &mut self.components {
            if let ComponentKind::Subscription(subscription) = &mut component.kind {
                subscription.cores_left = subscription.cores_left.saturating_add(cores);
            }
        }
    }

    /// The host that was asked for, or the first; its switch likewise.
    fn place_on_host(&self, spec: &mut MachineSpec) -> Result<(), Denial> {
        let mut hosts =
            self.components.iter().filter_map(|component| Some((&component.id, component.host()?)));
        let chosen = match &spec.placement.host {
            Some(wanted) => {
                let found = hosts.find(|(id, _)| *id == wanted);
                Some(found.ok_or_else(|| Denial::new(Kind::NotFound, format!("there is no host {wanted}")))?)
            }
            None => hosts.next(),
        };
        let Some((id, host)) = chosen else { return Ok(()) };
        let switch = match spec.placement.switch.take() {
            Some(wanted) if !host.switches.contains(&wanted) => {
                let text = format!("host {id} has no virtual switch {wanted}");
                return Err(Denial::new(Kind::NotFound, text));
            }
            Some(wanted) => Some(wanted),
            None => host.switches.first().cloned(),
        };
        spec.placement.host = Some(id.clone());
        spec.placement.switch = switch;
        Ok(())
    }
}

pub(super) fn subscription(kind: &ComponentKind) -> Option<&Subscription> {
    if let ComponentKind::Subscription(subscription) = kind { Some(subscription) } else { None }
}

/// Fills in what a cloud decides. Returns the cores it takes.
fn place_in_cloud(subscription: &Subscription, spec: &mut MachineSpec) -> Result<u32, Denial> {
    let place = &mut spec.placement;
    let lacks = |what: &str, name: &str| Denial::new(Kind::NotFound, format!("there is no {what} {name}"));
    let known = |what: &str, named: &Option<String>, all: &[String]| match named {
        Some(name) if !all.contains(name) => Err(lacks(what, name)),
        _ => Ok(()),
    };
    known("resource group", &place.resource_group, &subscription.resource_groups)?;
    let subnet = subscription.subnet(spec.network, place.subnet.as_deref()).map(|subnet| subnet.name.clone());
    place.subnet = match (place.subnet.take(), subnet) {
        (Some(wanted), None) => return Err(lacks("subnet", &wanted)),
        (_, found) => found,
    };
    known("availability set", &place.availability_set, &subscription.availability_sets)?;
    if place.resource_group.is_none() {
        place.resource_group = subscription.resource_groups.first().cloned();
    }
    let mut cores = 1;
    if let Some(name) = &place.size {
        let size = subscription.sizes.iter().find(|size| size.name == *name);
        let size = size.ok_or_else(|| lacks("size", name))?;
        cores = size.cores;
        spec.memory = size.memory;
    }
    if cores > subscription.cores_left {
        let text =
            format!("machine {} needs {cores} cores, the quota leaves {}", spec.id, subscription.cores_left);
        return Err(Denial::new(Kind::Full, text));
    }
    Ok(cores)
}

pub(super) fn answers(component: &Component) -> Result<(), Denial> {
    if component.connected {
        return Ok(());
    }
    Err(Denial::new(Kind::Unreachable, format!("{} does not answer", component.id)))
}

pub(super) fn gone(id: &ComponentId) -> Denial {
    Denial::new(Kind::Unreachable, format!("there is no {id} any more"))
}

pub(super) fn not_mounted(datastore: &ComponentId, target: &ComponentId) -> Denial {
    let text = format!("{datastore} is not mounted for writing on the host of master target {target}");
    Denial::new(Kind::Denied, text)
}
