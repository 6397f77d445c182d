//! The distribution: its name, its installed packages, and the QEMU version that it offers.

use std::collections::BTreeMap;

use crate::setup::needs::Version;
use crate::system::System;

/// The contents of `/etc/os-release`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Release {
    /// `debian`, `ubuntu`, …
    pub id: String,
    /// The distributions from which it is derived.
    pub like: String,
    /// `bookworm`, `noble`, …
    pub codename: String,
    /// Its full name, for people.
    pub pretty: String,
}

impl Release {
    /// Reads the file. Fields that it does not have stay empty.
    pub fn of(system: &dyn System) -> Self {
        let text = system.read("/etc/os-release").unwrap_or_default();
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
                .map(|value| value.trim().trim_matches(['"', '\'']).to_owned())
                .unwrap_or_default()
        };
        let pretty = field("PRETTY_NAME");
        Self {
            id: field("ID"),
            like: field("ID_LIKE"),
            codename: field("VERSION_CODENAME"),
            pretty: if pretty.is_empty() { "an unnamed Linux".into() } else { pretty },
        }
    }

    /// Whether it has apt and Debian's package names.
    pub fn is_debian_family(&self) -> bool {
        self.id == "debian"
            || self.like.split(' ').chain([self.id.as_str()]).any(|id| id == "debian" || id == "ubuntu")
    }

    /// Whether the backports of this release have a newer QEMU. Ubuntu's do not.
    pub fn has_qemu_in_backports(&self) -> bool {
        self.id == "debian" && !self.codename.is_empty()
    }
}

/// The QEMU of a release. Used only where apt has no answer: on a bare machine its package lists are empty.
pub struct Shipped {
    codename: &'static str,
    qemu: Version,
    /// What to do if that is too old and the backports have no newer one.
    advice: Option<&'static str>,
}

const SHIPPED: &[Shipped] = &[
    Shipped { codename: "bullseye", qemu: Version(5, 2), advice: Some("use Debian 12 or newer") },
    Shipped { codename: "bookworm", qemu: Version(7, 2), advice: None },
    Shipped { codename: "trixie", qemu: Version(10, 0), advice: None },
    Shipped {
        codename: "jammy",
        qemu: Version(6, 2),
        advice: Some("use Ubuntu 24.04 with the Ubuntu Cloud Archive, Ubuntu 25.04 or Debian 12, or newer"),
    },
    Shipped {
        codename: "noble",
        qemu: Version(8, 2),
        advice: Some(
            "add the Ubuntu Cloud Archive with `sudo add-apt-repository cloud-archive:epoxy` and run `cargo xtask setup` again",
        ),
    },
    Shipped { codename: "plucky", qemu: Version(9, 2), advice: None },
];

fn shipped(release: &Release) -> Option<&'static Shipped> {
    SHIPPED.iter().find(|row| row.codename == release.codename)
}

/// What to do on a release whose QEMU is too old and whose backports have no newer one.
pub fn advice(release: &Release) -> &'static str {
    shipped(release)
        .and_then(|row| row.advice)
        .unwrap_or("install a newer QEMU by hand or use Debian 12 or newer")
}

/// The QEMU that `apt-get install` would install from the release itself: apt's answer, else the table's.
pub fn offered_qemu(system: &dyn System, release: &Release) -> Option<Version> {
    system
        .output(&["apt-cache", "policy", "qemu-system-x86"])
        .and_then(|text| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix("Candidate:"))?;
            Version::find(line)
        })
        .or_else(|| shipped(release).map(|row| row.qemu))
}

/// The packages that dpkg has installed, with their versions.
pub struct Dpkg(BTreeMap<String, String>);

impl Dpkg {
    /// Reads the status file of dpkg; none on a machine without dpkg.
    pub fn of(system: &dyn System) -> Option<Self> {
        system.read("/var/lib/dpkg/status").map(|text| Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let installed = |stanza: &str| {
            let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let here = field("Status:")?.ends_with(" installed");
            Some((field("Package:")?.to_owned(), field("Version:")?.to_owned())).filter(|_| here)
        };
        Self(text.split("\n\n").filter_map(installed).collect())
    }

    /// Packages of QEMU and libvirt that were installed from backports. The release's own packages conflict with them.
    pub fn from_backports(&self) -> Vec<&str> {
        let is_virtualisation = |name: &str| name.starts_with("qemu-") || name.starts_with("libvirt");
        let from_backports =
            |(name, version): (&'_ String, &String)| is_virtualisation(name) && version.contains("~bpo");
        self.0
            .iter()
            .filter(|(name, version)| from_backports((name, version)))
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::fixture::Fixture;

    #[test]
    fn a_removed_package_does_not_count_as_installed() {
        let dpkg = Dpkg::parse(
            "Package: qemu-utils\nStatus: install ok installed\nVersion: 1:10.0.2+ds-2~bpo12+1\n\n\
             Package: cpio\nStatus: deinstall ok config-files\nVersion: 2.13\n",
        );
        assert_eq!(dpkg.0.get("qemu-utils").map(String::as_str), Some("1:10.0.2+ds-2~bpo12+1"));
        assert!(!dpkg.0.contains_key("cpio"));
        assert_eq!(dpkg.from_backports(), ["qemu-utils"]);
    }

    #[test]
    fn apt_is_asked_before_the_table() {
        let release = Release { codename: "noble".into(), ..Release::default() };
        assert_eq!(offered_qemu(&Fixture::default(), &release), Some(Version(8, 2)));
        let archive = Fixture::default().answer(
            "apt-cache policy qemu-system-x86",
            "qemu-system-x86:\n  Installed: (none)\n  Candidate: 1:9.2.1+ds-1\n",
        );
        assert_eq!(offered_qemu(&archive, &release), Some(Version(9, 2)));
        let bare = Fixture::default()
            .answer("apt-cache policy qemu-system-x86", "qemu-system-x86:\n  Candidate: (none)\n");
        assert_eq!(offered_qemu(&bare, &release), Some(Version(8, 2)));
    }

    #[test]
    fn derived_distributions_belong_to_the_family() {
        for (id, like, wanted) in [
            ("debian", "", true),
            ("ubuntu", "debian", true),
            ("linuxmint", "ubuntu debian", true),
            ("fedora", "", false),
        ] {
            let release = Release { id: id.into(), like: like.into(), ..Release::default() };
            assert_eq!(release.is_debian_family(), wanted, "{id}");
        }
    }
}
