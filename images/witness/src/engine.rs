//! Carries out what the host and the guest agent ask for.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::Connection;
use rustix::mount::{MountFlags, UnmountFlags};
use witness::protocol::{BankFinding, Findings, FromGuest, Load, Measure, Measured, ServiceAnswer};

use crate::background_writes::{BLOCK, LARGEST_WRITE};
use crate::bank;
use crate::control::Outbox;
use crate::ledger_file::{self, Ledger};
use crate::lock;
use crate::machine;
use crate::paths::{Paths, ROLES};
use crate::pause_gate::{Gate, Holder};
use crate::speed;
use crate::superblock;
use crate::workers::Workers;

/// The witness's state. One command at a time.
pub(crate) struct Engine {
    places: Paths,
    outbox: Outbox,
    gate: Arc<Gate>,
    workers: Workers,
    ledger: Option<Arc<Mutex<Ledger>>>,
    /// Last record found at start, until the ledger is opened for writing.
    found: Option<u64>,
    /// Keeps the bank open, so that no other connection is the last one and rewrites it on closing.
    bank: Option<Connection>,
    wal_bytes: u64,
    closed: bool,
    /// Whether requests from outside the control channel to shut down go unheard.
    pub(crate) ignores_shutdown: bool,
}

impl Engine {
    /// A witness at rest. Touches no disk.
    pub(crate) fn new(places: Paths, outbox: Outbox) -> Self {
        Self {
            places,
            outbox,
            gate: Arc::new(Gate::default()),
            workers: Workers::default(),
            ledger: None,
            found: None,
            bank: None,
            wal_bytes: 0,
            closed: false,
            ignores_shutdown: false,
        }
    }

    /// Takes in what was found at boot: the bank's log is measured before anything can replay it.
    pub(crate) fn settle(&mut self) {
        self.wal_bytes = bank::wal_bytes(&self.places.bank);
        if self.places.bank.exists() {
            match bank::open(&self.places.bank) {
                Ok(bank) => self.bank = Some(bank),
                Err(e) => self.outbox.trouble(format!("bank: {e}")),
            }
        }
    }

    /// Looks at everything that survived.
    pub(crate) fn check(&mut self) -> Result<Findings, String> {
        if self.ledger.is_some() {
            return Err("check: the load was already started".to_owned());
        }
        let saved = ROLES.iter().zip(&self.places.superblocks);
        let file_systems =
            saved.map(|(role, saved)| superblock::finding(role, saved)).collect::<Result<_, _>>();
        let scan = ledger_file::scan(&self.places.ledgers).map_err(|e| format!("check: ledger: {e}"))?;
        self.found = Some(scan.finding.contiguous);
        Ok(Findings {
            file_systems: file_systems.map_err(|e| format!("check: {e}"))?,
            ledger: scan.finding,
            bank: self.look_at_bank(),
        })
    }

    /// Begins or changes the load.
    pub(crate) fn start(&mut self, load: &Load) -> Result<(), String> {
        self.refuse_after_end()?;
        let odd = load.churn_bytes == 0
            || !load.churn_bytes.is_multiple_of(BLOCK)
            || load.churn_bytes > LARGEST_WRITE;
        if load.churn_per_second > 0 && odd {
            return Err(format!("start: churn_bytes must be a multiple of {BLOCK}, at most {LARGEST_WRITE}"));
        }
        if !self.places.superblocks[1].exists() {
            return Err("start: there is no data disk".to_owned());
        }
        self.stop();
        let ledger = self.open_ledger()?;
        lock(&ledger).epoch = load.epoch;
        if self.bank.is_none() {
            let bank = bank::open_or_found(&self.places.bank).map_err(|e| format!("start: bank: {e}"))?;
            self.bank = Some(bank);
        }
        self.gate.open();
        let workers = Workers::start(load, &self.places, &ledger, &self.gate, &self.outbox);
        self.workers = workers.map_err(|e| format!("start: {e}"))?;
        Ok(())
    }

    /// Measures the data disk.
    pub(crate) fn measure(&self, wanted: Measure) -> Result<Measured, String> {
        self.refuse_after_end()?;
        speed::measure(&self.places.speed, wanted).map_err(|e| format!("measure: {e}"))
    }

