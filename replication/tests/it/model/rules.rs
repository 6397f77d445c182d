//! Which operations the catalogue of rules allows in which state, written down independently of any
//! core.

use contract::{FailoverKind, Operation, Phase, Side};
use simulator::SimProfile;

use Phase::{CommitPending, Committed, Protected};
use Side::{Primary, Recovery};

/// A kind of pair of sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Vmware,
    HyperV,
    Regions,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Vmware, Self::HyperV, Self::Regions];

    pub fn name(self) -> &'static str {
        match self {
            Self::Vmware => "vmware",
            Self::HyperV => "hyperv",
            Self::Regions => "regions",
        }
    }

    pub fn primary(self) -> SimProfile {
        match self {
            Self::Vmware => SimProfile::VMWARE,
            Self::HyperV => SimProfile::HYPERV,
            Self::Regions => SimProfile::AZURE,
        }
    }

    /// Whether a failback synchronises data itself and therefore needs no reprotection before it
    /// (HF-01).
    pub fn synchronises_back(self) -> bool {
        self == Self::HyperV
    }
}

/// Whether an operation may start a job in this state, whatever its request says.
pub fn allows(kind: Kind, phase: Phase, active: Side, operation: Operation) -> bool {
    let hyperv = kind == Kind::HyperV;
    match operation {
        // LC-03, LC-05, LC-14; from the cloud to Hyper-V only planned (HF-04).
        Operation::UnplannedFailover => phase == Protected && (active == Primary || !hyperv),
        // Out of the primary site only from Hyper-V (FO-21); back straight from the committed state
        // (HF-01, HF-03).
        Operation::PlannedFailover => {
            hyperv && ((phase, active) == (Protected, Primary) || (phase, active) == (Committed, Recovery))
        }
        // TF-01, TF-08; not once it has failed over (EX-T3).
        Operation::TestFailover | Operation::TestFailoverCleanup => (phase, active) == (Protected, Primary),
        // FO-02, FO-03. A failback merges its points, so that none is left to choose.
        Operation::ChangePoint => (phase, active) == (CommitPending, Recovery),
        // LC-07, PF-06
        Operation::Commit => phase == CommitPending,
        // RE-01, RE-29; Hyper-V has none (C-01).
        Operation::Reprotect => phase == Committed && !hyperv,
        // HF-17
        Operation::ReverseReplicate => hyperv && (phase, active) == (Committed, Primary),
        // A failover has to be committed first.
        Operation::DisableProtection => phase != CommitPending,
        // FX-41
        Operation::Verify => phase == Protected,
        // These act on a job that runs.
        Operation::CompleteFailover | Operation::CancelFailover => false,
    }
}

/// Whether a failover has to shut its source down (PF-04, FB-06).
pub fn must_shut_down(kind: FailoverKind, active: Side) -> bool {
    kind == FailoverKind::Planned || active == Recovery
}
