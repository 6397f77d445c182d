//! Powering machines and whole sites off.

use std::sync::Arc;

use contract::{MachineId, Millis, PlatformError, PlatformErrorKind as Kind, Timestamp};

use crate::clock::{micros, moment};
use crate::guest::Guest;
use crate::{End, SimBoot, SimFault, SimSite};

/// Result of a request to shut down.
enum Request {
    IsOff,
    /// The machine will be off at this time, in microseconds since the Unix epoch.
    OffAt(u64),
    Ignored,
}

impl SimSite {
    /// Asks the guest to shut down and waits until it is off, at most `within`. A guest that is
    /// slower still shuts down, later.
    pub(crate) async fn shut_down_in_order(
        &self,
        id: &MachineId,
        within: Millis,
    ) -> Result<(), PlatformError> {
        let now = self.clock().micros();
        let bound = now.saturating_add(micros(within));
        match self.request_shutdown(id, now)? {
            Request::IsOff => Ok(()),
            Request::OffAt(off) if off <= bound => {
                self.clock().until(off).await;
                let now = self.clock().micros();
                self.with(|state| state.catch_up(id, now));
                Ok(())
            }
            Request::OffAt(_) | Request::Ignored => {
                self.clock().until(bound).await;
                Err(self.refuse(Kind::TimedOut, format!("shut down: machine {id} is not off after {within}")))
            }
        }
    }

    fn request_shutdown(&self, id: &MachineId, now: u64) -> Result<Request, PlatformError> {
        let takes = micros(self.config().shutdown_takes);
        self.with(|state| {
            state.catch_up(id, now);
            let ignores = state.ignoring_shutdown.contains(id);
            let record = state.machines.get_mut(id).ok_or_else(|| self.unknown("machine", id))?;
            let Some(running) = &mut record.running else { return Ok(Request::IsOff) };
            let Some(guest) = running.guest.as_mut().filter(|guest| !guest.is_hung() && !ignores) else {
                return Ok(Request::Ignored);
            };
            guest.stop_load();
            let off = *running.closing.get_or_insert(now.max(guest.up_at()).saturating_add(takes));
            state.shutting_down.insert(id.clone());
            Ok(Request::OffAt(off))
        })
    }

    pub(crate) fn cut_power(&self, id: &MachineId) -> Result<(), PlatformError> {
        let now = self.clock().micros();
        self.with(|state| {
            if !state.machines.contains_key(id) {
                return Err(self.unknown("machine", id));
            }
            state.catch_up(id, now);
            state.end_boot(id, now, End::PoweredOff);
            Ok(())
        })
    }

    /// Injects a fault. Returns when.
    pub fn inject(&self, fault: &SimFault) -> Timestamp {
        let now = self.clock().micros();
        self.faults().apply(fault);
        self.with(|state| match fault {
            SimFault::SiteLost => {
                let machines: Vec<_> = state.machines.keys().cloned().collect();
                for machine in &machines {
                    state.catch_up(machine, now);
                    state.end_boot(machine, now, End::SiteLost);
                }
                let snapshots = std::mem::take(&mut state.snapshots).into_values();
                let snapshots = snapshots.flat_map(|snapshot| snapshot.served);
                let exports = std::mem::take(&mut state.exports).into_values().map(|export| export.served);
                state.to_close.extend(snapshots.chain(exports));
                state.store.lose_caches();
            }
            SimFault::ShutdownRefused(machine) => drop(state.ignoring_shutdown.insert(machine.clone())),
            SimFault::QuiesceRefused(machine) => drop(state.refusing_quiesce.insert(machine.clone())),
            SimFault::GuestHangs(machine) => {
                state.catch_up(machine, now);
                let record = state.machines.get_mut(machine).and_then(|record| record.running.as_mut());
                if let Some(running) = record {
                    running.closing = None;
                    running.guest.iter_mut().for_each(Guest::hang);
                }
            }
            SimFault::LinkCut
            | SimFault::Full(_)
            | SimFault::ReadError(_)
            | SimFault::WriteError(_)
            | SimFault::FirstDiskTracked
            | SimFault::TrackerFails
            | SimFault::NoListOfChanges
            | SimFault::TrackerLies(_)
            | SimFault::EventsUnnoticed
            | SimFault::AllocationLies
            | SimFault::LostAt(_)
            | SimFault::CutFrom(_)
            | SimFault::Call(_) => {}
        });
        self.announce_closed();
        self.note(&self.config().id.0, format!("{fault:?}"));
        moment(now)
    }

    /// Ends every fault. Machines that are off stay off; hung guests resume.
    pub fn heal(&self) {
        let now = self.clock().micros();
        self.faults().heal();
        self.with(|state| {
            state.ignoring_shutdown.clear();
            state.refusing_quiesce.clear();
            for record in state.machines.values_mut() {
                let guest = record.running.as_mut().and_then(|running| running.guest.as_mut());
                if let Some(guest) = guest.filter(|guest| guest.is_hung()) {
                    guest.resume(now);
                }
            }
        });
        self.note(&self.config().id.0, "healed".to_owned());
    }

    /// Injects [`SimFault::SiteLost`]. Returns the time.
    pub fn lose(&self) -> Timestamp {
        self.inject(&SimFault::SiteLost)
    }

    /// Makes a lost site available again; its machines are off, and its disks are as the loss left
    /// them. Other faults remain.
    pub fn restore(&self) {
        self.faults().restore();
        self.note(&self.config().id.0, "restored".to_owned());
    }

    /// Waits for a boot of `machine` with a number above `previous_boot`.
    pub async fn boot_after(&self, machine: &MachineId, previous_boot: u32) -> Arc<SimBoot> {
        let mut booted = self.booted();
        loop {
            booted.borrow_and_update();
            if let Some(boot) = self.last_boot(machine).filter(|boot| boot.number > previous_boot) {
                return boot;
            }
            if booted.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// The last boot of a machine, with everything its guest has done until now. Later writes are
    /// added when the machine is accessed again.
    pub fn last_boot(&self, machine: &MachineId) -> Option<Arc<SimBoot>> {
        self.boots(machine).pop()
    }

    /// Drops the records of all boots of each machine but the last. They hold every write of their
    /// guests, so that a simulation of many cycles would need more memory with each.
    pub fn drop_earlier_boots(&self) {
        self.with(|state| {
            for history in state.history.values_mut() {
                let earlier = history.boots.len().saturating_sub(1);
                history.boots.drain(..earlier);
                history.dropped += earlier;
            }
        });
    }

    /// All boots of machines of this name, but for those that were dropped, up to date like
    /// [`SimSite::last_boot`].
    pub fn boots(&self, machine: &MachineId) -> Vec<Arc<SimBoot>> {
        let now = self.clock().micros();
        self.with(|state| {
            state.catch_up(machine, now);
            state.history.get(machine).map(|history| history.boots.clone()).unwrap_or_default()
        })
    }
}
