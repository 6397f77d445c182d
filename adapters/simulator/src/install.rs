//! Installing machines with bootable disks.

use contract::PlatformErrorKind as Kind;
use std::collections::BTreeSet;
use std::ops::Range;

use contract::{
    Bytes, DiskId, Firmware, GuestFacts, GuestOs, MachineId, MachineSpec, MachineView, Network, NicSpec,
    Placement, PlatformError, VolumeId,
};
use windows_volume::{VOLUME_BYTES, WindowsVolume};

use crate::boot_partition::loader_of;
use crate::disk::{BOOT_PARTITION, Layout, SECTOR, SMALLEST, boot_partition_at_end};
use crate::{Load, SimProfile, SimSite, boot_partition, guid_partition_table, windows_disk};

/// A machine to install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimInstall {
    /// Its name.
    pub machine: MachineId,
    /// Firmware.
    pub firmware: Firmware,
    /// Operating system, as the platform reports it.
    pub os: GuestOs,
    /// Facts about the guest that its agent reports.
    pub guest: GuestFacts,
    /// Memory in bytes.
    pub memory: Bytes,
    /// Disks in boot order with their sizes: multiples of 512 bytes, at least 512 KiB.
    pub disks: Vec<(DiskId, Bytes)>,
    /// The workload of its guest.
    pub load: Load,
    /// The boot loader that its firmware variables name, as the platform reports it. It is then the
    /// only one on the boot partition.
    pub boot_entry: Option<String>,
    /// Its network cards beside the first one.
    pub more_nics: Vec<NicSpec>,
    /// Whether the boot partition is the last thing on the first disk.
    pub boots_at_end: bool,
    /// Whether the first disk has sectors of 4096 bytes and a GPT instead of a list of partitions
    /// in its boot record. It has up to 64 MiB then, in whole sectors, and at its end the second
    /// copy of the GPT: no boot partition and no Windows volume.
    pub has_gpt: bool,
    /// Drivers that its initial RAM disks load; `None`: those of the site.
    pub loads: Option<Vec<String>>,
    /// Drivers that are on its boot partition and can be added.
    pub carries: Vec<String>,
    /// The Windows volume at the end of its first disk; see [`SimInstall::with_windows`].
    pub windows: Option<WindowsVolume>,
}

impl SimInstall {
    /// A machine with two disks of 1 MiB, the default workload, the site's drivers loaded, and the
    /// drivers of all platforms on its boot partition.
    pub fn new(machine: impl Into<MachineId>) -> Self {
        let drivers: BTreeSet<_> =
            SimProfile::ALL.iter().flat_map(|profile| profile.boot_drivers.iter().copied()).collect();
        Self {
            machine: machine.into(),
            firmware: Firmware::Bios,
            os: GuestOs::Linux,
            guest: GuestFacts::default(),
            memory: Bytes(1 << 30),
            disks: vec![("system".into(), Bytes(1 << 20)), ("data".into(), Bytes(1 << 20))],
            load: Load::default(),
            boot_entry: None,
            more_nics: Vec::new(),
            boots_at_end: false,
            has_gpt: false,
            loads: None,
            carries: drivers.into_iter().map(ToOwned::to_owned).collect(),
            windows: None,
        }
    }

    /// The machine with a Windows volume, for which its first disk gets larger.
    #[must_use]
    pub fn with_windows(mut self, windows: WindowsVolume) -> Self {
        self.os = GuestOs::Windows;
        self.windows = Some(windows);
        if let Some((_, size)) = self.disks.first_mut() {
            size.0 += VOLUME_BYTES;
        }
        self
    }

    /// The volume of a disk after installation.
    #[must_use]
    pub fn volume(&self, disk: &DiskId) -> VolumeId {
        VolumeId(format!("{}-{disk}", self.machine))
    }

    fn spec(&self) -> MachineSpec {
        MachineSpec {
            id: self.machine.clone(),
            firmware: self.firmware,
            os: self.os,
            memory: self.memory,
            disks: self.disks.iter().map(|(disk, _)| (disk.clone(), self.volume(disk))).collect(),
            network: Network::Production,
            guest: self.guest.clone(),
            placement: Placement::default(),
            boot_entry: self.boot_entry.clone(),
            more_nics: self.more_nics.clone(),
        }
    }
}

/// Where a Windows volume is on its disk, in bytes, and its content.
type WindowsPart = (Range<u64>, Vec<u8>);

