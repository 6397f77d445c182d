//! Variants that take another time for the same things.

use async_trait::async_trait;
use contract::{Acknowledge, MachineId, Millis, Platform, PlatformError, PlatformErrorKind, Policy};

use super::difference::{Difference, Pace};

/// Answers every request after a while.
pub(super) struct SlowAnswers;

impl Difference for SlowAnswers {
    fn pace(&self) -> Pace {
        Pace { request: Millis(300), ..Pace::default() }
    }
}

/// Notices an event after a while, as a core does that polls.
pub(super) struct LateEvents;

impl Difference for LateEvents {
    fn pace(&self) -> Pace {
        Pace { event: Millis(2_000), ..Pace::default() }
    }
}

/// Ends a wait for an event after a while, with an unchanged view.
pub(super) struct ShortWaits;

impl Difference for ShortWaits {
    fn pace(&self) -> Pace {
        Pace { longest_wait: Some(Millis(5_000)), ..Pace::default() }
    }
}

/// Takes longer for every call to a platform, so that every job takes longer.
pub(super) struct SlowJobs;

impl Difference for SlowJobs {
    fn pace(&self) -> Pace {
        Pace { call: Millis(150), ..Pace::default() }
    }
}

/// Names how many milliseconds [`SlowStart`] waits.
const SLOW_START: &str = "ROUNDTRIP_SLOW_START_MS";
/// How long it waits otherwise.
const USUAL_SLOW_START: Millis = Millis(1_000);

/// Waits before it starts a machine, so that every recovery takes longer.
pub(super) struct SlowStart;

impl Difference for SlowStart {
    fn pace(&self) -> Pace {
        let asked = std::env::var(SLOW_START).ok().and_then(|text| text.parse().ok());
        Pace { start: asked.map_or(USUAL_SLOW_START, Millis), ..Pace::default() }
    }
}

/// Repeats a call to a platform once if it failed.
pub(super) struct RepeatsCalls;

impl Difference for RepeatsCalls {
    fn repeats(&self, error: &PlatformError) -> Option<Millis> {
        let passing =
            [PlatformErrorKind::Failed, PlatformErrorKind::Unreachable, PlatformErrorKind::TimedOut];
        passing.contains(&error.kind).then_some(Millis(500))
    }
}

/// Looks at machines and infrastructure before each call to a platform.
pub(super) struct LooksOften;

#[async_trait]
impl Difference for LooksOften {
    async fn before_call(&self, platform: &dyn Platform) -> bool {
        // What it sees makes no difference.
        platform.machines().await.is_ok() | platform.infrastructure().await.is_ok()
    }
}

/// Takes a snapshot that it does not use before each one that it does, and closes it.
pub(super) struct MoreSnapshots;

#[async_trait]
impl Difference for MoreSnapshots {
    async fn before_snapshot(&self, platform: &dyn Platform, machine: &MachineId) -> bool {
        let Ok(snapshot) = platform.open_snapshot(machine, None).await else { return false };
        // If it stays open, the next one closes it.
        platform.close_snapshot(&snapshot.id, Acknowledge::Keep).await.is_ok()
    }
}

/// Transfers changes twice as often as the policy says.
pub(super) struct MorePoints;

impl Difference for MorePoints {
    fn inner_policy(&self, policy: &Policy) -> Policy {
        Policy { interval: Millis(policy.interval.0 / 2), ..*policy }
    }

    fn policy(&self, policy: Policy) -> Policy {
        Policy { interval: Millis(policy.interval.0 * 2), ..policy }
    }
}
