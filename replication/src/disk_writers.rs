//! Writes content into the disks of a new point, and checks that they hold it.

use contract::{CoreError, ErrorCode};
use nbd::Client;

use crate::fault_hook::Flushes;
use crate::transfer::{flights, nbd_error, write_each};

/// Most writes that are remembered until they are checked, so that memory stays bounded.
const MOST_UNCHECKED: usize = 1 << 16;

/// Connections to the disks of a new point.
pub(crate) struct DiskWriters {
    /// Those of each disk.
    clients: Vec<Vec<Client>>,
    flushes: Flushes,
    /// Number of writes.
    count: usize,
    /// What is not checked yet. `None`: nothing is to be checked.
    unchecked: Option<Vec<Written>>,
}

/// A write that was acknowledged.
struct Written {
    disk: usize,
    /// Which of the disk's connections wrote it: only that one must see it before a flush.
    client: usize,
    /// First byte.
    offset: u64,
    /// Length in bytes.
    length: u64,
    checksum: blake3::Hash,
}

impl DiskWriters {
    /// Connects to disks. Without `checks`, they may end up with other content than was written: a
    /// fault hook may let one write cover another.
    pub(crate) fn connect(uris: &[String], flushes: Flushes, checks: bool) -> Result<Self, CoreError> {
        let count = if flushes == Flushes::FirstOfFour { 4 } else { 1 };
        let connect = |uri: &String| (0..count).map(|_| Client::connect(uri)).collect();
        let clients = uris.iter().map(connect).collect::<Result<_, _>>().map_err(nbd_error)?;
        Ok(Self { clients, flushes, count: 0, unchecked: checks.then(Vec::new) })
    }

    /// Whether every server allows several connections.
    pub(crate) fn allow_more(&self) -> Result<bool, CoreError> {
        let mut firsts = self.clients.iter().filter_map(|clients| clients.first());
        firsts.try_fold(true, |all, client| Ok(all && client.can_multi_conn().map_err(nbd_error)?))
    }

    pub(crate) fn write(&mut self, disk: usize, offset: u64, data: &[u8]) -> Result<(), CoreError> {
        self.write_each(disk, &[(offset, data)])
    }

    /// Writes several parts of a disk, which do not overlap: offset in bytes, data.
    pub(crate) fn write_each(&mut self, disk: usize, parts: &[(u64, &[u8])]) -> Result<(), CoreError> {
        let clients = self.clients.get_mut(disk).ok_or_else(|| {
            let text = format!("the landing log names disk {disk}, which does not exist");
            CoreError::new(ErrorCode::Store, text)
        })?;
        let client = self.count % clients.len();
        self.count += 1;
        write_each(&mut clients[client], parts)?;
        let Some(unchecked) = &mut self.unchecked else { return Ok(()) };
        unchecked.extend(parts.iter().map(|&(offset, data)| {
            let (length, checksum) = (data.len() as u64, blake3::hash(data));
            Written { disk, client, offset, length, checksum }
        }));
        if unchecked.len() >= MOST_UNCHECKED { self.check() } else { Ok(()) }
    }

    /// Makes what was written durable.
    pub(crate) fn flush(&mut self) -> Result<(), CoreError> {
        if self.flushes == Flushes::None {
            return Ok(());
        }
        let firsts = self.clients.iter_mut().filter_map(|clients| clients.first_mut());
        firsts.into_iter().try_for_each(|client| client.flush().map_err(nbd_error))
    }

    /// Reads back what was written and not checked yet, and compares checksums.
    pub(crate) fn check(&mut self) -> Result<(), CoreError> {
        let Some(unchecked) = self.unchecked.as_mut().map(std::mem::take) else { return Ok(()) };
        let mut buffer = Vec::new();
        for flight in flights(&unchecked, |written| ((written.disk, written.client), written.length)) {
            let Written { disk, client, .. } = flight[0];
            let bytes: u64 = flight.iter().map(|written| written.length).sum();
            buffer.resize(bytes as usize, 0);
            let mut parts = split(&mut buffer, flight.iter().map(|written| (written.offset, written.length)));
            let reads = parts.iter_mut().map(|(offset, part)| (*offset, &mut **part));
            self.clients[disk][client].read_each(reads).map_err(nbd_error)?;
            let mut found = flight.iter().zip(&parts);
            if let Some((written, _)) =
                found.find(|(written, (_, part))| blake3::hash(part) != written.checksum)
            {
                let text = format!(
                    "disk {disk} holds something else than was written at byte {}; look at the storage of the \
                     recovery site",
                    written.offset
                );
                return Err(CoreError::new(ErrorCode::Platform, text));
            }
        }
        Ok(())
    }
}

/// Cuts a buffer into the parts of a flight, which fit: offset on the disk, buffer.
pub(crate) fn split(buffer: &mut [u8], parts: impl Iterator<Item = (u64, u64)>) -> Vec<(u64, &mut [u8])> {
    let mut rest = buffer;
    let cut = |(offset, length): (u64, u64)| {
        let (part, others) = std::mem::take(&mut rest).split_at_mut(length as usize);
        rest = others;
        (offset, part)
    };
    parts.map(cut).collect()
}
