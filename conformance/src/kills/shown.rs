//! What a core has shown, which is still true after a restart.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use contract::*;
use wire::client::Client;

use super::moments::Kills;
use super::requests::Requests;
use crate::rules::ids::*;

/// What a core has shown of items and of jobs that have ended.
#[derive(Default)]
pub(super) struct Shown {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    items: BTreeMap<ItemId, ItemView>,
    jobs: BTreeMap<JobId, JobView>,
}

/// An answer that may show something.
pub(super) trait Answer {
    /// Notes what it shows.
    fn note(&self, _shown: &Shown) {}
}

macro_rules! shows_nothing {
    ($($type:ty),+) => {$(impl Answer for $type {})+};
}
shows_nothing!((), JobId, Capabilities, Vec<PolicyView>, Vec<RecoveryPlan>);

impl Answer for ItemView {
    fn note(&self, shown: &Shown) {
        shown.state().items.insert(self.id.clone(), self.clone());
    }
}

impl Answer for JobView {
    fn note(&self, shown: &Shown) {
        if !self.state.ended() {
            return;
        }
        let mut state = shown.state();
        state.jobs.insert(self.id.clone(), self.clone());
        if let (JobKind::DisableProtection, JobSubject::Item(item)) = (self.kind, &self.subject) {
            state.items.remove(item);
        }
    }
}

impl<T: Answer> Answer for Vec<T> {
    fn note(&self, shown: &Shown) {
        self.iter().for_each(|one| one.note(shown));
    }
}

impl Shown {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares what a core shows after a restart with what it had shown before.
    pub(super) async fn compare(&self, core: &Client, requests: &Requests, kills: &Kills) {
        let (items, jobs) = {
            let state = self.state();
            (state.items.clone(), state.jobs.clone())
        };
        for (id, before) in &jobs {
            match core.job(id).await {
                Ok(now) => changes(before, &now).into_iter().for_each(|what| kills.object(JO_01, what)),
                Err(error) if error.code == ErrorCode::UnknownId => {
                    kills.object(JO_01, format!("{id} had ended, and after a restart there is no such job"));
                }
                // What keeps a core from answering is found by whoever calls it next.
                Err(_) => return,
            }
        }
        let at_work = requests.at_work();
        for id in &at_work {
            if core.job(id).await.is_err_and(|error| error.code == ErrorCode::UnknownId) {
                kills.object(JO_01, format!("{id} was at work, and after a restart there is no such job"));
            }
        }
        for (id, before) in &items {
            match core.item(id).await {
                Ok(now) => {
                    altered_points(before, &now).into_iter().for_each(|what| kills.object(RP_20, what))
                }
                // Its protection may be about to end.
                Err(error) if error.code == ErrorCode::UnknownId && at_work.is_empty() => {
                    kills.object(MO_06, format!("after a restart there is no item {id}"));
                }
                Err(_) => {}
            }
        }
    }
}

/// What has changed in a job that had ended. Which actions it allows may change with its item.
fn changes(before: &JobView, now: &JobView) -> Option<String> {
    let fixed = |job: &JobView| {
        let JobView { subject, kind, direction, state, attempt, steps, error, started, ended, .. } = job;
        format!(
            "{subject:?} {kind:?} {direction:?} {state:?} {attempt} {steps:?} {error:?} {started:?} {ended:?}"
        )
    };
    let (before_text, now_text) = (fixed(before), fixed(now));
    let id = &before.id;
    (before_text != now_text).then(|| {
        format!(
            "{id} had ended and shows something else after a restart: {now_text} instead of {before_text}"
        )
    })
}

/// The points that both views list and that differ.
fn altered_points(before: &ItemView, now: &ItemView) -> Vec<String> {
    let fixed = |point: &RecoveryPoint| (point.time, point.consistency);
    let pairs = before.points.iter().filter(|point| point.processed).filter_map(|point| {
        let same = now.points.iter().find(|other| other.id == point.id)?;
        (fixed(point) != fixed(same)).then_some((point, same))
    });
    pairs
        .map(|(point, same)| {
            let (was, is) = (fixed(point), fixed(same));
            format!("{}: {was:?} became {is:?} with a restart", point.id)
        })
        .collect()
}
