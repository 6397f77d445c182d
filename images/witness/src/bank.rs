//! The bank: a SQLite database with an invariant, namely that its balances always add up to the
//! same total.

use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use witness::bank_check::{ACCOUNTS, OPENING_BALANCE, is_initialised, open};
use witness::random::Random;

const LARGEST_TRANSFER: u64 = 100;

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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use witness::bank_check::{finding, wal_bytes};

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
