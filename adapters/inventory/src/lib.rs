//! The components of a site: what they are, how they are broken and repaired, and what a broken one prevents.
//!
//! Real and simulated sites share it. Nothing here knows the rules of failback: a vCenter that is down answers no
//! question about machines, an account that may only look writes no disk, a master target writes only what its host has
//! mounted. Whether a core looks before it leaps is the core's affair.
//!
//! - `defaults`: what each kind of platform has to begin with
//! - `admission`: what is let through
//! - `machines`: what is known of machines besides their disks
//! - `network`: which address a machine has, and what of the outside reaches it

mod admission;
mod defaults;
mod machines;
mod network;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use contract::{
    AccountRole, AddressRange, Component, ComponentId, ComponentKind, MachineId, PlatformErrorKind as Kind,
    PlatformKind, VolumeId,
};

pub use machines::Extra;
pub use network::{Refusal, SecurityList, Way};

/// The components of one site.
#[derive(Debug)]
pub struct Infrastructure {
    site: String,
    kind: PlatformKind,
    /// Addresses of the network that serves.
    production: AddressRange,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    components: Vec<Component>,
    machines: BTreeMap<MachineId, Extra>,
    /// The datastore of each volume, where there are any.
    datastores: BTreeMap<VolumeId, ComponentId>,
}

/// Why something is not let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// What kind of refusal it is.
    pub kind: Kind,
    /// What refused it, for people.
    pub message: String,
}

impl Denial {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl Infrastructure {
    /// What a platform of this kind has to begin with, all of it in order.
    #[must_use]
    pub fn of(site: &str, kind: PlatformKind) -> Self {
        Self::with_range(site, kind, network::usual_range(kind))
    }

    /// The same, with these addresses for its machines.
    pub fn with_range(site: &str, kind: PlatformKind, production: AddressRange) -> Self {
        let state = State { components: defaults::of(kind, production), ..State::default() };
        Self { site: site.to_owned(), kind, production, state: Mutex::new(state) }
    }

    /// The components as their site shows them.
    #[must_use]
    pub fn all(&self) -> Vec<Component> {
        self.state().components.iter().cloned().map(as_shown).collect()
    }

    /// Cuts a component off.
    ///
    /// # Panics
    /// There is none of that name: a test that breaks nothing proves nothing.
    pub fn disconnect(&self, id: &str) {
        self.alter(id, |component| component.connected = false);
    }

    /// Connects a component again.
    ///
    /// # Panics
    /// There is none of that name.
    pub fn connect(&self, id: &str) {
        self.alter(id, |component| component.connected = true);
    }

    /// Adds a component, or puts it in the place of the one of its name.
    pub fn add(&self, component: Component) {
        let mut state = self.state();
        state.components.retain(|other| other.id != component.id);
        state.components.push(component);
    }

    /// Takes a component away.
    ///
    /// # Panics
    /// There is none of that name.
    pub fn remove(&self, id: &str) -> Component {
        let mut state = self.state();
        let at = state.components.iter().position(|component| component.id.0 == id);
        let at = at.unwrap_or_else(|| panic!("{} has no component {id}", self.site));
        state.components.remove(at)
    }

    /// Changes a component in any way.
    ///
    /// # Panics
    /// There is none of that name.
    pub fn alter(&self, id: &str, change: impl FnOnce(&mut Component)) {
        let mut state = self.state();
        let component = state.components.iter_mut().find(|component| component.id.0 == id);
        change(component.unwrap_or_else(|| panic!("{} has no component {id}", self.site)));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn find(&self, id: &ComponentId) -> Option<&Component> {
        Component::find(&self.components, id)
    }

    fn kinds(&self) -> impl Iterator<Item = &ComponentKind> {
        self.components.iter().map(|component| &component.kind)
    }
}

/// A vCenter that was not discovered, or whose account may only look, lists no datastores (RE-15, RE-18).
fn as_shown(mut component: Component) -> Component {
    if let ComponentKind::Vcenter(vcenter) = &mut component.kind
        && (vcenter.role == AccountRole::ReadOnly || !vcenter.discovered || !component.connected)
    {
        vcenter.datastores.clear();
    }
    component
}
