//! The layout of the system disk, and its two boot loader configurations.
//!
//! The disk has an MBR with two partitions: FAT (`boot`) and ext4 (`rt-root`). The FAT partition
//! always holds the kernel, the base RAM disk and one RAM disk for each boot driver, in
//! [`DRIVERS_DIR`]. Only [`SYSLINUX_CFG`] (BIOS) and [`LOADER_ENTRY`] (UEFI) decide which of them
//! the boot loader passes to the kernel, so adding a boot driver to a disk means rewriting these
//! two text files. The guest never writes to this partition.

/// Size of the system disk in bytes.
pub const SYSTEM_BYTES: u64 = 256 * MIB;
/// Size of the data disk in bytes; it is one ext4 file system without a partition table.
pub const DATA_BYTES: u64 = 128 * MIB;
/// Byte offset of the FAT partition on the system disk.
pub const BOOT_OFFSET: u64 = MIB;
/// Size of the FAT partition in bytes.
pub const BOOT_BYTES: u64 = 64 * MIB;
/// Byte offset of the ext4 partition on the system disk.
pub const ROOT_OFFSET: u64 = BOOT_OFFSET + BOOT_BYTES;
/// Size of the ext4 partition in bytes.
pub const ROOT_BYTES: u64 = SYSTEM_BYTES - ROOT_OFFSET;
/// Byte offset of the ext4 file system on the data disk.
pub const DATA_OFFSET: u64 = 0;
/// Label of the system disk's ext4 file system.
pub const ROOT_LABEL: &str = "rt-root";
/// Label of the data disk's ext4 file system.
pub const DATA_LABEL: &str = "rt-data";

/// Configuration of the BIOS boot loader on the FAT partition.
pub const SYSLINUX_CFG: &str = "/syslinux.cfg";
/// Menu entry of the UEFI boot loader on the FAT partition.
pub const LOADER_ENTRY: &str = "/loader/entries/roundtrip.conf";
/// Settings of the UEFI boot loader on the FAT partition.
pub const LOADER_CONF: &str = "/loader/loader.conf";
/// UEFI boot loader on the FAT partition, at the path that firmware tries by default.
pub const EFI_LOADER: &str = "/EFI/BOOT/BOOTX64.EFI";
/// Directories above [`EFI_LOADER`].
pub const EFI_LOADER_DIRS: [&str; 2] = ["/EFI", "/EFI/BOOT"];
/// Kernel on the FAT partition.
pub const KERNEL: &str = "/vmlinuz";
/// Base RAM disk on the FAT partition: it can mount the root file system of any disk, but has no
/// controller driver.
pub const INITRD: &str = "/initrd.img";
/// RAM disk of the replication agent on the FAT partition; a guest without an agent does not load
/// it.
pub const AGENT_INITRD: &str = "/agent.img";
/// Directory of the driver RAM disks on the FAT partition.
pub const DRIVERS_DIR: &str = "/drivers";
/// Directory of the RAM disks with the tools that a shape needs, on the FAT partition.
const EXTRAS_DIR: &str = "/extras";
/// The variant on the FAT partition, as `KEY=value` lines.
pub const VARIANT_ENV: &str = "/roundtrip.env";
/// Public keys on the FAT partition that may log in over SSH.
pub const AUTHORIZED_KEYS: &str = "/authorized_keys";

/// Boot drivers that every image contains, loaded or not.
pub const BOOT_DRIVERS: &[&str] = &["ahci", "ata_piix", "mptspi", "sym53c8xx", "virtio_scsi", "vmw_pvscsi"];

/// Start of the line that a guest prints on its console when none of its boot drivers finds the
/// root disk.
pub const NO_ROOT_LINE: &str = "ROUNDTRIP-NO-ROOT";

/// Line that a guest prints on its console when all boot services, including the SSH server, are
/// started.
pub const STARTED_LINE: &str = "ROUNDTRIP-STARTED";

const MIB: u64 = 1024 * 1024;

/// Kernel command line. It does not depend on the variant.
///
/// The serial console comes last, so that `/dev/console` is the one that tests record. The first
/// options after `quiet` save time under emulation: no mitigations, no self-tests, no calibration
/// against a timer, no hardening of the kernel against its own programs, and none of the start-up
/// of subsystems that no guest uses (`initcall_blacklist`). The watchdogs stay, because their
/// words say that a host starves its guest. `prefer_ms_hyperv`: on a machine whose vendor is
/// Microsoft, `ata_piix` would otherwise leave IDE disks to Hyper-V's own driver, whose device no
/// stand-in has. `brd`: each of the replication agent's eight stores of changes has 32 MiB, more
/// than the workload ever overwrites.
pub const KERNEL_ARGS: &str = "console=tty0 console=ttyS0,115200 quiet panic=0 mitigations=off nokaslr \
     random.trust_cpu=on random.trust_bootloader=on cryptomgr.notests audit=0 lsm= no_timer_check \
     init_on_alloc=0 rodata=off hardened_usercopy=off randomize_kstack_offset=off \
     initcall_blacklist=jent_mod_init,trace_eval_init,bpf_tcp_ca_kfunc_init,bpf_dummy_struct_ops_init,\
load_system_certificate_list,init_encrypted,crypto_kdf108_init \
     tsc=reliable rcupdate.rcu_expedited=1 net.ifnames=0 noresume ata_piix.prefer_ms_hyperv=0 \
     brd.rd_nr=8 brd.rd_size=32768";

