//! Faults of a site with real guests: injecting and healing them.

use std::sync::Arc;
use std::time::Duration;

use camino::Utf8Path;
use contract::{MachineId, PlatformError, PlatformErrorKind as Kind};
use harness::relay::{LinkCondition, Relay, Tally, Upstream};
use serde_json::json;
use witness::protocol::ToGuest;

use crate::active_faults::{SiteFault, lock};
use crate::{Boot, StandInSite};

/// Time limit for a guest's answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

impl StandInSite {
    /// Injects a fault. Faults of different kinds are independent; a fault replaces an earlier one
    /// of the same kind.
    ///
    /// # Errors
    /// The machine is off, there is no such component, or a process cannot be controlled.
    pub async fn inject(&self, fault: &SiteFault) -> Result<(), PlatformError> {
        // Recorded first, so that a fault that was injected only in part is healed as well.
        lock(&self.faults.present).push(fault.clone());
        match fault {
            SiteFault::PowerCut(machine) => {
                let cut = self.guest_of(machine).await?.guest.power_cut().await;
                cut.map(drop).map_err(self.failed("cut the power"))
            }
            SiteFault::GuestFrozen(machine) => self.send_to_qemu(machine, "stop").await,
            SiteFault::ShutdownRefused(machine) => self.send_to_guest(machine, ToGuest::IgnoreShutdown).await,
            SiteFault::DiskGrown(machine, disk, to) => self.grow_disk(machine, disk, *to).await,
            SiteFault::Link(condition) => {
                lock(&self.faults.relays).get_or_insert_default();
                self.faults.condition.send_replace(*condition);
                Ok(())
            }
            SiteFault::Writes(fault) => {
                *lock(&self.faults.writes) = Some(*fault);
                Ok(())
            }
            SiteFault::ComponentDown(id) => {
                let known = self.components.all().iter().any(|component| component.id.0 == *id);
                if !known {
                    return Err(self.unknown("component", id));
                }
                self.components.disconnect(id);
                Ok(())
            }
            SiteFault::StorageKilled => {
                self.storage.kill().await.map_err(self.failed("kill the storage daemon"))?;
                self.state.lock().await.exports.clear();
                self.closed.send_modify(|count| *count += 1);
                Ok(())
            }
        }
    }

    /// Ends every fault, the last one first. Continues after a failure and returns the first one.
    ///
    /// # Errors
    /// A machine or process could not be restored.
    pub async fn heal(&self) -> Result<(), PlatformError> {
        let present = lock(&self.faults.present).clone();
        let mut first = Ok(());
        for fault in present.iter().rev() {
            let healed = self.heal_one(fault).await;
            first = first.and(healed);
        }
        // Only now: until then the faults explain what fails.
        self.faults.end(present.len());
        first
    }

    async fn heal_one(&self, fault: &SiteFault) -> Result<(), PlatformError> {
        match fault {
            SiteFault::PowerCut(machine) => self.boot(machine).await,
            SiteFault::GuestFrozen(machine) if self.runs(machine).await => {
                self.send_to_qemu(machine, "cont").await
            }
            SiteFault::ShutdownRefused(machine) if self.runs(machine).await => {
                self.send_to_guest(machine, ToGuest::HeedShutdown).await
            }
            // A guest that is gone is neither paused nor ignoring requests.
            SiteFault::GuestFrozen(_) | SiteFault::ShutdownRefused(_) => Ok(()),
            SiteFault::DiskGrown(..) => Ok(()),
            SiteFault::Link(_) => {
                self.faults.condition.send_replace(LinkCondition::Healthy);
                Ok(())
            }
            SiteFault::Writes(_) => {
                *lock(&self.faults.writes) = None;
                Ok(())
            }
            SiteFault::ComponentDown(id) => {
                self.components.connect(id);
                Ok(())
            }
            SiteFault::StorageKilled => {
                self.storage.revive().await.map_err(self.failed("start the storage daemon"))
            }
        }
    }

    /// Counts of what the link did to its traffic, to prove that a fault had an effect.
    #[must_use]
    pub fn link_felt(&self) -> &Tally {
        &self.faults.tally
    }

    /// Whether a machine is running.
    async fn runs(&self, machine: &MachineId) -> bool {
        matches!(self.running_boot(machine).await, Ok(Some(_)))
    }

    async fn guest_of(&self, machine: &MachineId) -> Result<Arc<Boot>, PlatformError> {
        let boot = self.running_boot(machine).await?;
        boot.ok_or_else(|| self.refuse(Kind::WrongPowerState, format!("machine {machine} is off")))
    }

    async fn send_to_qemu(&self, machine: &MachineId, command: &str) -> Result<(), PlatformError> {
        let boot = self.guest_of(machine).await?;
        let answer = boot.guest.monitor().execute(command, json!({})).await;
        answer.map(drop).map_err(self.failed("pause or resume a guest"))
    }

    async fn send_to_guest(&self, machine: &MachineId, command: ToGuest) -> Result<(), PlatformError> {
        let boot = self.guest_of(machine).await?;
        let answer =
            boot.guest.race("its answer", ANSWER_WITHIN, boot.guest.witness().command(&command)).await;
        answer.map_err(self.failed("make a guest ignore or obey shutdown requests"))
    }

    /// The URI of an NBD server's `export` as seen from outside the site: that of the server
    /// itself, or since the first fault of the link that of a relay in front of it.
    pub(crate) fn over_link(&self, export: &str, server: Upstream) -> Result<String, PlatformError> {
        let mut relays = lock(&self.faults.relays);
        let Some(relays) = relays.as_mut() else {
            return Ok(match server {
                Upstream::Unix(socket) => format!("nbd+unix:///{export}?socket={socket}"),
                Upstream::Tcp(address) => format!("nbd://{address}/{export}"),
            });
        };
        let number = relays.len();
        let relay = match relays.entry(server) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let socket = self.config.scratch.path().join(format!("{}-link-{number}", self.config.id));
                let relay = Relay::start(
                    &socket,
                    entry.key().clone(),
                    self.faults.condition.subscribe(),
                    Arc::clone(&self.faults.tally),
                );
                entry.insert(relay.map_err(self.failed("start a relay"))?)
            }
        };
        let socket: &Utf8Path = relay.socket();
        Ok(format!("nbd+unix:///{export}?socket={socket}"))
    }
}
