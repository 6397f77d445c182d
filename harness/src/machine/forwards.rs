//! Ways from loopback into a guest, as QEMU's user-mode network has them.
//!
//! A way that is closed is not there: QEMU listens no more, and the system refuses whoever knocks. Its port is remembered,
//! so that one can knock where it was, and it opens there again.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::qmp::{Monitor, lock};
use crate::{Error, Result};

/// Name of the guest's network in QEMU.
pub(super) const NETWORK: &str = "net0";

/// Loopback ports by the address that is listened on and the guest's port.
type Table = BTreeMap<(Ipv4Addr, u16), u16>;

/// The ways into one guest.
#[derive(Debug)]
pub struct Forwards {
    monitor: Arc<Monitor>,
    /// All that there ever were, and whether each is open.
    known: Mutex<BTreeMap<(Ipv4Addr, u16), (u16, bool)>>,
}

impl Forwards {
    /// Those that QEMU began with.
    pub(super) async fn of(monitor: &Arc<Monitor>) -> Result<Self> {
        let forwards = Self { monitor: Arc::clone(monitor), known: Mutex::default() };
        forwards.look().await?;
        Ok(forwards)
    }

    /// The port of `on` that leads to `guest_port` at this moment.
    #[must_use]
    pub fn port(&self, on: Ipv4Addr, guest_port: u16) -> Option<u16> {
        let known = lock(&self.known).get(&(on, guest_port)).copied();
        known.filter(|(_, open)| *open).map(|(port, _)| port)
    }

    /// Where on `on` one knocks for `guest_port`, open or not; `None` if there never was such a way.
    #[must_use]
    pub fn door(&self, on: Ipv4Addr, guest_port: u16) -> Option<SocketAddrV4> {
        lock(&self.known).get(&(on, guest_port)).map(|(port, _)| SocketAddrV4::new(on, *port))
    }

    /// The guest's ports to which there ever was a way.
    #[must_use]
    pub fn guest_ports(&self) -> Vec<u16> {
        let mut ports: Vec<_> = lock(&self.known).keys().map(|(_, port)| *port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// Opens or closes a way. The system chooses the port of one that never was.
    ///
    /// # Errors
    /// QEMU did not do it: with its own words.
    pub async fn set(&self, on: Ipv4Addr, guest_port: u16, open: bool) -> Result<()> {
        let is_open = self.port(on, guest_port).is_some();
        let port = self.door(on, guest_port).map_or(0, |door| door.port());
        let command = match (is_open, open) {
            (false, true) => format!("hostfwd_add {NETWORK} tcp:{on}:{port}-:{guest_port}"),
            (true, false) => format!("hostfwd_remove {NETWORK} tcp:{on}:{port}"),
            _ => return Ok(()),
        };
        let said = self.by_hand(&command).await?;
        self.look().await?;
        if self.port(on, guest_port).is_some() == open {
            return Ok(());
        }
        Err(Error::Qmp { monitor: NETWORK.to_owned(), command, reason: said.trim().to_owned() })
    }

    /// Reads QEMU's table anew.
    async fn look(&self) -> Result<()> {
        let table = parse(&self.by_hand("info usernet").await?);
        let mut known = lock(&self.known);
        known.values_mut().for_each(|(_, open)| *open = false);
        known.extend(table.into_iter().map(|(way, port)| (way, (port, true))));
        Ok(())
    }

    /// A command that QEMU knows in its language for people only.
    async fn by_hand(&self, command: &str) -> Result<String> {
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
