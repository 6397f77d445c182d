//! What witness and host say to each other: one JSON object a line.
//!
//! The control channel is the virtio-serial port [`CONTROL_PORT`]; the service a user of the machine would
//! reach is TCP port [`SERVICE_PORT`] and answers with [`ServiceAnswer`].

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
    /// First word after boot, and the answer to [`ToGuest::Hello`].
    Hello(Hello),
    /// Record `number` is durable on its disk. Sent only after fsync returned.
    Ack {
        /// The durable record.
        number: RecordNumber,
    },
    /// Answer to [`ToGuest::Check`].
    Findings(Findings),
    /// Answer to [`ToGuest::Measure`].
    Measured(Measured),
    /// The command with this name was carried out.
    Done {
        /// The command's name as in [`ToGuest`], kebab-case.
        command: String,
    },
    /// A command failed, or the load stopped for a reason.
    Trouble {
        /// What was tried and what was found.
        what: String,
    },
    /// Last word of an orderly shutdown: file systems are unmounted, nothing more is written.
    Down,
}

/// From host to guest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum ToGuest {
    /// Say hello (again).
    Hello,
    /// Look at everything that survived: answer [`FromGuest::Findings`]. Only before [`ToGuest::Start`].
    Check,
    /// Begin or change the load.
    Start(Load),
    /// Stop the load; what runs is finished first. Answer: [`FromGuest::Done`].
    Stop,
    /// Bring the applications to rest: load held, bank checkpointed, a quiesce mark as last ledger record.
    Quiesce,
    /// Let the load go on.
    Thaw,
    /// In a replication group: the neighbour's record `number` is durable. Written into later records as
    /// [`crate::ledger::Record::seen`]. Not answered.
    Seen {
        /// The neighbour's durable record.
        number: RecordNumber,
    },
    /// Measure how fast the data disk takes small writes: answer [`FromGuest::Measured`]. Nothing else is answered
    /// meanwhile.
    Measure(Measure),
    /// Shut down in order: stop, unmount, say [`FromGuest::Down`], power off.
    Shutdown,
    /// Ignore whoever asks the machine to shut down by its power button or its agent, as a hung system does.
    IgnoreShutdown,
    /// Heed them again.
    HeedShutdown,
}

/// Random writes past the guest's cache, all to one file of the data disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    /// Writes under way at a time; 1 to 64.
    pub depth: u32,
    /// Bytes of one write; a multiple of 4096, at most 1 MiB.
    pub bytes: u32,
    /// How long to write, in milliseconds; at most a minute.
    pub for_ms: u32,
    /// Seed of places and content.
    pub seed: u64,
}

/// What a measurement found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// Writes that ended.
    pub writes: u64,
    /// Microseconds from the first write's start to the last one's end.
    pub took_us: u64,
}

impl Measured {
    /// Writes a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.writes as f64 * 1e6 / self.took_us.max(1) as f64
    }
}

/// The load a witness puts on its disks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Number of this boot in the machine's life, written into each record.
    pub epoch: u32,
    /// Ledger records a second at most; each one waits for the one before.
    pub records_per_second: u32,
    /// Random writes a second on each disk.
    pub churn_per_second: u32,
    /// Bytes of one such write; a multiple of 4096.
    pub churn_bytes: u32,
    /// Bank transfers a second.
    pub transfers_per_second: u32,
    /// Seed of the random writes.
    pub seed: u64,
}

/// What the guest sees of the machine it runs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the guest.
    pub protocol: u32,
    /// Version of the replication agent that the variant file claims for this machine.
    pub agent_version: String,
    /// Milliseconds from kernel start to this word.
    pub uptime_ms: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Kernel release.
    pub kernel: String,
    /// SMBIOS system vendor, product and chassis asset tag.
    pub vendor: String,
    /// SMBIOS product name.
    pub product: String,
    /// SMBIOS chassis asset tag.
    pub chassis_tag: String,
    /// `bios` or `uefi`.
    pub firmware: String,
    /// Boot drivers loaded by the initial RAM disk, in order.
    pub boot_drivers: Vec<String>,
    /// Each disk: role (`system`, `data`), kernel driver of its controller, device name, model.
    pub disks: Vec<GuestDisk>,
    /// Each network card: kernel driver, model and address, if DHCP gave one.
    pub nics: Vec<GuestNic>,
}

/// One disk as the guest sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestDisk {
    /// `system` or `data`.
    pub role: String,
    /// Kernel driver of the controller.
    pub driver: String,
    /// Device name, such as `sda`.
    pub device: String,
    /// Vendor and model by which the disk calls itself.
    pub model: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Whether the kernel keeps a page from changing while it is written. Else the host, which reads it once for the disk and
    /// once for the write log, may see two different contents.
    pub stable_writes: bool,
}

/// One network card as the guest sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestNic {
    /// Kernel driver.
    pub driver: String,
    /// Vendor and device id on the PCI bus, such as `15ad:07b0`.
    pub model: String,
    /// IPv4 address, empty if there is none.
    pub address: String,
}

/// What survived, seen from inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Per disk, in ledger order (system, data).
    pub file_systems: Vec<FileSystemFinding>,
    /// The ledger over all disks.
    pub ledger: LedgerFinding,
    /// The bank.
    pub bank: BankFinding,
}

/// The state in which a file system was found, before it was mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSystemFinding {
    /// `system` or `data`.
    pub role: String,
    /// ext4's `needs_recovery` flag was set: the journal had to be replayed.
    pub needed_recovery: bool,
    /// ext4's error state bit (`s_state` 0x2) is set.
    pub errors: bool,
}

/// What is in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerFinding {
    /// The highest number with all its predecessors present; 0 if there is none.
    pub contiguous: RecordNumber,
    /// The highest number present anywhere.
    pub highest: RecordNumber,
    /// Numbers missing below `highest`, at most 16 of them.
    pub missing: Vec<RecordNumber>,
    /// Numbers of torn records, at most 16 of them.
    pub torn: Vec<RecordNumber>,
    /// The last record is a quiesce mark.
    pub ends_quiesced: bool,
}

/// What is in the bank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BankFinding {
    /// SQLite's own integrity check said `ok`.
    pub integrity: bool,
    /// Accounts.
    pub accounts: u64,
    /// Sum of all balances; must equal [`BankFinding::expected_total`].
    pub total: i64,
    /// What the balances must add up to.
    pub expected_total: i64,
    /// Transfers in the journal table.
    pub transfers: u64,
    /// Balances recomputed from the journal table equal the stored ones.
    pub journal_agrees: bool,
    /// Bytes in the write-ahead log when it was found.
    pub wal_bytes: u64,
}

impl BankFinding {
    /// Whether the bank is whole.
    #[must_use]
    pub fn sound(&self) -> bool {
        self.integrity && self.journal_agrees && self.accounts > 0 && self.total == self.expected_total
    }
}

/// What the service on [`SERVICE_PORT`] answers to a line `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAnswer {
    /// `boot_id` of the kernel that answers.
    pub boot_id: String,
    /// Highest durable ledger record.
    pub ledger: RecordNumber,
    /// The bank, read inside one transaction.
    pub bank: BankFinding,
}
