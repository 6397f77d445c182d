//! Deltas: does the cost of a transfer grow with the delta or with the disk?
//!
//! The machine is powered on and gets no further than its firmware. The benchmark writes through
//! the device of its disk, as a guest would. The time runs from the snapshot, as the recovery point
//! is stamped, until a failover can use that point: transfer, landing log and the volume made of
//! it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use contract::{Bytes, ItemId, MachineId, Millis, Platform, RecoveryPoint};
use harness::tools::{self, Format};
use serde_json::json;
use standins::Boot;

use super::figures::{Figures, Sample, synced, table};
use super::pair::{DISK, Pair, volume_of};
use super::source::{self, Cache};

/// Sizes of disks, in bytes.
const DISKS: [u64; 2] = [2 << 30, 8 << 30];
/// Sizes of deltas, in bytes. The empty one shows the fixed cost of a transfer.
const DELTAS: [u64; 5] = [0, SMALL, 8 << 20, 64 << 20, 256 << 20];
/// A delta that costs little but its requests and syncs, in bytes. It is held against
/// [`SMALL_WITHIN`] and two syncs.
const SMALL: u64 = 1 << 20;
/// What such a delta may take beside its syncs.
const SMALL_WITHIN: Duration = Duration::from_millis(50);
/// Both disks have content in this many first bytes, so that they differ in size only.
const USED: u64 = 512 << 20;
/// Bytes of the pieces in which a delta is written, spread evenly over the disk.
const PIECE: u64 = 256 * 1024;
/// Time between two transfers, in which the largest delta can be written.
const INTERVAL: Millis = Millis(3_000);
/// The policy with that interval.
const POLICY: &str = "often";
/// How often a delta is written again because a transfer began in the middle of it.
const ATTEMPTS: u32 = 5;
/// Time bound for a recovery point.
const POINT_WITHIN: Duration = Duration::from_secs(120);

/// Times for one size of delta: of the core on each disk, and of `qemu-img`.
#[derive(Default)]
struct Times {
    on: [Vec<Duration>; DISKS.len()],
    peer: Vec<Duration>,
}

impl Times {
    /// What the core's times are held against.
    fn reference(&self, pair: &Pair, delta: u64) -> Result<Vec<Duration>> {
        if delta != SMALL {
            return Ok(self.peer.clone());
        }
        (0..self.peer.len()).map(|_| Ok(SMALL_WITHIN + two_syncs(pair)?)).collect()
    }
}

/// Measures `rounds` rounds on each disk and returns a table.
pub(super) async fn run(pair: &Pair, rounds: u32, figures: &mut Figures) -> Result<String> {
    pair.policy(POLICY, INTERVAL).await?;
    let mut times: [Times; DELTAS.len()] = Default::default();
    for _ in 0..rounds {
        for (times, delta) in times.iter_mut().zip(DELTAS) {
            times.peer.push(peer(pair, DISKS[0], delta).await?);
        }
    }
    for (disk, size) in DISKS.into_iter().enumerate() {
        let mut machine = Machine::start(pair, size).await?;
        for _ in 0..rounds {
            for (times, delta) in times.iter_mut().zip(DELTAS) {
                times.on[disk].push(machine.measure(delta).await?);
            }
        }
        machine.remove().await?;
    }
    for (delta, times) in DELTAS.into_iter().zip(&times).filter(|(delta, _)| *delta > 0) {
        figures.add(&format!("delta, {}", Bytes(delta)), &times.on[0], &times.reference(pair, delta)?)?;
    }
    show(&times, rounds)
}

/// A protected machine that is powered on.
struct Machine<'a> {
    pair: &'a Pair,
    id: MachineId,
    item: ItemId,
    boot: Arc<Boot>,
    size: u64,
    /// Number of points that were waited for so far.
    points: u64,
}

impl<'a> Machine<'a> {
    async fn start(pair: &'a Pair, size: u64) -> Result<Self> {
        let raw = pair.path("delta.raw");
        source::make(&raw, size, USED)?;
        let id = pair.install(&format!("delta-{}", size >> 30), &raw).await?;
        std::fs::remove_file(&raw)?;
        pair.source.start(&id).await?;
        let boot = pair.source.boot_after(&id, 0).await;
        let (item, _) = pair.protect(&id, POLICY).await?;
        let mut machine = Self { pair, id, item, boot, size, points: 0 };
        machine.point_since(now()).await?;
        Ok(machine)
    }

    /// Writes a delta and waits for its point. Writing begins right after a point, when the next
    /// transfer is furthest away. If a transfer begins in the middle all the same, the delta is
    /// split, and another one is written.
    async fn measure(&mut self, delta: u64) -> Result<Duration> {
        for _ in 0..ATTEMPTS {
            self.write(delta).await?;
            let point = self.point_since(now()).await?;
            let took = now().saturating_sub(point.time.0);
            if point.transferred == Bytes(delta) {
                return Ok(Millis(took).into());
            }
        }
        let delta = Bytes(delta);
        bail!(
            "{ATTEMPTS} times {delta} could not be written between two transfers {INTERVAL} apart: \
             use a disk that is less busy"
        )
    }

