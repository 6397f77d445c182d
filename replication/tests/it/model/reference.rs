//! The reference model: the state of an item and its machines after each step, as far as the rules
//! determine it.

use contract::{DataSync, ErrorCode, FailoverKind, Operation, Phase, Side};

use crate::model::rules::{Kind, allows, must_shut_down};
use crate::model::step::{Ask, Choice, FailOver};

/// A machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    Absent,
    Off,
    On,
}

/// An item. What a failure leaves undetermined is `None` until it is read from the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub phase: Phase,
    pub active: Side,
    pub has_points: Option<bool>,
    pub test_failover: Option<bool>,
    pub test_failover_performed: bool,
    /// A synchronisation was interrupted: the primary machine's disks are partly old and partly new
    /// (HF-19).
    pub incomplete: bool,
    /// A failback that has synchronised waits to be completed (HF-08).
    pub waits: bool,
    /// The primary machine still ran when that failback began.
    pub ran_beside: Option<bool>,
    /// A commit was interrupted after it had begun to delete points, so that no other point can be
    /// chosen.
    pub fixed: Option<bool>,
    /// Whether there is a machine that was built from a chosen point; a failed change of the point
    /// leaves none.
    pub chosen: Option<bool>,
    /// The number of the active side's boot from which on the replica follows it.
    pub since: u32,
}

/// The disturbances in force, by side: primary, recovery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    pub lost: [bool; 2],
    pub cut: [bool; 2],
    pub refuses_shutdown: [bool; 2],
    /// Calls, reads or writes are yet to fail.
    pub armed: bool,
    /// An export is open whose name never reached the core. Merges wait for it until the core is
    /// restarted.
    pub leaked_export: bool,
}

/// The state of everything that the model knows.
#[derive(Clone, Debug)]
pub struct Model {
    pub kind: Kind,
    pub item: Option<Item>,
    /// The machines that serve, by side; `None`: undetermined.
    pub power: [Option<Power>; 2],
    pub conditions: Conditions,
}

/// How a job must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedEnd {
    Succeeds,
    /// The job completes with a warning, because a step fails that may fail (FO-07).
    Warns,
    Fails,
    /// The rules do not determine it.
    Open,
}

pub fn index(side: Side) -> usize {
    match side {
        Side::Primary => 0,
        Side::Recovery => 1,
    }
}

impl Model {
    pub fn new(kind: Kind) -> Self {
        let power = [Some(Power::On), Some(Power::Absent)];
        Self { kind, item: None, power, conditions: Conditions::default() }
    }

    /// The operation of a request.
    pub fn operation(ask: Ask) -> Option<Operation> {
        Some(match ask {
            Ask::Protect => return None,
            Ask::FailOver(FailOver { kind: FailoverKind::Unplanned, .. }) => Operation::UnplannedFailover,
            Ask::FailOver(FailOver { kind: FailoverKind::Planned, .. }) => Operation::PlannedFailover,
            Ask::TestFailover(_) => Operation::TestFailover,
            Ask::CleanUp => Operation::TestFailoverCleanup,
            Ask::ChangePoint(_) => Operation::ChangePoint,
            Ask::Commit => Operation::Commit,
            Ask::Reprotect { .. } => Operation::Reprotect,
            Ask::Reverse => Operation::ReverseReplicate,
            Ask::Disable => Operation::DisableProtection,
            Ask::Complete => Operation::CompleteFailover,
            Ask::Cancel => Operation::CancelFailover,
        })
    }

    /// The operations that the core has to show as allowed.
    pub fn allowed(&self) -> Vec<Operation> {
        let Some(item) = self.item.as_ref().filter(|item| !item.waits) else { return Vec::new() };
        Operation::ALL.into_iter().filter(|operation| item.accepts(self.kind, *operation)).collect()
    }

