//! Checks the bank: a SQLite database with an invariant, namely that its balances always add up to
//! the same total, and that its journal leads to them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use crate::protocol::BankFinding;

/// Number of accounts.
pub const ACCOUNTS: u64 = 100;
/// Opening balance of each account.
pub const OPENING_BALANCE: i64 = 1000;
const BUSY: Duration = Duration::from_secs(5);

/// Size of the write-ahead log beside the database, to be read before anything opens it.
#[must_use]
pub fn wal_bytes(path: &Path) -> u64 {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    std::fs::metadata(PathBuf::from(wal)).map_or(0, |wal| wal.len())
}

/// Opens a bank. SQLite replays its write-ahead log.
///
/// # Errors
/// It cannot be opened.
pub fn open(path: &Path) -> rusqlite::Result<Connection> {
    let bank = Connection::open(path)?;
    bank.busy_timeout(BUSY)?;
    bank.pragma_update(None, "synchronous", "FULL")?;
    Ok(bank)
}

/// The finding for a bank that does not exist or cannot be read.
#[must_use]
pub fn absent(integrity: bool, wal_bytes: u64) -> BankFinding {
    BankFinding {
        integrity,
        accounts: 0,
        total: 0,
        expected_total: ACCOUNTS as i64 * OPENING_BALANCE,
        transfers: 0,
        journal_agrees: integrity,
        wal_bytes,
    }
}

/// Checks the whole bank inside one transaction.
///
/// # Errors
/// It cannot be read, which is damage unless the host is at fault.
pub fn finding(bank: &mut Connection, wal_bytes: u64) -> rusqlite::Result<BankFinding> {
    let look = bank.transaction()?;
    let verdict: String = look.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    let integrity = verdict == "ok";
    if !is_initialised(&look)? {
        return Ok(absent(integrity, wal_bytes));
    }
    let balances = balances(&look)?;
    let (recomputed, transfers) = recompute(&look, &balances)?;
    Ok(BankFinding {
        integrity,
        accounts: balances.len() as u64,
        total: balances.iter().map(|(_, balance)| balance).sum(),
        transfers,
        journal_agrees: recomputed,
        ..absent(integrity, wal_bytes)
    })
}

/// Whether the bank has its tables.
///
/// # Errors
/// It cannot be read.
pub fn is_initialised(bank: &Connection) -> rusqlite::Result<bool> {
    bank.query_row("SELECT count(*) FROM sqlite_schema WHERE name IN ('account', 'journal')", [], |row| {
        Ok(row.get::<_, i64>(0)? == 2)
    })
}

fn balances(bank: &Connection) -> rusqlite::Result<Vec<(i64, i64)>> {
    let mut query = bank.prepare("SELECT id, balance FROM account ORDER BY id")?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Whether the journal leads from the opening balances to the stored ones, and the number of
/// transfers in it.
fn recompute(bank: &Connection, balances: &[(i64, i64)]) -> rusqlite::Result<(bool, u64)> {
    let mut expected = vec![OPENING_BALANCE; ACCOUNTS as usize];
    let mut query = bank.prepare("SELECT payer, payee, amount FROM journal")?;
    let mut rows = query.query([])?;
    let mut transfers = 0;
    let mut known = true;
    while let Some(row) = rows.next()? {
        let amount: i64 = row.get(2)?;
        transfers += 1;
        for (column, change) in [(0, -amount), (1, amount)] {
            let account: i64 = row.get(column)?;
            match usize::try_from(account).ok().and_then(|account| expected.get_mut(account)) {
                Some(balance) => *balance += change,
                None => known = false,
            }
        }
    }
    let stored = balances.iter().map(|(_, balance)| *balance);
    Ok((known && stored.eq(expected.iter().copied()), transfers))
}
