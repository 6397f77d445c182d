//! The plan of set-up on different machines.

use super::*;
use crate::error::{INFRASTRUCTURE, code_of};
use crate::system::fixture::Fixture;

const BOOKWORM: &str =
    "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_CODENAME=bookworm\n";
const TRIXIE: &str = "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nID=debian\nVERSION_CODENAME=trixie\n";
const NOBLE: &str = "PRETTY_NAME=\"Ubuntu 24.04.2 LTS\"\nID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n";
const SOURCES: &str = "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n\
    Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n";
const FROM_BACKPORTS: &str =
    "Package: qemu-utils\nStatus: install ok installed\nVersion: 1:10.0.2+ds-2+deb13u1~bpo12+1\n";

fn machine(os_release: &str) -> Fixture {
    Fixture::default()
        .file("/etc/os-release", os_release)
        .file("/etc/apt/sources.list.d/debian.sources", SOURCES)
        .file("/var/lib/dpkg/status", "")
        .program("apt-get")
}

fn plan(system: &Fixture) -> Result<Vec<Step>> {
    Survey::of(system).plan(system)
}

/// The commands of a plan, one line each.
fn commands(steps: &[Step]) -> Vec<String> {
    let line = |step: &Step| match step {
        Step::AddSource { path, .. } => format!("add {path}"),
        Step::Run { argv, .. } => argv.join(" "),
    };
    steps.iter().map(line).collect()
}

fn refusal(system: &Fixture) -> String {
    let error = plan(system).expect_err("set-up cannot help here");
    assert_eq!(code_of(&error), INFRASTRUCTURE);
    error.to_string()
}

/// Adds everything in the table of needs, in versions that work.
fn complete(mut system: Fixture, qemu: &str) -> Fixture {
    for need in NEEDS {
        system = match need.detect {
            crate::setup::needs::Detect::Program(name) => system.program(name),
            crate::setup::needs::Detect::AnyFile(paths) => system.file(paths[0], ""),
            crate::setup::needs::Detect::PkgConfig(name) => {
                system.file(&format!("/usr/lib/x86_64-linux-gnu/pkgconfig/{name}.pc"), "")
            }
        };
    }
    system
        .answer("qemu-system-x86_64 --version", &format!("QEMU emulator version {qemu}"))
        .answer("libvirtd --version", "libvirtd (libvirt) 11.3.0")
}

#[test]
fn a_complete_machine_needs_nothing() {
    let system = complete(machine(BOOKWORM), "10.0.2");
    let survey = Survey::of(&system);
    assert!(survey.is_complete(), "{:?}", survey.lines());
    assert_eq!(plan(&system).expect("a plan"), []);
}

#[test]
fn a_bare_debian_12_installs_qemu_and_libvirt_from_backports() {
    let steps = plan(&machine(BOOKWORM)).expect("a plan");
    let lines = commands(&steps);
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert_eq!(lines[0], format!("add {}", sources::BACKPORTS_FILE));
    assert_eq!(lines[1], "apt-get update -q");
    assert!(
        lines[2].starts_with("apt-get install -y -q --no-install-recommends ovmf libnbd-dev"),
        "{}",
        lines[2]
    );
    assert!(!lines[2].contains("qemu") && !lines[2].contains("libvirt"), "{}", lines[2]);
    assert_eq!(
        lines[3],
        "apt-get install -y -q --no-install-recommends -t bookworm-backports qemu-system-x86 qemu-utils \
         libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients libvirt-dev"
    );
    let Step::AddSource { text, .. } = &steps[0] else { panic!("the source comes first") };
    assert!(text.contains("URIs: http://mirror.example/debian\nSuites: bookworm-backports\n"), "{text}");
}

