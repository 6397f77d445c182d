//! A row of the matrix of mutants.

use contract::{ErrorCode, ItemView, JobView};
use simulator::Capture;

use super::class::MutantClass;
use super::field::FieldFault;
use super::interface::InterfaceFault;
use super::platform::PlatformFault;
use crate::core_under_test::FaultHook;
use crate::rules::RuleId;

/// A core that is faulty on purpose.
#[derive(Debug)]
pub struct Mutant {
    /// The kind of fault.
    pub class: MutantClass,
    /// Name on the command line.
    pub name: &'static str,
    /// What it does wrong, as the end of a sentence that begins with its name.
    pub does: &'static str,
    /// The rules that assertions of checks in memory must find broken. Empty if the fault shows on
    /// real guests only.
    pub breaks: &'static [RuleId],
    /// The runs on guests that must find it.
    pub on_guests: &'static [GuestRun],
    pub(super) kind: Kind,
}

/// A scenario on guests that has to find a mutant.
#[derive(Clone, Copy, Debug)]
pub struct GuestRun {
    /// The scenario.
    pub scenario: &'static str,
    /// The edge at which the fault begins; `None`: from the start.
    pub edge: Option<&'static str>,
    /// The rules that assertions must find broken.
    pub breaks: &'static [RuleId],
}

/// A run of a scenario with a fault from the start.
pub(super) const fn guests(scenario: &'static str, breaks: &'static [RuleId]) -> GuestRun {
    GuestRun { scenario, edge: None, breaks }
}

/// A run of a scenario with a fault that begins at an edge.
pub(super) const fn guests_from(
    scenario: &'static str,
    edge: &'static str,
    breaks: &'static [RuleId],
) -> GuestRun {
    GuestRun { scenario, edge: Some(edge), breaks }
}

/// Where a fault sits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Below the core's interface.
    DataPath(fn() -> Box<dyn FaultHook>),
    /// At the core's interface.
    Interface(InterfaceFault),
    /// In what the core shows of an item.
    ItemView(fn(&mut ItemView)),
    /// In what the core shows of a job.
    JobView(fn(&mut JobView)),
    /// Accepts what is refused with this code, by answering with an older job.
    Ignores(ErrorCode),
    /// Refuses reprotections and failbacks with this code.
    Invents(ErrorCode),
    /// Between the core and its platforms.
    Platform(PlatformFault),
    /// There too: one that products had.
    Field(FieldFault),
    /// In how a core captures what a guest writes.
    Capture(Capture),
}

impl Mutant {
    pub(super) const fn new(
        class: MutantClass,
        name: &'static str,
        does: &'static str,
        kind: Kind,
        breaks: &'static [RuleId],
    ) -> Self {
        Self { class, name, does, breaks, on_guests: &[], kind }
    }

    /// Also has to be found by these runs on guests.
    pub(super) const fn and_on_guests(mut self, runs: &'static [GuestRun]) -> Self {
        self.on_guests = runs;
        self
    }

    /// Whether the fault needs the built-in core's hook.
    #[must_use]
    pub fn needs_hook(&self) -> bool {
        matches!(self.kind, Kind::DataPath(_))
    }
}
