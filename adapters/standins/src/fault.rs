//! What can go wrong at a site of guests, how it is told to, and how it heals.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use camino::Utf8Path;
use contract::{MachineId, PlatformError, PlatformErrorKind as Kind};
use harness::relay::{LinkCondition, Relay, Tally, Upstream};
use harness::storage::WriteFault;
use serde_json::json;
use tokio::sync::watch;
use witness::protocol::ToGuest;

use crate::{Boot, StandInSite};

/// Something that goes wrong, until [`StandInSite::heal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SiteFault {
    /// A machine loses its power; healing switches it on again.
    PowerCut(MachineId),
    /// A running guest stops where it stands: it writes nothing and heeds nothing.
    GuestFrozen(MachineId),
    /// A guest ignores requests to shut down.
    ShutdownRefused(MachineId),
    /// How the way out of the site is, which the content of views takes.
    Link(LinkCondition),
    /// What writes through exports opened from now on end in.
    Writes(WriteFault),
    /// A component does not answer.
    ComponentDown(&'static str),
    /// The daemon that serves volumes at rest is killed, and with it every export; healing starts it again.
    StorageKilled,
}

/// What is wrong at the moment.
pub(crate) struct Faults {
    present: Mutex<Vec<SiteFault>>,
    writes: Mutex<Option<WriteFault>>,
    weather: watch::Sender<LinkCondition>,
    tally: Arc<Tally>,
    /// Relays before the servers of views, from the first fault of the link on.
    relays: Mutex<Option<BTreeMap<Upstream, Relay>>>,
}

impl Default for Faults {
    fn default() -> Self {
        let (weather, _) = watch::channel(LinkCondition::Healthy);
        Self {
            present: Mutex::default(),
            writes: Mutex::default(),
            weather,
            tally: Arc::default(),
            relays: Mutex::default(),
        }
    }
}

impl Faults {
    /// What writes through exports end in.
    pub(crate) fn writes(&self) -> Option<WriteFault> {
        *held(&self.writes)
    }
}

impl StandInSite {
    /// Makes something go wrong. Faults of different kinds add up; one of the same kind takes the other's place.
    ///
    /// # Errors
    /// The machine does not run, there is no such component, or a process cannot be told.
    pub async fn inject(&self, fault: &SiteFault) -> Result<(), PlatformError> {
        // Noted first: what was done by halves has to heal too.
        held(&self.faults.present).push(fault.clone());
        match fault {
            SiteFault::PowerCut(machine) => {
                let cut = self.guest_of(machine).await?.guest.power_cut().await;
                cut.map(drop).map_err(self.failed("cut the power"))
            }
            SiteFault::GuestFrozen(machine) => self.tell_qemu(machine, "stop").await,
            SiteFault::ShutdownRefused(machine) => self.tell_guest(machine, ToGuest::IgnoreShutdown).await,
            SiteFault::Link(weather) => {
                held(&self.faults.relays).get_or_insert_default();
                self.faults.weather.send_replace(*weather);
                Ok(())
            }
            SiteFault::Writes(fault) => {
                *held(&self.faults.writes) = Some(*fault);
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

    /// Ends every fault, the last one first. Goes through to the end and reports the first failure.
    ///
    /// # Errors
    /// A machine or process does not come back.
    pub async fn heal(&self) -> Result<(), PlatformError> {
        let present = std::mem::take(&mut *held(&self.faults.present));
        let mut first = Ok(());
        for fault in present.iter().rev() {
            let healed = self.heal_one(fault).await;
            first = first.and(healed);
        }
        first
    }

    async fn heal_one(&self, fault: &SiteFault) -> Result<(), PlatformError> {
        match fault {
            SiteFault::PowerCut(machine) => self.boot(machine).await,
            SiteFault::GuestFrozen(machine) if self.runs(machine).await => {
                self.tell_qemu(machine, "cont").await
            }
            SiteFault::ShutdownRefused(machine) if self.runs(machine).await => {
                self.tell_guest(machine, ToGuest::HeedShutdown).await
            }
            // A guest that is gone neither stands still nor refuses anything.
            SiteFault::GuestFrozen(_) | SiteFault::ShutdownRefused(_) => Ok(()),
            SiteFault::Link(_) => {
                self.faults.weather.send_replace(LinkCondition::Healthy);
                Ok(())
            }
            SiteFault::Writes(_) => {
                *held(&self.faults.writes) = None;
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

    /// What the link did to what it carried: a fault that nobody felt proves nothing.
    #[must_use]
    pub fn link_felt(&self) -> &Tally {
        &self.faults.tally
    }

    /// Whether a machine's guest runs.
    async fn runs(&self, machine: &MachineId) -> bool {
        matches!(self.running_boot(machine).await, Ok(Some(_)))
    }

    async fn guest_of(&self, machine: &MachineId) -> Result<Arc<Boot>, PlatformError> {
        let boot = self.running_boot(machine).await?;
        boot.ok_or_else(|| self.refuse(Kind::WrongPowerState, format!("machine {machine} is off")))
    }

    async fn tell_qemu(&self, machine: &MachineId, command: &str) -> Result<(), PlatformError> {
        let boot = self.guest_of(machine).await?;
        let told = boot.guest.monitor().execute(command, json!({})).await;
        told.map(drop).map_err(self.failed("stop or continue a guest"))
    }

    async fn tell_guest(&self, machine: &MachineId, command: ToGuest) -> Result<(), PlatformError> {
        let boot = self.guest_of(machine).await?;
        let told = boot.guest.race("its answer", TOLD_WITHIN, boot.guest.witness().command(&command)).await;
        told.map_err(self.failed("tell a guest to heed or ignore shutdowns"))
    }

    /// The address under which `export` of an NBD server is reached from outside the site: the server itself, or once
    /// the link had a fault, a relay before it.
    pub(crate) fn over_link(&self, export: &str, server: Upstream) -> Result<String, PlatformError> {
        let mut relays = held(&self.faults.relays);
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
                    self.faults.weather.subscribe(),
                    Arc::clone(&self.faults.tally),
                );
                entry.insert(relay.map_err(self.failed("lay a link"))?)
            }
        };
        let socket: &Utf8Path = relay.socket();
        Ok(format!("nbd+unix:///{export}?socket={socket}"))
    }
}

/// How long a guest may take to answer.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
