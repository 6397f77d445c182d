//! Finds the content that a replica lacks and reads it from the source. Everything here blocks and
//! runs on blocking threads.

use std::ops::Range;

use contract::{CoreError, ErrorCode};
use nbd::{ALLOCATION, Client, Extent};

use crate::fault_hook::Verifying;

/// Number of bytes read at once.
pub(crate) const WINDOW: u64 = 1024 * 1024;
/// Number of bytes after which a full pass reports its progress.
pub(crate) const REPORT_EVERY: u64 = 16 * WINDOW;
/// Most lanes: enough to keep both servers busy.
const LANES: usize = 8;
/// Most connections to each site, unless a machine has more than half as many disks.
const CONNECTIONS: usize = 32;
/// A window of zeroes.
static ZEROES: [u8; WINDOW as usize] = [0; WINDOW as usize];

/// Receives content of one disk: offset in bytes, data.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<(), CoreError>;

/// Where to read one disk of a snapshot, and what to compare it with.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// NBD URI of the frozen disk.
    pub(crate) uri: String,
    /// NBD meta context that marks changed extents. `None`: compare the disk with `against`.
    pub(crate) changed: Option<String>,
    /// NBD URI of the replica's newest content.
    pub(crate) against: String,
    /// Granularity of comparison and transfer in bytes. QEMU's dirty bitmaps use 64 KiB.
    pub(crate) grain: u64,
}

/// Sends everything that the replica lacks to `sink`: the extents that the platform's change record
/// names, or, without such a record, the chunks that differ from the replica.
///
/// A full comparison calls `progress` from time to time with the number of bytes compared.
pub(crate) fn send(source: &Source, sink: Sink<'_>, progress: &dyn Fn(u64)) -> Result<(), CoreError> {
    match &source.changed {
        Some(context) => send_changed(source, context, sink),
        None => send_different(source, sink, progress),
    }
}

fn send_changed(source: &Source, context: &str, sink: Sink<'_>) -> Result<(), CoreError> {
    let (mut client, pieces) = changed_pieces(&source.uri, context, source.grain)?;
    let mut buffer = vec![0; WINDOW as usize];
    for (offset, length) in pieces {
        let part = &mut buffer[..length as usize];
        client.read(offset, part).map_err(nbd_error)?;
        sink(offset, part)?;
    }
    Ok(())
}

/// Connects to a disk and asks what has changed, by a meta context: pieces of at most a window,
/// with offset and length in bytes, in order.
pub(crate) fn changed_pieces(
    uri: &str,
    context: &str,
    grain: u64,
) -> Result<(Client, Vec<(u64, u64)>), CoreError> {
    let mut client = Client::connect_with(uri, &[context]).map_err(nbd_error)?;
    let dirty = client.extents(context).map_err(nbd_error)?;
    let ranges = whole_grains(&dirty, grain, client.size());
    let pieces = ranges.into_iter().flat_map(|range| windows(range.start, range.end - range.start));
    let pieces = pieces.collect();
    Ok((client, pieces))
}

/// The dirty extents, widened to whole grains and joined where they meet.
fn whole_grains(extents: &[Extent], grain: u64, size: u64) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for extent in extents.iter().filter(|extent| extent.is_dirty() && extent.length > 0) {
        let start = extent.offset / grain * grain;
        let end = (extent.offset + extent.length).next_multiple_of(grain).min(size);
        match ranges.last_mut() {
            Some(last) if start <= last.end => last.end = last.end.max(end),
            _ => ranges.push(start..end),
        }
    }
    ranges
}

fn send_different(source: &Source, sink: Sink<'_>, progress: &dyn Fn(u64)) -> Result<(), CoreError> {
    let mut lane = Lane::open(source)?;
    for (offset, length) in windows(0, lane.size()) {
        if offset % REPORT_EVERY == 0 {
            progress(offset);
        }
        lane.compare(offset, length, &mut |_, at, run| sink(at, run))?;
    }
    Ok(())
}