    /// Waits for a point of a snapshot taken after `moment`.
    async fn point_since(&mut self, moment: u64) -> Result<RecoveryPoint> {
        let wait = async {
            loop {
                self.points += 1;
                let view = self.pair.core.watch_points(&self.item, self.points).await?;
                let newest = view.points.into_iter().rfind(|point| point.processed);
                if let Some(point) = newest.filter(|point| point.time.0 > moment) {
                    return Ok(point);
                }
            }
        };
        let waited = tokio::time::timeout(POINT_WITHIN, wait).await;
        waited.map_err(|_| anyhow!("no recovery point of {} within {POINT_WITHIN:?}", self.item))?
    }

    /// Writes through the device of the disk, as a driver in a guest would.
    async fn write(&self, delta: u64) -> Result<()> {
        for command in writes(self.size, delta) {
            let line = format!("qemu-io -d disk-{DISK} \"{command}\"");
            let arguments = json!({"command-line": line});
            let answer = self.boot.guest.monitor().execute("human-monitor-command", arguments).await?;
            // The answer is empty unless the write failed; the point shows how much was written.
            ensure!(answer == "", "{line}: {answer}");
        }
        Ok(())
    }

    async fn remove(self) -> Result<()> {
        self.pair.unprotect(&self.item).await?;
        self.pair.source.power_off(&self.id).await?;
        self.boot.guest.until_gone().await;
        self.pair.source.delete_machine(&self.id).await?;
        Ok(self.pair.source.delete_volume(&volume_of(&self.id)).await?)
    }
}

/// The qemu-io commands that write a delta.
fn writes(size: u64, delta: u64) -> impl Iterator<Item = String> {
    let pieces = delta / PIECE;
    let apart = size.checked_div(pieces).unwrap_or(0) / PIECE * PIECE;
    (0..pieces).map(move |piece| format!("write -P {} {} {PIECE}", 1 + piece % 255, piece * apart))
}

/// Times `qemu-img convert` on a delta of the same pieces. It reads from the image which sectors
/// the delta has, copies file to file and keeps no log.
async fn peer(pair: &Pair, size: u64, delta: u64) -> Result<Duration> {
    let path = |name: &str| pair.path(&format!("peer-{name}.qcow2"));
    let base = path("base");
    let from = path("delta");
    let made = path("made");
    tools::create(&base, Format::Qcow2, size).await?;
    tools::create_delta(&from, &base, Format::Qcow2).await?;
    let commands = writes(size, delta).flat_map(|command| ["-c".to_owned(), command]);
    let arguments: Vec<_> = ["-f", "qcow2"].map(str::to_owned).into_iter().chain(commands).collect();
    tools::run("qemu-io", &[&arguments[..], &[from.to_string()]].concat()).await?;
    rustix::fs::sync();
    Cache::Warm.prepare(&from)?;
    let began = Instant::now();
    let words = ["convert", "-q", "-f", "qcow2", "-O", "qcow2", "-B", base.as_str(), "-F", "qcow2"];
    tools::run("qemu-img", &[&words[..], &[from.as_str(), made.as_str()]].concat()).await?;
    let took = synced(&made, began)?;
    [base, from, made].iter().try_for_each(std::fs::remove_file)?;
    Ok(took)
}

/// Times how long the disk takes to make two files durable, each of which has new content of the
/// small delta.
fn two_syncs(pair: &Pair) -> Result<Duration> {
    let paths = ["peer-first", "peer-second"].map(|name| pair.path(name));
    let content = vec![1; usize::try_from(SMALL)?];
    let mut took = Duration::ZERO;
    for path in &paths {
        std::fs::write(path, &content)?;
        took += synced(path, Instant::now())?;
    }
    paths.iter().try_for_each(std::fs::remove_file)?;
    Ok(took)
}

/// Milliseconds since 1970, the unit of a point's time.
fn now() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

fn show(times: &[Times], rounds: u32) -> Result<String> {
    let [small, large] = DISKS.map(Bytes);
    let mut rows = table([
        "delta",
        &format!("seconds on {small}"),
        &format!("seconds on {large}"),
        &format!("cost on {large} / on {small}"),
        "ms per MiB",
        "qemu-img, seconds",
        "speed / qemu-img's",
    ]);
    for (delta, times) in DELTAS.into_iter().zip(times) {
        let sample = |times: &[Duration]| Sample::of_times(times).context("no round was run");
        let on_small = sample(&times.on[0])?;
        let on_large = sample(&times.on[1])?;
        let peer = sample(&times.peer)?;
        let each = |mebibytes: u64| format!("{:.1}", on_small.median() * 1000.0 / mebibytes as f64);
        rows.add_row([
            Bytes(delta).to_string(),
            on_small.to_string(),
            on_large.to_string(),
            format!("{:.2}", on_large.median() / on_small.median()),
            if delta == 0 { String::new() } else { each(delta >> 20) },
            peer.to_string(),
            format!("{:.2}", peer.median() / on_small.median()),
        ]);
    }
    Ok(format!(
        "Deltas in pieces of {} spread over the disk, from the snapshot to a recovery point on the disk, \
         {rounds} rounds. `qemu-img convert -B` copies a delta of the same pieces, file to file and without \
         a log:\n{rows}\n",
        Bytes(PIECE)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_is_spread_over_the_disk_and_stays_within_it() {
        let all: Vec<_> = writes(1 << 30, 1 << 20).collect();
        assert_eq!(all[0], "write -P 1 0 262144");
        assert_eq!(all[3], format!("write -P 4 {} 262144", 3 << 28));
        assert_eq!((all.len(), writes(1 << 30, 0).count()), (4, 0));
    }
}
