//! Complaints of a guest's kernel that its host does not let it run.

/// What Linux says on the console when a processor, or a task on it, did not run for a long time.
const COMPLAINTS: [&str; 6] = [
    "soft lockup",
    "self-detected stall",
    "detected stalls on CPUs",
    "rcu_preempt kthread starved",
    "blocked for more than",
    "hrtimer: interrupt took",
];

/// Whether a line of a console is a complaint of the kernel that it does not get to run.
pub(crate) fn is_complaint(line: &str) -> bool {
    COMPLAINTS.iter().any(|words| line.contains(words))
}
