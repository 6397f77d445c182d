//! How machines go off, and how whole sites do.

use std::sync::Arc;

use contract::{MachineId, Millis, PlatformError, PlatformErrorKind as Kind, Timestamp};

use crate::clock::{micros, moment};
use crate::guest::Guest;
use crate::{End, SimBoot, SimFault, SimSite};

/// What became of a request to shut down.
enum Request {
    IsOff,
    /// It will be off then, in microseconds since the Unix epoch.
    OffAt(u64),
    Ignored,
}

impl SimSite {
    /// Asks the guest to shut down and lets time pass until it is off, `within` at most. A guest that is slower
    /// goes off all the same, later.
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
                Err(self
                    .refuse(Kind::TimedOut, format!("shut down: machine {id} was not off within {within}")))
            }
        }
    }

    fn request_shutdown(&self, id: &MachineId, now: u64) -> Result<Request, PlatformError> {
        let takes = micros(self.config().shutdown_takes);
        self.with(|state| {
            state.catch_up(id, now);
            let is_deaf = state.deaf.contains(id);
            let record = state.machines.get_mut(id).ok_or_else(|| self.unknown("machine", id))?;
            let Some(running) = &mut record.running else { return Ok(Request::IsOff) };
            let Some(guest) = running.guest.as_mut().filter(|guest| !guest.is_hung() && !is_deaf) else {
                return Ok(Request::Ignored);
            };
            guest.rest();
            let off = *running.closing.get_or_insert(now.max(guest.up_at()).saturating_add(takes));
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

    /// Lets something go wrong. Returns when.
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
                let views = std::mem::take(&mut state.views).into_values().flat_map(|view| view.served);
                let exports = std::mem::take(&mut state.exports).into_values().map(|export| export.served);
                state.to_close.extend(views.chain(exports));
            }
            SimFault::ShutdownRefused(machine) => drop(state.deaf.insert(machine.clone())),
            SimFault::QuiesceRefused(machine) => drop(state.restless.insert(machine.clone())),
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
            | SimFault::Call(_) => {}
        });
        self.tell_closed();
        self.note(&self.config().id.0, format!("{fault:?}"));
        moment(now)
    }

    /// Ends every fault. Machines that were switched off stay off; hung guests go on.
    pub fn heal(&self) {
        let now = self.clock().micros();
        self.faults().heal();
        self.with(|state| {
            state.deaf.clear();
            state.restless.clear();
            for record in state.machines.values_mut() {
                let guest = record.running.as_mut().and_then(|running| running.guest.as_mut());
                if let Some(guest) = guest.filter(|guest| guest.is_hung()) {
                    guest.resume(now);
                }
            }
        });
        self.note(&self.config().id.0, "healed".to_owned());
    }

    /// The power of the whole site fails; see [`SimFault::SiteLost`]. Returns the moment.
    pub fn lose(&self) -> Timestamp {
        self.inject(&SimFault::SiteLost)
    }

    /// A lost site is back; its machines are off, its disks are as the loss left them. Other faults stay.
    pub fn restore(&self) {
        self.faults().restore();
        self.note(&self.config().id.0, "restored".to_owned());
    }

    /// Waits for a boot of `machine` with a number above `after`.
    pub async fn boot_after(&self, machine: &MachineId, after: u32) -> Arc<SimBoot> {
        let mut booted = self.booted();
        loop {
            booted.borrow_and_update();
            if let Some(boot) = self.last_boot(machine).filter(|boot| boot.number > after) {
                return boot;
            }
            if booted.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// The last boot of a machine, with all its guest has done until now. Later writes are added to it when
    /// somebody looks at the machine again.
    pub fn last_boot(&self, machine: &MachineId) -> Option<Arc<SimBoot>> {
        self.boots(machine).pop()
    }

    /// All boots of machines of this name, as [`SimSite::last_boot`] shows them.
    pub fn boots(&self, machine: &MachineId) -> Vec<Arc<SimBoot>> {
        let now = self.clock().micros();
        self.with(|state| {
            state.catch_up(machine, now);
            state.lives.get(machine).map(|life| life.boots.clone()).unwrap_or_default()
        })
    }
}
