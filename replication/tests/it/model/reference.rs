//! The reference model: what is true of an item and its machines after each step, as far as the rules tell.

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

/// An item. What a failure leaves open is `None`, until somebody looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub phase: Phase,
    pub active: Side,
    pub has_points: Option<bool>,
    pub test_failover: Option<bool>,
    pub test_failover_performed: bool,
    /// The primary machine's disks are half old, half new (HF-19).
    pub half: bool,
    /// A failback that has synchronised waits to be completed (HF-08).
    pub waits: bool,
    /// A commit broke off after it had begun to delete points: no other can be chosen any more.
    pub fixed: Option<bool>,
    /// Whether there is a machine of a chosen point; a change of point that fails leaves none.
    pub chosen: Option<bool>,
    /// Since which boot of the active side the replica follows it.
    pub since: u32,
}

/// What is wrong outside, by side: primary, recovery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sky {
    pub lost: [bool; 2],
    pub cut: [bool; 2],
    pub deaf: [bool; 2],
    /// Calls, reads or writes that will fail once.
    pub armed: bool,
    /// An export is open whose name never reached the core: merges wait for it in vain until the core starts anew.
    pub leaky: bool,
}

/// Everything.
#[derive(Clone, Debug)]
pub struct Model {
    pub kind: Kind,
    pub item: Option<Item>,
    /// The machines that serve, by side; `None`: to be looked at.
    pub power: [Option<Power>; 2],
    pub sky: Sky,
}

