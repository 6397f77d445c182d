//! Inspecting, breaking and repairing components.

use contract::{AccountRole, Component, ComponentKind};

use crate::site::Infrastructure;

impl Infrastructure {
    /// The components as the site reports them.
    #[must_use]
    pub fn all(&self) -> Vec<Component> {
        self.state().components.iter().cloned().map(as_shown).collect()
    }

    /// Disconnects a component.
    ///
    /// # Panics
    /// There is no such component: a test that breaks nothing proves nothing.
    pub fn disconnect(&self, id: &str) {
        self.alter(id, |component| component.connected = false);
    }

    /// Connects a component again.
    ///
    /// # Panics
    /// There is no such component.
    pub fn connect(&self, id: &str) {
        self.alter(id, |component| component.connected = true);
    }

    /// Adds a component, replacing the one with the same id.
    pub fn add(&self, component: Component) {
        let mut state = self.state();
        state.components.retain(|other| other.id != component.id);
        state.components.push(component);
    }

    /// Removes a component.
    ///
    /// # Panics
    /// There is no such component.
    pub fn remove(&self, id: &str) -> Component {
        let mut state = self.state();
        let at = state.components.iter().position(|component| component.id.0 == id);
        let at = at.unwrap_or_else(|| panic!("{} has no component {id}", self.site));
        state.components.remove(at)
    }

    /// Changes a component.
    ///
    /// # Panics
    /// There is no such component.
    pub fn alter(&self, id: &str, change: impl FnOnce(&mut Component)) {
        let mut state = self.state();
        let component = state.components.iter_mut().find(|component| component.id.0 == id);
        change(component.unwrap_or_else(|| panic!("{} has no component {id}", self.site)));
    }
}

/// The component as the site reports it. A vCenter that was not discovered, or whose account is
/// read-only, lists no datastores (RE-15, RE-18).
fn as_shown(mut component: Component) -> Component {
    if let ComponentKind::Vcenter(vcenter) = &mut component.kind
        && (vcenter.role == AccountRole::ReadOnly || !vcenter.discovered || !component.connected)
    {
        vcenter.datastores.clear();
    }
    component
}
