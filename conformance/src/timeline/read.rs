//! Reads what happened when, from the evidence of a scenario.

use camino::Utf8Path;
use serde::Deserialize;

use super::moments::{Happening, Moment, TIMELINE};
use crate::evidence::PROGRESS;
use crate::foreign_files;

/// Milliseconds over which acknowledgements are counted for one point of the plot, at least.
const SHORTEST_BIN: u64 = 500;
/// Points of the plot, at most: it is as wide as a page.
const MOST_BINS: u64 = 200;

/// Everything that a scenario's plot shows. Times are milliseconds since the scenario began.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    /// The steps of the run and of the core's jobs.
    pub(crate) steps: Vec<Step>,
    /// What happened to machines, sites and recovery points.
    pub(crate) moments: Vec<Moment>,
    /// Acknowledged records per second, for each boot of a guest.
    pub(crate) rates: Vec<Rate>,
}

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The edge or phase; empty before the first one.
    pub(crate) edge: String,
    pub(crate) name: String,
    pub(crate) from: u64,
    /// `None` if it did not end.
    pub(crate) to: Option<u64>,
    pub(crate) failed: bool,
}

/// How many records a guest's writer had acknowledged per second.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rate {
    pub(crate) machine: String,
    /// Moments and records per second, in order.
    pub(crate) points: Vec<(u64, f64)>,
}

impl Timeline {
    /// The timeline of a scenario of the run in `dir`. Whatever is missing is left out: a plot
    /// decides nothing.
    pub(crate) fn of_scenario(dir: &Utf8Path, scenario: &str) -> Self {
        let Ok(own) = foreign_files::inside(dir, scenario) else { return Self::default() };
        let moments: Vec<Moment> = lines(&own.join(TIMELINE));
        let events: Vec<Event> = lines(&dir.join(PROGRESS));
        let steps = steps(events.iter().filter(|event| event.scenario == scenario));
        let end =
            moments.iter().map(|moment| moment.at_ms).chain(steps.iter().filter_map(|step| step.to)).max();
        let bin = SHORTEST_BIN.max(end.unwrap_or_default() / MOST_BINS);
        let rates = moments.iter().filter_map(|moment| match &moment.what {
            Happening::PowerOn { machine, boot } => {
                let acks: Vec<Ack> = lines(&foreign_files::inside(&own, boot).ok()?.join("acks.jsonl"));
                let heard: Vec<_> =
                    acks.iter().map(|ack| moment.at_ms.saturating_add(ack.heard_ms)).collect();
                Some(Rate { machine: machine.clone(), points: per_second(&heard, bin) })
            }
            _ => None,
        });
        let rates = rates.filter(|rate| !rate.points.is_empty()).collect();
        Self { steps, moments, rates }
    }

    /// Whether there is anything to draw.
    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// When the last thing happened.
    pub(crate) fn end(&self) -> u64 {
        let steps = self.steps.iter().map(|step| step.to.unwrap_or(step.from));
        let moments = self.moments.iter().map(|moment| moment.at_ms);
        steps.chain(moments).max().unwrap_or_default()
    }

    /// The names of edges and phases, each once, in the order in which they began. Those of
    /// machines that move together take turns.
    pub(crate) fn edge_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for (name, ..) in self.edges() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The edges and phases in order, each with its first and last moment.
    pub(crate) fn edges(&self) -> Vec<(&str, u64, u64)> {
        let mut edges: Vec<(&str, u64, u64)> = Vec::new();
        for step in self.steps.iter().filter(|step| !step.edge.is_empty()) {
            let to = step.to.unwrap_or(step.from);
            match edges.last_mut().filter(|(name, ..)| *name == step.edge) {
                Some((_, _, last)) => *last = to.max(*last),
                None => edges.push((&step.edge, step.from, to)),
            }
        }
        edges
    }
}