/// Compares the whole disk with the replica and sends what differs to `sink`. Returns how many
/// bytes differ outside of the grains that the platform's change record names; without such a
/// record none do.
pub(crate) fn verify(
    source: &Source,
    verifying: Verifying,
    sink: Sink<'_>,
    progress: &dyn Fn(u64),
) -> Result<u64, CoreError> {
    let mut lane = match verifying {
        Verifying::TrustsAllocation => Lane::open(source)?,
        _ => Lane::open_without_maps(source)?,
    };
    let everything = 0..lane.size();
    let reported = match &source.changed {
        Some(context) => {
            let mut client = Client::connect_with(&source.uri, &[context]).map_err(nbd_error)?;
            let dirty = client.extents(context).map_err(nbd_error)?;
            whole_grains(&dirty, source.grain, lane.size())
        }
        None => vec![everything],
    };
    let mut unreported = 0;
    for (offset, length) in windows(0, lane.size()) {
        if offset % REPORT_EVERY == 0 {
            progress(offset);
        }
        lane.compare(offset, length, &mut |_, at, run| {
            let inside = overlap(&reported, &(at..at + run.len() as u64));
            if verifying == Verifying::TrustsTracker && inside == 0 {
                return Ok(());
            }
            unreported += run.len() as u64 - inside;
            sink(at, run)
        })?;
    }
    Ok(unreported)
}

/// How many bytes of `range` are in one of `ranges`, which do not overlap.
fn overlap(ranges: &[Range<u64>], range: &Range<u64>) -> u64 {
    let common = |one: &Range<u64>| one.end.min(range.end).saturating_sub(one.start.max(range.start));
    ranges.iter().map(common).sum()
}

/// Receives a run of content that differs: the replica's connection, offset in bytes, data.
pub(crate) type Differing<'a> = &'a mut dyn FnMut(&mut Client, u64, &[u8]) -> Result<(), CoreError>;

/// A connection to a disk and one to its replica, which are compared in ascending order.
pub(crate) struct Lane {
    source: Client,
    replica: Client,
    source_zeroes: Zeroes,
    replica_zeroes: Zeroes,
    source_buffer: Vec<u8>,
    replica_buffer: Vec<u8>,
    grain: u64,
}

impl Lane {
    pub(crate) fn open(disk: &Source) -> Result<Self, CoreError> {
        let Source { uri, against, .. } = disk;
        let mut source = Client::connect_with(uri, &[ALLOCATION]).map_err(nbd_error)?;
        let mut replica = Client::connect_with(against, &[ALLOCATION]).map_err(nbd_error)?;
        if source.size() != replica.size() {
            let text = format!("the source disk has {} bytes, its replica {}", source.size(), replica.size());
            return Err(CoreError::new(ErrorCode::Platform, text));
        }
        let source_zeroes = Zeroes::new(source.extents(ALLOCATION).map_err(nbd_error)?);
        let replica_zeroes = Zeroes::new(replica.extents(ALLOCATION).map_err(nbd_error)?);
        Ok(Self::over(source, replica, source_zeroes, replica_zeroes, disk.grain))
    }

    /// As [`Self::open`], but reads everything, whatever the allocation maps say.
    fn open_without_maps(disk: &Source) -> Result<Self, CoreError> {
        let mut lane = Self::open(disk)?;
        lane.source_zeroes = Zeroes::new(Vec::new());
        lane.replica_zeroes = Zeroes::new(Vec::new());
        Ok(lane)
    }

    /// A second lane over the same disks, with its own connections.
    pub(crate) fn beside(&self, disk: &Source) -> Result<Self, CoreError> {
        let source = Client::connect(&disk.uri).map_err(nbd_error)?;
        let replica = Client::connect(&disk.against).map_err(nbd_error)?;
        let zeroes = (self.source_zeroes.clone(), self.replica_zeroes.clone());
        Ok(Self::over(source, replica, zeroes.0, zeroes.1, self.grain))
    }

    fn over(
        source: Client,
        replica: Client,
        source_zeroes: Zeroes,
        replica_zeroes: Zeroes,
        grain: u64,
    ) -> Self {
        Self {
            source,
            replica,
            source_zeroes,
            replica_zeroes,
            source_buffer: vec![0; WINDOW as usize],
            replica_buffer: vec![0; WINDOW as usize],
            grain,
        }
    }

    /// Size of the disk in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.source.size()
    }

    /// Whether both servers allow several connections.
    pub(crate) fn allows_more(&self) -> Result<bool, CoreError> {
        Ok(self.source.can_multi_conn().map_err(nbd_error)?
            && self.replica.can_multi_conn().map_err(nbd_error)?)
    }

    /// Makes the writes to the replica durable.
    pub(crate) fn flush(&mut self) -> Result<(), CoreError> {
        self.replica.flush().map_err(nbd_error)
    }

    /// Calls `found` for each run of the window that differs. A run consists of zeroes or of data,
    /// never of both.
    pub(crate) fn compare(
        &mut self,
        offset: u64,
        length: u64,
        found: Differing<'_>,
    ) -> Result<(), CoreError> {
        let empty = self.replica_zeroes.cover(offset, length);
        if empty && self.source_zeroes.cover(offset, length) {
            return Ok(());
        }
        let ours = &mut self.source_buffer[..length as usize];
        let ours = self.source_zeroes.read(&mut self.source, offset, ours)?;
        let theirs = &mut self.replica_buffer[..length as usize];
        let theirs = self.replica_zeroes.read(&mut self.replica, offset, theirs)?;
        for (at, run) in runs(ours, theirs, self.grain) {
            found(&mut self.replica, offset + at, run)?;
        }
        Ok(())
    }
}

