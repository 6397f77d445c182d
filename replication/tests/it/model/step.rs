//! What may happen in a run, independent of where the item stands: any sequence of steps means something, so that a
//! sequence that fails can be made shorter.

use contract::{DataSync, FailoverKind, Side};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use simulator::Call;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Time passes, in seconds.
    Time(u16),
    /// One of what is allowed now is asked; which one, by this number.
    Next(u8, Meddle),
    /// Something is asked, whether that is allowed or not.
    Ask(Ask, Meddle),
    /// Something goes wrong.
    Trouble(Trouble),
    /// All that is wrong is mended. Machines that went off stay off.
    Heal,
    /// An operator switches the machine on that should serve, if it is off.
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
    Reprotect { astray: bool },
    Reverse,
    Disable,
    Complete,
    Cancel,
}

/// A request to fail over, in the direction that is possible or the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailOver {
    pub kind: FailoverKind,
    pub astray: bool,
    pub point: Choice,
    pub shut_down: bool,
    pub sync: Option<DataSync>,
}

/// Which point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Choice {
    Latest,
    Processed,
    /// The oldest there is; the latest processed if there is none.
    Oldest,
    /// One that never was.
    Never,
}

/// What comes in between while a job is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Meddle {
    No,
    /// Something else is asked as well.
    Also(Ask),
    /// A failover is cancelled after so many milliseconds.
    CancelAfter(u16),
    /// The core dies at this call, before or after its effect.
    Die {
        call: u8,
        takes_effect: bool,
    },
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trouble {
    /// The next call of one kind fails, before or after its effect.
    Call {
        at: Side,
        call: u8,
        takes_effect: bool,
    },
    Read(Side, u8),
    Write(Side, u8),
    LinkCut(Side),
    /// The machine that serves there does not shut down when asked.
    Deaf(Side),
    Lost(Side),
}

impl Trouble {
    /// The method a number stands for.
    pub fn call(number: u8) -> Call {
        Call::ALL[usize::from(number) % Call::ALL.len()]
    }

    pub fn side(self) -> Side {
        match self {
            Self::Call { at, .. }
            | Self::Read(at, _)
            | Self::Write(at, _)
            | Self::LinkCut(at)
            | Self::Deaf(at)
            | Self::Lost(at) => at,
        }
    }
}

/// A step. Most lead on, so that a run comes far; some are out of place, some are calamities.
pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        24 => (1..200_u16).prop_map(Step::Time),
        30 => (any::<u8>(), prop_oneof![3 => Just(Meddle::No), 1 => meddle()])
            .prop_map(|(which, meddle)| Step::Next(which, meddle)),
        20 => (ask(), prop_oneof![3 => Just(Meddle::No), 1 => meddle()])
            .prop_map(|(ask, meddle)| Step::Ask(ask, meddle)),
        6 => trouble().prop_map(Step::Trouble),
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
        1 => Just(Choice::Never),
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
    (kind, prop::bool::weighted(0.15), choice(), any::<bool>(), sync())
        .prop_map(|(kind, astray, point, shut_down, sync)| FailOver { kind, astray, point, shut_down, sync })
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        2 => Just(Ask::Commit),
        1 => Just(Ask::Protect),
        5 => failover().prop_map(Ask::FailOver),
        2 => choice().prop_map(Ask::TestFailover),
        2 => Just(Ask::CleanUp),
        2 => choice().prop_map(Ask::ChangePoint),
        2 => prop::bool::weighted(0.3).prop_map(|astray| Ask::Reprotect { astray }),
        2 => Just(Ask::Reverse),
        1 => Just(Ask::Disable),
        1 => Just(Ask::Complete),
        1 => Just(Ask::Cancel),
    ]
}

fn meddle() -> impl Strategy<Value = Meddle> {
    prop_oneof![
        ask().prop_map(Meddle::Also),
        (0..3000_u16).prop_map(Meddle::CancelAfter),
        (1..40_u8, any::<bool>()).prop_map(|(call, takes_effect)| Meddle::Die { call, takes_effect }),
    ]
}

fn trouble() -> impl Strategy<Value = Trouble> {
    let calls = 0..u8::try_from(Call::ALL.len()).unwrap_or(u8::MAX);
    prop_oneof![
        6 => (side(), calls, any::<bool>())
            .prop_map(|(at, call, takes_effect)| Trouble::Call { at, call, takes_effect }),
        1 => (side(), 1..30_u8).prop_map(|(at, nth)| Trouble::Read(at, nth)),
        1 => (side(), 1..30_u8).prop_map(|(at, nth)| Trouble::Write(at, nth)),
        2 => side().prop_map(Trouble::LinkCut),
        2 => side().prop_map(Trouble::Deaf),
        3 => side().prop_map(Trouble::Lost),
    ]
}
