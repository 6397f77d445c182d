//! Finding what has to travel, and reading it. Everything here blocks and runs on blocking threads.

use contract::{CoreError, ErrorCode};
use nbd::{ALLOCATION, Client, Extent};

/// Grain of comparison and of transfer, in bytes. QEMU's dirty bitmaps have the same one.
const GRAIN: u64 = 64 * 1024;
/// How much is read at once, in bytes.
const WINDOW: u64 = 1024 * 1024;
/// How often a long pass tells how far it is, in bytes.
const REPORT_EVERY: u64 = 16 * WINDOW;

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
    let mut source = Client::connect_with(uri, &[ALLOCATION]).map_err(link)?;
    let mut replica = Client::connect_with(against, &[ALLOCATION]).map_err(link)?;
    if source.size() != replica.size() {
        let text = format!("the source disk has {} bytes, its replica {}", source.size(), replica.size());
        return Err(CoreError::new(ErrorCode::Platform, text));
    }
    let mut source_zeroes = Zeroes::new(source.extents(ALLOCATION).map_err(link)?);
    let mut replica_zeroes = Zeroes::new(replica.extents(ALLOCATION).map_err(link)?);
    let (mut ours, mut theirs) = (vec![0; WINDOW as usize], vec![0; WINDOW as usize]);
    for (offset, length) in windows(0, source.size()) {
        if offset % REPORT_EVERY == 0 {
            gone_through(offset);
        }
        let ours = &mut ours[..length as usize];
        let theirs = &mut theirs[..length as usize];
        if source_zeroes.cover(offset, length) && replica_zeroes.cover(offset, length) {
            continue;
        }
        source_zeroes.read(&mut source, offset, ours)?;
        replica_zeroes.read(&mut replica, offset, theirs)?;
        let grains = ours.chunks(GRAIN as usize).zip(theirs.chunks(GRAIN as usize));
        for (index, (grain, have)) in grains.enumerate() {
            if grain != have {
                sink(offset + index as u64 * GRAIN, grain)?;
            }
        }
    }
    Ok(())
}

/// Which parts of a disk are known to read as zeroes; asked in ascending order.
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

    fn read(&mut self, client: &mut Client, offset: u64, buffer: &mut [u8]) -> Result<(), CoreError> {
        if self.cover(offset, buffer.len() as u64) {
            buffer.fill(0);
            return Ok(());
        }
        client.read(offset, buffer).map_err(link)
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
    fn zeroes_are_known_only_where_one_run_covers_everything() {
        let run = |offset, length, flags| Extent { offset, length, flags };
        let mut zeroes = Zeroes::new(vec![run(0, 10, 3), run(10, 10, 0), run(20, 10, 2)]);
        let asked = [(0, 10), (5, 6), (10, 5), (20, 10), (25, 6)];
        assert_eq!(asked.map(|(at, n)| zeroes.cover(at, n)), [true, false, false, true, false]);
    }
}
