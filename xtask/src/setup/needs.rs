//! What the suite needs of a host, as a table.

use crate::host::Host;

/// How it is seen that a need is met. Files rather than package names, so that QEMU built by hand counts.
pub enum Detect {
    /// A program on the path or in a system directory.
    Program(&'static str),
    /// Any of these files.
    AnyFile(&'static [&'static str]),
    /// A library's headers, by its pkg-config name.
    PkgConfig(&'static str),
}

/// Which suite of the distribution a package comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The release itself.
    Release,
    /// The release, or its backports where the release's QEMU is too old.
    /// QEMU's and libvirt's packages depend on exact versions of each other, so they come from one suite.
    Virtualisation,
}

/// One thing the suite needs.
pub struct Need {
    /// What it is for, in the words of the person who is asked.
    pub purpose: &'static str,
    /// How it is detected.
    pub detect: Detect,
    /// The Debian package that brings it.
    pub package: &'static str,
    /// Where that package comes from.
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

/// Everything, in the order in which it is told. What goes into a guest is downloaded for it, not installed here.
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
    need("a look at guests by hand", Program("virsh"), "libvirt-clients", Virtualisation),
    need("libvirt's headers", PkgConfig("libvirt"), "libvirt-dev", Virtualisation),
    need("libnbd's headers", PkgConfig("libnbd"), "libnbd-dev", Release),
    need("a peer to measure beside", Program("nbdcopy"), "libnbd-bin", Release),
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
    pub fn is_met(&self, host: &dyn Host) -> bool {
        match self.detect {
            Program(name) => host.program(name).is_some(),
            AnyFile(paths) => paths.iter().any(|path| host.exists(path)),
            PkgConfig(name) => PKG_CONFIG_DIRS.iter().any(|dir| host.exists(&format!("{dir}/{name}.pc"))),
        }
    }
}

/// A tool with an oldest version that does what the suite needs.
pub struct Minimum {
    /// Its name.
    pub tool: &'static str,
    /// How it is asked for its version.
    pub asked: &'static [&'static [&'static str]],
    /// The oldest that will do.
    pub version: Version,
    /// What goes wrong with an older one.
    pub why: &'static str,
    /// The packages that are renewed when it is too old.
    pub renew: &'static [&'static str],
}

/// Oldest versions.
pub const MINIMA: &[Minimum] = &[
    Minimum {
        tool: "QEMU",
        asked: &[&["qemu-system-x86_64", "--version"]],
        version: Version(9, 0),
        why: "older ones corrupt their write log when a guest writes zeroes",
        renew: &["qemu-system-x86", "qemu-utils"],
    },
    Minimum {
        tool: "libvirt",
        asked: &[&["libvirtd", "--version"], &["virtqemud", "--version"]],
        version: Version(9, 0),
        why: "the suite was never tried with older ones",
        renew: &["libvirt-daemon-system", "libvirt-daemon-driver-qemu", "libvirt-clients", "libvirt-dev"],
    },
];

impl Minimum {
    /// The version installed here, if any.
    pub fn installed(&self, host: &dyn Host) -> Option<Version> {
        self.told(host).and_then(|text| Version::find(&text))
    }

    /// The same with all its numbers, for people.
    pub fn installed_in_full(&self, host: &dyn Host) -> Option<String> {
        self.told(host)
            .and_then(|text| numbers(&text).find(|word| Version::parse(word).is_some()).map(String::from))
    }

    fn told(&self, host: &dyn Host) -> Option<String> {
        self.asked.iter().find_map(|argv| host.output(argv))
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
    fn every_tool_of_the_image_build_is_brought() {
        const ALWAYS_THERE: [&str; 2] = ["apt", "dpkg"];
        for (tool, package) in images::HOST_TOOLS {
            let brought = NEEDS.iter().any(|need| need.package == *package);
            assert!(brought || ALWAYS_THERE.contains(package), "{tool} of {package}");
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
