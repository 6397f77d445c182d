//! Where the witness keeps its files, as paths on the file system of the disk that holds them.

/// The ledger on each disk, in ledger order: system, data.
pub const LEDGERS: [&str; 2] = ["/var/lib/witness/ledger", "/ledger"];
/// The bank's database, on the data disk.
pub const BANK: &str = "/bank.db";