impl SimSite {
    /// Installs a machine; it stays off.
    ///
    /// # Errors
    /// Its name or one of its volumes exists already, a disk has an invalid size, or two things
    /// would lie at the end of the first one.
    pub fn install(&self, install: &SimInstall) -> Result<MachineView, PlatformError> {
        if install.has_gpt && (install.boots_at_end || install.windows.is_some()) {
            let why = "the copy of a GPT and another volume cannot both end the first disk";
            return Err(self.refuse(Kind::Failed, why.to_owned()));
        }
        let odd = |size: &Bytes| size.0 < SMALLEST || !size.0.is_multiple_of(SECTOR as u64);
        if let Some((disk, size)) = install.disks.iter().find(|(_, size)| odd(size)) {
            return Err(
                self.refuse(Kind::Failed, format!("disk {disk} cannot have a size of {} bytes", size.0))
            );
        }
        let volumes: Vec<_> =
            install.disks.iter().map(|(disk, size)| (install.volume(disk), size.0)).collect();
        for (volume, size) in &volumes {
            self.add_volume(volume, *size, None)?;
        }
        let loads = install.loads.clone().unwrap_or_else(|| self.boot_drivers());
        let boot = match volumes.first() {
            Some((_, size)) if install.boots_at_end => boot_partition_at_end(*size),
            _ => BOOT_PARTITION,
        };
        let loader = loader_of(install.firmware, install.boot_entry.as_deref());
        let formatted = boot_partition::format(&loads, &install.carries, loader.as_deref(), boot.start)
            .map_err(|error| self.refuse(Kind::Failed, format!("format a boot partition: {error}")))?;
        let mut formatted = Vec::from(formatted);
        if let (true, Some((_, size))) = (install.has_gpt, volumes.first()) {
            let table = guid_partition_table::format(*size, &boot)
                .map_err(|error| self.refuse(Kind::Failed, format!("write a partition table: {error}")))?;
            formatted.splice(..1, table);
        }
        let windows = self.windows_of(install)?;
        if let (Some((place, content)), Some((_, record))) = (&windows, formatted.first_mut()) {
            windows_disk::add_partition(record, place);
            formatted.push((place.start, content.clone()));
        }
        self.with(|state| {
            let mut put = |volume: &VolumeId, offset, data: &[u8]| state.store.write(volume, offset, data);
            for (index, (volume, size)) in volumes.iter().enumerate() {
                let end = match &windows {
                    _ if index > 0 => *size,
                    Some((place, _)) => place.start,
                    None if install.has_gpt => guid_partition_table::end_before_copy(*size),
                    None => *size,
                };
                let layout = Layout::new(index, volumes.len(), end, install.load, &boot);
                put(volume, SECTOR as u64, &layout.encode())?;
                if let Some(range) = layout.rewritten() {
                    put(volume, range.start, &vec![0xa5; (range.end - range.start) as usize])?;
                }
            }
            match volumes.first() {
                Some((first, _)) => formatted.iter().try_for_each(|(offset, data)| put(first, *offset, data)),
                None => Ok(()),
            }
        })
        .map_err(|broken| self.refuse(Kind::Failed, broken))?;
        self.add_machine(&install.spec())
    }

    /// Where a machine's Windows volume is on its first disk, and its content.
    fn windows_of(&self, install: &SimInstall) -> Result<Option<WindowsPart>, PlatformError> {
        let (Some(windows), Some((_, size))) = (&install.windows, install.disks.first()) else {
            return Ok(None);
        };
        let impossible = |why: String| self.refuse(Kind::Failed, format!("install a Windows volume: {why}"));
        let start = size.0.checked_sub(VOLUME_BYTES).filter(|start| *start >= SMALLEST);
        let start = start.filter(|_| !install.boots_at_end);
        let start = start.ok_or_else(|| impossible(format!("no room on {} bytes", size.0)))?;
        let content = windows.bytes().map_err(|error| impossible(error.to_string()))?;
        Ok(Some((start..size.0, content)))
    }
}

#[cfg(test)]
mod tests {
    use crate::{SimConfig, SimProfile, run};

    use super::*;

    #[test]
    fn nothing_but_the_copy_of_a_gpt_ends_the_disk_that_has_one() {
        run(1, async |world| {
            let site = world.site(SimConfig::new("site", SimProfile::VMWARE));
            let gpt = SimInstall { has_gpt: true, ..SimInstall::new("gpt") };
            let boots = SimInstall { boots_at_end: true, ..gpt.clone() };
            for install in [&boots, &gpt.clone().with_windows(WindowsVolume::default())] {
                let refused = site.install(install).expect_err("it is refused");
                assert!(refused.message.contains("copy of a GPT"), "{refused:?}");
            }
            assert!(site.install(&gpt).is_ok(), "a refusal leaves nothing behind");
        });
    }
}
