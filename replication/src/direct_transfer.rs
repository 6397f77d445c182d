//! A transfer that goes straight into the volumes of its point, so that its content is written once
//! and not first to the landing log.
//!
//! Where the servers allow several connections, lanes with connections of their own copy one flight
//! after another: while one lane reads, another one writes. Elsewhere there is one lane, which
//! copies in order. The requests of a flight, which are for separate parts of a disk, are sent
//! together.

use std::sync::Arc;

use contract::{Access, Bytes, CoreError, DiskSnapshot, ErrorCode};
use nbd::Client;

use crate::context::Context;
use crate::disk_writers::{DiskWriters, split};
use crate::exports::open_all;
use crate::fault_hook::{Extent, FaultHook, Flushes};
use crate::point_volumes::PointBuild;
use crate::transfer::{WINDOW, blocking, changed_pieces, flights, lanes_over, nbd_error};
use crate::windows::Windows;

/// A lane for each so many bytes: for less, its connections cost more than they bring.
const LANE_EACH: u64 = WINDOW;

/// Which side of a transfer failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The site of the machine.
    Source(CoreError),
    /// The site of the replica.
    Target(CoreError),
}

/// What alters a transfer, in tests of the suite.
#[derive(Clone)]
pub(crate) struct Alterations {
    hook: Option<Arc<dyn FaultHook>>,
    flushes: Flushes,
    /// Where each disk ends for the core; empty: where it does end.
    ends: Vec<Bytes>,
    /// Number of the transfer.
    batch: u64,
}

impl Alterations {
    pub(crate) fn of(ctx: &Context, ends: Vec<Bytes>, batch: u64) -> Self {
        Self { hook: ctx.fault_hook(), flushes: ctx.flushes(), ends, batch }
    }
}

/// Makes the volumes of a point and fills them with the changes of a snapshot, all of whose disks
/// must have a record of changes. Returns the number of content bytes.
pub(crate) async fn receive(
    snapshot: &DiskSnapshot,
    grain: u64,
    build: &PointBuild,
    alterations: Alterations,
) -> Result<u64, Failure> {
    build.create().await.map_err(Failure::Target)?;
    let opened = open_all(&build.platform, &build.volumes, Some(Access::Write)).await;
    let opened = opened.map_err(Failure::Target)?;
    let to = opened.uris();
    let from = snapshot.disks.iter();
    let from = from.map(|disk| (disk.uri.clone(), disk.changed.clone().unwrap_or_default())).collect();
    let copied = blocking(move || Ok(copy(&Ends { from, to }, grain, &alterations))).await;
    let closed = opened.close(Ok(())).await.map_err(Failure::Target);
    let bytes = copied.map_err(Failure::Source)??;
    closed.map(|()| bytes)
}

/// Where the disks are read and written, in the order of the machine.
struct Ends {
    /// NBD URI and meta context of the changes.
    from: Vec<(String, String)>,
    /// NBD URI.
    to: Vec<String>,
}

fn copy(ends: &Ends, grain: u64, alterations: &Alterations) -> Result<u64, Failure> {
    let mut sources = Vec::new();
    let mut all = Vec::new();
    for (disk, (uri, context)) in ends.from.iter().enumerate() {
        let (client, changed) = changed_pieces(uri, context, grain).map_err(Failure::Source)?;
        let together = flights(&changed, |(_, length)| ((), *length));
        all.extend(together.map(|parts| Flight { disk, parts: parts.to_vec() }));
        sources.push(client);
    }
    // Whoever alters transfers sees them in order.
    let alters = alterations.hook.is_some();
    let writers = DiskWriters::connect(&ends.to, alterations.flushes, !alters).map_err(Failure::Target)?;
    let mut lanes = vec![Lane { sources, writers, buffer: vec![0; WINDOW as usize] }];
    let bytes: u64 = all.iter().flat_map(|flight| &flight.parts).map(|(_, length)| length).sum();
    if !alters && lanes[0].allows_more()? {
        // All disks side by side.
        all.sort_by_key(|flight| (flight.parts.first().copied(), flight.disk));
        let most = lanes_over(ends.from.len()) as u64;
        for _ in 1..(bytes / LANE_EACH).clamp(1, most) {
            lanes.push(Lane::open(ends)?);
        }
    }
    let work = Work { windows: Windows::new(all.len() as u64, 1), flights: all, alterations };
    side_by_side(&mut lanes, &|_, lane| work.run(lane))?;
    // While the storage makes it durable, everything is read back.
    side_by_side(&mut lanes, &|number, lane| {
        if number == 0 {
            lane.writers.flush().map_err(Failure::Target)?;
        }
        lane.writers.check().map_err(Failure::Target)
    })?;
    Ok(work.windows.into_written())
}