    /// The codes with which the core may refuse a request; if there are none, it has to accept the
    /// request.
    pub fn refusals(&self, ask: Ask) -> Vec<ErrorCode> {
        let mut codes = Vec::new();
        if ask == Ask::Protect {
            if self.item.is_some() {
                codes.push(ErrorCode::AlreadyProtected);
            } else if self.power[1] != Some(Power::Absent) {
                codes.push(ErrorCode::BadRequest);
            }
            // Protection reads both sites first.
            if self.conditions.lost.contains(&true) {
                codes.push(ErrorCode::Platform);
            }
            return codes;
        }
        let Some(item) = &self.item else { return vec![ErrorCode::UnknownId] };
        match (ask, item.waits) {
            (Ask::Complete | Ask::Cancel, true) => return Vec::new(),
            (Ask::Complete | Ask::Cancel, false) => return vec![ErrorCode::NotAllowedInState],
            (_, true) => return vec![ErrorCode::Busy],
            (_, false) => {}
        }
        if !Self::operation(ask).is_some_and(|operation| item.accepts(self.kind, operation)) {
            return vec![ErrorCode::NotAllowedInState];
        }
        self.malformed(item, ask).into_iter().collect()
    }

    /// The code of what is wrong with a request that its state allows.
    fn malformed(&self, item: &Item, ask: Ask) -> Option<ErrorCode> {
        match ask {
            Ask::FailOver(FailOver { wrong_direction: true, .. })
            | Ask::Reprotect { wrong_direction: true } => Some(ErrorCode::WrongDirection),
            Ask::FailOver(request) => {
                let synchronises = self.kind.synchronises_back() && item.active == Side::Recovery;
                let latest_only = request.kind == FailoverKind::Planned;
                // PF-05. A failback that synchronises data has to say when, and no other request
                // may.
                let odd_point = latest_only && request.point != Choice::Latest;
                if synchronises != request.sync.is_some() || odd_point {
                    return Some(ErrorCode::BadRequest);
                }
                (request.point == Choice::NeverExisted).then_some(ErrorCode::UnknownId)
            }
            // A cloud machine that is reprotected has to run (EX-B1).
            Ask::Reprotect { wrong_direction: false } => {
                let back = self.kind == Kind::Vmware && item.active == Side::Recovery;
                (back && self.power[1] == Some(Power::Off)).then_some(ErrorCode::CloudMachineOff)
            }
            Ask::TestFailover(Choice::NeverExisted) | Ask::ChangePoint(Choice::NeverExisted) => {
                Some(ErrorCode::UnknownId)
            }
            _ => None,
        }
    }

    /// Whether the machine has failed over, so that the next failover is a failback, which
    /// loses nothing whatever it warns of.
    pub fn is_away(&self) -> bool {
        self.item.as_ref().is_some_and(|item| item.active == Side::Recovery)
    }

    /// How an accepted job has to end.
    pub fn expected_end(&self, ask: Ask) -> ExpectedEnd {
        let conditions = &self.conditions;
        let Some(item) = &self.item else {
            return if conditions.calm(0) && conditions.calm(1) {
                ExpectedEnd::Succeeds
            } else {
                ExpectedEnd::Open
            };
        };
        let (from, to) = (index(item.active), index(item.active.other()));
        let serving = self.power[from];
        if conditions.armed || conditions.leaked_export {
            return ExpectedEnd::Open;
        }
        match ask {
            Ask::FailOver(request) if item.active == Side::Primary => self.expected_end_of_failover(request),
            // A failback needs both sites, and the cloud machine has to shut down.
            Ask::FailOver(_) | Ask::Complete if conditions.lost == [false; 2] && !conditions.cut[from] => {
                match (serving, conditions.refuses_shutdown[from]) {
                    (Some(Power::On), true) if !self.waits_first(ask) => ExpectedEnd::Fails,
                    (Some(Power::On), _) if ask == Ask::Complete => reports_beside(item.ran_beside),
                    (Some(Power::On), _) => reports_beside(self.power[to].map(|power| power == Power::On)),
                    _ => ExpectedEnd::Open,
                }
            }
            // There is no machine to commit (FO-20).
            Ask::Commit
                if item.active == Side::Recovery
                    && (item.chosen == Some(false) || serving == Some(Power::Absent)) =>
            {
                ExpectedEnd::Fails
            }
            Ask::Commit | Ask::ChangePoint(_) | Ask::CleanUp | Ask::TestFailover(_) if conditions.lost[1] => {
                ExpectedEnd::Open
            }
            Ask::Commit | Ask::ChangePoint(_) | Ask::CleanUp | Ask::TestFailover(_) => ExpectedEnd::Succeeds,
            Ask::Reprotect { .. } | Ask::Reverse if serving != Some(Power::On) => ExpectedEnd::Open,
            _ if !conditions.calm(from) || conditions.lost[to] => ExpectedEnd::Open,
            // FX-25
            Ask::Reprotect { .. } | Ask::Reverse if self.power[to] == Some(Power::On) => ExpectedEnd::Warns,
            _ => ExpectedEnd::Succeeds,
        }
    }

