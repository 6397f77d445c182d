//! The programs, libraries and files that the suite needs on a host, as a table.

use crate::system::System;

/// How to detect that a need is met. Files rather than package names, so that a QEMU built by hand
/// counts.
pub enum Detect {
    /// A program on the path or in a system directory.
    Program(&'static str),
    /// Any of these files.
    AnyFile(&'static [&'static str]),
    /// A library's headers, by its pkg-config name.
    PkgConfig(&'static str),
}

/// The suite of the distribution that a package comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The release itself.
    Release,
    /// The release, or its backports where the release's QEMU is too old. The packages of QEMU and
    /// libvirt depend on exact versions of each other, so all come from one suite.
    Virtualisation,
}

/// One thing the suite needs.
pub struct Need {
    /// What it is for, as shown to the person who is asked for consent.
    pub purpose: &'static str,
    /// How to detect it.
    pub detect: Detect,
    /// The Debian package that contains it.
    pub package: &'static str,
    /// The suite of that package.
    pub origin: Origin,
}

const PKG_CONFIG_DIRS: [&str; 5] = [
    "/usr/lib/x86_64-linux-gnu/pkgconfig",
    "/usr/lib64/pkgconfig",
    "/usr/lib/pkgconfig",
    "/usr/share/pkgconfig",
    "/usr/local/lib/pkgconfig",
];

const fn need(purpose: &'static str, detect: Detect, package: &'static str, origin: Origin) -> Need {
    Need { purpose, detect, package, origin }
}

use Detect::{AnyFile, PkgConfig, Program};
use Origin::{Release, Virtualisation};

/// All needs, in the order in which they are shown. Packages for guests are downloaded, not
/// installed here.
pub const NEEDS: &[Need] = &[
    need("runs the guests", Program("qemu-system-x86_64"), "qemu-system-x86", Virtualisation),
    need("disk formats", Program("qemu-img"), "qemu-utils", Virtualisation),
    need(
        "UEFI firmware",
        AnyFile(&["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_CODE.fd"]),
        "ovmf",
        Release,
    ),
    need(
        "libvirt daemon",
        AnyFile(&["/usr/sbin/libvirtd", "/usr/sbin/virtqemud"]),
        "libvirt-daemon-system",
        Virtualisation,
    ),
    need(
        "libvirt's QEMU driver",
        AnyFile(&[
            "/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so",
            "/usr/lib64/libvirt/connection-driver/libvirt_driver_qemu.so",
            "/usr/lib/libvirt/connection-driver/libvirt_driver_qemu.so",
        ]),
        "libvirt-daemon-driver-qemu",
        Virtualisation,
    ),
    need("inspects guests by hand", Program("virsh"), "libvirt-clients", Virtualisation),
    need("libvirt's headers", PkgConfig("libvirt"), "libvirt-dev", Virtualisation),
    need("libnbd's headers", PkgConfig("libnbd"), "libnbd-dev", Release),
    need("copies disks in benchmarks and the Python core", Program("nbdcopy"), "libnbd-bin", Release),
    need("runs cores written in Python", Program("python3"), "python3", Release),
    need("checks the types of the Python SDK", Program("mypy"), "mypy", Release),
    need("logs in to guests", Program("ssh"), "openssh-client", Release),
    need("finds libraries", Program("pkg-config"), "pkg-config", Release),
    need("C compiler (SQLite)", Program("cc"), "gcc", Release),
    need(
        "C library's headers",
        AnyFile(&["/usr/lib/x86_64-linux-gnu/crt1.o", "/usr/lib64/crt1.o", "/usr/lib/crt1.o"]),
        "libc6-dev",
        Release,
    ),
    need("BIOS boot", Program("syslinux"), "syslinux", Release),
    need("boot partition", Program("mcopy"), "mtools", Release),
    need("boot partition", Program("mkfs.vfat"), "dosfstools", Release),
    need("data partition", Program("mkfs.ext4"), "e2fsprogs", Release),
    need("partition table", Program("sfdisk"), "fdisk", Release),
    need("kernel modules", Program("xz"), "xz-utils", Release),
];

impl Need {
    /// Whether this machine has it.
    pub fn is_met(&self, system: &dyn System) -> bool {
        match self.detect {
            Program(name) => system.program(name).is_some(),
            AnyFile(paths) => paths.iter().any(|path| system.exists(path)),
            PkgConfig(name) => PKG_CONFIG_DIRS.iter().any(|dir| system.exists(&format!("{dir}/{name}.pc"))),
        }
    }
}

/// A tool and its oldest version that works for the suite.
pub struct Minimum {
    /// Its name.
    pub tool: &'static str,
    /// The commands that print its version, of which one must work.
    pub version_commands: &'static [&'static [&'static str]],
    /// The oldest version that works.
    pub version: Version,
    /// Why an older version does not work.
    pub why: &'static str,
    /// The packages to upgrade when it is too old.
    pub upgrade: &'static [&'static str],
}

/// Oldest versions.
pub const MINIMA: &[Minimum] = &[
    Minimum {
        tool: "QEMU",
        version_commands: &[&["qemu-system-x86_64", "--version"]],
        version: Version(9, 0),
        why: "older versions corrupt their write log when a guest writes zeroes",
        upgrade: &["qemu-system-x86", "qemu-utils"],
    },
    Minimum {
        tool: "libvirt",
        version_commands: &[&["libvirtd", "--version"], &["virtqemud", "--version"]],
        version: Version(9, 0),
        why: "the suite is not tested with older versions",
        upgrade: &["libvirt-daemon-system", "libvirt-daemon-driver-qemu", "libvirt-clients", "libvirt-dev"],
    },
];

impl Minimum {
    /// The installed version, if any.
    pub fn installed(&self, system: &dyn System) -> Option<Version> {
        self.printed(system).and_then(|text| Version::find(&text))
    }

    /// The installed version with all its numbers, for people.
    pub fn installed_in_full(&self, system: &dyn System) -> Option<String> {
        self.printed(system)
            .and_then(|text| numbers(&text).find(|word| Version::parse(word).is_some()).map(String::from))
    }

    fn printed(&self, system: &dyn System) -> Option<String> {
        self.version_commands.iter().find_map(|argv| system.output(argv))
    }
}

/// Major and minor number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Version(pub u32, pub u32);

impl Version {
    /// The first `number.number` in a text, past a Debian epoch.
    pub fn find(text: &str) -> Option<Self> {
        numbers(text).find_map(Self::parse)
    }

    fn parse(word: &str) -> Option<Self> {
        let mut parts = word.split('.');
        Some(Self(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }
}

fn numbers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_digit() || c == '.'))
}

impl std::fmt::Display for Version {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_programs_print() {
        let cases = [
            ("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)", Some(Version(10, 0))),
            ("libvirtd (libvirt) 11.3.0", Some(Version(11, 3))),
            ("1:7.2+dfsg-7+deb12u15", Some(Version(7, 2))),
            ("(none)", None),
            ("", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(Version::find(text), wanted, "{text}");
        }
    }

    #[test]
    fn every_tool_of_the_image_build_is_installed() {
        const ALWAYS_THERE: [&str; 2] = ["apt", "dpkg"];
        for (tool, package) in images::HOST_TOOLS {
            let installed = NEEDS.iter().any(|need| need.package == *package);
            assert!(installed || ALWAYS_THERE.contains(package), "{tool} of {package}");
        }
    }

    #[test]
    fn no_package_is_listed_twice() {
        let mut names: Vec<_> = NEEDS.iter().map(|need| need.package).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), NEEDS.len());
    }
}