/// Path of the dynamic linker in the guest and its RAM disks.
pub(crate) const LINKER: &str = "lib64/ld-linux-x86-64.so.2";

/// Path of a RAM disk of tools on the FAT partition.
#[must_use]
pub fn extra_image(name: &str) -> String {
    format!("{EXTRAS_DIR}/{name}.img")
}

/// Path of the RAM disk of a driver on the FAT partition.
#[must_use]
pub fn driver_image(driver: &str) -> String {
    format!("{DRIVERS_DIR}/{driver}.img")
}

/// The content of [`SYSLINUX_CFG`] for a disk that loads `drivers`, with `agent` the replication
/// agent, and the tools of a shape.
#[must_use]
pub fn render_syslinux<S: AsRef<str>>(drivers: &[S], agent: bool, extras: &[&str]) -> String {
    let initrds: Vec<String> = initrds(drivers, agent, extras).collect();
    format!(
        "DEFAULT roundtrip\nPROMPT 0\nTIMEOUT 0\nLABEL roundtrip\n  LINUX {KERNEL}\n  INITRD {}\n  APPEND {KERNEL_ARGS}\n",
        initrds.join(",")
    )
}

/// The content of [`LOADER_ENTRY`] for a disk that loads `drivers`, with `agent` the replication
/// agent, and the tools of a shape.
#[must_use]
pub fn render_loader_entry<S: AsRef<str>>(drivers: &[S], agent: bool, extras: &[&str]) -> String {
    let initrds: String = initrds(drivers, agent, extras).map(|path| format!("initrd {path}\n")).collect();
    format!("title Roundtrip\nlinux {KERNEL}\n{initrds}options {KERNEL_ARGS}\n")
}

/// The drivers that a [`SYSLINUX_CFG`] loads, in order. Empty if there is no `INITRD` line.
#[must_use]
pub fn drivers_of_syslinux(config: &str) -> Vec<String> {
    let initrds = config.lines().find_map(|line| line.trim().strip_prefix("INITRD "));
    initrds.unwrap_or_default().split(',').filter_map(driver_of_image).collect()
}

fn driver_of_image(path: &str) -> Option<String> {
    let name = path.trim().strip_prefix(DRIVERS_DIR)?.strip_prefix('/')?;
    name.strip_suffix(".img").map(str::to_owned)
}

fn initrds<'a, S: AsRef<str>>(
    drivers: &'a [S],
    agent: bool,
    extras: &'a [&str],
) -> impl Iterator<Item = String> + 'a {
    let agent = agent.then(|| AGENT_INITRD.to_owned());
    let extras = extras.iter().map(|name| extra_image(name));
    let drivers = drivers.iter().map(|driver| driver_image(driver.as_ref()));
    std::iter::once(INITRD.to_owned()).chain(agent).chain(extras).chain(drivers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_loaders_name_every_driver_after_the_base() {
        let drivers = ["vmw_pvscsi", "ata_piix"];
        assert!(
            render_syslinux(&drivers, false, &[])
                .contains("INITRD /initrd.img,/drivers/vmw_pvscsi.img,/drivers/ata_piix.img\n")
        );
        assert!(
            render_loader_entry(&drivers, false, &[]).contains(
                "initrd /initrd.img\ninitrd /drivers/vmw_pvscsi.img\ninitrd /drivers/ata_piix.img\n"
            )
        );
    }

    #[test]
    fn the_agent_is_loaded_on_request_and_is_not_listed_as_a_driver() {
        let drivers = ["ahci"];
        let syslinux = render_syslinux(&drivers, true, &[]);
        assert!(syslinux.contains("INITRD /initrd.img,/agent.img,/drivers/ahci.img\n"), "{syslinux}");
        assert_eq!(drivers_of_syslinux(&syslinux), drivers);
        assert!(render_loader_entry(&drivers, true, &[]).contains("initrd /agent.img\n"));
    }

    #[test]
    fn tools_of_a_shape_are_loaded_and_are_not_listed_as_drivers() {
        let syslinux = render_syslinux(&["ahci"], false, &["lvm"]);
        assert!(syslinux.contains("INITRD /initrd.img,/extras/lvm.img,/drivers/ahci.img\n"), "{syslinux}");
        assert_eq!(drivers_of_syslinux(&syslinux), ["ahci"]);
        assert!(render_loader_entry(&["ahci"], false, &["lvm"]).contains("initrd /extras/lvm.img\n"));
    }

    #[test]
    fn the_drivers_are_read_back_from_the_configuration() {
        let drivers = ["ahci", "mptspi"];
        assert_eq!(drivers_of_syslinux(&render_syslinux(&drivers, false, &[])), drivers);
        assert!(drivers_of_syslinux(&render_syslinux::<&str>(&[], false, &[])).is_empty());
        assert!(drivers_of_syslinux("no such line").is_empty());
    }
}
