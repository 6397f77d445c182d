//! Machines: created from volumes, booted with a log of every write, and kept defined while they
//! are off.

use std::sync::Arc;
use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};
use contract::{
    ChangeId, Firmware, LibvirtDomain, MachineId, MachineSpec, MachineView, PlatformError,
    PlatformErrorKind as Kind, PowerState,
};
use harness::machine::{self, DiskManager, DiskSpec, Machine};
use harness::tools::{self, Format};
use witness::protocol::SERVICE_PORT;

use crate::active_faults::lock;
use crate::boot::role;
use crate::state::{MachineRecord, State, VolumeRecord};
use crate::{Boot, BootDisk, StandInSite, TrackingMechanism};

/// Guest ports forwarded from the host: SSH and the witness's service.
const FORWARDED: [u16; 2] = [22, SERVICE_PORT];
/// Additional ports of a machine that is snapshotted through its agent.
const FORWARDED_TO_AGENT: [u16; 2] = [agent::protocol::CONTROL_PORT, agent::protocol::NBD_PORT];

impl StandInSite {
    pub(crate) fn show_machine(
        &self,
        state: &State,
        record: &MachineRecord,
    ) -> Result<MachineView, PlatformError> {
        let power = if record.running().is_some() { PowerState::On } else { PowerState::Off };
        let view = self.components.show(&record.spec, power, state).map_err(self.denied())?;
        Ok(MachineView { libvirt: self.libvirt_domain(record), ..view })
    }

    /// The domain of a machine whose disks libvirt manages.
    fn libvirt_domain(&self, record: &MachineRecord) -> Option<LibvirtDomain> {
        let managed = self.config.profile.disk_manager == DiskManager::Libvirt;
        let domain = record.domain.as_ref().filter(|_| managed)?;
        let uri = self.config.host.uri().to_owned();
        Some(LibvirtDomain { uri, name: domain.spec().name.clone() })
    }

    pub(crate) async fn add_machine(&self, spec: &MachineSpec) -> Result<MachineView, PlatformError> {
        let mut state = self.state.lock().await;
        let exists = state.machines.contains_key(&spec.id);
        let spec = self.components.admit_machine(spec, exists, &*state).map_err(self.denied())?;
        let record = MachineRecord {
            spec: spec.clone(),
            domain: None,
            last_boot: None,
            tracked: Vec::new(),
            serving_boot: None,
            snapshots_taken: 0,
            changes_asked_for: 0,
            changes_unavailable: Vec::new(),
        };
        let view = self.show_machine(&state, &record)?;
        state.machines.insert(spec.id.clone(), record);
        Ok(view)
    }

    pub(crate) async fn remove_machine(&self, id: &MachineId) -> Result<(), PlatformError> {
        self.components.check_manager().map_err(self.denied())?;
        let mut state = self.state.lock().await;
        let Some(record) = state.machines.get_mut(id) else { return Ok(()) };
        if record.running().is_some() {
            return Err(
                self.refuse(Kind::WrongPowerState, format!("machine {id} is running; power it off first"))
            );
        }
        if let Some(domain) = record.domain.take() {
            domain.remove().await.map_err(self.failed("delete a machine"))?;
        }
        if let Some(record) = state.machines.remove(id) {
            self.components.forget_machine(id, &inventory::volumes_of(&record.spec));
        }
        Ok(())
    }

    pub(crate) async fn running_boot(&self, id: &MachineId) -> Result<Option<Arc<Boot>>, PlatformError> {
        let state = self.state.lock().await;
        let record = state.machines.get(id).ok_or_else(|| self.unknown("machine", id))?;
        Ok(record.running().cloned())
    }

