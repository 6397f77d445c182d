//! The protocol between witness and host: one JSON object per line.
//!
//! The control channel is the virtio-serial port [`CONTROL_PORT`]. The service that users of the
//! machine would use listens on TCP port [`SERVICE_PORT`] and answers with [`ServiceAnswer`].

use serde::{Deserialize, Serialize};

use crate::ledger::RecordNumber;

/// Name of the virtio-serial port that carries the control channel.
pub const CONTROL_PORT: &str = "roundtrip.witness.0";
/// TCP port of the bank service inside the guest.
pub const SERVICE_PORT: u16 = 7070;
/// Version of this protocol; host and guest must agree.
pub const PROTOCOL: u32 = 1;

/// From guest to host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum FromGuest {
    /// First message after boot, and the answer to [`ToGuest::Hello`].
    Hello(Hello),
    /// Record `number` is durable on its disk. Sent only after `fsync` returned.
    Ack {
        /// The durable record.
        number: RecordNumber,
    },
    /// Answer to [`ToGuest::Check`].
    Findings(Findings),
    /// Answer to [`ToGuest::Measure`].
    Measured(Measured),
    /// The named command was executed.
    Done {
        /// The command's name as in [`ToGuest`], kebab-case.
        command: String,
    },
    /// A command failed, or the workload stopped because of an error.
    Trouble {
        /// What was tried and what was found.
        what: String,
    },
    /// Last message of a shutdown: file systems are unmounted, nothing more is written.
    Down,
}

/// From host to guest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum ToGuest {
    /// Send [`FromGuest::Hello`] (again).
    Hello,
    /// Check everything that survived. Answer: [`FromGuest::Findings`]. Allowed only before
    /// [`ToGuest::Start`].
    Check,
    /// Start or change the workload.
    Start(Load),
    /// Stop the workload after the operations in progress. Answer: [`FromGuest::Done`].
    Stop,
    /// Quiesce the applications: workload paused, bank checkpointed, a quiesce mark as last ledger
    /// record.
    Quiesce,
    /// Resume the workload.
    Thaw,
    /// In a replication group: the neighbour's record `number` is durable. It is written into later
    /// records as [`crate::ledger::Record::seen`]. There is no answer.
    Seen {
        /// The neighbour's durable record.
        number: RecordNumber,
    },
    /// Measure how fast the data disk accepts small writes. Answer: [`FromGuest::Measured`]. No
    /// other command is executed meanwhile.
    Measure(Measure),
    /// Shut down: stop, unmount, send [`FromGuest::Down`], power off.
    Shutdown,
    /// Ignore requests to shut down by power button or guest agent, as a hung system would.
    IgnoreShutdown,
    /// Obey requests to shut down again.
    HeedShutdown,
    /// Open the guest's own firewall until the next boot, if it was closed. Answer:
    /// [`FromGuest::Done`].
    OpenFirewall,
}

/// Parameters of a measurement: random writes that bypass the guest's cache, to one file on the
/// data disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    /// Number of writes in progress at a time; 1 to 64.
    pub depth: u32,
    /// Bytes of one write; a multiple of 4096, at most 1 MiB.
    pub bytes: u32,
    /// How long to write, in milliseconds; at most a minute.
    pub for_ms: u32,
    /// Seed of offsets and content.
    pub seed: u64,
}

/// Result of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// Number of completed writes.
    pub writes: u64,
    /// Microseconds from the start of the first write to the end of the last one.
    pub took_us: u64,
}

impl Measured {
    /// Writes per second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.writes as f64 * 1e6 / self.took_us.max(1) as f64
    }
}

/// The workload that a witness runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Number of this boot in the machine's lifetime, written into each record.
    pub epoch: u32,
    /// Upper limit of ledger records per second; each record waits for the one before.
    pub records_per_second: u32,
    /// Background writes per second on each disk.
    pub churn_per_second: u32,
    /// Size of a background write in bytes; a multiple of 4096.
    pub churn_bytes: u32,
    /// Bank transfers per second.
    pub transfers_per_second: u32,
    /// Seed of the random generators.
    pub seed: u64,
}

