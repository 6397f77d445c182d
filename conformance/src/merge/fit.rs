//! Whether shards belong together: to one run of one suite on one core, each of them once.

use std::collections::BTreeSet;

use super::error::MergeError;
use super::part::Part;
use crate::outcome::{Merged, MergedShard, ShardState};

/// A fact that all shards of a run share. `None` if a shard did not get far enough to know it.
type Fact = (&'static str, fn(&Part) -> Option<String>);

/// The facts, in the order in which a difference is reported.
const SHARED: [Fact; 9] = [
    ("sources", |part| Some(part.shard.sources.clone())),
    ("run name", |part| Some(part.shard.run.clone())),
    ("number of shards", |part| Some(part.shard.of.to_string())),
    ("options", |part| Some(part.request.options.clone())),
    ("seed", |part| Some(part.request.seed.clone().unwrap_or_else(|| "none".to_owned()))),
    ("suite", |part| Some(part.results.as_ref()?.suite.clone())),
    ("core", cores),
    ("profile", |part| Some(part.results.as_ref()?.profile.clone()).filter(|name| !name.is_empty())),
    // Different selections, or different histories to divide one by.
    ("division of the scenarios", |part| {
        let shards = part.shard.divided.iter().map(|names| names.join(","));
        Some(shards.collect::<Vec<_>>().join(" / "))
    }),
];

/// The cores that a shard tested.
fn cores(part: &Part) -> Option<String> {
    let scenarios = part.results.as_ref()?.scenarios.iter();
    let cores: BTreeSet<_> =
        scenarios.map(|scenario| scenario.core.as_str()).filter(|core| !core.is_empty()).collect();
    (!cores.is_empty()).then(|| cores.into_iter().collect::<Vec<_>>().join(", "))
}

/// The run that the shards make up. A shard that is missing is part of it.
pub(super) fn fit(parts: &[Part]) -> Result<Merged, MergeError> {
    let Some(first) = parts.first() else {
        return Err(MergeError::Refused("There is no shard to merge.".to_owned()));
    };
    SHARED.iter().try_for_each(|fact| require_shared(parts, fact))?;
    let shards = (1..=first.shard.of).map(|number| merged_shard(parts, first, number));
    Ok(Merged {
        run: first.shard.run.clone(),
        sources: first.shard.sources.clone(),
        shards: shards.collect::<Result<_, _>>()?,
    })
}

fn require_shared(parts: &[Part], (name, fact): &Fact) -> Result<(), MergeError> {
    let mut known = parts.iter().filter_map(|part| Some((part, fact(part)?)));
    let Some((first, value)) = known.next() else { return Ok(()) };
    match known.find(|(_, other)| *other != value) {
        None => Ok(()),
        Some((part, other)) => Err(MergeError::Refused(format!(
            "{} and {} are no shards of one run. Their {name} differs: \"{value}\" and \"{other}\".",
            first.dir, part.dir
        ))),
    }
}

fn merged_shard(parts: &[Part], first: &Part, number: usize) -> Result<MergedShard, MergeError> {
    let scenarios = first.shard.divided[number - 1].clone();
    let mut with_number = parts.iter().filter(|part| part.shard.number == number);
    let part = with_number.next();
    if let (Some(one), Some(other)) = (part, with_number.next()) {
        return Err(MergeError::Refused(format!(
            "{} and {} are both shard {number} of {}: leave one out.",
            one.dir, other.dir, first.shard.of
        )));
    }
    let host = part.map(|part| part.host.clone());
    let state = part.map_or(ShardState::Missing, |part| part.state);
    Ok(MergedShard { number, scenarios, state, host })
}
