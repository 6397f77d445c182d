//! The content of the guest: the trees of its root file system and of its RAM disks.

use std::collections::BTreeSet;
use std::fs;

use camino::{Utf8Path, Utf8PathBuf};

use crate::elf;
use crate::error::{AtPath, ImageError};
use crate::layout::{BOOT_DRIVERS, LINKER};
use crate::modules::{self, Modules};
use crate::tools;
use crate::tree::Tree;

/// Modules needed for any disk, whatever its controller. ext4 requests its checksum module by an
/// alias.
const BASE_MODULES: &[&str] = &["crc32c_generic", "scsi_mod", "sd_mod", "ext4"];
/// Modules of the replication agent: snapshots, and RAM disks for their stores.
const AGENT_MODULES: &[&str] = &["brd", "dm_mod", "dm_snapshot"];
/// Modules of the running system: channels to the host, network cards, the firewall, the power
/// button.
const SYSTEM_MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_console",
    "virtio_net",
    "virtio_rng",
    "vmxnet3",
    "e1000",
    "e1000e",
    "tulip",
    "nf_tables",
    "nft_reject_inet",
    "button",
    "evdev",
];
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// Directories of libraries in Debian packages, before and after `/lib` was merged into `/usr/lib`.
const LIBRARY_SOURCES: &[&str] = &["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];

/// The unpacked packages.
pub(crate) struct Parts {
    root: Utf8PathBuf,
    pub(crate) modules: Modules,
}

impl Parts {
    pub(crate) fn open(unpacked: &Utf8Path) -> Result<Self, ImageError> {
        let folders = [unpacked.join("lib/modules"), unpacked.join("usr/lib/modules")];
        let folder = folders.iter().find(|folder| folder.is_dir());
        let folder = folder.ok_or_else(|| ImageError::Incomplete { what: "kernel modules".into() })?;
        Ok(Self { root: unpacked.to_owned(), modules: Modules::open(folder)? })
    }

    /// Reads the first of `paths` that exists.
    pub(crate) fn read(&self, paths: &[&str]) -> Result<Vec<u8>, ImageError> {
        let found = paths.iter().map(|path| self.root.join(path)).find(|path| path.is_file());
        let found = found.ok_or_else(|| ImageError::Incomplete { what: paths.join(" or ") })?;
        fs::read(&found).at("cannot read", &found)
    }

    pub(crate) fn kernel(&self) -> Result<Vec<u8>, ImageError> {
        self.read(&[&format!("boot/vmlinuz-{}", self.modules.release)])
    }

    fn busybox(&self) -> Result<Vec<u8>, ImageError> {
        self.read(&["bin/busybox", "usr/bin/busybox"])
    }

    fn applets(&self) -> Result<Vec<String>, ImageError> {
        let program = ["bin/busybox", "usr/bin/busybox"].map(|path| self.root.join(path));
        let program = program.iter().find(|path| path.is_file());
        let program = program.ok_or_else(|| ImageError::Incomplete { what: "busybox".into() })?;
        let list = tools::run(tools::command(program).arg("--list"))?;
        Ok(list.lines().map(str::to_owned).collect())
    }
}

/// The base RAM disk: busybox, the init script, and everything to read a disk except the
/// controller's driver.
pub(crate) fn base_ramdisk(parts: &Parts) -> Result<Tree, ImageError> {
    let mut tree = Tree::default();
    for folder in ["dev", "proc", "sys", "run", "newroot", "drivers"] {
        tree.dir(folder);
    }
    tree.program("bin/busybox", parts.busybox()?);
    for applet in ["sh", "mount", "mkdir", "insmod", "findfs", "usleep", "dd", "cp", "switch_root"] {
        tree.link(&format!("bin/{applet}"), "busybox");
    }
    tree.program("init", include_str!("guest/initrd-init.sh"));
    add_loadable(&mut tree, parts, BASE_MODULES, "base.list")?;
    Ok(tree)
}

/// The RAM disk of a boot driver: its modules and the list that the init script reads.
pub(crate) fn driver_ramdisk(parts: &Parts, driver: &str) -> Result<Tree, ImageError> {
    let mut tree = Tree::default();
    // A virtio controller is on a bus of its own.
    let needs_bus: &[&str] = if driver.starts_with("virtio") { &["virtio_pci"] } else { &[] };
    let names = [needs_bus, &[driver]].concat();
    let modules = add_loadable(&mut tree, parts, &names, &format!("drivers/{driver}.list"))?;
    if !modules.iter().any(|name| name == driver) {
        // A driver that is always present would make every test of missing drivers void.
        return Err(ImageError::Incomplete { what: format!("module {driver}: this kernel has it built in") });
    }
    Ok(tree)
}

/// The RAM disk of the replication agent: the program and its kernel modules. The agent is never on
/// a disk of the running machine, because it runs while the disks are suspended.
pub(crate) fn agent_ramdisk(parts: &Parts, agent: &Utf8Path) -> Result<Tree, ImageError> {
    let mut tree = Tree::default();
    tree.program("bin/agent", fs::read(agent).at("cannot read the agent", agent)?);
    add_loadable(&mut tree, parts, AGENT_MODULES, "agent.list")?;
    Ok(tree)
}

/// Adds modules and the list to load them from; returns their names.
pub(crate) fn add_loadable(
    tree: &mut Tree,
    parts: &Parts,
    names: &[&str],
    listing: &str,
) -> Result<Vec<String>, ImageError> {
    let modules = parts.modules.closure(names)?;
    let loaded = modules.iter().map(|module| module.name.clone()).collect();
    tree.file(listing, modules::listing(&modules));
    for module in modules {
        tree.file(&format!("modules/{}.ko", module.name), module.bytes);
    }
    Ok(loaded)
}

/// The root file system.
pub(crate) fn root(parts: &Parts, witness: &Utf8Path) -> Result<Tree, ImageError> {
    let mut tree = Tree::default();
    add_folders(&mut tree);
    add_scripts(&mut tree);
    add_accounts(&mut tree);
    tree.program("bin/witness", fs::read(witness).at("cannot read the witness", witness)?);
    add_modules(&mut tree, parts)?;
    add_programs(&mut tree, parts)?;
    tree.program("bin/busybox", parts.busybox()?);
    for applet in parts.applets()?.iter().filter(|name| !OWN_COMMANDS.contains(&name.as_str())) {
        tree.link(&format!("bin/{applet}"), "busybox");
    }
    tree.link("sbin/modprobe", "../bin/busybox");
    Ok(tree)
}

/// Commands that are not linked to busybox, because its own would shut down without the witness.
const OWN_COMMANDS: &[&str] = &["busybox", "halt", "init", "linuxrc", "poweroff", "reboot"];

fn add_folders(tree: &mut Tree) {
    for folder in
        ["data", "dev", "etc/dropbear", "mnt", "proc", "run", "sys", "tmp", "var/lib/witness", "var/log"]
    {
        tree.dir(folder);
    }
    tree.link("var/run", "/run");
    tree.dir_mode("root", 0o700);
    // The keys are read from the boot partition at each boot and kept in memory only.
    tree.link("root/.ssh", "/run/ssh");
}

fn add_scripts(tree: &mut Tree) {
    tree.program("sbin/init", include_str!("guest/init.sh"));
    tree.program("sbin/services", include_str!("guest/services.sh"));
    tree.program("sbin/data-disks", include_str!("guest/data-disks.sh"));
    tree.program("sbin/look-at-disks", include_str!("guest/look-at-disks.sh"));
    tree.program("sbin/trim", include_str!("guest/trim.sh"));
    for name in ["shutdown", "poweroff", "halt", "reboot"] {
        tree.program(&format!("sbin/{name}"), include_str!("guest/shutdown.sh"));
    }
    tree.program("etc/udhcpc.script", include_str!("guest/udhcpc.sh"));
    tree.program("etc/fsfreeze-hook", include_str!("guest/fsfreeze-hook.sh"));
    tree.file("etc/firewall.nft", include_str!("guest/firewall.nft"));
}

fn add_accounts(tree: &mut Tree) {
    tree.file("etc/passwd", "root:*:0:0:root:/root:/bin/sh\n");
    tree.file("etc/group", "root:x:0:\n");
    tree.file("etc/shells", "/bin/sh\n");
    tree.file("etc/hostname", "roundtrip\n");
    tree.file("etc/hosts", "127.0.0.1 localhost roundtrip\n");
    tree.file("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n");
    tree.link("etc/resolv.conf", "/run/resolv.conf");
    tree.link("etc/mtab", "/proc/mounts");
}

fn add_modules(tree: &mut Tree, parts: &Parts) -> Result<(), ImageError> {
    let modules = parts.modules.closure(&[SYSTEM_MODULES, BOOT_DRIVERS].concat())?;
    let folder = format!("lib/modules/{}", parts.modules.release);
    tree.file(&format!("{folder}/modules.dep"), modules::dependency_table(&modules));
    tree.file(&format!("{folder}/modules.alias"), modules::alias_table(&modules));
    for module in modules {
        tree.file(&format!("{folder}/{}.ko", module.name), module.bytes);
    }
    Ok(())
}

fn add_programs(tree: &mut Tree, parts: &Parts) -> Result<(), ImageError> {
    let mut libraries = BTreeSet::new();
    for name in ["dropbear", "nft", "qemu-ga"] {
        let path = format!("usr/sbin/{name}");
        let bytes = parts.read(&[&path, &format!("usr/bin/{name}")])?;
        collect_libraries(parts, &bytes, &mut libraries)?;
        tree.program(&path, bytes);
    }
    for name in libraries {
        tree.program(&format!("{LIBRARIES}/{name}"), library(parts, &name)?);
    }
    tree.program(LINKER, linker(parts)?);
    Ok(())
}

/// The dynamic linker.
pub(crate) fn linker(parts: &Parts) -> Result<Vec<u8>, ImageError> {
    parts.read(&["lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", LINKER, &format!("usr/{LINKER}")])
}

/// Adds the names of all libraries that a program needs.
pub(crate) fn collect_libraries(
    parts: &Parts,
    program: &[u8],
    found: &mut BTreeSet<String>,
) -> Result<(), ImageError> {
    let needed =
        elf::needed(program).ok_or_else(|| ImageError::Incomplete { what: "64-bit programs".into() })?;
    for name in needed {
        if found.insert(name.clone()) {
            collect_libraries(parts, &library(parts, &name)?, found)?;
        }
    }
    Ok(())
}

/// A library of the packages.
pub(crate) fn library(parts: &Parts, name: &str) -> Result<Vec<u8>, ImageError> {
    let paths: Vec<String> = LIBRARY_SOURCES.iter().map(|folder| format!("{folder}/{name}")).collect();
    parts.read(&paths.iter().map(String::as_str).collect::<Vec<_>>())
}
