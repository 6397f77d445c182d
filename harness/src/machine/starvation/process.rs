//! What the kernel says about the threads of a QEMU.

use std::time::{Duration, Instant};

use super::samples::{ProcessorTime, Sample, State};

/// How QEMU begins the name of a thread that runs a processor of its guest.
const PROCESSOR: &str = "CPU ";

/// A thread as its `/proc/PID/task/TID/stat` describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Thread {
    /// Whether it is the one that the process began with.
    leads: bool,
    /// Whether it runs a processor of the guest.
    is_processor: bool,
    /// `R`, `S`, `D`, `T`, … as in `proc_pid_stat(5)`.
    state: char,
}

impl Thread {
    fn parse(stat: &str, process: i32) -> Option<Self> {
        // The name may contain brackets.
        let (start, rest) = stat.rsplit_once(')')?;
        let (id, name) = start.split_once(" (")?;
        let state = rest.trim_start().chars().next()?;
        Some(Self { leads: id.parse() == Ok(process), is_processor: name.starts_with(PROCESSOR), state })
    }
}

impl Sample {
    /// Looks at a process now; `None` if it has ended.
    pub(super) fn take(process: i32) -> Option<Self> {
        let at = Instant::now();
        let mut threads = Vec::new();
        let mut time: Option<ProcessorTime> = None;
        for task in std::fs::read_dir(format!("/proc/{process}/task")).ok()?.filter_map(Result::ok) {
            let read = |name: &str| std::fs::read_to_string(task.path().join(name)).ok();
            // Threads come and go.
            let Some(thread) = read("stat").and_then(|stat| Thread::parse(&stat, process)) else { continue };
            threads.push(thread);
            if thread.is_processor
                && let Some(one) = read("schedstat").as_deref().and_then(parse_schedstat)
            {
                let all = time.get_or_insert_default();
                all.ran += one.ran;
                all.waited += one.waited;
            }
        }
        (!threads.is_empty()).then(|| Self { at, time, state: state_of(&threads) })
    }
}

/// What a QEMU with these threads is doing.
fn state_of(threads: &[Thread]) -> State {
    let any = |is: fn(&Thread) -> bool| threads.iter().any(is);
    if any(|thread| thread.leads && matches!(thread.state, 'T' | 't')) {
        State::Stopped
    } else if any(|thread| thread.state == 'D') && !any(|thread| thread.is_processor && thread.state == 'R') {
        State::AwaitsDisk
    } else {
        State::Free
    }
}

/// Parses `/proc/PID/task/TID/schedstat`: nanoseconds on a processor, nanoseconds of waiting for
/// one, and the number of time slices.
fn parse_schedstat(schedstat: &str) -> Option<ProcessorTime> {
    let mut numbers = schedstat.split_whitespace().map(|number| number.parse().map(Duration::from_nanos));
    Some(ProcessorTime { ran: numbers.next()?.ok()?, waited: numbers.next()?.ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_told_by_its_id_its_name_and_its_state() {
        let parse = |stat: &str| Thread::parse(stat, 42).map(|t| (t.leads, t.is_processor, t.state));
        assert_eq!(parse("42 (qemu-system-x86) S 1 42 42 0 -1 4194560"), Some((true, false, 'S')));
        assert_eq!(parse("47 (CPU 0/TCG) R 1 42 42 0 -1 4194624"), Some((false, true, 'R')));
        assert_eq!(parse("42 (CPU (a) T b) t 1 42 42 0 -1"), Some((true, true, 't')));
        assert_eq!((parse(""), parse("42 (qemu"), parse("42 (qemu)")), (None, None, None));
    }

    #[test]
    fn the_state_of_a_qemu_is_that_of_its_threads() {
        let qemu = |leader, processor, worker| {
            let stats = [
                format!("42 (qemu-system-x86) {leader} 1"),
                format!("47 (CPU 0/KVM) {processor} 1"),
                format!("48 (worker) {worker} 1"),
            ];
            state_of(&stats.map(|stat| Thread::parse(&stat, 42).unwrap()))
        };
        let table = [
            (qemu('S', 'R', 'S'), State::Free),
            // Idle, as a guest whose disks do not answer.
            (qemu('S', 'S', 'S'), State::Free),
            (qemu('S', 'S', 'D'), State::AwaitsDisk),
            (qemu('D', 'S', 'S'), State::AwaitsDisk),
            // The host's memory is on its disk.
            (qemu('S', 'D', 'S'), State::AwaitsDisk),
            // The guest has something else to do meanwhile.
            (qemu('S', 'R', 'D'), State::Free),
            (qemu('T', 'T', 'T'), State::Stopped),
            (qemu('t', 't', 'D'), State::Stopped),
        ];
        for (row, (found, expected)) in table.into_iter().enumerate() {
            assert_eq!(found, expected, "row {row}");
        }
    }

    #[test]
    fn processor_time_is_read_in_nanoseconds() {
        let expected = ProcessorTime { ran: Duration::from_secs(7), waited: Duration::from_secs(3) };
        assert_eq!(parse_schedstat("7000000000 3000000000 20705\n"), Some(expected));
        assert_eq!((parse_schedstat(""), parse_schedstat("7"), parse_schedstat("a b c")), (None, None, None));
    }

    #[test]
    fn the_scheduler_of_this_host_tells_the_time_of_a_thread_called_as_qemu_calls_processors() {
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("CPU 0/TCG".to_owned());
        let thread = thread.spawn(move || wait.recv()).unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let time = || Sample::take(pid).unwrap().time;
        let kept = std::fs::read_to_string("/proc/self/schedstat").is_ok();
        // The new thread has its name as soon as it runs.
        while kept && time().is_none() {
            std::thread::yield_now();
        }
        assert_eq!(time().is_some(), kept);
        drop(done);
        assert!(thread.join().unwrap().is_err());
    }
}