/// How a job must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Succeeds,
    /// It goes on although a step fails that may (FO-07), and says so.
    Warns,
    Fails,
    /// The rules leave it open.
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
        Self { kind, item: None, power, sky: Sky::default() }
    }

    /// The operation that a request is about.
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

    /// What is shown as allowed.
    pub fn allowed(&self) -> Vec<Operation> {
        let Some(item) = self.item.as_ref().filter(|item| !item.waits) else { return Vec::new() };
        OPERATIONS.into_iter().filter(|operation| item.accepts(self.kind, *operation)).collect()
    }

    /// Codes with which a request may be refused; empty: it is accepted.
    pub fn refusals(&self, ask: Ask) -> Vec<ErrorCode> {
        let mut codes = Vec::new();
        if ask == Ask::Protect {
            if self.item.is_some() {
                codes.push(ErrorCode::AlreadyProtected);
            } else if self.power[1] != Some(Power::Absent) {
                codes.push(ErrorCode::BadRequest);
            }
            // It has to look at both sites.
            if self.sky.lost.contains(&true) {
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

    /// What is wrong with a request that comes at the right moment.
    fn malformed(&self, item: &Item, ask: Ask) -> Option<ErrorCode> {
        match ask {
            Ask::FailOver(FailOver { astray: true, .. }) | Ask::Reprotect { astray: true } => {
                Some(ErrorCode::WrongDirection)
            }
            Ask::FailOver(request) => {
                let synchronises = self.kind.synchronises_back() && item.active == Side::Recovery;
                let latest_only = request.kind == FailoverKind::Planned;
                // PF-05; the data synchronisation is told when, and only where there is one.
                let odd_point = latest_only && request.point != Choice::Latest;
                if synchronises != request.sync.is_some() || odd_point {
                    return Some(ErrorCode::BadRequest);
                }
                (request.point == Choice::Never).then_some(ErrorCode::UnknownId)
            }
            // Who replicates back runs (EX-B1).
            Ask::Reprotect { astray: false } => {
                let back = self.kind == Kind::Vmware && item.active == Side::Recovery;
                (back && self.power[1] == Some(Power::Off)).then_some(ErrorCode::CloudMachineOff)
            }
            Ask::TestFailover(Choice::Never) | Ask::ChangePoint(Choice::Never) => Some(ErrorCode::UnknownId),
            _ => None,
        }
    }

    /// How a job that was accepted must end.
    pub fn fate(&self, ask: Ask) -> Fate {
        let sky = &self.sky;
        let Some(item) = &self.item else {
            return if sky.calm(0) && sky.calm(1) { Fate::Succeeds } else { Fate::Open };
        };
        let (from, to) = (index(item.active), index(item.active.other()));
        let serving = self.power[from];
        if sky.armed || sky.leaky {
            return Fate::Open;
        }
        match ask {
            Ask::FailOver(request) if item.active == Side::Primary => self.fate_out(request),
            // Back, and the way there: both sites are needed, and the cloud machine has to shut down.
            Ask::FailOver(_) | Ask::Complete if sky.lost == [false; 2] && !sky.cut[from] => {
                match (serving, sky.deaf[from]) {
                    (Some(Power::On), true) if !self.waits_first(ask) => Fate::Fails,
                    (Some(Power::On), _) => Fate::Succeeds,
                    _ => Fate::Open,
                }
            }
            // There is no machine that could become final (FO-20).
            Ask::Commit
                if item.active == Side::Recovery
                    && (item.chosen == Some(false) || serving == Some(Power::Absent)) =>
            {
                Fate::Fails
            }
            Ask::Commit | Ask::ChangePoint(_) | Ask::CleanUp | Ask::TestFailover(_) if sky.lost[1] => {
                Fate::Open
            }
            Ask::Commit | Ask::ChangePoint(_) | Ask::CleanUp | Ask::TestFailover(_) => Fate::Succeeds,
            Ask::Reprotect { .. } | Ask::Reverse if serving != Some(Power::On) => Fate::Open,
            _ if sky.calm(from) && !sky.lost[to] => Fate::Succeeds,
            _ => Fate::Open,
        }
    }

    /// A failover out of the primary side.
    fn fate_out(&self, request: FailOver) -> Fate {
        let sky = &self.sky;
        let must = must_shut_down(request.kind, Side::Primary);
        if sky.lost[1] {
            // There is nothing to fail over to.
            return Fate::Fails;
        }
        let runs = self.power[0] == Some(Power::On);
        let cannot = sky.lost[0] || sky.deaf[0] && runs;
        match (must, request.shut_down) {
            // PF-04
            (true, _) if cannot || sky.cut[0] => Fate::Fails,
            // FO-07, FO-09
            (false, true) if cannot || sky.cut[0] => Fate::Warns,
            _ => Fate::Succeeds,
        }
    }

    /// Whether a request leads to a job that waits before it shuts anything down.
    pub fn waits_first(&self, ask: Ask) -> bool {
        matches!(ask, Ask::FailOver(FailOver { sync: Some(DataSync::BeforeFailover), .. }))
    }

    /// The item and the machines after a job that did its work.
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
                    // Not even what a failover that failed could not take down is left.
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
            // Which step it was that warned is to be looked at.
            (false, true, true) => None,
            (false, false, _) => self.power[index(from)],
        };
        let down = if self.sky.lost[index(from)] { Some(Power::Off) } else { down };
        self.power[index(from)] = down;
        self.power[index(from.other())] = Some(Power::On);
        (item.phase, item.active) = (Phase::CommitPending, from.other());
        (item.test_failover, item.half, item.waits) = (Some(false), false, false);
        (item.has_points, item.chosen) = (Some(from == Side::Primary), Some(true));
    }

    /// A job that failed: nothing is gained, and nothing may be lost but what is left open here.
    pub fn failed(&mut self, ask: Ask, fate: Fate) {
        let Some(item) = self.item.as_mut() else { return };
        let known = fate == Fate::Fails;
        match ask {
            Ask::Commit if !known => item.fixed = None,
            Ask::ChangePoint(_) => item.chosen = None,
            Ask::TestFailover(_) | Ask::CleanUp => item.test_failover = None,
            Ask::Disable => (item.test_failover, item.has_points) = (None, None),
            Ask::FailOver(_) | Ask::Complete => {
                item.test_failover = None;
                if self.kind.synchronises_back() && item.active == Side::Recovery {
                    (item.half, item.waits) = (true, false);
                    self.power[0] = Some(Power::Off);
                }
            }
            Ask::Reprotect { .. } | Ask::Reverse => item.has_points = Some(false),
            _ => {}
        }
        if !known {
            self.power = [None; 2];
        }
        self.forget_off();
    }

    /// A failover that was cancelled: its source serves on, and nothing replicates (FO-12).
    pub fn cancelled(&mut self) {
        let calm = self.sky == Sky::default();
        let Some(item) = self.item.as_mut() else { return };
        item.waits = false;
        if self.kind.synchronises_back() && item.active == Side::Recovery {
            // The cloud machine stays the good copy (HF-19, HF-21).
            item.half = true;
            self.power[0] = Some(Power::Off);
        } else {
            item.phase = Phase::Stopped;
            item.test_failover = None;
            item.has_points = None;
        }
        if !calm {
            self.power = [None; 2];
        }
        self.forget_off();
    }

    /// A machine that should serve and was off may be left so, or be switched on.
    fn forget_off(&mut self) {
        let Some(item) = &self.item else { return };
        let power = &mut self.power[index(item.active)];
        *power = power.filter(|power| *power == Power::On);
    }

    /// A data synchronisation has come to where it waits.
    pub fn waiting(&mut self) {
        self.power[0] = Some(Power::Off);
        if let Some(item) = self.item.as_mut() {
            (item.waits, item.half) = (true, true);
        }
    }

    pub fn lost(&mut self, side: Side) {
        self.sky.lost[index(side)] = true;
        let power = &mut self.power[index(side)];
        *power = power.map(|power| if power == Power::On { Power::Off } else { power });
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
            half: false,
            waits: false,
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
        Self { kind, astray: false, point, shut_down: true, sync: Some(DataSync::BeforeFailover) }
    }
}

impl Sky {
    fn calm(&self, side: usize) -> bool {
        !self.lost[side] && !self.cut[side] && !self.armed && !self.leaky
    }
}

/// Those that an item may show as allowed.
const OPERATIONS: [Operation; 9] = [
    Operation::UnplannedFailover,
    Operation::PlannedFailover,
    Operation::TestFailover,
    Operation::TestFailoverCleanup,
    Operation::ChangePoint,
    Operation::Commit,
    Operation::Reprotect,
    Operation::ReverseReplicate,
    Operation::DisableProtection,
];
