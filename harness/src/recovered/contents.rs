//! Reads ledger and bank from a file system that was recovered.

use std::fs::File;
use std::io;
use std::path::Path;

use ext4_view::{Ext4, Ext4Error};
use rusqlite::ErrorCode;
use witness::bank_check;
use witness::ledger_scan::{DiskScan, scan_disk};
use witness::protocol::BankFinding;

use super::{CheckError, Damage, DiskCopies, DiskLayout, Part, on};

/// What the workload keeps on one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The ledger's records on this disk; none if there is no ledger.
    pub ledger: DiskScan,
    /// The bank; `None` if there is none on this disk, or one without tables.
    pub bank: Option<BankFinding>,
}

/// Reads what the workload keeps on the file system in `image`, whose journal is empty. The inner
/// error is damage.
///
/// # Errors
/// This host cannot read it.
pub fn read_contents(
    copies: &DiskCopies,
    image: &Path,
    layout: &DiskLayout,
) -> Result<Result<Contents, Damage>, CheckError> {
    let file = File::open(image).map_err(on(image))?;
    let files = match read_files(file, layout) {
        Ok(files) => files,
        Err(error) => return blame(error, image).map(Err),
    };
    let bank = match files.bank {
        Some(bank) => check_bank(copies, &bank)?,
        None => Ok(None),
    };
    Ok(bank.map(|bank| Contents { ledger: files.ledger, bank }))
}

struct Files {
    ledger: DiskScan,
    bank: Option<BankFiles>,
}

struct BankFiles {
    database: Vec<u8>,
    write_ahead_log: Vec<u8>,
}

fn read_files(file: File, layout: &DiskLayout) -> Result<Files, Ext4Error> {
    let disk = Ext4::load(Box::new(file))?;
    let ledger = match disk.open(layout.ledger) {
        Ok(file) => scan_ledger(layout.disk, file)?,
        Err(Ext4Error::NotFound) => DiskScan::default(),
        Err(error) => return Err(error),
    };
    let bank = match layout.bank.map(|path| (path, disk.read(path))) {
        None | Some((_, Err(Ext4Error::NotFound))) => None,
        Some((_, Err(error))) => return Err(error),
        Some((path, Ok(database))) => {
            let write_ahead_log = match disk.read(format!("{path}-wal").as_str()) {
                Err(Ext4Error::NotFound) => Vec::new(),
                other => other?,
            };
            Some(BankFiles { database, write_ahead_log })
        }
    };
    Ok(Files { ledger, bank })
}

/// Keeps the reader's own error, which [`io::Error`] cannot carry.
struct Reading {
    file: ext4_view::File,
    error: Option<Ext4Error>,
}

impl io::Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_bytes(buffer).map_err(|error| {
            let words = error.to_string();
            self.error = Some(error);
            io::Error::other(words)
        })
    }
}

fn scan_ledger(disk: usize, file: ext4_view::File) -> Result<DiskScan, Ext4Error> {
    let mut reading = Reading { file, error: None };
    let scanned = scan_disk(disk, &mut reading);
    match reading.error {
        Some(error) => Err(error),
        None => scanned.map_err(|error| Ext4Error::Io(Box::new(error))),
    }
}

/// Damage of the file system, unless the host or the reader is at fault.
fn blame(error: Ext4Error, image: &Path) -> Result<Damage, CheckError> {
    match error {
        Ext4Error::Io(source) => Err(on(image)(io::Error::other(source.to_string()))),
        Ext4Error::Incompatible(why) => {
            Err(CheckError::Unsupported { path: image.to_owned(), why: why.to_string() })
        }
        other => Ok(Damage::new(Part::FileSystem, format!("files cannot be read: {other}"))),
    }
}

/// Opens a copy of the bank as the witness does and checks it.
fn check_bank(
    copies: &DiskCopies,
    files: &BankFiles,
) -> Result<Result<Option<BankFinding>, Damage>, CheckError> {
    let path = copies.path("bank.db");
    let log = copies.path("bank.db-wal");
    std::fs::write(&path, &files.database).map_err(on(&path))?;
    if !files.write_ahead_log.is_empty() {
        std::fs::write(&log, &files.write_ahead_log).map_err(on(&log))?;
    }
    let found = bank_check::open(&path)
        .and_then(|mut bank| bank_check::finding(&mut bank, files.write_ahead_log.len() as u64));
    for file in [&path, &log, &copies.path("bank.db-shm")] {
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(on(file)(error)),
            _ => {}
        }
    }
    Ok(match found {
        Ok(finding) if finding.sound() => Ok(Some(finding)),
        // A file that was created and has no tables yet.
        Ok(finding) if finding.integrity && finding.accounts == 0 && finding.journal_agrees => Ok(None),
        Ok(finding) => Err(Damage::new(Part::Bank, words_of(&finding))),
        Err(error) => Err(damage_of(error)?),
    })
}

fn words_of(finding: &BankFinding) -> String {
    let BankFinding { integrity, accounts, total, expected_total, journal_agrees, .. } = finding;
    format!(
        "integrity check passes: {integrity}; {accounts} accounts with {total} of {expected_total} in all; the \
         journal leads to the balances: {journal_agrees}"
    )
}

/// Damage of the database, unless SQLite failed for another reason.
fn damage_of(error: rusqlite::Error) -> Result<Damage, CheckError> {
    let of_host = [
        ErrorCode::CannotOpen,
        ErrorCode::DiskFull,
        ErrorCode::OutOfMemory,
        ErrorCode::PermissionDenied,
        ErrorCode::SystemIoFailure,
    ];
    match error.sqlite_error_code() {
        Some(code) if of_host.contains(&code) => Err(CheckError::Sqlite(error)),
        _ => Ok(Damage::new(Part::Bank, error.to_string())),
    }
}
