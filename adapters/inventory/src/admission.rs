//! What the components of a site allow.

use contract::{
    Access, AccountRole, ComponentId, ComponentKind, MachineId, MachineSpec, PlatformErrorKind as Kind,
    PrivateLink, ProcessServerUse, Subscription, VolumeId,
};

use crate::chain::{Volumes, no_volume};
use crate::site::{Denial, Infrastructure, State, answers, gone, not_mounted, subscription};

impl Infrastructure {
    /// Checks that the component that manages the hosts is connected. Without it machines cannot be
    /// listed, created or changed.
    pub fn check_manager(&self) -> Result<(), Denial> {
        self.state().manager_answers()
    }

    /// Checks whether a volume may be created, and chooses its datastore.
    pub fn new_volume(
        &self,
        id: &VolumeId,
        datastore: Option<&ComponentId>,
    ) -> Result<Option<ComponentId>, Denial> {
        let mut state = self.state();
        state.manager_answers()?;
        state.may_change(&format!("create volume {id}"))?;
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

    /// Checks whether a delta may be created; it lies in the datastore of its parent.
    pub fn new_delta(&self, id: &VolumeId, parent: &VolumeId) -> Result<(), Denial> {
        let mut state = self.state();
        state.may_change(&format!("create volume {id}"))?;
        if let Some(datastore) = state.datastores.get(parent).cloned() {
            state.datastores.insert(id.clone(), datastore);
        }
        Ok(())
    }

    /// Removes what is known of a volume that was deleted.
    pub fn forget_volume(&self, id: &VolumeId) {
        self.state().datastores.remove(id);
    }

    /// The datastore of a volume.
    pub fn datastore_of(&self, id: &VolumeId) -> Option<ComponentId> {
        self.state().datastores.get(id).cloned()
    }

    /// Checks whether a volume may be opened. `chain` lists the volume and all volumes below it. If
    /// one of them is attached to a master target, the master target writes it, and can do so only
    /// if the datastore is mounted on its host.
    pub fn check_export(&self, chain: &[VolumeId], access: Access) -> Result<(), Denial> {
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

    /// Checks whether a machine can be snapshotted: its agent must be able to send through its
    /// process server, and from a cloud also through the private connection.
    pub fn check_snapshot(&self, machine: &MachineId) -> Result<(), Denial> {
        let state = self.state();
        if self.profile().hosts_replicate {
            state.manager_answers()?;
        }
        let sends_to = state.machines.get(machine).and_then(|facts| facts.process_server.as_ref());
        match sends_to.or_else(|| self.first_process_server(&state)) {
            Some(server) => answers(state.find(server).ok_or_else(|| gone(server))?)?,
            None => return Ok(()),
        }
        if !self.profile().private_link {
            return Ok(());
        }
        let link = state.components.iter().find_map(|c| Some((c, c.private_link()?)));
        let (component, link) = link.ok_or_else(|| {
            Denial::new(Kind::Unreachable, "there is no private connection to the premises")
        })?;
        answers(component)?;
        match PrivateLink::NEEDED_PORTS.iter().find(|port| !link.open_ports.contains(port)) {
            Some(port) => {
                Err(Denial::new(Kind::Unreachable, format!("port {port} of {} is blocked", component.id)))
            }
            None => Ok(()),
        }
    }

    /// The process server through which agents send by default.
    fn first_process_server<'a>(&self, state: &'a State) -> Option<&'a ComponentId> {
        if self.profile().process_server != ProcessServerUse::FirstByDefault {
            return None;
        }
        let server = state.components.iter().find(|component| component.kind == ComponentKind::ProcessServer);
        server.map(|component| &component.id)
    }

    /// Checks whether a machine may be created, and returns its specification with the platform's
    /// choices filled in. `exists`: there is already a machine of this name.
    pub fn admit_machine(
        &self,
        spec: &MachineSpec,
        exists: bool,
        volumes: &dyn Volumes,
    ) -> Result<MachineSpec, Denial> {
        if exists {
            return Err(Denial::new(Kind::Exists, format!("machine {} exists already", spec.id)));
        }
        match spec.disks.iter().find(|(_, volume)| volumes.size_of(volume).is_none()) {
            Some((_, missing)) => Err(no_volume(missing)),
            None => self.admit(spec),
        }
    }

    /// Checks whether the components allow a new machine, and fills in the platform's choices.
    pub(crate) fn admit(&self, spec: &MachineSpec) -> Result<MachineSpec, Denial> {
        let mut state = self.state();
        state.manager_answers()?;
        state.may_change(&format!("create machine {}", spec.id))?;
        let mut spec = spec.clone();
        let cloud = state.kinds().find_map(subscription).cloned();
        let Some(subscription) = cloud else {
            state.place_on_host(&mut spec)?;
            state.connect(&spec, self.production)?;
            return Ok(spec);
        };
        let cores = place_in_cloud(&subscription, &mut spec)?;
        spec.boot_entry = None;
        state.connect(&spec, self.production)?;
        state.take_cores(cores);
        state.facts(&spec.id).cores = cores;
        Ok(spec)
    }

    /// Checks whether a machine may be powered on. It may not while its disks are attached
    /// elsewhere (EX-B8).
    pub fn check_start(&self, machine: &MachineId) -> Result<(), Denial> {
        let state = self.state();
        if self.profile().hosts_replicate {
            state.manager_answers()?;
        }
        match state.machines.get(machine).and_then(|facts| facts.disks_on.as_ref()) {
            Some(target) => {
                let text = format!(
                    "machine {machine} cannot start: its disks are attached to master target {target}"
                );
                Err(Denial::new(Kind::WrongPowerState, text))
            }
            None => Ok(()),
        }
    }
}

impl State {
    /// Checks that vCenter, or the connection to the Hyper-V hosts, is connected.
    pub(crate) fn manager_answers(&self) -> Result<(), Denial> {
        let is_manager =
            |kind: &ComponentKind| matches!(kind, ComponentKind::Vcenter(_) | ComponentKind::HostConnection);
        self.components.iter().filter(|component| is_manager(&component.kind)).try_for_each(answers)
    }

    /// Checks that the account may make changes.
    pub(crate) fn may_change(&self, what: &str) -> Result<(), Denial> {
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

    pub(crate) fn give_cores(&mut self, cores: u32) {
        for component in &mut self.components {
            if let ComponentKind::Subscription(subscription) = &mut component.kind {
                subscription.cores_left = subscription.cores_left.saturating_add(cores);
            }
        }
    }

    /// Chooses the host and its virtual switch: the requested ones, or the first ones.
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

/// Fills in a cloud's choices. Returns the number of cores that the machine uses.
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
        let text = format!(
            "machine {} needs {cores} cores, but the quota leaves {}",
            spec.id, subscription.cores_left
        );
        return Err(Denial::new(Kind::Full, text));
    }
    Ok(cores)
}
