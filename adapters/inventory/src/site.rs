//! The components of one site, and everything that is known of its machines and volumes besides
//! their content.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use contract::{
    AddressRange, Component, ComponentId, ComponentKind, MachineId, PlatformErrorKind as Kind, PlatformKind,
    PlatformProfile, Subscription, VolumeId,
};

use crate::defaults;
use crate::machine_facts::MachineFacts;

/// The components of one site, and the facts about its machines.
#[derive(Debug)]
pub struct Infrastructure {
    pub(crate) site: String,
    kind: PlatformKind,
    /// Addresses of the production network.
    pub(crate) production: AddressRange,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) components: Vec<Component>,
    pub(crate) machines: BTreeMap<MachineId, MachineFacts>,
    /// The datastore of each volume, at sites that have datastores.
    pub(crate) datastores: BTreeMap<VolumeId, ComponentId>,
}

/// An operation that the site's components do not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Kind of the error.
    pub kind: Kind,
    /// Explanation for people.
    pub message: String,
}

impl Denial {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl Infrastructure {
    /// The components of a new site of this kind.
    #[must_use]
    pub fn of(site: &str, kind: PlatformKind) -> Self {
        Self::with_range(site, kind, defaults::production_range(kind.profile()))
    }

    /// The components of a new site of this kind, with this address range for the production
    /// network.
    pub fn with_range(site: &str, kind: PlatformKind, production: AddressRange) -> Self {
        let state = State { components: defaults::of(kind.profile(), production), ..State::default() };
        Self { site: site.to_owned(), kind, production, state: Mutex::new(state) }
    }

    /// What is known about sites of this kind.
    pub(crate) fn profile(&self) -> &'static PlatformProfile {
        self.kind.profile()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(crate) fn find(&self, id: &ComponentId) -> Option<&Component> {
        Component::find(&self.components, id)
    }

    pub(crate) fn kinds(&self) -> impl Iterator<Item = &ComponentKind> {
        self.components.iter().map(|component| &component.kind)
    }

    /// The facts about a machine; empty ones are created if none are known.
    pub(crate) fn facts(&mut self, machine: &MachineId) -> &mut MachineFacts {
        self.machines.entry(machine.clone()).or_default()
    }
}

pub(crate) fn subscription(kind: &ComponentKind) -> Option<&Subscription> {
    if let ComponentKind::Subscription(subscription) = kind { Some(subscription) } else { None }
}

pub(crate) fn answers(component: &Component) -> Result<(), Denial> {
    if component.connected {
        return Ok(());
    }
    Err(Denial::new(Kind::Unreachable, format!("{} does not answer", component.id)))
}

pub(crate) fn gone(id: &ComponentId) -> Denial {
    Denial::new(Kind::Unreachable, format!("there is no component {id}"))
}

pub(crate) fn not_mounted(datastore: &ComponentId, target: &ComponentId) -> Denial {
    let text = format!("{datastore} is not mounted for writing on the host of master target {target}");
    Denial::new(Kind::Denied, text)
}
