//! How far an operation has come that changes which side is active.

use contract::RecoveryPoint;
use serde::{Deserialize, Serialize};

/// What an operation has half done. It is stored before the operation acts, so that a failed
/// operation can be undone and a restarted core continues correctly.
///
/// An item is in one of these states. A failover and a failback begin only when the item is
/// protected, a Hyper-V failback only when it is committed, and a commit deletes points only after
/// the failover has succeeded, so no two of them overlap. Not part of this type:
///
/// - whether a test failover was performed, because test failovers leave the active side alone, and
///   their result stays valid whatever a later failover does;
/// - volumes and machines that were created (`built`, `created_target`, `test_failover`): they name
///   artefacts, and some of them outlive the operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Progress {
    /// Nothing is half done.
    #[default]
    Idle,
    /// A failover has shut down the source, has begun to start the target, or both. A failover that
    /// failed and could not restore both machines stays in this state, and so does a change of
    /// point that could not start the target.
    FailingOver(Machines),
    /// A failback is merging recovery points into the original disks, which are inconsistent until
    /// it is done.
    Merging {
        /// The point that was chosen; the points themselves are deleted on the way.
        point: Box<RecoveryPoint>,
        machines: Machines,
    },
    /// A Hyper-V failback writes into the primary machine's disks. They are a mixture of old and
    /// new content (HF-19) until a failback completes.
    SynchronisingData { phase: SyncPhase, machines: Machines },
    /// A commit has begun to delete recovery points. The point can no longer be changed (FO-03).
    Committing,
}

/// What a failover has done to the machines on both sides. All combinations occur.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machines {
    /// The machine on the active side ran until the failover shut it down. It has to be started
    /// again if the failover fails (LC-10).
    pub(crate) source_ran: bool,
    /// The target machine may have been started. It has to be powered off before the source is
    /// started again.
    pub(crate) target_may_run: bool,
}

/// Phase of a Hyper-V failback (HF-07 to HF-10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SyncPhase {
    /// The data is being synchronised, or is synchronised and the job waits to be completed
    /// (HF-08).
    Synchronising,
    /// The job was told to complete. The cloud machine may be off, so a restarted core continues
    /// without asking again.
    Completing,
    /// The failback failed or was cancelled.
    Interrupted,
}

impl Progress {
    /// What the failover has done to the machines.
    pub(crate) fn machines(&self) -> Machines {
        match self {
            Self::Idle | Self::Committing => Machines::default(),
            Self::FailingOver(machines)
            | Self::Merging { machines, .. }
            | Self::SynchronisingData { machines, .. } => *machines,
        }
    }

    /// The failover is about to shut down a source that runs.
    pub(crate) fn note_source_ran(&mut self) {
        self.change_machines(|machines| machines.source_ran = true);
    }

    /// The source runs again after a failed failover.
    pub(crate) fn note_source_restarted(&mut self) {
        self.change_machines(|machines| machines.source_ran = false);
    }

    /// The target is about to be started.
    pub(crate) fn note_target_starting(&mut self) {
        self.change_machines(|machines| machines.target_may_run = true);
    }

    /// The target is certainly off, or does not exist.
    pub(crate) fn note_target_off(&mut self) {
        self.change_machines(|machines| machines.target_may_run = false);
    }

    /// The failback is about to merge `point` into the original disks.
    pub(crate) fn begin_merge(&mut self, point: RecoveryPoint) {
        *self = Self::Merging { point: Box::new(point), machines: self.machines() };
    }

    /// A merge that failed is not continued.
    pub(crate) fn abandon_merge(&mut self) {
        if let Self::Merging { machines, .. } = self {
            *self = Self::failing_over(*machines);
        }
    }

    /// A Hyper-V failback begins, or continues after a restart. A failback that was told to
    /// complete stays so.
    pub(crate) fn begin_data_sync(&mut self) {
        if !self.is_completing() {
            *self = Self::SynchronisingData { phase: SyncPhase::Synchronising, machines: self.machines() };
        }
    }

    /// The Hyper-V failback was told to complete.
    pub(crate) fn complete_data_sync(&mut self) {
        *self = Self::SynchronisingData { phase: SyncPhase::Completing, machines: self.machines() };
    }

    /// The Hyper-V failback failed or was cancelled. Does nothing if none is under way.
    pub(crate) fn interrupt_data_sync(&mut self) {
        if let Self::SynchronisingData { phase, .. } = self {
            *phase = SyncPhase::Interrupted;
        }
    }

    /// Whether the Hyper-V failback under way was told to complete.
    pub(crate) fn is_completing(&self) -> bool {
        matches!(self, Self::SynchronisingData { phase: SyncPhase::Completing, .. })
    }

    /// Whether the primary machine's disks are a mixture of old and new content (HF-19).
    pub(crate) fn is_data_sync_incomplete(&self) -> bool {
        matches!(self, Self::SynchronisingData { .. })
    }

    /// Whether a commit has begun to delete recovery points.
    pub(crate) fn is_committing(&self) -> bool {
        matches!(self, Self::Committing)
    }

    fn change_machines(&mut self, change: impl FnOnce(&mut Machines)) {
        let mut changed = self.machines();
        change(&mut changed);
        match self {
            Self::Merging { machines, .. } | Self::SynchronisingData { machines, .. } => *machines = changed,
            // No failover starts while a commit is unfinished, so `Committing` does not occur here.
            Self::Idle | Self::Committing | Self::FailingOver(_) => *self = Self::failing_over(changed),
        }
    }

    /// A failover that has changed neither machine leaves nothing to restore.
    fn failing_over(machines: Machines) -> Self {
        if machines == Machines::default() { Self::Idle } else { Self::FailingOver(machines) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{Bytes, Consistency, Timestamp};

    fn point() -> RecoveryPoint {
        RecoveryPoint {
            id: "point".into(),
            time: Timestamp(1),
            consistency: Consistency::Crash,
            processed: true,
            multi_vm: None,
            change_id: "change".into(),
            transferred: Bytes(0),
            volumes: Vec::new(),
        }
    }

    #[test]
    fn a_failover_whose_machines_are_restored_is_idle() {
        let mut progress = Progress::Idle;
        progress.note_source_ran();
        progress.note_target_starting();
        assert_eq!(progress, Progress::FailingOver(Machines { source_ran: true, target_may_run: true }));
        progress.note_source_restarted();
        progress.note_target_off();
        assert_eq!(progress, Progress::Idle);
    }

    #[test]
    fn a_merge_keeps_what_was_done_to_the_machines() {
        let mut progress = Progress::Idle;
        progress.note_source_ran();
        progress.begin_merge(point());
        progress.note_target_starting();
        progress.note_target_off();
        assert!(matches!(progress, Progress::Merging { .. }));
        progress.abandon_merge();
        assert_eq!(progress, Progress::FailingOver(Machines { source_ran: true, target_may_run: false }));
    }

    #[test]
    fn a_data_synchronisation_stays_incomplete_after_a_failure_and_completing_survives_a_restart() {
        let mut progress = Progress::Idle;
        progress.begin_data_sync();
        progress.complete_data_sync();
        progress.note_source_ran();
        progress.begin_data_sync();
        assert!(progress.is_completing() && progress.machines().source_ran);
        progress.interrupt_data_sync();
        progress.note_source_restarted();
        assert!(progress.is_data_sync_incomplete() && !progress.is_completing());
        progress.begin_data_sync();
        assert!(progress.is_data_sync_incomplete() && !progress.is_completing());
    }
}