    /// Ends the load; what runs is finished first.
    pub(crate) fn stop(&mut self) {
        self.gate.stop();
        self.workers.join();
    }

    /// Brings the applications to rest, with a mark as the last record. The mark is left out while no load
    /// was ever started, because there is no ledger to put it in.
    pub(crate) fn quiesce(&mut self, holder: Holder) -> Result<(), String> {
        self.refuse_after_end()?;
        let rested = self.gate.hold(holder);
        if !rested {
            let result = self.rest();
            if result.is_err() {
                self.gate.release(holder);
            }
            return result;
        }
        Ok(())
    }

    /// Takes back one holder's wish for rest.
    pub(crate) fn thaw(&mut self, holder: Holder) {
        self.gate.release(holder);
    }

    /// The neighbour's record `number` is durable.
    pub(crate) fn seen(&mut self, number: u64) {
        if let Some(ledger) = &self.ledger {
            lock(ledger).seen = number;
        }
    }

    /// Shuts down in order and powers off. Returns only if that fails.
    pub(crate) fn shut_down(&mut self) -> Result<(), String> {
        self.refuse_after_end()?;
        self.closed = true;
        self.stop();
        self.bank = None;
        self.ledger = None;
        rustix::fs::sync();
        let unmounted = unmount();
        rustix::fs::sync();
        match unmounted {
            Ok(()) => self.outbox.say(FromGuest::Down),
            Err(problem) => self.outbox.trouble(format!("shutdown: {problem}")),
        }
        self.outbox.flush(Duration::from_secs(2));
        rustix::system::reboot(rustix::system::RebootCommand::PowerOff)
            .map_err(|e| format!("shutdown: power stays on: {e}"))
    }

    /// What the service answers.
    pub(crate) fn answer(&mut self) -> Result<ServiceAnswer, String> {
        self.refuse_after_end()?;
        Ok(ServiceAnswer {
            boot_id: machine::boot_id(),
            ledger: self.last_record()?,
            bank: self.look_at_bank(),
        })
    }

    fn rest(&mut self) -> Result<(), String> {
        if let Some(bank) = &self.bank {
            bank::empty_wal(bank).map_err(|e| format!("quiesce: {e}"))?;
        }
        if let Some(ledger) = &self.ledger {
            let number = lock(ledger).append(true).map_err(|e| format!("quiesce: ledger: {e}"))?;
            self.outbox.say(FromGuest::Ack { number });
        }
        rustix::fs::sync();
        Ok(())
    }

    fn open_ledger(&mut self) -> Result<Arc<Mutex<Ledger>>, String> {
        if let Some(ledger) = &self.ledger {
            return Ok(Arc::clone(ledger));
        }
        let ledger = Ledger::open(&self.places.ledgers).map_err(|e| format!("start: ledger: {e}"))?;
        let ledger = Arc::new(Mutex::new(ledger));
        self.ledger = Some(Arc::clone(&ledger));
        Ok(ledger)
    }

    fn last_record(&mut self) -> Result<u64, String> {
        if let Some(ledger) = &self.ledger {
            return Ok(lock(ledger).last());
        }
        if let Some(found) = self.found {
            return Ok(found);
        }
        let scan = ledger_file::scan(&self.places.ledgers).map_err(|e| format!("ledger: {e}"))?;
        Ok(*self.found.insert(scan.finding.contiguous))
    }

    fn look_at_bank(&mut self) -> BankFinding {
        let Some(bank) = &mut self.bank else {
            return bank::nothing(!self.places.bank.exists(), self.wal_bytes);
        };
        bank::finding(bank, self.wal_bytes).unwrap_or_else(|e| {
            self.outbox.trouble(format!("bank: {e}"));
            bank::nothing(false, self.wal_bytes)
        })
    }

    fn refuse_after_end(&self) -> Result<(), String> {
        if self.closed { Err("the machine is shutting down".to_owned()) } else { Ok(()) }
    }
}