    /// Powers a machine on. Its disks are copied first, for the oracle.
    pub(crate) async fn boot(&self, id: &MachineId) -> Result<(), PlatformError> {
        let mut state = self.state.lock().await;
        let record = state.machines.get(id).ok_or_else(|| self.unknown("machine", id))?;
        if record.running().is_some() {
            return Ok(());
        }
        self.close_offline_snapshots(&mut state, id).await?;
        let record = state.machines.get(id).ok_or_else(|| self.unknown("machine", id))?;
        let number = record.last_boot.as_ref().map_or(0, |boot| boot.number).saturating_add(1);
        let dir = unused_dir(&self.dir("machines").join(&id.0), number);
        let began = Instant::now();
        let disks = self.capture(&state, &record.spec, &dir).await?;
        let capture_time = began.elapsed();
        let tracked = self.still_tracked(record, &disks).await?;
        let spec = self.domain_spec(&state, &record.spec, &dir, &disks);
        let record = state.machines.get_mut(id).ok_or_else(|| self.unknown("machine", id))?;
        if let Some(domain) = record.domain.take() {
            domain.replace().await.map_err(self.failed("redefine a machine"))?;
        }
        let SiteConfigRef { host, accelerator, scratch } = self.config_ref();
        let domain = Machine::define(host, accelerator, scratch, spec).await;
        let domain = Arc::new(domain.map_err(self.failed("define a machine"))?);
        record.domain = Some(Arc::clone(&domain));
        record.tracked = tracked;
        record.snapshots_taken = 0;
        let guest = domain.start().await.map_err(self.failed("start a machine"))?;
        lock(&self.endings).push(Arc::clone(guest.monitor().ending()));
        self.enforce(id, &guest).await?;
        let disks = disks.into_iter().map(|(disk, _)| disk).collect();
        let (machine, profile) = (id.clone(), self.config.profile.clone());
        let boot = Boot { machine, number, profile, guest, disks, capture_time, dir };
        record.last_boot = Some(Arc::new(boot));
        drop(state);
        self.booted.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Copies every disk before power-on.
    async fn capture(
        &self,
        state: &State,
        spec: &MachineSpec,
        dir: &Utf8Path,
    ) -> Result<Vec<(BootDisk, VolumeRecord)>, PlatformError> {
        std::fs::create_dir_all(dir).map_err(|e| self.refuse(Kind::Failed, format!("{dir}: {e}")))?;
        let mut disks = Vec::new();
        for (id, volume) in &spec.disks {
            let record = state.volumes.get(volume).ok_or_else(|| self.unknown("volume", volume))?;
            let path = |what: &str| -> Utf8PathBuf { dir.join(format!("{id}.{what}")) };
            let disk =
                BootDisk { id: id.clone(), base: path("base.raw"), log: path("writes"), bytes: record.bytes };
            tools::convert(&record.path, record.format, &disk.base, Format::Raw)
                .await
                .map_err(self.failed("copy a disk before power-on"))?;
            disks.push((disk, record.clone()));
        }
        Ok(disks)
    }

    /// The change ids that are still valid after the machine was off: those whose bitmaps every
    /// disk kept.
    async fn still_tracked(
        &self,
        record: &MachineRecord,
        disks: &[(BootDisk, VolumeRecord)],
    ) -> Result<Vec<ChangeId>, PlatformError> {
        let mut tracked = record.tracked.clone();
        if tracked.is_empty() {
            return Ok(tracked);
        }
        for (_, volume) in disks {
            let kept = match volume.format {
                Format::Qcow2 => self.storage.bitmaps(&volume.path).await,
                _ => Ok(Vec::new()),
            };
            let kept = kept.map_err(self.failed("look for kept bitmaps"))?;
            tracked.retain(|change| kept.contains(&change.0));
        }
        Ok(tracked)
    }

    fn domain_spec(
        &self,
        state: &State,
        spec: &MachineSpec,
        dir: &Utf8Path,
        disks: &[(BootDisk, VolumeRecord)],
    ) -> machine::GuestSpec {
        let token = self.config.scratch.path().file_name().unwrap_or_default();
        let mut hardware = self.config.profile.hardware.clone();
        hardware.firmware = match spec.firmware {
            Firmware::Bios => machine::Firmware::Bios,
            Firmware::Uefi => machine::Firmware::Uefi,
        };
        hardware.memory_mib = spec.memory.0 >> 20;
        let disks = disks.iter().map(|(disk, volume)| DiskSpec {
            role: role(&disk.id).to_owned(),
            image: volume.path.clone(),
            format: volume.format,
            backing: state.files_below(volume),
            write_log: self.config.log_writes.then(|| disk.log.clone()),
        });
        let to_agent: &[u16] = match self.config.profile.tracking {
            TrackingMechanism::Hypervisor | TrackingMechanism::ReplicaLog { .. } => &[],
            TrackingMechanism::Agent => &FORWARDED_TO_AGENT,
        };
        let nic = self.components.nic(&spec.id);
        let more_nics = self.components.more_nics(&spec.id);
        let more_nics = (1..).zip(&more_nics).map(|(number, nic)| machine::NicSpec {
            subnet: nic.range.to_string(),
            address: nic.address,
            mac: mac_of(&spec.id, number),
        });
        machine::GuestSpec {
            name: format!("roundtrip-{token}-{}-{}", self.config.id, spec.id),
            hardware,
            enlightenments: self.config.enlightenments.clone(),
            boot_entry: spec.boot_entry.clone(),
            disks: disks.collect(),
            disk_manager: self.config.profile.disk_manager,
            forwards: [&FORWARDED, to_agent].concat(),
            subnet: nic.as_ref().map_or(self.config.profile.range, |nic| nic.range).to_string(),
            address: nic.map(|nic| nic.address),
            mac: mac_of(&spec.id, 0),
            more_nics: more_nics.collect(),
            dir: dir.to_owned(),
        }
    }

    fn config_ref(&self) -> SiteConfigRef<'_> {
        SiteConfigRef {
            host: &self.config.host,
            accelerator: self.config.accelerator,
            scratch: &self.config.scratch,
        }
    }
}

struct SiteConfigRef<'a> {
    host: &'a harness::host::Host,
    accelerator: machine::Accelerator,
    scratch: &'a harness::scratch::Scratch,
}

/// The hardware address of a machine's network card with this number, from 0: locally administered,
/// and derived from the machine's name.
#[must_use]
pub fn mac_of(id: &MachineId, number: u8) -> String {
    let sum =
        id.0.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let [a, b, c, _] = sum.to_be_bytes();
    format!("52:54:{number:02x}:{a:02x}:{b:02x}:{c:02x}")
}

/// The first directory of a machine's boots, from this number on, that does not exist. A machine
/// may be deleted and another one get its name; edges of both are judged by the files of boots.
fn unused_dir(boots: &Utf8Path, mut number: u32) -> Utf8PathBuf {
    loop {
        let dir = boots.join(format!("boot-{number}"));
        if !dir.exists() {
            return dir;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boots_of_a_machine_with_an_old_name_do_not_overwrite_those_before() {
        let boots = tempfile::tempdir().unwrap();
        let boots = Utf8Path::from_path(boots.path()).unwrap();
        let name = |number| unused_dir(boots, number).file_name().unwrap().to_owned();
        assert_eq!(name(1), "boot-1");
        std::fs::create_dir(boots.join("boot-1")).unwrap();
        std::fs::create_dir(boots.join("boot-2")).unwrap();
        assert_eq!((name(1), name(2), name(7)), ("boot-3".into(), "boot-3".into(), "boot-7".into()));
    }
}
