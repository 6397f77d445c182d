//! Machines: created from volumes, powered on and off.

use std::sync::Arc;

use contract::{
    ChangeId, MachineId, MachineSpec, MachineView, PlatformError, PlatformErrorKind as Kind, PowerState,
    VolumeId,
};
use inventory::Volumes;

use crate::boot::{SimBoot, SimDisk};
use crate::capture::RecentWrites;
use crate::clock::{micros, moment};
use crate::guest::{Guest, PowerOn};
use crate::seeds::seed_of;
use crate::state::{MachineRecord, Running, State};
use crate::{SimSite, Snapshot};

impl SimSite {
    pub(crate) fn show_machine(
        &self,
        state: &State,
        record: &MachineRecord,
    ) -> Result<MachineView, PlatformError> {
        let power = if record.running.is_some() { PowerState::On } else { PowerState::Off };
        self.components().show(&record.spec, power, &state.store).map_err(self.denied())
    }

    pub(crate) fn add_machine(&self, spec: &MachineSpec) -> Result<MachineView, PlatformError> {
        self.with(|state| {
            let exists = state.machines.contains_key(&spec.id);
            let admitted = self.components().admit_machine(spec, exists, &state.store);
            let spec = admitted.map_err(self.denied())?;
            let record = MachineRecord {
                spec: spec.clone(),
                running: None,
                tracked: Vec::new(),
                snapshots_taken: 0,
                live_snapshot: None,
            };
            let view = self.show_machine(state, &record)?;
            for (_, volume) in &spec.disks {
                state.users.entry(volume.clone()).or_default().insert(spec.id.clone());
            }
            state.machines.insert(spec.id.clone(), record);
            Ok(view)
        })
    }

    pub(crate) fn remove_machine(&self, id: &MachineId) -> Result<(), PlatformError> {
        self.components().check_manager().map_err(self.denied())?;
        let now = self.clock().micros();
        self.with(|state| {
            state.catch_up(id, now);
            if state.is_running(id) {
                let text = format!("machine {id} is running; power it off first");
                return Err(self.refuse(Kind::WrongPowerState, text));
            }
            let Some(record) = state.machines.remove(id) else { return Ok(()) };
            let disks = inventory::volumes_of(&record.spec);
            self.components().forget_machine(id, &disks);
            for volume in &disks {
                if let Some(users) = state.users.get_mut(volume) {
                    users.remove(id);
                    if users.is_empty() {
                        state.users.remove(volume);
                    }
                }
            }
            Ok(())
        })
    }

    /// Powers a machine on. The content of its disks before that is recorded.
    pub(crate) fn boot(&self, id: &MachineId) -> Result<(), PlatformError> {
        self.components().check_start(id).map_err(self.denied())?;
        let now = self.clock().micros();
        self.with(|state| {
            state.catch_up(id, now);
            let record = state.machines.get(id).ok_or_else(|| self.unknown("machine", id))?;
            if record.running.is_some() {
                return Ok(());
            }
            let spec = record.spec.clone();
            let disks = self.capture(state, &spec)?;
            let tracked = still_tracked(state, record);
            let running = self.power_on(state, &spec, &disks, now);
            let history = state.history.entry(id.clone()).or_default();
            history.boots.push(Arc::clone(&running.boot));
            if let Some(record) = state.machines.get_mut(id) {
                record.tracked = tracked;
                record.snapshots_taken = 0;
                record.running = Some(running);
            }
            Ok(())
        })?;
        self.announce_boot();
        Ok(())
    }

    /// The content of every disk, none of which may be in use.
    fn capture(&self, state: &State, spec: &MachineSpec) -> Result<Vec<Snapshot>, PlatformError> {
        let failed = |what: String| self.refuse(Kind::Failed, format!("start machine {}: {what}", spec.id));
        let capture = |(_, volume): &(_, VolumeId)| {
            let chain = state.store.chain(volume);
            let open =
                state.exports.values().find(|export| export.writable && chain.contains(&export.volume));
            if let Some(export) = open {
                return Err(failed(format!("volume {} is open for writing", export.volume)));
            }
            let users = chain.iter().filter_map(|below| state.users.get(below)).flatten();
            if let Some(user) = users.into_iter().find(|user| state.is_running(user)) {
                return Err(failed(format!("volume {volume} is in use by machine {user}")));
            }
            state.store.snapshot(volume).map_err(failed)
        };
        spec.disks.iter().map(capture).collect()
    }

    fn power_on(&self, state: &State, spec: &MachineSpec, disks: &[Snapshot], now: u64) -> Running {
        let booted = state.history.get(&spec.id).map_or(0, |history| history.boots.len());
        let number = u32::try_from(booted).unwrap_or(u32::MAX).saturating_add(1);
        let names: Vec<_> = spec.disks.iter().map(|(disk, _)| disk.clone()).collect();
        let up_at = now + micros(self.config().boot_takes);
        let needed = self.boot_drivers();
        let on = PowerOn {
            names: &names,
            disks,
            firmware: spec.firmware,
            boot_entry: spec.boot_entry.as_deref(),
            needed: &needed,
            seed: seed_of(self.seed(), &[&self.config().id.0, &spec.id.0], u64::from(number)),
            epoch: self.epoch(number),
            at: now,
            up_at,
        };
        let (guest, found, up) = match Guest::boot(&on) {
            Ok((guest, found)) => (Some(guest), Some(found), Ok(moment(up_at))),
            Err(reason) => (None, None, Err(reason)),
        };
        let disks = names.iter().zip(disks);
        let disks = disks.map(|(id, base)| SimDisk { id: id.clone(), base: base.clone() }).collect();
        let mut boot = SimBoot::new(spec.id.clone(), number, on.epoch, moment(now), disks);
        (boot.found, boot.up, boot.drivers) = (found, up, needed);
        boot.firmware = spec.firmware;
        let volumes = spec.disks.iter().map(|(_, volume)| volume.clone()).collect();
        Running {
            boot: Arc::new(boot),
            volumes,
            guest,
            recent: RecentWrites::default(),
            closing: None,
            unrecorded_until: 0,
        }
    }

    /// The epoch of a boot, which no other boot of a machine has at any site: the upper half is the
    /// number of the site, the lower that of the boot.
    fn epoch(&self, number: u32) -> u32 {
        self.ordinal() << 16 | number & 0xffff
    }
}

/// The change ids that are still valid after the machine was off: those that every disk kept.
fn still_tracked(state: &State, record: &MachineRecord) -> Vec<ChangeId> {
    let kept =
        |change: &&ChangeId| record.spec.disks.iter().all(|(_, volume)| state.store.tracks(volume, change));
    record.tracked.iter().filter(kept).cloned().collect()
}
