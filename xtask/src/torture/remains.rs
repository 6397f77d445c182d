//! What a run left behind after clean-up.

use std::fs::File;

use camino::{Utf8Path, Utf8PathBuf};

use super::foreign::{is_foreign, virsh};
use super::processes::{Family, Kind};

/// Where simulated cores keep their state.
pub const MEMORY: &str = "/dev/shm";
/// How our directories there are named.
const OURS: &str = "roundtrip-";
/// Where libvirt keeps files that are named after domains.
const LIBVIRT: [&str; 5] = [
    "/var/log/libvirt/qemu",
    "/var/lib/libvirt/qemu",
    "/var/lib/libvirt/qemu/nvram",
    "/run/libvirt/qemu",
    "/etc/libvirt/qemu",
];

/// The directories of temporary files before a run.
pub struct Before(Vec<Utf8PathBuf>);

impl Before {
    /// What is there now.
    pub fn now() -> Self {
        Self(entries(Utf8Path::new(MEMORY)))
    }
}

fn entries(dir: &Utf8Path) -> Vec<Utf8PathBuf> {
    let Ok(entries) = dir.read_dir_utf8() else { return Vec::new() };
    entries.flatten().map(|entry| entry.path().to_owned()).collect()
}

/// Everything that carries the mark of a run and is still there. `temporary` is the campaign's own
/// directory of temporary files.
pub fn of(family: &Family<'_>, uri: &str, temporary: &Utf8Path, before: &Before) -> Vec<String> {
    let mut left = Vec::new();
    let processes = family.members();
    left.extend(processes.iter().map(|one| format!("process {} {}", one.pid, one.words.join(" "))));
    let guests = family.of(Kind::Qemu);
    left.extend(guests.iter().flat_map(|guest| ports(guest.pid)));
    let own = entries(temporary).into_iter().filter(|path| !is_foreign(path));
    left.extend(own.map(|path| format!("{path}")));
    left.extend(unowned_in_memory(before).into_iter().map(|path| format!("{path}")));
    for (list, what) in [("/proc/net/unix", "socket"), ("/proc/self/mountinfo", "mount")] {
        let text = std::fs::read_to_string(list).unwrap_or_default();
        let places = [temporary.as_str(), family.out.as_str()];
        let ours = text.lines().filter(|line| places.iter().any(|place| line.contains(place)));
        left.extend(ours.map(|line| format!("{what} {line}")));
    }
    left.extend(domains(uri, family.out));
    left.extend(named_after_domains(family.out));
    left
}

/// New directories of ours in memory that nobody has locked.
fn unowned_in_memory(before: &Before) -> Vec<Utf8PathBuf> {
    let is_ours =
        |path: &Utf8PathBuf| path.file_name().is_some_and(|name| name.starts_with(OURS)) && !is_foreign(path);
    // One that somebody else makes at this moment is locked in the next.
    let unlocked = |path: &Utf8PathBuf| {
        let free = || File::open(path).is_ok_and(|dir| dir.try_lock().is_ok());
        let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        free() && {
            let _ = rustix::event::poll(&mut [], Some(&pause));
            free()
        }
    };
    let new = entries(Utf8Path::new(MEMORY)).into_iter().filter(|path| !before.0.contains(path));
    new.filter(is_ours).filter(unlocked).collect()
}

/// The ports at which a process listens.
fn ports(pid: i32) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    let links = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let inodes: Vec<String> = links
        .filter_map(|link| std::fs::read_link(link.path()).ok()?.to_str().map(String::from))
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let listens = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(3) == Some(&"0A")
            && fields.get(9).is_some_and(|inode| inodes.iter().any(|one| one == inode))
    };
    text.lines().filter(listens).map(|line| format!("port {line}")).collect()
}

/// Domains whose description names the run's directory.
fn domains(uri: &str, out: &Utf8Path) -> Vec<String> {
    let all = match virsh(uri, &["list", "--all", "--name"]) {
        Ok(all) => all,
        Err(error) => return vec![format!("domains cannot be listed: {error}")],
    };
    let names = |name: &&str| virsh(uri, &["dumpxml", name]).is_ok_and(|xml| xml.contains(out.as_str()));
    all.split_whitespace().filter(names).map(|name| format!("domain {name}")).collect()
}

/// Files of libvirt that are named after one of the run's domains, and firmware variables.
fn named_after_domains(out: &Utf8Path) -> Vec<String> {
    let (mut names, mut left) = (Vec::new(), Vec::new());
    let mut folders = vec![out.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir_utf8().into_iter().flatten().flatten() {
            match (entry.file_name(), entry.file_type()) {
                (_, Ok(kind)) if kind.is_dir() => folders.push(entry.path().to_owned()),
                ("domain.xml", _) => names.extend(domain_name(entry.path())),
                ("nvram.fd", _) => left.push(entry.path().to_string()),
                _ => {}
            }
        }
    }
    let files = LIBVIRT.iter().flat_map(|dir| entries(Utf8Path::new(dir)));
    let ours =
        files.filter(|file| names.iter().any(|name| file.file_name().unwrap_or_default().contains(name)));
    left.extend(ours.map(|file| file.to_string()));
    left
}

fn domain_name(xml: &Utf8Path) -> Option<String> {
    let text = std::fs::read_to_string(xml).ok()?;
    Some(text.split_once("<name>")?.1.split_once("</name>")?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_ports_of_a_process_are_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let pid = i32::try_from(std::process::id()).expect("a process id");
        assert!(ports(pid).iter().any(|line| line.contains(&format!(":{port:04X} "))));
        drop(listener);
        assert!(!ports(pid).iter().any(|line| line.contains(&format!(":{port:04X} "))));
    }

    #[test]
    fn firmware_variables_of_a_run_are_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let out = Utf8Path::from_path(dir.path()).expect("UTF-8");
        assert!(named_after_domains(out).is_empty());
        std::fs::create_dir_all(out.join("a/b")).expect("made");
        std::fs::write(out.join("a/b/nvram.fd"), "").expect("written");
        std::fs::write(out.join("a/domain.xml"), "<domain><name>no-such-domain</name>").expect("written");
        assert_eq!(named_after_domains(out), [out.join("a/b/nvram.fd").to_string()]);
    }
}