    /// A failover out of the primary side.
    fn expected_end_of_failover(&self, request: FailOver) -> ExpectedEnd {
        let conditions = &self.conditions;
        let must = must_shut_down(request.kind, Side::Primary);
        if conditions.lost[1] {
            // There is no site to fail over to.
            return ExpectedEnd::Fails;
        }
        let runs = self.power[0] == Some(Power::On);
        let cannot = conditions.lost[0] || conditions.refuses_shutdown[0] && runs;
        match (must, request.shut_down) {
            // PF-04
            (true, _) if cannot || conditions.cut[0] => ExpectedEnd::Fails,
            // FO-07, FO-09
            (false, true) if cannot || conditions.cut[0] => ExpectedEnd::Warns,
            _ => ExpectedEnd::Succeeds,
        }
    }

    /// Whether the job of a request waits to be completed before it shuts anything down.
    pub fn waits_first(&self, ask: Ask) -> bool {
        matches!(ask, Ask::FailOver(FailOver { sync: Some(DataSync::BeforeFailover), .. }))
    }

    /// Updates item and machines after a job that succeeded.
    pub fn succeeded(&mut self, ask: Ask, warned: bool, since: u32) {
        let Some(item) = self.item.as_mut() else {
            self.item = Some(Item::new(since));
            return;
        };
        match ask {
            Ask::FailOver(request) => self.failed_over(request, warned),
            Ask::Complete => self.failed_over(FailOver::back(), false),
            Ask::TestFailover(_) => item.test_failover = Some(true),
            Ask::CleanUp => (item.test_failover, item.test_failover_performed) = (Some(false), true),
            Ask::ChangePoint(_) => {
                (self.power[1], item.chosen) = (Some(Power::On), Some(true));
            }
            Ask::Commit => {
                (item.phase, item.has_points) = (Phase::Committed, Some(false));
                item.fixed = Some(false);
                if item.active == Side::Primary {
                    // FB-11, HF-16
                    self.power[1] = Some(Power::Absent);
                }
            }
            Ask::Reprotect { .. } | Ask::Reverse => {
                (item.phase, item.has_points) = (Phase::Protected, Some(true));
                (item.test_failover_performed, item.since) = (false, since);
                let other = &mut self.power[index(item.active.other())];
                *other = other.map(|power| if power == Power::On { Power::Off } else { power });
            }
            Ask::Disable => {
                if item.active == Side::Primary {
                    // This also removes what a failed failover could not clean up.
                    self.power[1] = Some(Power::Absent);
                }
                self.item = None;
            }
            Ask::Protect | Ask::Cancel => {}
        }
    }

    fn failed_over(&mut self, request: FailOver, warned: bool) {
        let Some(item) = self.item.as_mut() else { return };
        let from = item.active;
        let down = match (must_shut_down(request.kind, from), request.shut_down, warned) {
            (true, ..) | (false, true, false) => Some(Power::Off),
            // It depends on which step failed.
            (false, true, true) => None,
            (false, false, _) => self.power[index(from)],
        };
        let down = if self.conditions.lost[index(from)] { Some(Power::Off) } else { down };
        self.power[index(from)] = down;
        self.power[index(from.other())] = Some(Power::On);
        (item.phase, item.active) = (Phase::CommitPending, from.other());
        (item.test_failover, item.incomplete, item.waits) = (Some(false), false, false);
        (item.has_points, item.chosen) = (Some(from == Side::Primary), Some(true));
    }