/// Parts of a disk that are read together and written together; a window in all, at most.
struct Flight {
    disk: usize,
    /// Offsets and lengths in bytes, in order.
    parts: Vec<(u64, u64)>,
}

/// Connections to all disks, at both sites.
struct Lane {
    sources: Vec<Client>,
    writers: DiskWriters,
    buffer: Vec<u8>,
}

impl Lane {
    fn open(ends: &Ends) -> Result<Self, Failure> {
        let from = ends.from.iter().map(|(uri, _)| Client::connect(uri));
        let sources = from.collect::<Result<_, _>>().map_err(|error| Failure::Source(nbd_error(error)))?;
        let writers = DiskWriters::connect(&ends.to, Flushes::All, true).map_err(Failure::Target)?;
        Ok(Self { sources, writers, buffer: vec![0; WINDOW as usize] })
    }

    /// Whether all servers allow several connections.
    fn allows_more(&self) -> Result<bool, Failure> {
        let mut sources = self.sources.iter();
        let sources = sources.try_fold(true, |all, client| Ok(all && client.can_multi_conn()?));
        Ok(sources.map_err(|error| Failure::Source(nbd_error(error)))?
            && self.writers.allow_more().map_err(Failure::Target)?)
    }
}

/// Lets all lanes work at the same time, the first on this thread. Returns the first failure.
fn side_by_side(
    lanes: &mut [Lane],
    work: &(dyn Fn(usize, &mut Lane) -> Result<(), Failure> + Sync),
) -> Result<(), Failure> {
    let Some((first, others)) = lanes.split_first_mut() else { return Ok(()) };
    std::thread::scope(|scope| {
        let others = others.iter_mut().zip(1..);
        let others: Vec<_> = others.map(|(lane, number)| scope.spawn(move || work(number, lane))).collect();
        let mut done = work(0, first);
        for other in others {
            done = done.and(other.join().unwrap_or_else(|_| Err(panicked())));
        }
        done
    })
}

fn panicked() -> Failure {
    Failure::Source(CoreError::new(ErrorCode::Platform, "a copying thread panicked"))
}

/// What the lanes share.
struct Work<'a> {
    /// Indices of flights, and the number of bytes copied.
    windows: Windows,
    flights: Vec<Flight>,
    alterations: &'a Alterations,
}

