//! Machines as they are met, and what set-up makes of them.

use super::*;
use crate::error::{INFRASTRUCTURE, code_of};
use crate::host::fixture::Fixture;

const BOOKWORM: &str =
    "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_CODENAME=bookworm\n";
const TRIXIE: &str = "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nID=debian\nVERSION_CODENAME=trixie\n";
const NOBLE: &str = "PRETTY_NAME=\"Ubuntu 24.04.2 LTS\"\nID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n";
const SOURCES: &str = "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n\
    Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n";
const STRAY: &str =
    "Package: qemu-utils\nStatus: install ok installed\nVersion: 1:10.0.2+ds-2+deb13u1~bpo12+1\n";

fn machine(os_release: &str) -> Fixture {
    Fixture::default()
        .file("/etc/os-release", os_release)
        .file("/etc/apt/sources.list.d/debian.sources", SOURCES)
        .file("/var/lib/dpkg/status", "")
        .program("apt-get")
}

fn plan(host: &Fixture) -> Result<Vec<Step>> {
    Survey::of(host).plan(host)
}

/// The commands of a plan, a line each.
fn commands(steps: &[Step]) -> Vec<String> {
    let line = |step: &Step| match step {
        Step::AddSource { path, .. } => format!("add {path}"),
        Step::Run { argv, .. } => argv.join(" "),
    };
    steps.iter().map(line).collect()
}

fn refusal(host: &Fixture) -> String {
    let error = plan(host).expect_err("nothing can be done here");
    assert_eq!(code_of(&error), INFRASTRUCTURE);
    error.to_string()
}

/// Everything the table asks for, and versions that will do.
fn complete(mut host: Fixture, qemu: &str) -> Fixture {
    for need in NEEDS {
        host = match need.detect {
            crate::setup::needs::Detect::Program(name) => host.program(name),
            crate::setup::needs::Detect::AnyFile(paths) => host.file(paths[0], ""),
            crate::setup::needs::Detect::PkgConfig(name) => {
                host.file(&format!("/usr/lib/x86_64-linux-gnu/pkgconfig/{name}.pc"), "")
            }
        };
    }
    host.answer("qemu-system-x86_64 --version", &format!("QEMU emulator version {qemu}"))
        .answer("libvirtd --version", "libvirtd (libvirt) 11.3.0")
}

#[test]
fn a_complete_machine_needs_nothing() {
    let host = complete(machine(BOOKWORM), "10.0.2");
    let survey = Survey::of(&host);
    assert!(survey.is_complete(), "{:?}", survey.lines());
    assert_eq!(plan(&host).expect("a plan"), []);
}

#[test]
fn a_bare_debian_12_takes_qemu_and_libvirt_from_backports() {
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
fn stray_backports_without_their_suite_are_seen() {
    let host = machine(BOOKWORM).file("/var/lib/dpkg/status", STRAY).program("qemu-img").answer(
        "apt-cache policy qemu-system-x86",
        "  Installed: (none)\n  Candidate: 1:7.2+dfsg-7+deb12u15\n",
    );
    let lines = commands(&plan(&host).expect("a plan"));
    assert_eq!(lines[0], format!("add {}", sources::BACKPORTS_FILE));
    assert!(lines[3].contains("-t bookworm-backports qemu-system-x86 libvirt-daemon-system"), "{}", lines[3]);

    // The same where the release's own QEMU would be new enough.
    let trixie = machine(TRIXIE)
        .file("/var/lib/dpkg/status", &STRAY.replace("~bpo12", "~bpo13"))
        .file("/etc/apt/sources.list", "deb http://mirror.example/debian trixie main\n");
    assert!(commands(&plan(&trixie).expect("a plan"))[3].contains("-t trixie-backports"));
}

#[test]
fn backports_that_are_configured_are_not_added_again() {
    let host = machine(BOOKWORM).file(
        "/etc/apt/sources.list.d/by-hand.list",
        "deb [signed-by=/k.gpg] http://mirror.example/debian bookworm-backports main\n",
    );
    let lines = commands(&plan(&host).expect("a plan"));
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
fn an_old_qemu_is_renewed_with_its_tools() {
    let host = complete(machine(BOOKWORM), "7.2.17");
    let survey = Survey::of(&host);
    assert_eq!(survey.lines().len(), 1);
    assert!(survey.lines()[0].starts_with("too old  QEMU 7.2, 9.0 is needed"), "{:?}", survey.lines());
    let lines = commands(&plan(&host).expect("a plan"));
    assert!(lines[2].ends_with("-t bookworm-backports qemu-system-x86 qemu-utils"), "{}", lines[2]);
}

#[test]
fn ubuntu_24_04_says_where_a_newer_qemu_is() {
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
    let host = Fixture::default().file("/etc/os-release", "PRETTY_NAME=\"Fedora Linux 42\"\nID=fedora\n");
    let text = refusal(&host);
    assert!(text.starts_with("Fedora Linux 42 has no apt"), "{text}");
    assert!(NEEDS.iter().all(|need| text.contains(need.package)), "{text}");
}

#[test]
fn a_release_without_its_own_source_is_told_so() {
    let host = machine(BOOKWORM).file("/etc/apt/sources.list.d/debian.sources", "");
    assert!(refusal(&host).contains("found none; add bookworm-backports by hand"));
}

#[test]
fn empty_package_lists_are_seen() {
    let policy = |text: &str| machine(TRIXIE).answer("apt-cache policy busybox-static", text);
    assert!(lacks_lists(&policy(""), "busybox-static"));
    assert!(lacks_lists(
        &policy("busybox-static:\n  Installed: (none)\n  Candidate: (none)\n"),
        "busybox-static"
    ));
    assert!(!lacks_lists(&policy("busybox-static:\n  Candidate: 1:1.35.0-4\n"), "busybox-static"));
    assert!(!lacks_lists(&Fixture::default(), "busybox-static"), "no apt, no lists to read");
}
