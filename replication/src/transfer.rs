//! Finding what has to travel, and reading it. Everything here blocks and runs on blocking threads.

use contract::{CoreError, ErrorCode};
use nbd::{ALLOCATION, Client, Extent};

/// Grain of comparison and of transfer, in bytes. QEMU's dirty bitmaps have the same one.
const GRAIN: u64 = 64 * 1024;
/// How much is read at once, in bytes.
pub(crate) const WINDOW: u64 = 1024 * 1024;
/// How often a long pass tells how far it is, in bytes.
pub(crate) const REPORT_EVERY: u64 = 16 * WINDOW;
/// A window of nothing.
static ZEROES: [u8; WINDOW as usize] = [0; WINDOW as usize];

/// Takes content for one disk: offset in bytes, data.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<(), CoreError>;

/// Where one disk of a view is to be read, and against what.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// NBD URI of the frozen disk.
    pub(crate) uri: String,
    /// Meta context that marks changes; `None`: compare with `against`.
    pub(crate) changed: Option<String>,
    /// NBD URI of the replica's newest content.
    pub(crate) against: String,
}

/// Sends everything the replica lacks to `sink`: by the platform's own record of changes if it has one, else by
/// comparing the whole disk chunk by chunk.
///
/// `gone_through` hears the byte up to which the disk has been looked at, now and then.
pub(crate) fn send(source: &Source, sink: Sink<'_>, gone_through: &dyn Fn(u64)) -> Result<(), CoreError> {
    match &source.changed {
        Some(context) => send_changed(&source.uri, context, sink),
        None => send_different(&source.uri, &source.against, sink, gone_through),
    }
}

fn send_changed(uri: &str, context: &str, sink: Sink<'_>) -> Result<(), CoreError> {
    let mut client = Client::connect_with(uri, &[context]).map_err(link)?;
    let dirty = client.extents(context).map_err(link)?;
    let mut buffer = vec![0; WINDOW as usize];
    for extent in dirty.iter().filter(|extent| extent.is_dirty()) {
        for (offset, length) in windows(extent.offset, extent.length) {
            let part = &mut buffer[..length as usize];
            client.read(offset, part).map_err(link)?;
            sink(offset, part)?;
        }
    }
    Ok(())
}

fn send_different(
    uri: &str,
    against: &str,
    sink: Sink<'_>,
    gone_through: &dyn Fn(u64),
) -> Result<(), CoreError> {
    let mut lane = Lane::open(uri, against)?;
    for (offset, length) in windows(0, lane.size()) {
        if offset % REPORT_EVERY == 0 {
            gone_through(offset);
        }
        lane.compare(offset, length, &mut |_, at, run| sink(at, run))?;
    }
    Ok(())
}

/// Takes a run that differs: the replica's connection, offset in bytes, data.
pub(crate) type Differing<'a> = &'a mut dyn FnMut(&mut Client, u64, &[u8]) -> Result<(), CoreError>;

/// A disk and its replica side by side, to be gone through in ascending order.
pub(crate) struct Lane {
    source: Client,
    replica: Client,
    source_zeroes: Zeroes,
    replica_zeroes: Zeroes,
    ours: Vec<u8>,
    theirs: Vec<u8>,
}

impl Lane {
    pub(crate) fn open(uri: &str, against: &str) -> Result<Self, CoreError> {
        let mut source = Client::connect_with(uri, &[ALLOCATION]).map_err(link)?;
        let mut replica = Client::connect_with(against, &[ALLOCATION]).map_err(link)?;
        if source.size() != replica.size() {
            let text = format!("the source disk has {} bytes, its replica {}", source.size(), replica.size());
            return Err(CoreError::new(ErrorCode::Platform, text));
        }
        let source_zeroes = Zeroes::new(source.extents(ALLOCATION).map_err(link)?);
        let replica_zeroes = Zeroes::new(replica.extents(ALLOCATION).map_err(link)?);
        Ok(Self::over(source, replica, source_zeroes, replica_zeroes))
    }

    /// Another one over the same disks, through connections of its own.
    pub(crate) fn beside(&self, uri: &str, against: &str) -> Result<Self, CoreError> {
        let source = Client::connect(uri).map_err(link)?;
        let replica = Client::connect(against).map_err(link)?;
        Ok(Self::over(source, replica, self.source_zeroes.clone(), self.replica_zeroes.clone()))
    }

    fn over(source: Client, replica: Client, source_zeroes: Zeroes, replica_zeroes: Zeroes) -> Self {
        let (ours, theirs) = (vec![0; WINDOW as usize], vec![0; WINDOW as usize]);
        Self { source, replica, source_zeroes, replica_zeroes, ours, theirs }
    }

    /// Bytes of the disk.
    pub(crate) fn size(&self) -> u64 {
        self.source.size()
    }

