//! The moments at which a core can be killed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::Millis;
use tokio::sync::{mpsc, oneshot};

use crate::rules::RuleId;

/// The time between the death of a core and the start of the next.
pub const DOWN: Millis = Millis(1_000);

/// At which moments a core is killed. Each call of the suite to the core and of the core to a
/// platform has two: before it has an effect, and after that but before its answer arrives. They
/// are counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Never; the moments are only counted.
    Never,
    /// At this moment.
    At(u64),
    /// At every moment whose number is divisible by `every`, but not more than `most` times.
    Every {
        /// The distance between two kills.
        every: u64,
        /// How often at most.
        most: u64,
    },
}

impl Schedule {
    fn strikes(self, moment: u64, strikes: u64) -> bool {
        match self {
            Self::Never => false,
            Self::At(at) => moment == at,
            Self::Every { every, most } => moment.is_multiple_of(every) && strikes < most,
        }
    }
}

/// Counts the moments, decides at which of them the core is killed, and keeps what was found wrong
/// after a restart.
#[derive(Debug)]
pub struct Kills {
    schedule: Schedule,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    moments: u64,
    strikes: u64,
    repeated: u64,
    undecided: Option<String>,
    objections: Vec<(RuleId, String)>,
    /// Kills and restarts the core; the sender is told when it is dead.
    reaper: Option<mpsc::UnboundedSender<oneshot::Sender<()>>>,
}

impl Kills {
    /// Kills a core by this schedule.
    #[must_use]
    pub fn new(schedule: Schedule) -> Arc<Self> {
        Arc::new(Self { schedule, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many moments there were.
    #[must_use]
    pub fn moments(&self) -> u64 {
        self.state().moments
    }

    /// How often the core was killed.
    #[must_use]
    pub fn strikes(&self) -> u64 {
        self.state().strikes
    }

    /// How many jobs failed because of a kill and were asked for again.
    #[must_use]
    pub fn repeated(&self) -> u64 {
        self.state().repeated
    }

    /// Why nothing can be said about the core after a kill, if so.
    #[must_use]
    pub fn undecided(&self) -> Option<String> {
        self.state().undecided.clone()
    }

    /// What was wrong after restarts, with the rule that it breaks.
    #[must_use]
    pub fn objections(&self) -> Vec<(RuleId, String)> {
        self.state().objections.clone()
    }

    /// Whoever receives the strikes kills the core and starts it again.
    pub(super) fn reaper(&self) -> mpsc::UnboundedReceiver<oneshot::Sender<()>> {
        let (sender, strikes) = mpsc::unbounded_channel();
        self.state().reaper = Some(sender);
        strikes
    }

    /// Counts a moment, and kills the core if it is one of those. Returns when it is dead.
    pub(super) async fn moment(&self) -> bool {
        let (dead, died) = oneshot::channel();
        let sent = {
            let mut state = self.state();
            state.moments += 1;
            let strikes = self.schedule.strikes(state.moments, state.strikes);
            let sent = strikes && state.reaper.as_ref().is_some_and(|reaper| reaper.send(dead).is_ok());
            state.strikes += u64::from(sent);
            sent
        };
        // Fails if the run ends at this moment.
        sent && died.await.is_ok()
    }

    pub(super) fn repeats_a_job(&self) {
        self.state().repeated += 1;
    }

    pub(super) fn cannot_tell(&self, why: String) {
        self.state().undecided.get_or_insert(why);
    }

    pub(super) fn object(&self, rule: RuleId, found: String) {
        self.state().objections.push((rule, found));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_strikes_where_it_says() {
        let struck = |schedule: Schedule| -> Vec<u64> {
            let mut strikes = 0;
            let at = (1..=10).filter(|moment| {
                let now = schedule.strikes(*moment, strikes);
                strikes += u64::from(now);
                now
            });
            at.collect()
        };
        assert!(struck(Schedule::Never).is_empty());
        assert_eq!(struck(Schedule::At(3)), [3]);
        assert_eq!(struck(Schedule::Every { every: 3, most: 2 }), [3, 6]);
    }
}