impl Work<'_> {
    /// Copies one flight after another until none is left.
    fn run(&self, lane: &mut Lane) -> Result<(), Failure> {
        self.windows.copy_each(|index, _| match usize::try_from(index).map(|index| self.flights.get(index)) {
            Ok(Some(flight)) => self.copy(lane, flight),
            _ => Ok(0),
        })
    }

    /// Copies a flight and returns how many bytes were received.
    fn copy(&self, lane: &mut Lane, Flight { disk, parts }: &Flight) -> Result<u64, Failure> {
        let end = self.alterations.ends.get(*disk);
        let within = parts.iter().copied().filter(|(offset, _)| end.is_none_or(|end| *offset < end.0));
        let mut read = split(&mut lane.buffer, within);
        let requests = read.iter_mut().map(|(offset, buffer)| (*offset, &mut **buffer));
        let source = lane.sources[*disk].read_each(requests);
        source.map_err(|error| Failure::Source(nbd_error(error)))?;
        let read: Vec<(u64, &[u8])> = read.into_iter().map(|(offset, part)| (offset, &*part)).collect();
        let written = match &self.alterations.hook {
            None => lane.writers.write_each(*disk, &read),
            Some(hook) => read.iter().try_for_each(|&(offset, data)| {
                let mut extent = Extent { disk: *disk, offset, data: data.to_vec() };
                match hook.pass(self.alterations.batch, &mut extent) {
                    true => lane.writers.write(extent.disk, extent.offset, &extent.data),
                    false => Ok(()),
                }
            }),
        };
        let bytes = read.iter().map(|(_, data)| data.len() as u64).sum();
        written.map_err(Failure::Target).map(|()| bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use nbd::Export;
    use proptest::prelude::*;

    use super::*;
    use crate::fault_hook::GRAIN;
    use crate::ram_disk::{CHANGED, Fault, RamDisk};

    const UNALTERED: Alterations =
        Alterations { hook: None, flushes: Flushes::All, ends: Vec::new(), batch: 1 };

    /// Copies what has changed between two disks each. The target disks hold other content before.
    struct Machine {
        from: Vec<Arc<RamDisk>>,
        to: Vec<Arc<RamDisk>>,
    }

    impl Machine {
        /// A machine whose disks have these grains, each changed or not.
        fn new(disks: &[Vec<bool>], several: bool, faults: [Option<Fault>; 2]) -> Self {
            let content = |disk: usize, changed: &[bool]| -> Vec<u8> {
                let grains = (0..changed.len()).map(|grain| ((disk * 31 + grain) % 7) as u8);
                grains.flat_map(|byte| vec![byte; GRAIN as usize]).collect()
            };
            let from = disks.iter().enumerate().map(|(disk, changed)| {
                let ram = RamDisk::new(content(disk, changed)).changed(changed.clone());
                ram.several(several).fault(faults[0]).shared()
            });
            let to = disks.iter().map(|changed| {
                let ram = RamDisk::new(vec![0xee; changed.len() * GRAIN as usize]);
                ram.several(several).fault(faults[1]).shared()
            });
            Self { from: from.collect(), to: to.collect() }
        }

        fn copy(&self, alterations: &Alterations) -> Result<u64, Failure> {
            let serve = |disks: &[Arc<RamDisk>]| -> Vec<_> {
                disks.iter().map(|disk| nbd::serve("disk", Arc::clone(disk) as Arc<dyn Export>)).collect()
            };
            let (from, to) = (serve(&self.from), serve(&self.to));
            let ends = Ends {
                from: from.iter().map(|served| (served.uri(), CHANGED.to_owned())).collect(),
                to: to.iter().map(nbd::Served::uri).collect(),
            };
            copy(&ends, GRAIN, alterations)
        }
    }

    /// Every piece, in the order in which a hook saw them.
    #[derive(Default)]
    struct Seen(Mutex<Vec<(usize, u64)>>);

    impl FaultHook for Seen {
        fn pass(&self, _: u64, extent: &mut Extent) -> bool {
            self.0.lock().unwrap().push((extent.disk, extent.offset));
            true
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn exactly_the_changed_grains_are_copied(
            disks in proptest::collection::vec(proptest::collection::vec(any::<bool>(), 1..150), 1..4),
            several: bool,
        ) {
            let machine = Machine::new(&disks, several, [None, None]);
            let changed = disks.iter().flatten().filter(|changed| **changed).count() as u64;
            prop_assert_eq!(machine.copy(&UNALTERED).unwrap(), changed * GRAIN);
            for (disk, changed) in disks.iter().enumerate() {
                let (from, to) = (machine.from[disk].content(), machine.to[disk].content());
                let size = GRAIN as usize;
                for ((from, to), changed) in from.chunks(size).zip(to.chunks(size)).zip(changed) {
                    let right = if *changed { from == to } else { to.iter().all(|byte| *byte == 0xee) };
                    prop_assert!(right);
                }
            }
        }

        #[test]
        fn a_failure_of_either_side_ends_the_transfer_and_says_which_side(
            at in 0..130 * GRAIN,
            kind in 0..4_usize,
            several: bool,
        ) {
            let (faults, words, of_source) = [
                ([Some(Fault::ReadsFrom(at)), None], "cannot be read", true),
                ([None, Some(Fault::WritesFrom(at))], "no room", false),
                ([None, Some(Fault::Flushes)], "the cache is broken", false),
                ([None, Some(Fault::LosesFrom(at))], "something else than was written", false),
            ][kind];
            let machine = Machine::new(&[vec![true; 130], vec![true; 7]], several, faults);
            let (error, is_source) = match machine.copy(&UNALTERED).unwrap_err() {
                Failure::Source(error) => (error, true),
                Failure::Target(error) => (error, false),
            };
            prop_assert_eq!(is_source, of_source);
            prop_assert!(error.message.contains(words), "{}", error);
        }
    }

    #[test]
    fn after_a_failure_the_other_lanes_begin_nothing_more() {
        let changed = vec![true; 64 * 16];
        let machine = Machine::new(&[changed], true, [None, Some(Fault::WritesFrom(0))]);
        machine.copy(&UNALTERED).unwrap_err();
        let reads = machine.from[0].reads();
        // Each lane may have begun a piece, and fails at its first write.
        assert!((1..=lanes_over(1) as u64).contains(&reads), "{reads} of 64 pieces were read");
    }

    #[test]
    fn a_hook_sees_all_pieces_in_order() {
        let seen = Arc::new(Seen::default());
        let hook = Some(Arc::clone(&seen) as Arc<dyn FaultHook>);
        let machine = Machine::new(&[vec![true; 200], vec![true; 100]], true, [None, None]);
        machine.copy(&Alterations { hook, ..UNALTERED }).unwrap();
        let seen = seen.0.lock().unwrap();
        assert!(seen.is_sorted() && seen.len() == 13 + 7, "{seen:?}");
    }
}
