//! The bank: a SQLite database with an invariant, namely that its balances always add up to the
//! same total.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use witness::protocol::BankFinding;
use witness::random::Random;

/// Number of accounts.
const ACCOUNTS: u64 = 100;
/// Opening balance of each account.
const OPENING_BALANCE: i64 = 1000;
const LARGEST_TRANSFER: u64 = 100;
const BUSY: Duration = Duration::from_secs(5);

/// Size of the write-ahead log beside the database, to be read before anything opens it.
pub(crate) fn wal_bytes(path: &Path) -> u64 {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    std::fs::metadata(PathBuf::from(wal)).map_or(0, |wal| wal.len())
}

/// Opens an existing bank. SQLite replays its write-ahead log.
pub(crate) fn open(path: &Path) -> rusqlite::Result<Connection> {
    let bank = Connection::open(path)?;
    bank.busy_timeout(BUSY)?;
    bank.pragma_update(None, "synchronous", "FULL")?;
    Ok(bank)
}

/// Opens the bank, creating it if there is none.
pub(crate) fn open_or_create(path: &Path) -> rusqlite::Result<Connection> {
    let mut bank = open(path)?;
    bank.pragma_update(None, "journal_mode", "WAL")?;
    let work = bank.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if !is_initialised(&work)? {
        work.execute_batch(
            "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
             CREATE TABLE journal (id INTEGER PRIMARY KEY, payer INTEGER NOT NULL, payee INTEGER NOT NULL,
                                   amount INTEGER NOT NULL);",
        )?;
        for id in 0..ACCOUNTS {
            work.execute("INSERT INTO account VALUES (?1, ?2)", params![id as i64, OPENING_BALANCE])?;
        }
    }
    work.commit()?;
    Ok(bank)
}

/// Moves a random amount between two random accounts.
pub(crate) fn transfer(bank: &mut Connection, random: &mut Random) -> rusqlite::Result<()> {
    let payer = random.below(ACCOUNTS);
    let payee = (payer + 1 + random.below(ACCOUNTS - 1)) % ACCOUNTS;
    let amount = 1 + random.below(LARGEST_TRANSFER) as i64;
    let work = bank.transaction_with_behavior(TransactionBehavior::Immediate)?;
    move_money(&work, payer as i64, payee as i64, amount)?;
    work.commit()
}

fn move_money(work: &Transaction<'_>, payer: i64, payee: i64, amount: i64) -> rusqlite::Result<()> {
    const CHANGE: &str = "UPDATE account SET balance = balance + ?2 WHERE id = ?1";
    work.prepare_cached(CHANGE)?.execute(params![payer, -amount])?;
    work.prepare_cached(CHANGE)?.execute(params![payee, amount])?;
    let mut entry = work.prepare_cached("INSERT INTO journal (payer, payee, amount) VALUES (?1, ?2, ?3)")?;
    entry.execute(params![payer, payee, amount]).map(drop)
}

/// Moves the content of the write-ahead log into the database, as far as readers allow.
pub(crate) fn checkpoint(bank: &Connection) -> rusqlite::Result<()> {
    bank.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

/// Empties the write-ahead log.
pub(crate) fn empty_wal(bank: &Connection) -> Result<(), String> {
    let busy = bank.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    match busy {
        Ok(0) => Ok(()),
        Ok(_) => Err("cannot empty the bank's write-ahead log: a reader is active".to_owned()),
        Err(e) => Err(format!("cannot empty the bank's write-ahead log: {e}")),
    }
}

/// The finding for a bank that does not exist or cannot be read.
pub(crate) fn absent(integrity: bool, wal_bytes: u64) -> BankFinding {
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
pub(crate) fn finding(bank: &mut Connection, wal_bytes: u64) -> rusqlite::Result<BankFinding> {
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

fn is_initialised(bank: &Connection) -> rusqlite::Result<bool> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bank() -> (tempfile::TempDir, PathBuf, Connection) {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("bank.db");
        let bank = open_or_create(&path).expect("created");
        (dir, path, bank)
    }

    #[test]
    fn transfers_keep_the_bank_consistent() {
        let (_dir, path, mut bank) = bank();
        let mut random = Random::for_stream(1, 0);
        for _ in 0..200 {
            transfer(&mut bank, &mut random).expect("moved");
        }
        assert!(wal_bytes(&path) > 0);
        let found = finding(&mut bank, 7).expect("read");
        assert!(found.sound(), "{found:?}");
        assert_eq!((found.accounts, found.transfers, found.wal_bytes), (100, 200, 7));
        empty_wal(&bank).expect("emptied");
        assert_eq!(wal_bytes(&path), 0);
    }

    #[test]
    fn money_from_nowhere_is_detected() {
        let (_dir, _, mut bank) = bank();
        bank.execute("UPDATE account SET balance = balance + 1 WHERE id = 3", []).expect("changed");
        let found = finding(&mut bank, 0).expect("read");
        assert!(!found.journal_agrees && !found.sound());
        assert_eq!(found.total, found.expected_total + 1);
    }

    #[test]
    fn a_lost_journal_row_is_detected_although_the_total_is_right() {
        let (_dir, _, mut bank) = bank();
        transfer(&mut bank, &mut Random::for_stream(1, 0)).expect("moved");
        bank.execute("DELETE FROM journal", []).expect("deleted");
        let found = finding(&mut bank, 0).expect("read");
        assert!(!found.journal_agrees && found.total == found.expected_total);
    }

    #[test]
    fn a_database_without_tables_is_not_a_sound_bank() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut bank = open(&dir.path().join("bank.db")).expect("opened");
        let found = finding(&mut bank, 0).expect("read");
        assert!(found.integrity && found.accounts == 0 && !found.sound());
    }
}