/// What a grain of the replica needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Grain {
    Nothing,
    Zero,
    Write,
}

/// The runs of `ours` that differ from `theirs`, with their offsets. Neighbouring grains are
/// joined; zeroes and data stay separate.
fn runs<'a>(ours: &'a [u8], theirs: &[u8], grain: u64) -> Vec<(u64, &'a [u8])> {
    let size = grain as usize;
    let grains = ours.chunks(size).zip(theirs.chunks(size));
    let grains: Vec<_> = grains
        .map(|(grain, have)| match grain {
            same if same == have => Grain::Nothing,
            zeroes if *zeroes == ZEROES[..zeroes.len()] => Grain::Zero,
            _ => Grain::Write,
        })
        .collect();
    let mut end = 0;
    let joined = grains.chunk_by(|one, next| one == next).map(|run| {
        let start = end;
        end = (start + run.len() * size).min(ours.len());
        (run[0], start as u64, &ours[start..end])
    });
    joined.filter(|(grain, ..)| *grain != Grain::Nothing).map(|(_, at, run)| (at, run)).collect()
}

/// The extents of a disk that are known to be zero. Queries must ascend.
#[derive(Clone)]
struct Zeroes {
    extents: Vec<Extent>,
    at: usize,
}

impl Zeroes {
    fn new(extents: Vec<Extent>) -> Self {
        Self { extents: extents.into_iter().filter(Extent::is_zero).collect(), at: 0 }
    }

    /// Whether a single extent of zeroes covers the whole range.
    fn cover(&mut self, offset: u64, length: u64) -> bool {
        while self.extents.get(self.at).is_some_and(|e| e.offset + e.length <= offset) {
            self.at += 1;
        }
        self.extents
            .get(self.at)
            .is_some_and(|e| e.offset <= offset && e.offset + e.length >= offset + length)
    }

    /// The content at `offset`, read into `buffer` unless it is known to be zero.
    fn read<'a>(
        &mut self,
        client: &mut Client,
        offset: u64,
        buffer: &'a mut [u8],
    ) -> Result<&'a [u8], CoreError> {
        if self.cover(offset, buffer.len() as u64) {
            return Ok(&ZEROES[..buffer.len()]);
        }
        client.read(offset, buffer).map_err(nbd_error)?;
        Ok(buffer)
    }
}

/// Number of lanes side by side, each with connections to so many disks.
pub(crate) fn lanes_over(disks: usize) -> usize {
    (CONNECTIONS / disks.max(1)).clamp(2, LANES)
}

/// Splits a range into pieces that end on multiples of the window.
fn windows(offset: u64, length: u64) -> impl Iterator<Item = (u64, u64)> {
    let end = offset + length;
    let mut at = offset;
    std::iter::from_fn(move || {
        let piece = (WINDOW - at % WINDOW).min(end - at);
        at += piece;
        (piece > 0).then(|| (at - piece, piece))
    })
}

/// Splits items into the runs whose requests are in flight on a connection at once: neighbours with
/// the same key and at most a window of bytes together, or a single item. `of` returns key and
/// bytes of an item.
pub(crate) fn flights<T, K: PartialEq>(
    items: &[T],
    of: impl Fn(&T) -> (K, u64),
) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let (key, _) = of(rest.first()?);
        let mut bytes = 0;
        let fits = |item: &&T| {
            let (other, more) = of(item);
            bytes += more;
            other == key && bytes <= WINDOW
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (flight, others) = rest.split_at(count);
        rest = others;
        Some(flight)
    })
}

/// Writes content to a disk. Zeroes are written as a hole, so that they occupy no space.
pub(crate) fn write(client: &mut Client, offset: u64, data: &[u8]) -> Result<(), CoreError> {
    write_each(client, &[(offset, data)])
}

