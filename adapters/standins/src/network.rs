//! What of the outside reaches a real machine: a way through its loopback ports is there exactly while the rules of its
//! networks let it be (CN-03, CN-04). Whoever is refused is refused by the system, because nobody listens.

use std::net::SocketAddrV4;

use contract::{MachineId, PlatformError, SecurityRules};
use harness::machine::Guest;

use inventory::Way;

use crate::StandInSite;

impl StandInSite {
    /// Gives a machine in the cloud these security rules, at once.
    ///
    /// # Errors
    /// A guest's network did not follow.
    ///
    /// # Panics
    /// There is no such machine with rules of its own.
    pub async fn secure_machine(
        &self,
        machine: &MachineId,
        rules: SecurityRules,
    ) -> Result<(), PlatformError> {
        self.components.secure_machine(machine, rules);
        self.enforce_all().await
    }

    /// Gives a subnet these security rules, at once, for every machine in it.
    ///
    /// # Errors
    /// A guest's network did not follow.
    ///
    /// # Panics
    /// There is no such subnet.
    pub async fn secure_subnet(&self, name: &str, rules: SecurityRules) -> Result<(), PlatformError> {
        self.components.secure_subnet(name, rules);
        self.enforce_all().await
    }

    /// Gives a machine a public address, or takes it away (CN-04).
    ///
    /// # Errors
    /// A guest's network did not follow.
    ///
    /// # Panics
    /// There is no such machine.
    pub async fn set_public_address(&self, machine: &MachineId, public: bool) -> Result<(), PlatformError> {
        self.components.set_public_address(machine, public);
        self.enforce_all().await
    }

    /// Where one knocks for a port of a running machine, whether or not somebody opens; `None` if there never was a way.
    ///
    /// # Errors
    /// There is no such machine.
    pub async fn endpoint(
        &self,
        machine: &MachineId,
        way: Way,
        port: u16,
    ) -> Result<Option<SocketAddrV4>, PlatformError> {
        let boot = self.running_boot(machine).await?;
        Ok(boot.and_then(|boot| boot.guest.forwards().endpoint(way.loopback(), port)))
    }

    async fn enforce_all(&self) -> Result<(), PlatformError> {
        let state = self.state.lock().await;
        for (id, record) in &state.machines {
            if let Some(boot) = record.running() {
                self.enforce(id, &boot.guest).await?;
            }
        }
        Ok(())
    }

    /// Opens and closes the ways into a guest as its networks have it.
    pub(crate) async fn enforce(&self, machine: &MachineId, guest: &Guest) -> Result<(), PlatformError> {
        let forwards = guest.forwards();
        for port in forwards.guest_ports() {
            for way in Way::ALL {
                let open = self.components.lets_in(machine, way, port).is_ok();
                let set = forwards.set(way.loopback(), port, open).await;
                set.map_err(self.failed("change what reaches a machine"))?;
            }
        }
        Ok(())
    }
}
