//! RAM disks of tools and kernel modules that only some shapes need. They lie beside the ordinary
//! image's disks in the cache and are copied onto the boot partition of a shape.

use std::collections::BTreeSet;
use std::fs;

use camino::Utf8Path;

use crate::cpio;
use crate::error::{AtPath, ImageError};
use crate::layout::LINKER;
use crate::rootfs::{self, Parts};
use crate::shape::Extra;
use crate::tree::Tree;

/// Boot code for a disk with a GPT.
pub(crate) const GPT_BOOT_CODE: &str = "gptmbr.bin";

/// What is in a RAM disk.
struct Content {
    programs: &'static [&'static str],
    modules: &'static [&'static str],
}

fn content(extra: Extra) -> Content {
    match extra {
        Extra::Lvm => {
            Content { programs: &["lvm", "mkfs.xfs"], modules: &["dm_mod", "xfs", "crc32c_generic"] }
        }
        Extra::Btrfs => Content { programs: &["mkfs.btrfs"], modules: &["btrfs"] },
    }
}

/// Name of its file in the cache.
pub(crate) fn file(extra: Extra) -> String {
    format!("{}.img", extra.name())
}

/// Writes all of them, and the boot code, into the new directory `target`.
pub(crate) fn write(parts: &Parts, target: &Utf8Path) -> Result<(), ImageError> {
    fs::create_dir_all(target).at("cannot create", target)?;
    for extra in Extra::ALL {
        let path = target.join(file(extra));
        let image = cpio::ramdisk(&content_tree(parts, extra)?).at("cannot compress", &path)?;
        fs::write(&path, image).at("cannot write", &path)?;
    }
    let path = target.join(GPT_BOOT_CODE);
    let code = parts.read(&["usr/lib/syslinux/mbr/gptmbr.bin", "usr/lib/SYSLINUX/gptmbr.bin"])?;
    fs::write(&path, code).at("cannot write", &path)
}

/// The tools with their libraries under `/extra`, from where they are copied into memory before the
/// RAM disk goes away.
fn content_tree(parts: &Parts, extra: Extra) -> Result<Tree, ImageError> {
    let Content { programs, modules } = content(extra);
    let mut tree = Tree::default();
    let mut libraries = BTreeSet::new();
    for program in programs {
        let bytes = parts.read(&[&format!("sbin/{program}"), &format!("usr/sbin/{program}")])?;
        rootfs::collect_libraries(parts, &bytes, &mut libraries)?;
        tree.program(&format!("extra/bin/{program}"), bytes);
    }
    for library in libraries {
        tree.program(&format!("extra/lib/{library}"), rootfs::library(parts, &library)?);
    }
    tree.program(LINKER, rootfs::linker(parts)?);
    tree.file("extra/etc/lvm.conf", include_str!("guest/lvm.conf"));
    rootfs::add_loadable(&mut tree, parts, modules, &format!("extra/{}.list", extra.name()))?;
    Ok(tree)
}
