//! Executes what the host and the guest agent ask for.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::Connection;
use rustix::mount::{MountFlags, UnmountFlags};
use witness::bank_check;
use witness::protocol::{BankFinding, Findings, FromGuest, Load, Measure, Measured, ServiceAnswer};

use crate::background_writes::{BLOCK, LARGEST_WRITE};
use crate::bank;
use crate::ledger_file::{self, Ledger};
use crate::machine;
use crate::outbox::Outbox;
use crate::paths::{Paths, ROLES};
use crate::pause_gate::{Gate, PauseSource};
use crate::speed;
use crate::superblock;
use crate::sync::lock;
use crate::workers::Workers;

/// The witness's state. It executes one command at a time.
pub(crate) struct Engine {
    paths: Paths,
    outbox: Outbox,
    gate: Arc<Gate>,
    workers: Workers,
    ledger: Option<Arc<Mutex<Ledger>>>,
    /// Last record found at boot, until the ledger is opened for writing.
    found: Option<u64>,
    /// Keeps the bank open, so that no other connection is the last one, whose closing would
    /// rewrite it.
    bank: Option<Connection>,
    wal_bytes: u64,
    closed: bool,
    /// Whether shutdown requests from outside the control channel are ignored.
    pub(crate) ignores_shutdown: bool,
}

impl Engine {
    /// A witness without a workload. Touches no disk.
    pub(crate) fn new(paths: Paths, outbox: Outbox) -> Self {
        Self {
            paths,
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

    /// Records the state found at boot: the bank's write-ahead log is measured before anything can
    /// replay it.
    pub(crate) fn record_boot_state(&mut self) {
        self.wal_bytes = bank_check::wal_bytes(&self.paths.bank);
        if self.paths.bank.exists() {
            match bank_check::open(&self.paths.bank) {
                Ok(bank) => self.bank = Some(bank),
                Err(e) => self.outbox.report_error(format!("bank: {e}")),
            }
        }
    }

    /// Checks everything that survived.
    pub(crate) fn check(&mut self) -> Result<Findings, String> {
        if self.ledger.is_some() {
            return Err("check: the load was already started".to_owned());
        }
        let saved = ROLES.iter().zip(&self.paths.superblocks);
        let file_systems =
            saved.map(|(role, saved)| superblock::finding(role, saved)).collect::<Result<_, _>>();
        let scan = ledger_file::scan(&self.paths.ledgers).map_err(|e| format!("check: ledger: {e}"))?;
        self.found = Some(scan.finding.contiguous);
        Ok(Findings {
            file_systems: file_systems.map_err(|e| format!("check: {e}"))?,
            ledger: scan.finding,
            bank: self.check_bank(),
            complaints: machine::complaints(),
        })
    }

    /// Starts or changes the workload.
    pub(crate) fn start(&mut self, load: &Load) -> Result<(), String> {
        self.refuse_after_shutdown()?;
        let odd = load.churn_bytes == 0
            || !load.churn_bytes.is_multiple_of(BLOCK)
            || load.churn_bytes > LARGEST_WRITE;
        if load.churn_per_second > 0 && odd {
            return Err(format!("start: churn_bytes must be a multiple of {BLOCK}, at most {LARGEST_WRITE}"));
        }
        if !self.paths.superblocks[1].exists() {
            return Err("start: there is no data disk".to_owned());
        }
        self.stop();
        let ledger = self.open_ledger()?;
        lock(&ledger).epoch = load.epoch;
        if self.bank.is_none() {
            let bank = bank::open_or_create(&self.paths.bank).map_err(|e| format!("start: bank: {e}"))?;
            self.bank = Some(bank);
        }
        self.gate.open();
        let workers = Workers::start(load, &self.paths, &ledger, &self.gate, &self.outbox);
        self.workers = workers.map_err(|e| format!("start: {e}"))?;
        Ok(())
    }

    /// Measures the speed of the data disk.
    pub(crate) fn measure(&self, wanted: Measure) -> Result<Measured, String> {
        self.refuse_after_shutdown()?;
        speed::measure(&self.paths.speed, wanted).map_err(|e| format!("measure: {e}"))
    }

    /// Stops the workload after the operations in progress.
    pub(crate) fn stop(&mut self) {
        self.gate.stop();
        self.workers.join();
    }

    /// Quiesces the applications and writes a quiesce mark as the last record. Without a ledger,
    /// that is before the first workload, there is no mark.
    pub(crate) fn quiesce(&mut self, source: PauseSource) -> Result<(), String> {
        self.refuse_after_shutdown()?;
        let already_paused = self.gate.pause(source);
        if !already_paused {
            let result = self.quiesce_applications();
            if result.is_err() {
                self.gate.resume(source);
            }
            return result;
        }
        Ok(())
    }

    /// Withdraws one pause request.
    pub(crate) fn thaw(&mut self, source: PauseSource) {
        self.gate.resume(source);
    }

    /// Records that record `number` of the neighbour is durable.
    pub(crate) fn seen(&mut self, number: u64) {
        if let Some(ledger) = &self.ledger {
            lock(ledger).seen = number;
        }
    }

    /// Unmounts the disks and powers off. Returns only if that fails.
    pub(crate) fn shut_down(&mut self) -> Result<(), String> {
        self.refuse_after_shutdown()?;
        self.closed = true;
        self.stop();
        self.bank = None;
        self.ledger = None;
        rustix::fs::sync();
        let unmounted = unmount();
        rustix::fs::sync();
        match unmounted {
            Ok(()) => self.outbox.send(FromGuest::Down),
            Err(problem) => self.outbox.report_error(format!("shutdown: {problem}")),
        }
        self.outbox.flush(Duration::from_secs(2));
        rustix::system::reboot(rustix::system::RebootCommand::PowerOff)
            .map_err(|e| format!("shutdown: cannot power off: {e}"))
    }

    /// The answer of the TCP service.
    pub(crate) fn answer(&mut self) -> Result<ServiceAnswer, String> {
        self.refuse_after_shutdown()?;
        Ok(ServiceAnswer {
            boot_id: machine::boot_id(),
            ledger: self.last_record()?,
            bank: self.check_bank(),
        })
    }

    fn quiesce_applications(&mut self) -> Result<(), String> {
        if let Some(bank) = &self.bank {
            bank::empty_wal(bank).map_err(|e| format!("quiesce: {e}"))?;
        }
        if let Some(ledger) = &self.ledger {
            let number = lock(ledger).append(true).map_err(|e| format!("quiesce: ledger: {e}"))?;
            self.outbox.send(FromGuest::Ack { number });
        }
        rustix::fs::sync();
        Ok(())
    }

    fn open_ledger(&mut self) -> Result<Arc<Mutex<Ledger>>, String> {
        if let Some(ledger) = &self.ledger {
            return Ok(Arc::clone(ledger));
        }
        let ledger = Ledger::open(&self.paths.ledgers).map_err(|e| format!("start: ledger: {e}"))?;
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
        let scan = ledger_file::scan(&self.paths.ledgers).map_err(|e| format!("ledger: {e}"))?;
        Ok(*self.found.insert(scan.finding.contiguous))
    }

    fn check_bank(&mut self) -> BankFinding {
        let Some(bank) = &mut self.bank else {
            return bank_check::absent(!self.paths.bank.exists(), self.wal_bytes);
        };
        bank_check::finding(bank, self.wal_bytes).unwrap_or_else(|e| {
            self.outbox.report_error(format!("bank: {e}"));
            bank_check::absent(false, self.wal_bytes)
        })
    }

    fn refuse_after_shutdown(&self) -> Result<(), String> {
        if self.closed { Err("the machine is shutting down".to_owned()) } else { Ok(()) }
    }
}

/// Unmounts the data disk and remounts the system disk read-only, so that its journal is clean.
fn unmount() -> Result<(), String> {
    stop_services();
    let data = retry(|| rustix::mount::unmount("/data", UnmountFlags::empty()));
    let read_only = MountFlags::RDONLY | MountFlags::NOATIME;
    let system = retry(|| rustix::mount::mount_remount("/", read_only, ""));
    data.map_err(|e| format!("the data disk stays mounted: {e}"))?;
    system.map_err(|e| format!("the system disk stays writable: {e}"))
}

/// Ends processes that may still keep files open.
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
        messages: Receiver<FromGuest>,
        paths: Paths,
        _dir: tempfile::TempDir,
    }