/// Writes several parts of a disk, as [`write()`] does, with all requests in flight at once.
pub(crate) fn write_each(client: &mut Client, parts: &[(u64, &[u8])]) -> Result<(), CoreError> {
    let is_zero = |(_, data): &(u64, &[u8])| data.iter().all(|byte| *byte == 0);
    let (zeroes, content): (Vec<_>, Vec<_>) = parts.iter().copied().partition(is_zero);
    for (offset, zeroes) in zeroes {
        client.zero(offset, zeroes.len() as u64).map_err(nbd_error)?;
    }
    client.write_each(content).map_err(nbd_error)
}

/// Converts an NBD error.
pub(crate) fn nbd_error(error: nbd::Error) -> CoreError {
    CoreError::new(ErrorCode::Platform, error.to_string())
}

/// Runs blocking work on a blocking thread, within the caller's tracing span.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CoreError> + Send + 'static,
) -> Result<T, CoreError> {
    let span = tracing::Span::current();
    match tokio::task::spawn_blocking(move || span.in_scope(work)).await {
        Ok(result) => result,
        Err(panic) => Err(CoreError::new(ErrorCode::Platform, format!("blocking work panicked: {panic}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault_hook::GRAIN;

    #[test]
    fn windows_cover_a_range_without_gap_or_overlap() {
        for (offset, length) in [(0, 0), (0, 1), (5, WINDOW), (WINDOW - 1, 2), (GRAIN, 3 * WINDOW)] {
            let mut at = offset;
            for (start, piece) in windows(offset, length) {
                assert_eq!(start, at);
                assert!(piece <= WINDOW);
                at += piece;
            }
            assert_eq!(at, offset + length);
        }
    }

    #[test]
    fn neighbours_with_one_key_share_a_flight_of_at_most_a_window() {
        let items = [('a', WINDOW / 2), ('a', WINDOW / 2), ('a', 1), ('b', 1), ('b', 2 * WINDOW), ('b', 1)];
        let found: Vec<_> = flights(&items, |item| *item).map(<[_]>::len).collect();
        assert_eq!(found, [2, 1, 1, 1, 1]);
        assert_eq!(flights(&items[..0], |item| *item).count(), 0);
    }

    #[test]
    fn many_disks_share_the_connections() {
        assert_eq!([1, 4, 8, 16, 64].map(lanes_over), [8, 8, 4, 2, 2]);
    }

    #[test]
    fn dirty_extents_are_widened_to_grains_and_joined() {
        let dirty = |offset, length| Extent { offset, length, flags: 1 };
        let clean = Extent { offset: 0, length: GRAIN, flags: 0 };
        let extents = [clean, dirty(GRAIN, 512), dirty(2 * GRAIN - 1, 1), dirty(5 * GRAIN, 600)];
        let size = 5 * GRAIN + 1024;
        assert_eq!(whole_grains(&extents, GRAIN, size), [GRAIN..2 * GRAIN, 5 * GRAIN..size]);
        assert_eq!(whole_grains(&extents, 4 * GRAIN, size), std::slice::from_ref(&(0..size)));
    }

    #[test]
    fn what_ranges_have_in_common_is_counted() {
        let ranges = [0..10, 20..30];
        assert_eq!([5..25, 10..20, 0..100].map(|range| overlap(&ranges, &range)), [10, 0, 20]);
    }

    #[test]
    fn neighbouring_differences_are_one_run_and_zeroes_stay_separate() {
        let grain = GRAIN as usize;
        let disk = |grains: &[u8]| -> Vec<u8> { grains.iter().flat_map(|byte| vec![*byte; grain]).collect() };
        let ours = disk(&[1, 2, 3, 0, 0, 5, 6]);
        let theirs = disk(&[1, 9, 9, 9, 0, 9, 9]);
        let found: Vec<_> = runs(&ours[..6 * grain + 7], &theirs[..6 * grain + 7], GRAIN);
        let found: Vec<_> = found.iter().map(|(at, run)| (at / GRAIN, run.len(), run[0])).collect();
        assert_eq!(found, [(1, 2 * grain, 2), (3, grain, 0), (5, grain + 7, 5)]);
    }

    #[test]
    fn zeroes_are_known_only_where_one_extent_covers_the_range() {
        let run = |offset, length, flags| Extent { offset, length, flags };
        let mut zeroes = Zeroes::new(vec![run(0, 10, 3), run(10, 10, 0), run(20, 10, 2)]);
        let asked = [(0, 10), (5, 6), (10, 5), (20, 10), (25, 6)];
        assert_eq!(asked.map(|(at, n)| zeroes.cover(at, n)), [true, false, false, true, false]);
    }
}
