//! Initial replication beside `qemu-img convert` and `nbdcopy`.
//!
//! Every contestant begins without a target and ends with a qcow2 image of the same content on the
//! disk. The time of each includes making the image, opening and closing connections, and the sync.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use comfy_table::Table;
use contract::{Access, Acknowledge, Bytes, MachineId, Millis, Platform, Policy, VolumeId};
use harness::tools;

use super::figures::{Figures, Sample, synced, table};
use super::pair::{DISK, Pair, volume_of};
use super::source::{self, Cache};

/// Size of the disk, in bytes.
const SIZE: u64 = 2 << 30;
/// A policy under which no second transfer begins while the first one is measured.
const POLICY: &str = "daily";
/// The interval of that policy.
const INTERVAL: Millis = Policy::DAY;

/// A program that copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contestant {
    /// Opens both image files itself.
    QemuImg,
    /// Copies from server to server, as the core does.
    QemuImgOverNbd,
    /// Copies from server to server.
    NbdCopy,
    /// Writes the bytes of the source's image into a new file: the limit of the disk.
    Plain,
    /// The built-in core.
    Core,
}

use Contestant::{Core, NbdCopy, Plain, QemuImg, QemuImgOverNbd};

impl Contestant {
    const ALL: [Self; 5] = [QemuImg, QemuImgOverNbd, NbdCopy, Plain, Core];

    fn name(self) -> &'static str {
        match self {
            QemuImg => "qemu-img convert, file to file",
            QemuImgOverNbd => "qemu-img convert, through the sites' NBD servers",
            NbdCopy => "nbdcopy, through the sites' NBD servers",
            Plain => "dd conv=fsync, file to file",
            Core => "the core, through the sites' NBD servers",
        }
    }
}

/// The disk that all contestants copy.
struct Subject<'a> {
    pair: &'a Pair,
    machine: MachineId,
    image: Utf8PathBuf,
}

/// Measures `rounds` rounds and returns a table.
pub(super) async fn run(pair: &Pair, rounds: u32, figures: &mut Figures) -> Result<String> {
    pair.policy(POLICY, INTERVAL).await?;
    let raw = pair.path("initial.raw");
    let content = source::make(&raw, SIZE, SIZE)?;
    let machine = pair.install("initial", &raw).await?;
    std::fs::remove_file(&raw)?;
    let image = Pair::file(&pair.source, &volume_of(&machine)).await?;
    let subject = Subject { pair, machine, image };
    for contestant in Contestant::ALL {
        subject.measure(contestant, Cache::Warm, true).await?;
    }
    let mut text = format!(
        "Initial replication of a disk of {} with {} of content, qcow2 to qcow2, sync to disk included, {rounds} \
         alternating rounds:\n",
        Bytes(SIZE),
        Bytes(content),
    );
    for (cache, what) in
        [(Cache::Warm, "source in the page cache"), (Cache::Cold, "source not in the page cache")]
    {
        let times = subject.rounds(cache, rounds).await?;
        text.push_str(&show(what, content, &times)?);
        if cache == Cache::Warm {
            let [file_to_file, through_servers, _, plain, core] = &times;
            for (peer, theirs) in
                [("file to file", file_to_file), ("through the servers", through_servers), ("dd", plain)]
            {
                figures.add(&format!("first copy, {peer}"), core, theirs)?;
            }
        }
    }
    pair.source.delete_machine(&subject.machine).await?;
    pair.source.delete_volume(&volume_of(&subject.machine)).await?;
    Ok(text)
}