/// The guest's view of the machine it runs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the guest.
    pub protocol: u32,
    /// Version of the replication agent that the variant file claims for this machine.
    pub agent_version: String,
    /// Milliseconds from kernel start to this message.
    pub uptime_ms: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Kernel release.
    pub kernel: String,
    /// SMBIOS system vendor.
    pub vendor: String,
    /// SMBIOS product name.
    pub product: String,
    /// SMBIOS chassis asset tag.
    pub chassis_tag: String,
    /// `bios` or `uefi`.
    pub firmware: String,
    /// Boot drivers loaded by the initial RAM disk, in order.
    pub boot_drivers: Vec<String>,
    /// The disks.
    pub disks: Vec<GuestDisk>,
    /// The network cards.
    pub nics: Vec<GuestNic>,
}

/// One disk as the guest sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestDisk {
    /// `system` or `data`. Of several disks below one file system the second has `-2` after that.
    pub role: String,
    /// Kernel driver of the controller.
    pub driver: String,
    /// Device name, such as `sda`.
    pub device: String,
    /// Vendor and model that the disk reports.
    pub model: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Whether the kernel keeps a page from changing while it is being written. Otherwise the host,
    /// which reads it once for the disk and once for the write log, may read two different
    /// contents.
    pub stable_writes: bool,
    /// Size of a logical sector in bytes.
    #[serde(default)]
    pub sector: u32,
}

/// One network card as the guest sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestNic {
    /// Name of the interface, such as `eth0`.
    #[serde(default)]
    pub name: String,
    /// Hardware address, such as `52:54:00:12:34:56`.
    #[serde(default)]
    pub mac: String,
    /// Kernel driver.
    pub driver: String,
    /// Vendor and device id on the PCI bus, such as `15ad:07b0`.
    pub model: String,
    /// IPv4 address, empty if there is none.
    pub address: String,
}

/// Everything that survived, as found inside the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// The file system of each disk, in ledger order (system, data).
    pub file_systems: Vec<FileSystemFinding>,
    /// The ledger over all disks.
    pub ledger: LedgerFinding,
    /// The bank.
    pub bank: BankFinding,
    /// What the guest's own tools object to on its disks, if its shape has them asked: partition
    /// table, volume groups, swap area.
    #[serde(default)]
    pub complaints: Vec<String>,
}

/// The state of a file system before it was mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSystemFinding {
    /// `system` or `data`.
    pub role: String,
    /// Whether ext4's `needs_recovery` flag was set, so that the journal had to be replayed, or
    /// btrfs had a log. Always false for XFS, whose superblock does not say so.
    pub needed_recovery: bool,
    /// Whether ext4's error state bit (`s_state` 0x2), btrfs's error flag or XFS's mark of a needed
    /// repair is set.
    pub errors: bool,
}

/// Content of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerFinding {
    /// The highest number all of whose predecessors are present; 0 if there is none.
    pub contiguous: RecordNumber,
    /// The highest number present anywhere.
    pub highest: RecordNumber,
    /// Numbers missing below `highest`, at most 16 of them.
    pub missing: Vec<RecordNumber>,
    /// Numbers of torn records, at most 16 of them.
    pub torn: Vec<RecordNumber>,
    /// Whether the last record is a quiesce mark.
    pub ends_quiesced: bool,
}

/// Content of the bank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BankFinding {
    /// Whether SQLite's own integrity check returned `ok`.
    pub integrity: bool,
    /// Number of accounts.
    pub accounts: u64,
    /// Sum of all balances; must equal [`BankFinding::expected_total`].
    pub total: i64,
    /// The total to which the balances must add up.
    pub expected_total: i64,
    /// Number of transfers in the journal table.
    pub transfers: u64,
    /// Whether the balances recomputed from the journal table equal the stored ones.
    pub journal_agrees: bool,
    /// Size of the write-ahead log before it was replayed.
    pub wal_bytes: u64,
}

impl BankFinding {
    /// Whether the bank is consistent.
    #[must_use]
    pub fn sound(&self) -> bool {
        self.integrity && self.journal_agrees && self.accounts > 0 && self.total == self.expected_total
    }
}

/// The answer of the service on [`SERVICE_PORT`] to a line `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAnswer {
    /// `boot_id` of the kernel that answered.
    pub boot_id: String,
    /// Highest durable ledger record.
    pub ledger: RecordNumber,
    /// The bank, read inside one transaction.
    pub bank: BankFinding,
}