#[test]
fn packages_from_backports_need_the_rest_from_backports() {
    let system = machine(BOOKWORM).file("/var/lib/dpkg/status", FROM_BACKPORTS).program("qemu-img").answer(
        "apt-cache policy qemu-system-x86",
        "  Installed: (none)\n  Candidate: 1:7.2+dfsg-7+deb12u15\n",
    );
    let lines = commands(&plan(&system).expect("a plan"));
    assert_eq!(lines[0], format!("add {}", sources::BACKPORTS_FILE));
    assert!(lines[3].contains("-t bookworm-backports qemu-system-x86 libvirt-daemon-system"), "{}", lines[3]);

    // Also where the release's own QEMU would be new enough.
    let trixie = machine(TRIXIE)
        .file("/var/lib/dpkg/status", &FROM_BACKPORTS.replace("~bpo12", "~bpo13"))
        .file("/etc/apt/sources.list", "deb http://mirror.example/debian trixie main\n");
    assert!(commands(&plan(&trixie).expect("a plan"))[3].contains("-t trixie-backports"));
}

#[test]
fn configured_backports_are_not_added_again() {
    let system = machine(BOOKWORM).file(
        "/etc/apt/sources.list.d/by-hand.list",
        "deb [signed-by=/k.gpg] http://mirror.example/debian bookworm-backports main\n",
    );
    let lines = commands(&plan(&system).expect("a plan"));
    assert_eq!(lines[0], "apt-get update -q");
    assert!(lines[2].contains("-t bookworm-backports"));
}

#[test]
fn debian_13_needs_no_backports() {
    let lines = commands(&plan(&machine(TRIXIE)).expect("a plan"));
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(!lines.concat().contains("backports"));
}

#[test]
fn an_old_qemu_is_upgraded_with_its_tools() {
    let system = complete(machine(BOOKWORM), "7.2.17");
    let survey = Survey::of(&system);
    assert_eq!(survey.lines().len(), 1);
    assert!(survey.lines()[0].starts_with("too old  QEMU 7.2, 9.0 is needed"), "{:?}", survey.lines());
    let lines = commands(&plan(&system).expect("a plan"));
    assert!(lines[2].ends_with("-t bookworm-backports qemu-system-x86 qemu-utils"), "{}", lines[2]);
}

#[test]
fn on_ubuntu_24_04_the_refusal_says_where_a_newer_qemu_is() {
    let line = refusal(&machine(NOBLE));
    assert!(
        line.starts_with("Ubuntu 24.04.2 LTS offers QEMU 8.2, and 9.0 is needed: add the Ubuntu"),
        "{line}"
    );
    let archive =
        machine(NOBLE).answer("apt-cache policy qemu-system-x86", "  Candidate: 1:9.2.1+ds-1ubuntu4\n");
    assert_eq!(plan(&archive).expect("a plan").len(), 3);
}

#[test]
fn an_unknown_distribution_gets_the_list() {
    let system = Fixture::default().file("/etc/os-release", "PRETTY_NAME=\"Fedora Linux 42\"\nID=fedora\n");
    let text = refusal(&system);
    assert!(text.starts_with("Fedora Linux 42 has no apt"), "{text}");
    assert!(NEEDS.iter().all(|need| text.contains(need.package)), "{text}");
}

#[test]
fn a_release_without_its_own_source_is_refused() {
    let system = machine(BOOKWORM).file("/etc/apt/sources.list.d/debian.sources", "");
    assert!(refusal(&system).contains("found none; add bookworm-backports by hand"));
}

#[test]
fn empty_package_lists_are_detected() {
    let policy = |text: &str| machine(TRIXIE).answer("apt-cache policy busybox-static", text);
    assert!(lacks_lists(&policy(""), "busybox-static"));
    assert!(lacks_lists(
        &policy("busybox-static:\n  Installed: (none)\n  Candidate: (none)\n"),
        "busybox-static"
    ));
    assert!(!lacks_lists(&policy("busybox-static:\n  Candidate: 1:1.35.0-4\n"), "busybox-static"));
    assert!(!lacks_lists(&Fixture::default(), "busybox-static"), "no apt, no lists to read");
}
