//! TCP ports forwarded from loopback into a guest by QEMU's user-mode network.
//!
//! A closed port is not merely filtered: QEMU no longer listens on it, so the system refuses
//! connections. Its number is remembered, so that a test can connect to a closed port, and it opens
//! again under the same number.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::qmp::{Monitor, lock};
use crate::{Error, Result};

/// Name of the guest's network in QEMU.
pub(super) const NETWORK: &str = "net0";

/// Loopback ports by the address listened on and the guest's port.
type Table = BTreeMap<(Ipv4Addr, u16), u16>;

/// The forwarded ports of one guest.
#[derive(Debug)]
pub struct Forwards {
    monitor: Arc<Monitor>,
    /// All ports that were ever forwarded, and whether each is open.
    known: Mutex<BTreeMap<(Ipv4Addr, u16), (u16, bool)>>,
}

impl Forwards {
    /// The ports with which QEMU started.
    pub(super) async fn of(monitor: &Arc<Monitor>) -> Result<Self> {
        let forwards = Self { monitor: Arc::clone(monitor), known: Mutex::default() };
        forwards.look().await?;
        Ok(forwards)
    }

    /// The port of address `on` that is currently forwarded to `guest_port`.
    #[must_use]
    pub fn port(&self, on: Ipv4Addr, guest_port: u16) -> Option<u16> {
        let known = lock(&self.known).get(&(on, guest_port)).copied();
        known.filter(|(_, open)| *open).map(|(port, _)| port)
    }

    /// The address to connect to for `guest_port` by way of `on`, open or closed; `None` if it was
    /// never forwarded.
    #[must_use]
    pub fn endpoint(&self, on: Ipv4Addr, guest_port: u16) -> Option<SocketAddrV4> {
        lock(&self.known).get(&(on, guest_port)).map(|(port, _)| SocketAddrV4::new(on, *port))
    }

    /// The guest's ports that were ever forwarded.
    #[must_use]
    pub fn guest_ports(&self) -> Vec<u16> {
        let mut ports: Vec<_> = lock(&self.known).keys().map(|(_, port)| *port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// Opens or closes a forwarded port. The system chooses the host port the first time.
    ///
    /// # Errors
    /// QEMU did not do it; its answer is in the message.
    pub async fn set(&self, on: Ipv4Addr, guest_port: u16, open: bool) -> Result<()> {
        let is_open = self.port(on, guest_port).is_some();
        let port = self.endpoint(on, guest_port).map_or(0, |endpoint| endpoint.port());
        let command = match (is_open, open) {
            (false, true) => format!("hostfwd_add {NETWORK} tcp:{on}:{port}-:{guest_port}"),
            (true, false) => format!("hostfwd_remove {NETWORK} tcp:{on}:{port}"),
            _ => return Ok(()),
        };
        let said = self.human_monitor(&command).await?;
        self.look().await?;
        if self.port(on, guest_port).is_some() == open {
            return Ok(());
        }
        Err(Error::Qmp { monitor: NETWORK.to_owned(), command, reason: said.trim().to_owned() })
    }

    /// Reads QEMU's table of forwarded ports.
    async fn look(&self) -> Result<()> {
        let table = parse(&self.human_monitor("info usernet").await?);
        let mut known = lock(&self.known);
        known.values_mut().for_each(|(_, open)| *open = false);
        known.extend(table.into_iter().map(|(way, port)| (way, (port, true))));
        Ok(())
    }

    /// Runs a command that only QEMU's human monitor knows.
    async fn human_monitor(&self, command: &str) -> Result<String> {
        let said = self.monitor.execute("human-monitor-command", json!({"command-line": command})).await?;
        Ok(said.as_str().unwrap_or_default().to_owned())
    }
}

/// Reads `TCP[HOST_FORWARD] fd host-address host-port guest-address guest-port …` lines.
fn parse(table: &str) -> Table {
    let rows = table.lines().filter(|line| line.contains("[HOST_FORWARD]"));
    let pairs = rows.filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let on = fields.get(2)?.parse().ok()?;
        Some(((on, fields.get(5)?.parse().ok()?), fields.get(3)?.parse().ok()?))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_ports_are_read_from_qemus_table() {
        let table = "Hub -1 (net0):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n  \
                     TCP[HOST_FORWARD]  11       127.0.0.1 35685      192.0.2.15    22     0     0\r\n  \
                     TCP[HOST_FORWARD]  13       127.0.0.2 35686      192.0.2.15    22     0     0\r\n  \
                     TCP[ESTABLISHED]   12       127.0.0.1 35685      192.0.2.15    22     0     0\r\n";
        let (inner, outer) = (Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2));
        assert_eq!(parse(table), Table::from([((inner, 22), 35685), ((outer, 22), 35686)]));
    }
}
