//! How a process is confined, and where it listens, as the kernel says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::{Error, Result};

/// How a process is confined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// Whether a seccomp filter allows it only some system calls.
    pub seccomp: bool,
    /// The label of the host's security module, such as a profile of AppArmor; `None` if the host
    /// has no such module.
    pub label: Option<String>,
}

impl std::fmt::Display for Confinement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.seccomp { "seccomp sandbox" } else { "no seccomp sandbox" })?;
        match &self.label {
            Some(label) => write!(f, ", {label}"),
            None => f.write_str(", no security module"),
        }
    }
}

/// How a process is confined.
///
/// # Errors
/// It has ended.
pub fn of(pid: i32) -> Result<Confinement> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).map_err(Error::file(path))?;
    let label = std::fs::read_to_string(format!("/proc/{pid}/attr/current")).ok();
    let label = label.map(|label| label.trim_end_matches(['\n', '\0']).to_owned());
    Ok(Confinement { seccomp: has_filter(&status), label: label.filter(|label| !label.is_empty()) })
}

/// Whether `/proc/PID/status` names a seccomp filter.
fn has_filter(status: &str) -> bool {
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
    mode.is_some_and(|mode| mode.trim() == "2")
}

/// The TCP addresses at which a process listens.
///
/// # Errors
/// It has ended, or belongs to another user.
pub fn listening(pid: i32) -> Result<Vec<SocketAddr>> {
    let path = format!("/proc/{pid}/fd");
    let links = std::fs::read_dir(&path).map_err(Error::file(path))?;
    let inodes: Vec<String> = links
        .flatten()
        .filter_map(|link| std::fs::read_link(link.path()).ok()?.to_str().map(ToOwned::to_owned))
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let mut found = Vec::new();
    for table in ["tcp", "tcp6"] {
        // A host without IPv6 has no second table.
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        let all = text.lines().filter_map(parse_listening);
        found.extend(all.filter(|(_, inode)| inodes.contains(inode)).map(|(address, _)| address));
    }
    Ok(found)
}

/// The address and inode of a line of `/proc/net/tcp` whose socket listens.
fn parse_listening(line: &str) -> Option<(SocketAddr, String)> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    let inode = (*fields.get(9)?).to_owned();
    // Each 32 bits are in the order of this host.
    let words: Option<Vec<u32>> = (0..address.len() / 8)
        .map(|word| u32::from_str_radix(address.get(word * 8..word * 8 + 8)?, 16).ok())
        .collect();
    let bytes: Vec<u8> = words?.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let ip = match bytes.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        _ => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    let address = SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?);
    (fields.get(3) == Some(&LISTEN)).then_some((address, inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_filter_counts_as_a_sandbox() {
        assert!(has_filter("Name:\tqemu\nSeccomp:\t2\nSeccomp_filters:\t1\n"));
        assert!(!has_filter("Seccomp:\t0\n") && !has_filter("Seccomp:\t1\n") && !has_filter("Name:\ta\n"));
    }

    #[test]
    fn this_process_listens_where_it_says() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let listeners: Vec<_> = ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"]
            .into_iter()
            .filter_map(|address| std::net::TcpListener::bind(address).ok())
            .collect();
        let found = listening(pid).unwrap();
        for listener in &listeners {
            assert!(found.contains(&listener.local_addr().unwrap()), "{found:?}");
        }
        assert!(listeners.len() >= 2);
        drop(listeners);
    }
}
