//! Whether a guest missed a time limit because its host gave it too little processor time.
//!
//! The guest's own kernel complains on its console that it does not get to run, or the host's
//! scheduler let the guest's processor wait for most of the time, or a signal stopped QEMU, or QEMU
//! stopped the guest because the host's disk is full. A guest that hangs, or that does not boot
//! because its disks are wrong, shows none of these.

use std::time::{Duration, Instant};

use super::Serial;
#[cfg(test)]
use super::complaints::is_complaint;
use crate::qmp::Monitor;

/// Processor time of a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ProcessorTime {
    /// For how long its processors ran.
    ran: Duration,
    /// For how long they could have run and waited for a processor of the host.
    waited: Duration,
}

impl ProcessorTime {
    /// What the host's scheduler says about the processors of a QEMU; `None` if it keeps no such
    /// statistics or the process has ended.
    fn of(qemu: i32) -> Option<Self> {
        let tasks = std::fs::read_dir(format!("/proc/{qemu}/task")).ok()?;
        let mut sum = None;
        for task in tasks.filter_map(Result::ok) {
            let read = |name: &str| std::fs::read_to_string(task.path().join(name)).ok();
            if read("comm").is_some_and(|name| name.starts_with("CPU "))
                && let Some(one) = read("schedstat").as_deref().and_then(parse)
            {
                let all: &mut Self = sum.get_or_insert_default();
                all.ran += one.ran;
                all.waited += one.waited;
            }
        }
        sum
    }

    /// Says so, if the processors waited for most of `elapsed`.
    fn starved(self, elapsed: Duration) -> Option<String> {
        let Self { ran, waited } = self;
        (waited * 2 > elapsed && waited > ran).then(|| {
            format!(
                "its processor ran for {:.1} s and waited {:.1} s for one of the host's",
                ran.as_secs_f32(),
                waited.as_secs_f32()
            )
        })
    }
}

/// Says so, if a signal stopped a process, as SIGSTOP does. `stat` is its `/proc/PID/stat`.
fn stopped(stat: &str) -> Option<String> {
    // The name may contain brackets.
    let state = stat.rsplit_once(')')?.1.split_whitespace().next()?;
    matches!(state, "T" | "t").then(|| "its QEMU was stopped by a signal".to_owned())
}

/// Parses `/proc/PID/task/TID/schedstat`: nanoseconds on a processor, nanoseconds of waiting for
/// one, and the number of time slices.
fn parse(schedstat: &str) -> Option<ProcessorTime> {
    let mut numbers = schedstat.split_whitespace().map(|number| number.parse().map(Duration::from_nanos));
    Some(ProcessorTime { ran: numbers.next()?.ok()?, waited: numbers.next()?.ok()? })
}

/// A guest as it was when a wait began.
#[derive(Debug)]
pub struct Watched<'a> {
    serial: &'a Serial,
    qemu: Option<i32>,
    began: Instant,
    complaints: u64,
    time: Option<ProcessorTime>,
    monitor: &'a Monitor,
}

impl<'a> Watched<'a> {
    /// Begins to watch the guest with this console and this monitor of its QEMU.
    pub(crate) fn begin(serial: &'a Serial, monitor: &'a Monitor) -> Self {
        let qemu = monitor.pid();
        let time = qemu.and_then(ProcessorTime::of);
        Self { serial, qemu, began: Instant::now(), complaints: serial.complaints().0, time, monitor }
    }

    /// What shows that the host has starved the guest since then; `None` if nothing does.
    #[must_use]
    pub fn starved(&self) -> Option<String> {
        let (complaints, last) = self.serial.complaints();
        let complaint = last.filter(|_| complaints > self.complaints);
        let complaint = complaint.map(|line| format!("its kernel says: {line}"));
        let time = self.qemu.and_then(ProcessorTime::of).zip(self.time).and_then(|(now, then)| {
            let ran = now.ran.saturating_sub(then.ran);
            let waited = now.waited.saturating_sub(then.waited);
            ProcessorTime { ran, waited }.starved(self.began.elapsed())
        });
        let stat = self.qemu.and_then(|qemu| std::fs::read_to_string(format!("/proc/{qemu}/stat")).ok());
        let stopped = stat.as_deref().and_then(stopped);
        // Nobody resumes such a guest.
        let full = self.monitor.unwritten() > 0;
        let full = full.then(|| "its QEMU found no space on the host's disk".to_owned());
        let shown: Vec<_> = complaint.into_iter().chain(time).chain(stopped).chain(full).collect();
        (!shown.is_empty()).then(|| shown.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Consoles of guests that a busy host did not let run.
    const STARVED: [&str; 4] = [
        "[   41.880012] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [swapper/0:1]",
        "[  112.004431] rcu: INFO: rcu_preempt self-detected stall on CPU",
        "[   63.330001] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
        "[  242.702190] INFO: task jbd2/sda2-8:213 blocked for more than 120 seconds.",
    ];
    /// Consoles of guests that do not come up for another reason.
    const BROKEN: [&str; 5] = [
        "ROUNDTRIP-NO-ROOT",
        "[    4.031009] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
        "[    3.220120] EXT4-fs error (device sda2): ext4_lookup:1855: inode #12: comm init: bad extra_isize",
        "[    2.960001] Buffer I/O error on dev sdb, logical block 0, async page read",
        "",
    ];

    #[test]
    fn only_a_kernel_that_does_not_get_to_run_blames_its_host() {
        assert!(STARVED.iter().all(|line| is_complaint(line)));
        assert!(!BROKEN.iter().any(|line| is_complaint(line)));
    }

    #[test]
    fn a_process_that_a_signal_stopped_is_told_from_one_that_sleeps() {
        let stat = |state: &str| format!("42 (qemu) system) {state} 1 42 42 0 -1");
        assert!(stopped(&stat("T")).is_some() && stopped(&stat("t")).is_some());
        assert_eq!((stopped(&stat("S")), stopped(&stat("R")), stopped("")), (None, None, None));
    }

    #[test]
    fn processor_time_is_read_in_nanoseconds() {
        let seconds = |ran, waited| ProcessorTime {
            ran: Duration::from_secs(ran),
            waited: Duration::from_secs(waited),
        };
        assert_eq!(parse("7000000000 3000000000 20705\n"), Some(seconds(7, 3)));
        assert_eq!((parse(""), parse("7"), parse("a b c")), (None, None, None));
    }

    #[test]
    fn a_guest_is_starved_if_it_waited_for_most_of_the_time() {
        let starved = |ran, waited| {
            let time = ProcessorTime { ran: Duration::from_secs(ran), waited: Duration::from_secs(waited) };
            time.starved(Duration::from_secs(120))
        };
        let why = "its processor ran for 9.0 s and waited 80.0 s for one of the host's";
        assert_eq!(starved(9, 80).as_deref(), Some(why));
        // One that hangs idle, one that loops, and one that shares its host with others.
        assert_eq!((starved(1, 2), starved(118, 2), starved(55, 58)), (None, None, None));
    }

    #[test]
    fn the_scheduler_of_this_host_tells_the_time_of_a_thread_called_as_qemu_calls_processors() {
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("CPU 0/TCG".to_owned());
        let thread = thread.spawn(move || wait.recv()).unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let kept = std::fs::read_to_string("/proc/self/schedstat").is_ok();
        // The new thread has its name as soon as it runs.
        while kept && ProcessorTime::of(pid).is_none() {
            std::thread::yield_now();
        }
        assert_eq!(ProcessorTime::of(pid).is_some(), kept);
        drop(done);
        assert!(thread.join().unwrap().is_err());
    }
}