    /// Updates item and machines after a job that failed. Everything stays as it was, except what
    /// becomes undetermined here.
    pub fn failed(&mut self, ask: Ask, expected_end: ExpectedEnd) {
        let Some(item) = self.item.as_mut() else { return };
        let known = expected_end == ExpectedEnd::Fails;
        match ask {
            Ask::Commit if !known => item.fixed = None,
            Ask::ChangePoint(_) => item.chosen = None,
            Ask::TestFailover(_) | Ask::CleanUp => item.test_failover = None,
            Ask::Disable => (item.test_failover, item.has_points) = (None, None),
            Ask::FailOver(_) | Ask::Complete => {
                item.test_failover = None;
                if self.kind.synchronises_back() && item.active == Side::Recovery {
                    (item.incomplete, item.waits) = (true, false);
                    self.power[0] = Some(Power::Off);
                }
            }
            Ask::Reprotect { .. } | Ask::Reverse => item.has_points = Some(false),
            _ => {}
        }
        if !known {
            self.power = [None; 2];
        }
        self.forget_if_off();
    }

    /// Updates item and machines after a cancelled failover: its source goes on serving, and
    /// nothing replicates (FO-12).
    pub fn cancelled(&mut self) {
        let calm = self.conditions == Conditions::default();
        let Some(item) = self.item.as_mut() else { return };
        item.waits = false;
        if self.kind.synchronises_back() && item.active == Side::Recovery {
            // The cloud machine goes on serving (HF-19, HF-21).
            item.incomplete = true;
            self.power[0] = Some(Power::Off);
        } else {
            item.phase = Phase::Stopped;
            item.test_failover = None;
            item.has_points = None;
        }
        if !calm {
            self.power = [None; 2];
        }
        self.forget_if_off();
    }

    /// Makes the power of the machine that should serve undetermined if it was off: the core may
    /// have started it.
    fn forget_if_off(&mut self) {
        let Some(item) = &self.item else { return };
        let power = &mut self.power[index(item.active)];
        *power = power.filter(|power| *power == Power::On);
    }

    /// Updates item and machines when a data synchronisation waits to be completed.
    pub fn waiting(&mut self) {
        let ran = self.power[0].map(|power| power == Power::On);
        self.power[0] = Some(Power::Off);
        if let Some(item) = self.item.as_mut() {
            // A failback that goes on after a restart of the core has been here before.
            if !item.waits {
                item.ran_beside = ran;
            }
            (item.waits, item.incomplete) = (true, true);
        }
    }

    pub fn lost(&mut self, side: Side) {
        self.conditions.lost[index(side)] = true;
        let power = &mut self.power[index(side)];
        *power = power.map(|power| if power == Power::On { Power::Off } else { power });
    }
}

/// The end of a failback before which the primary machine ran, or not, or perhaps (FX-25). After a
/// reprotection it does not run.
fn reports_beside(ran: Option<bool>) -> ExpectedEnd {
    match ran {
        Some(true) => ExpectedEnd::Warns,
        Some(false) => ExpectedEnd::Succeeds,
        None => ExpectedEnd::Open,
    }
}

impl Item {
    fn new(since: u32) -> Self {
        Self {
            phase: Phase::Protected,
            active: Side::Primary,
            has_points: Some(true),
            test_failover: Some(false),
            test_failover_performed: false,
            incomplete: false,
            waits: false,
            ran_beside: Some(false),
            fixed: Some(false),
            chosen: Some(true),
            since,
        }
    }

    fn accepts(&self, kind: Kind, operation: Operation) -> bool {
        let met = match operation {
            Operation::TestFailover => self.test_failover != Some(true),
            Operation::TestFailoverCleanup => self.test_failover == Some(true),
            Operation::ChangePoint => self.fixed != Some(true),
            _ => true,
        };
        met && allows(kind, self.phase, self.active, operation)
    }
}

impl FailOver {
    /// The second phase of a failback that waited.
    fn back() -> Self {
        let (kind, point) = (FailoverKind::Planned, Choice::Latest);
        Self { kind, wrong_direction: false, point, shut_down: true, sync: Some(DataSync::BeforeFailover) }
    }
}

impl Conditions {
    fn calm(&self, side: usize) -> bool {
        !self.lost[side] && !self.cut[side] && !self.armed && !self.leaked_export
    }
}