impl Subject<'_> {
    /// The times of each contestant. Another one begins in each round.
    async fn rounds(&self, cache: Cache, rounds: u32) -> Result<[Vec<Duration>; Contestant::ALL.len()]> {
        let mut times = [const { Vec::new() }; Contestant::ALL.len()];
        for round in 0..rounds as usize {
            for turn in 0..Contestant::ALL.len() {
                let index = (round + turn) % Contestant::ALL.len();
                times[index].push(self.measure(Contestant::ALL[index], cache, false).await?);
            }
        }
        Ok(times)
    }

    /// Times one copy. With `compare` the copy is compared with the source afterwards.
    async fn measure(&self, contestant: Contestant, cache: Cache, compare: bool) -> Result<Duration> {
        // A contestant must not wait for writes that others left behind.
        rustix::fs::sync();
        cache.prepare(&self.image)?;
        match contestant {
            QemuImg => self.convert(compare).await,
            QemuImgOverNbd => {
                // Out-of-order requests and an empty target, as the other two have them.
                let options = ["convert", "-q", "-n", "-W", "--target-is-zero", "-f", "raw", "-O", "raw"];
                self.over_nbd("qemu-img", &options, compare).await
            }
            NbdCopy => self.over_nbd("nbdcopy", &["--flush", "--destination-is-zero"], compare).await,
            Plain => self.write_plainly().await,
            Core => self.replicate(compare).await,
        }
    }

    /// What any copy has to do at least.
    async fn write_plainly(&self) -> Result<Duration> {
        let made = self.pair.path("plain.qcow2");
        let (from, to) = (format!("if={}", self.image), format!("of={made}"));
        let began = Instant::now();
        tools::run("dd", &["status=none", "bs=4M", "conv=fsync", &from, &to]).await?;
        let took = began.elapsed();
        std::fs::remove_file(&made)?;
        Ok(took)
    }

    async fn convert(&self, compare: bool) -> Result<Duration> {
        let made = self.pair.path("converted.qcow2");
        let began = Instant::now();
        tools::convert(&self.image, tools::Format::Qcow2, &made, tools::Format::Qcow2).await?;
        let took = synced(&made, began)?;
        self.check(&made, compare).await?;
        std::fs::remove_file(&made)?;
        Ok(took)
    }

    /// Lets a tool copy from the source's NBD server to the target's.
    async fn over_nbd(&self, tool: &str, options: &[&str], compare: bool) -> Result<Duration> {
        let source = &self.pair.source;
        let target = &self.pair.target;
        let volume = VolumeId(format!("copied-by-{tool}"));
        let began = Instant::now();
        target.create_volume(&volume, Bytes(SIZE), None).await?;
        let snapshot = source.open_snapshot(&self.machine, None).await?;
        let export = target.export_volume(&volume, Access::Write).await?;
        let from = snapshot.disks.first().context("the snapshot has no disk")?;
        let arguments = [options, &[from.uri.as_str(), export.uri.as_str()]].concat();
        let copied = tools::run(tool, &arguments).await;
        target.close_export(&export.id).await?;
        source.close_snapshot(&snapshot.id, Acknowledge::Advance).await?;
        copied?;
        let made = Pair::file(target, &volume).await?;
        let took = synced(&made, began)?;
        self.check(&made, compare).await?;
        target.delete_volume(&volume).await?;
        Ok(took)
    }

    async fn replicate(&self, compare: bool) -> Result<Duration> {
        let began = Instant::now();
        let (item, _) = self.pair.protect(&self.machine, POLICY).await?;
        let made = Pair::file(&self.pair.target, &VolumeId(format!("{item}-{DISK}-replica"))).await?;
        let took = synced(&made, began)?;
        self.check(&made, compare).await?;
        self.pair.unprotect(&item).await?;
        Ok(took)
    }

    /// Compares a copy with the source: the speed of a wrong copy means nothing.
    async fn check(&self, made: &Utf8Path, compare: bool) -> Result<()> {
        if compare {
            let arguments =
                ["compare", "-q", "-f", "qcow2", "-F", "qcow2", self.image.as_str(), made.as_str()];
            tools::run("qemu-img", &arguments)
                .await
                .with_context(|| format!("{made} differs from the source"))?;
        }
        Ok(())
    }
}

fn show(what: &str, content: u64, times: &[Vec<Duration>; Contestant::ALL.len()]) -> Result<String> {
    let mut rows: Table = table([
        what,
        "seconds",
        "MiB/s",
        "speed / qemu-img's, file to file",
        "speed / qemu-img's, through the servers",
    ]);
    let mebibytes = content as f64 / f64::from(1 << 20);
    for (contestant, taken) in Contestant::ALL.iter().zip(times) {
        let sample = Sample::of_times(taken).context("no round was run")?;
        let ratio = |peer: Contestant| {
            if *contestant == peer {
                return Ok("1".to_owned());
            }
            let ratio = Sample::of_ratios(&times[peer as usize], taken).context("no round was run")?;
            Ok::<_, anyhow::Error>(ratio.to_string())
        };
        rows.add_row([
            contestant.name().to_owned(),
            sample.to_string(),
            format!("{:.0}", mebibytes / sample.median()),
            ratio(QemuImg)?,
            ratio(QemuImgOverNbd)?,
        ]);
    }
    Ok(format!("{rows}\n"))
}
