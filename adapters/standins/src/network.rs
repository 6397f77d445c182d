//! Enforces the security rules on real machines: a loopback port is forwarded to a guest only while
//! the rules of its networks allow it (CN-03, CN-04). A denied connection is refused by the host's
//! system, because nothing listens on the port.

use std::net::SocketAddrV4;

use contract::{MachineId, PlatformError, SecurityRules};
use harness::machine::Guest;

use inventory::Way;

use crate::StandInSite;

impl StandInSite {
    /// Replaces the security rules of a machine in the cloud, with immediate effect.
    ///
    /// # Errors
    /// The forwarded ports of a guest could not be changed.
    ///
    /// # Panics
    /// There is no such machine with security rules.
    pub async fn secure_machine(
        &self,
        machine: &MachineId,
        rules: SecurityRules,
    ) -> Result<(), PlatformError> {
        self.components.secure_machine(machine, rules);
        self.enforce_all().await
    }

    /// Replaces the security rules of a subnet, with immediate effect on every machine in it.
    ///
    /// # Errors
    /// The forwarded ports of a guest could not be changed.
    ///
    /// # Panics
    /// There is no such subnet.
    pub async fn secure_subnet(&self, name: &str, rules: SecurityRules) -> Result<(), PlatformError> {
        self.components.secure_subnet(name, rules);
        self.enforce_all().await
    }

    /// Gives a machine a public address, or removes it (CN-04).
    ///
    /// # Errors
    /// The forwarded ports of a guest could not be changed.
    ///
    /// # Panics
    /// There is no such machine.
    pub async fn set_public_address(&self, machine: &MachineId, public: bool) -> Result<(), PlatformError> {
        self.components.set_public_address(machine, public);
        self.enforce_all().await
    }

    /// The address to connect to for a port of a running machine, whether or not connections are
    /// allowed; `None` if it was never forwarded.
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

    /// Opens and closes the forwarded ports of a guest as its networks' rules require.
    pub(crate) async fn enforce(&self, machine: &MachineId, guest: &Guest) -> Result<(), PlatformError> {
        let forwards = guest.forwards();
        for port in forwards.guest_ports() {
            for way in Way::ALL {
                let open = self.components.lets_in(machine, way, port).is_ok();
                let set = forwards.set(way.loopback(), port, open).await;
                set.map_err(self.failed("change the forwarded ports"))?;
            }
        }
        Ok(())
    }
}