/// Unmounts the data disk and leaves the system disk without a dirty journal.
fn unmount() -> Result<(), String> {
    stop_services();
    let data = retry(|| rustix::mount::unmount("/data", UnmountFlags::empty()));
    let read_only = MountFlags::RDONLY | MountFlags::NOATIME;
    let system = retry(|| rustix::mount::mount_remount("/", read_only, ""));
    data.map_err(|e| format!("the data disk stays mounted: {e}"))?;
    system.map_err(|e| format!("the system disk stays writable: {e}"))
}

/// Ends what an SSH session or the agent may still hold open.
fn stop_services() {
    let _ = Command::new("killall").args(["-q", "dropbear", "sh", "udhcpc"]).status();
}

fn retry(mut attempt: impl FnMut() -> rustix::io::Result<()>) -> rustix::io::Result<()> {
    for _ in 0..20 {
        match attempt() {
            Err(rustix::io::Errno::BUSY) => std::thread::sleep(Duration::from_millis(100)),
            other => return other,
        }
    }
    attempt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::Receiver;
    use std::time::Instant;

    const LOAD: Load = Load {
        epoch: 3,
        records_per_second: 2000,
        churn_per_second: 100,
        churn_bytes: 4096,
        transfers_per_second: 200,
        seed: 1,
    };

    struct Bench {
        engine: Engine,
        words: Receiver<FromGuest>,
        places: Paths,
        _dir: tempfile::TempDir,
    }

    fn bench() -> Bench {
        let dir = tempfile::tempdir().expect("a folder");
        let folders = ["system", "data", "memory"].map(|name| dir.path().join(name));
        folders.iter().for_each(|folder| std::fs::create_dir(folder).expect("created"));
        let places = Paths::under(&folders[0], &folders[1], &folders[2]);
        let mut superblock = vec![0; 1024];
        superblock[0x38..0x3a].copy_from_slice(&0xEF53u16.to_le_bytes());
        places.superblocks.iter().for_each(|path| std::fs::write(path, &superblock).expect("written"));
        let (outbox, words) = Outbox::into_channel();
        Bench { engine: Engine::new(places.clone(), outbox), words, places, _dir: dir }
    }

    fn wait_for_record(words: &Receiver<FromGuest>, wanted: u64) {
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            match words.recv_timeout(Duration::from_secs(20)).expect("a word") {
                FromGuest::Ack { number } if number >= wanted => return,
                FromGuest::Trouble { what } => panic!("{what}"),
                _ => {}
            }
        }
        panic!("no record {wanted}");
    }

    #[test]
    fn a_rested_machine_is_found_whole_by_its_successor() {
        let mut bench = bench();
        bench.engine.settle();
        bench.engine.start(&LOAD).expect("started");
        wait_for_record(&bench.words, 20);
        bench.engine.quiesce(Holder::Host).expect("rested");
        bench.engine.quiesce(Holder::Agent).expect("rested already");
        let (outbox, _words) = Outbox::into_channel();
        let mut successor = Engine::new(bench.places.clone(), outbox);
        successor.settle();
        let found = successor.check().expect("checked");
        assert!(found.ledger.ends_quiesced && found.ledger.contiguous == found.ledger.highest);
        assert!(found.bank.sound() && found.bank.wal_bytes == 0, "{found:?}");
        let last = successor.answer().expect("answered").ledger;
        assert_eq!(last, found.ledger.contiguous);
        bench.engine.thaw(Holder::Host);
        bench.engine.thaw(Holder::Agent);
        wait_for_record(&bench.words, last + 1);
        bench.engine.stop();
    }

    #[test]
    fn orders_that_make_no_sense_are_refused() {
        let mut bench = bench();
        assert!(bench.engine.start(&Load { churn_bytes: 1000, ..LOAD }).is_err());
        bench.engine.start(&Load { churn_per_second: 0, transfers_per_second: 0, ..LOAD }).expect("started");
        assert!(bench.engine.check().is_err(), "a check after the start would see its own load");
        bench.engine.stop();
        std::fs::remove_file(&bench.places.superblocks[1]).expect("removed");
        assert!(bench.engine.start(&LOAD).is_err(), "without a data disk");
    }
}
