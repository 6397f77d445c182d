//! The steps of a run. Every step has a meaning in every state, so that a sequence that fails can
//! be shortened.

use contract::{DataSync, FailoverKind, Side};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use simulator::Call;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Time passes, in seconds.
    Time(u16),
    /// One of the operations that are allowed now is requested; the number chooses it.
    Next(u8, Interference),
    /// An operation is requested, whether it is allowed or not.
    Ask(Ask, Interference),
    /// A disturbance begins.
    Disturbance(Disturbance),
    /// Every disturbance ends. Machines that went off stay off.
    Heal,
    /// An operator starts the machine that should serve, if it is off.
    PowerOn,
    /// The core is killed and opened again.
    Restart,
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    Protect,
    FailOver(FailOver),
    TestFailover(Choice),
    CleanUp,
    ChangePoint(Choice),
    Commit,
    Reprotect { wrong_direction: bool },
    Reverse,
    Disable,
    Complete,
    Cancel,
}

/// A request to fail over, in the possible direction or in the wrong one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailOver {
    pub kind: FailoverKind,
    pub wrong_direction: bool,
    pub point: Choice,
    pub shut_down: bool,
    pub sync: Option<DataSync>,
}

/// Which point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Choice {
    Latest,
    Processed,
    /// The oldest processed point; the latest processed if there is none.
    Oldest,
    /// A point that never existed.
    NeverExisted,
}

/// What interferes with a job while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Interference {
    None,
    /// Another operation is requested.
    Also(Ask),
    /// A failover is cancelled after so many milliseconds.
    CancelAfter(u16),
    /// The core dies at this call, before or after the call's effect.
    Die {
        call: u8,
        takes_effect: bool,
    },
}

/// A fault outside the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Disturbance {
    /// The next call of one kind fails, before or after its effect.
    Call {
        at: Side,
        call: u8,
        takes_effect: bool,
    },
    Read(Side, u8),
    Write(Side, u8),
    LinkCut(Side),
    /// The machine that serves there does not shut down when asked to.
    RefusesShutdown(Side),
    Lost(Side),
}

impl Disturbance {
    /// The platform call that a number stands for.
    pub fn call(number: u8) -> Call {
        Call::ALL[usize::from(number) % Call::ALL.len()]
    }

    pub fn side(self) -> Side {
        match self {
            Self::Call { at, .. }
            | Self::Read(at, _)
            | Self::Write(at, _)
            | Self::LinkCut(at)
            | Self::RefusesShutdown(at)
            | Self::Lost(at) => at,
        }
    }
}

/// A random step. Most are allowed operations, so that a run visits many states; some are
/// forbidden, some are disturbances.
pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        24 => (1..200_u16).prop_map(Step::Time),
        30 => (any::<u8>(), prop_oneof![3 => Just(Interference::None), 1 => interference()])
            .prop_map(|(which, interference)| Step::Next(which, interference)),
        20 => (ask(), prop_oneof![3 => Just(Interference::None), 1 => interference()])
            .prop_map(|(ask, interference)| Step::Ask(ask, interference)),
        6 => disturbance().prop_map(Step::Disturbance),
        9 => Just(Step::Heal),
        6 => Just(Step::PowerOn),
        3 => Just(Step::Restart),
    ]
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Primary), Just(Side::Recovery)]
}

fn choice() -> impl Strategy<Value = Choice> {
    prop_oneof![
        6 => Just(Choice::Latest),
        3 => Just(Choice::Processed),
        3 => Just(Choice::Oldest),
        1 => Just(Choice::NeverExisted),
    ]
}

fn sync() -> impl Strategy<Value = Option<DataSync>> {
    prop_oneof![
        4 => Just(None),
        1 => Just(Some(DataSync::BeforeFailover)),
        1 => Just(Some(DataSync::DuringFailover)),
    ]
}

fn failover() -> impl Strategy<Value = FailOver> {
    let kind = prop_oneof![2 => Just(FailoverKind::Unplanned), 1 => Just(FailoverKind::Planned)];
    (kind, prop::bool::weighted(0.15), choice(), any::<bool>(), sync()).prop_map(
        |(kind, wrong_direction, point, shut_down, sync)| FailOver {
            kind,
            wrong_direction,
            point,
            shut_down,
            sync,
        },
    )
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        2 => Just(Ask::Commit),
        1 => Just(Ask::Protect),
        5 => failover().prop_map(Ask::FailOver),
        2 => choice().prop_map(Ask::TestFailover),
        2 => Just(Ask::CleanUp),
        2 => choice().prop_map(Ask::ChangePoint),
        2 => prop::bool::weighted(0.3).prop_map(|wrong_direction| Ask::Reprotect { wrong_direction }),
        2 => Just(Ask::Reverse),
        1 => Just(Ask::Disable),
        1 => Just(Ask::Complete),
        1 => Just(Ask::Cancel),
    ]
}

fn interference() -> impl Strategy<Value = Interference> {
    prop_oneof![
        ask().prop_map(Interference::Also),
        (0..3000_u16).prop_map(Interference::CancelAfter),
        (1..40_u8, any::<bool>()).prop_map(|(call, takes_effect)| Interference::Die { call, takes_effect }),
    ]
}

fn disturbance() -> impl Strategy<Value = Disturbance> {
    let calls = 0..u8::try_from(Call::ALL.len()).unwrap_or(u8::MAX);
    prop_oneof![
        6 => (side(), calls, any::<bool>())
            .prop_map(|(at, call, takes_effect)| Disturbance::Call { at, call, takes_effect }),
        1 => (side(), 1..30_u8).prop_map(|(at, nth)| Disturbance::Read(at, nth)),
        1 => (side(), 1..30_u8).prop_map(|(at, nth)| Disturbance::Write(at, nth)),
        2 => side().prop_map(Disturbance::LinkCut),
        2 => side().prop_map(Disturbance::RefusesShutdown),
        3 => side().prop_map(Disturbance::Lost),
    ]
}