/// The values on the lines of a file. Lines that are not what they should be are skipped: the last
/// one of a killed run may be cut off.
fn lines<T: for<'de> Deserialize<'de>>(path: &Utf8Path) -> Vec<T> {
    let text = foreign_files::read(path).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[derive(Deserialize)]
struct Ack {
    heard_ms: u64,
}

/// A line of the run's progress.
#[derive(Deserialize)]
struct Event {
    at_ms: u64,
    scenario: String,
    #[serde(default)]
    edge: String,
    step: String,
    state: String,
}

/// Pairs the beginnings of steps with their ends. Only the last attempt of a scenario counts, whose
/// time begins anew.
fn steps<'a>(events: impl Iterator<Item = &'a Event>) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut last = 0;
    for event in events {
        if event.at_ms < last && event.state == "start" {
            steps.clear();
        }
        last = event.at_ms;
        let Event { at_ms, edge, step, state, .. } = event;
        let open = |known: &&mut Step| known.to.is_none() && known.name == *step && known.edge == *edge;
        match state.as_str() {
            "start" => steps.push(Step {
                edge: edge.clone(),
                name: step.clone(),
                from: *at_ms,
                to: None,
                failed: false,
            }),
            "done" | "failed" => {
                if let Some(known) = steps.iter_mut().rev().find(open) {
                    known.to = Some(*at_ms);
                    known.failed = state == "failed";
                }
            }
            _ => {}
        }
    }
    steps
}

/// How many of these moments fall into each interval of `bin` milliseconds, as a number per second.
fn per_second(moments: &[u64], bin: u64) -> Vec<(u64, f64)> {
    let Some(first) = moments.iter().min().map(|first| first / bin) else { return Vec::new() };
    let index = |moment: &u64| moment / bin - first;
    // Acknowledgements that are far behind everything else belong to no plot.
    let last = moments.iter().map(index).filter(|index| *index < 2 * MOST_BINS).max().unwrap_or_default();
    let mut counts = vec![0_u64; usize::try_from(last + 1).unwrap_or_default()];
    for moment in moments {
        if let Some(count) = usize::try_from(index(moment)).ok().and_then(|index| counts.get_mut(index)) {
            *count += 1;
        }
    }
    let middle = |index: u64| (first + index).saturating_mul(bin).saturating_add(bin / 2);
    let rate = |count: u64| count as f64 * 1000.0 / bin as f64;
    (0..).zip(counts).map(|(index, count)| (middle(index), rate(count))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at_ms: u64, step: &str, state: &str) -> Event {
        let text = |text: &str| text.to_owned();
        Event { at_ms, scenario: text("a"), edge: text("failover"), step: text(step), state: text(state) }
    }

    #[test]
    fn steps_may_overlap_and_one_that_did_not_end_is_kept() {
        let events = [
            event(10, "start", "start"),
            event(20, "boot", "start"),
            event(25, "start", "done"),
            event(90, "boot", "failed"),
            event(95, "judge", "start"),
        ];
        let steps = steps(events.iter());
        let ends: Vec<_> = steps.iter().map(|step| (step.name.as_str(), step.to, step.failed)).collect();
        assert_eq!(ends, [("start", Some(25), false), ("boot", Some(90), true), ("judge", None, false)]);
        let timeline = Timeline { steps, ..Timeline::default() };
        assert_eq!(timeline.edges(), [("failover", 10, 95)]);
    }

    #[test]
    fn an_earlier_attempt_is_left_out() {
        let events = [event(10, "boot", "start"), event(500, "boot", "failed"), event(5, "copy", "start")];
        let steps = steps(events.iter());
        assert_eq!(steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), ["copy"]);
    }

    #[test]
    fn acknowledgements_are_counted_per_second() {
        let rates = per_second(&[1_000, 1_100, 1_600, 2_900], 500);
        assert_eq!(rates, [(1_250, 4.0), (1_750, 2.0), (2_250, 0.0), (2_750, 2.0)]);
        assert!(per_second(&[], 500).is_empty());
    }

    #[test]
    fn acknowledgements_out_of_order_or_of_another_age_make_no_large_plot() {
        assert_eq!(per_second(&[2_900, 1_000], 500).len(), 4);
        let rates = per_second(&[u64::MAX, 1_000, 0, u64::MAX / 2], 500);
        assert!(rates.len() <= 2 * MOST_BINS as usize, "{}", rates.len());
    }
}