    fn bench() -> Bench {
        let dir = tempfile::tempdir().expect("a folder");
        let folders = ["system", "data", "memory"].map(|name| dir.path().join(name));
        folders.iter().for_each(|folder| std::fs::create_dir(folder).expect("created"));
        let paths = Paths::under(&folders[0], &folders[1], &folders[2]);
        let mut superblock = vec![0; 1024];
        superblock[0x38..0x3a].copy_from_slice(&0xEF53u16.to_le_bytes());
        paths.superblocks.iter().for_each(|path| std::fs::write(path, &superblock).expect("written"));
        let (outbox, messages) = Outbox::into_channel();
        Bench { engine: Engine::new(paths.clone(), outbox), messages, paths, _dir: dir }
    }

    fn wait_for_record(messages: &Receiver<FromGuest>, wanted: u64) {
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            match messages.recv_timeout(Duration::from_secs(20)).expect("a word") {
                FromGuest::Ack { number } if number >= wanted => return,
                FromGuest::Trouble { what } => panic!("{what}"),
                _ => {}
            }
        }
        panic!("no record {wanted}");
    }

    #[test]
    fn the_next_boot_finds_a_quiesced_machine_intact() {
        let mut bench = bench();
        bench.engine.record_boot_state();
        bench.engine.start(&LOAD).expect("started");
        wait_for_record(&bench.messages, 20);
        bench.engine.quiesce(PauseSource::Host).expect("quiesced");
        bench.engine.quiesce(PauseSource::Agent).expect("already quiesced");
        let (outbox, _words) = Outbox::into_channel();
        let mut successor = Engine::new(bench.paths.clone(), outbox);
        successor.record_boot_state();
        let found = successor.check().expect("checked");
        assert!(found.ledger.ends_quiesced && found.ledger.contiguous == found.ledger.highest);
        assert!(found.bank.sound() && found.bank.wal_bytes == 0, "{found:?}");
        let last = successor.answer().expect("answered").ledger;
        assert_eq!(last, found.ledger.contiguous);
        bench.engine.thaw(PauseSource::Host);
        bench.engine.thaw(PauseSource::Agent);
        wait_for_record(&bench.messages, last + 1);
        bench.engine.stop();
    }

    #[test]
    fn invalid_commands_are_refused() {
        let mut bench = bench();
        assert!(bench.engine.start(&Load { churn_bytes: 1000, ..LOAD }).is_err());
        bench.engine.start(&Load { churn_per_second: 0, transfers_per_second: 0, ..LOAD }).expect("started");
        assert!(bench.engine.check().is_err(), "a check after the start would include the new workload");
        bench.engine.stop();
        std::fs::remove_file(&bench.paths.superblocks[1]).expect("removed");
        assert!(bench.engine.start(&LOAD).is_err(), "without a data disk");
    }
}
