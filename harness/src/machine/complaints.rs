//! Complaints of a guest's kernel that its host does not let it run.

/// What Linux says on the console when a processor did not run for a long time. That a task waits
/// for a disk ("blocked for more than") says nothing about the host: a core may have suspended it.
const COMPLAINTS: [&str; 5] = [
    "soft lockup",
    "self-detected stall",
    "detected stalls on CPUs",
    "rcu_preempt kthread starved",
    "hrtimer: interrupt took",
];

/// Whether a line of a console is a complaint of the kernel that it does not get to run.
pub(crate) fn is_complaint(line: &str) -> bool {
    COMPLAINTS.iter().any(|words| line.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Consoles of guests that a busy host did not let run.
    const STARVED: [&str; 3] = [
        "[   41.880012] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [swapper/0:1]",
        "[  112.004431] rcu: INFO: rcu_preempt self-detected stall on CPU",
        "[   63.330001] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
    ];
    /// Consoles of guests that do not come up, or stand still, for another reason.
    const BROKEN: [&str; 6] = [
        "[  242.702190] INFO: task jbd2/sda2-8:213 blocked for more than 120 seconds.",
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
}