    /// Whether both servers allow more connections than one.
    pub(crate) fn allows_more(&self) -> Result<bool, CoreError> {
        Ok(self.source.can_multi_conn().map_err(link)? && self.replica.can_multi_conn().map_err(link)?)
    }

    /// Makes durable what was written to the replica.
    pub(crate) fn flush(&mut self) -> Result<(), CoreError> {
        self.replica.flush().map_err(link)
    }

    /// Hands the runs of a window that differ to `found`. A run is of zeroes or of data, never of both.
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
        let (ours, theirs) = (&mut self.ours[..length as usize], &mut self.theirs[..length as usize]);
        let ours = self.source_zeroes.read(&mut self.source, offset, ours)?;
        let theirs = self.replica_zeroes.read(&mut self.replica, offset, theirs)?;
        for (at, run) in runs(ours, theirs) {
            found(&mut self.replica, offset + at, run)?;
        }
        Ok(())
    }
}

/// What is to be done about a grain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Grain {
    Nothing,
    Zero,
    Write,
}

/// Where `ours` differs from `theirs`, and what is there: neighbouring grains joined, zeroes apart from data.
fn runs<'a>(ours: &'a [u8], theirs: &[u8]) -> Vec<(u64, &'a [u8])> {
    let grains = ours.chunks(GRAIN as usize).zip(theirs.chunks(GRAIN as usize));
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
        end = (start + run.len() * GRAIN as usize).min(ours.len());
        (run[0], start as u64, &ours[start..end])
    });
    joined.filter(|(grain, ..)| *grain != Grain::Nothing).map(|(_, at, run)| (at, run)).collect()
}

/// Which parts of a disk are known to read as zeroes; asked in ascending order.
#[derive(Clone)]
struct Zeroes {
    extents: Vec<Extent>,
    at: usize,
}

impl Zeroes {
    fn new(extents: Vec<Extent>) -> Self {
        Self { extents: extents.into_iter().filter(Extent::is_zero).collect(), at: 0 }
    }

    /// Whether one run of zeroes covers all of it.
    fn cover(&mut self, offset: u64, length: u64) -> bool {
        while self.extents.get(self.at).is_some_and(|e| e.offset + e.length <= offset) {
            self.at += 1;
        }
        self.extents
            .get(self.at)
            .is_some_and(|e| e.offset <= offset && e.offset + e.length >= offset + length)
    }

    /// What is there: read into `buffer` unless it is known.
    fn read<'a>(
        &mut self,
        client: &mut Client,
        offset: u64,
        buffer: &'a mut [u8],
    ) -> Result<&'a [u8], CoreError> {
        if self.cover(offset, buffer.len() as u64) {
            return Ok(&ZEROES[..buffer.len()]);
        }
        client.read(offset, buffer).map_err(link)?;
        Ok(buffer)
    }
}

/// Pieces of a stretch that end on multiples of the window.
fn windows(offset: u64, length: u64) -> impl Iterator<Item = (u64, u64)> {
    let end = offset + length;
    let mut at = offset;
    std::iter::from_fn(move || {
        let piece = (WINDOW - at % WINDOW).min(end - at);
        at += piece;
        (piece > 0).then(|| (at - piece, piece))
    })
}

/// An NBD failure as the core's.
pub(crate) fn link(error: nbd::Error) -> CoreError {
    CoreError::new(ErrorCode::Platform, error.to_string())
}

/// Runs blocking work.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CoreError> + Send + 'static,
) -> Result<T, CoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => Err(CoreError::new(ErrorCode::Platform, format!("a transfer did not end: {panic}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_a_stretch_without_gap_or_overlap() {
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
    fn neighbouring_differences_are_one_run_and_zeroes_stay_apart() {
        let grain = GRAIN as usize;
        let disk = |grains: &[u8]| -> Vec<u8> { grains.iter().flat_map(|byte| vec![*byte; grain]).collect() };
        let (ours, theirs) = (disk(&[1, 2, 3, 0, 0, 5, 6]), disk(&[1, 9, 9, 9, 0, 9, 9]));
        let found: Vec<_> = runs(&ours[..6 * grain + 7], &theirs[..6 * grain + 7]);
        let found: Vec<_> = found.iter().map(|(at, run)| (at / GRAIN, run.len(), run[0])).collect();
        assert_eq!(found, [(1, 2 * grain, 2), (3, grain, 0), (5, grain + 7, 5)]);
    }

    #[test]
    fn zeroes_are_known_only_where_one_run_covers_everything() {
        let run = |offset, length, flags| Extent { offset, length, flags };
        let mut zeroes = Zeroes::new(vec![run(0, 10, 3), run(10, 10, 0), run(20, 10, 2)]);
        let asked = [(0, 10), (5, 6), (10, 5), (20, 10), (25, 6)];
        assert_eq!(asked.map(|(at, n)| zeroes.cover(at, n)), [true, false, false, true, false]);
    }
}
