//! What the history keeps of a run.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use crate::outcome::{Division, GUEST_BOOTS, HostFacts, Results, ScenarioOutcome, Verdict};
use crate::timeline::{Happening, Timeline};

/// A run in the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Id of the run.
    pub run: String,
    /// When it began, UTC; when it was reported if that is not known.
    pub began: String,
    /// Its verdict.
    pub verdict: Verdict,
    /// Name and version of the suite.
    pub suite: String,
    /// Names and versions of the cores that were tested.
    pub core: String,
    /// The fault that was injected into the core on purpose.
    pub mutant: Option<String>,
    /// The profile of external facts.
    pub profile: String,
    /// [`fingerprint`] of the host; of shards on several hosts, one that no single host has.
    pub fingerprint: String,
    /// The host.
    pub host: HostFacts,
    /// The command of the run; empty if that is not known.
    pub command: String,
    /// Those of its options that change what a scenario does, whoever chose their values. Records
    /// of older suites lack them.
    #[serde(default)]
    pub options: String,
    /// Every scenario.
    pub scenarios: Vec<ScenarioRecord>,
    /// What was measured. Lists of runs leave it out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<Metric>,
}

/// A scenario of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenarioRecord {
    /// Name.
    pub name: String,
    /// Verdict.
    pub verdict: Verdict,
    /// Milliseconds from the first step to the last.
    pub ms: u64,
    /// Name and version of its core. Records of older suites lack it.
    #[serde(default)]
    pub core: String,
    /// [`fingerprint`] of the host on which it ran, which in a merged run is that of its shard.
    /// Records of older suites lack it.
    #[serde(default)]
    pub fingerprint: String,
}

/// One measured value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// The scenario.
    pub scenario: String,
    /// The edge; empty if the value is about the whole scenario.
    pub edge: String,
    /// What was measured, with its unit at the end: `rto-boots`, `rto-ms`, `rpo-ms`,
    /// `guest-boot-ms` (the part of `rto-ms` in which the guest booted), `lost-bytes`,
    /// `sent-bytes`, `delta-ratio`, `boot-ms`, `point-gap-ms`, `slowdown-ratio` and what was on,
    /// or `step-ms` and the name of the step. Those of a benchmark: [`super::BenchValue`].
    pub name: String,
    /// The value.
    pub value: f64,
}

impl RunRecord {
    /// What the history keeps of the run in `dir`.
    #[must_use]
    pub fn of(results: &Results, dir: &Utf8Path) -> Self {
        let Results { run, verdict, suite, profile, host, request, scenarios, .. } = results;
        let mut cores: Vec<_> = scenarios.iter().map(|scenario| scenario.core.clone()).collect();
        cores.retain(|core| !core.is_empty());
        cores.sort();
        cores.dedup();
        let began = if results.began.is_empty() { &results.reported } else { &results.began };
        Self {
            run: run.clone(),
            began: began.clone(),
            verdict: *verdict,
            suite: suite.clone(),
            core: cores.join(", "),
            mutant: scenarios.iter().find_map(|scenario| scenario.mutant.clone()),
            profile: profile.clone(),
            fingerprint: fingerprint_of_run(results),
            host: host.clone(),
            command: request.command.clone(),
            options: request.options.clone(),
            scenarios: scenarios.iter().map(|scenario| scenario_record(scenario, results)).collect(),
            metrics: scenarios.iter().flat_map(|scenario| metrics(scenario, dir)).collect(),
        }
    }

    /// [`fingerprint`] of the host of a scenario of this run; `None` if it is not known, or the run
    /// has no such scenario.
    #[must_use]
    pub fn host_of(&self, scenario: &str) -> Option<&str> {
        let found = self.scenarios.iter().find(|found| found.name == scenario)?;
        let host = if found.fingerprint.is_empty() { &self.fingerprint } else { &found.fingerprint };
        Some(host.as_str()).filter(|host| *host != UNKNOWN_HOST)
    }
}

fn scenario_record(scenario: &ScenarioOutcome, results: &Results) -> ScenarioRecord {
    let ScenarioOutcome { name, verdict, ms, core, .. } = scenario;
    let host = match &results.division {
        Division::Merged(merged) => merged.host_of(name),
        Division::Whole | Division::Shard(_) => Some(&results.host),
    };
    ScenarioRecord {
        name: name.clone(),
        verdict: *verdict,
        ms: *ms,
        core: core.clone(),
        fingerprint: host.map_or_else(|| UNKNOWN_HOST.to_owned(), fingerprint),
    }
}

/// Everything that was measured in a scenario.
fn metrics(scenario: &ScenarioOutcome, dir: &Utf8Path) -> Vec<Metric> {
    let metric = |edge: &str, name: &str, value: f64| Metric {
        scenario: scenario.name.clone(),
        edge: edge.to_owned(),
        name: name.to_owned(),
        value,
    };
    let mut metrics: Vec<_> = scenario.boots_ms.iter().map(|ms| metric("", "boot-ms", *ms as f64)).collect();
    for edge in scenario.edges.iter().filter(|edge| edge.verdict == Verdict::Pass) {
        let (rpo, rto) = (&edge.rpo, &edge.rto);
        metrics.push(metric(&edge.name, "rpo-ms", rpo.ms as f64));
        metrics.push(metric(&edge.name, "lost-bytes", rpo.bytes as f64));
        metrics.push(metric(&edge.name, "rto-ms", rto.ms as f64));
        metrics.push(metric(&edge.name, "rto-boots", rto.boots));
        let boot = rto.steps.iter().find(|step| step.name == GUEST_BOOTS);
        metrics.extend(boot.map(|boot| metric(&edge.name, "guest-boot-ms", boot.ms as f64)));
        // Where further points had been made by then, the amount is that of several transfers.
        if let Some(sent) = edge.sent.filter(|sent| sent.points <= 1) {
            metrics.push(metric(&edge.name, "sent-bytes", sent.bytes as f64));
            metrics.extend(sent.cost().map(|cost| metric(&edge.name, "delta-ratio", cost)));
        }
    }
    for speed in &scenario.speeds {
        let name = format!("slowdown-ratio {}", speed_name(speed.depth, speed.log, speed.replication));
        metrics.push(metric("", &name, speed.ratio));
    }
    let timeline = Timeline::of_scenario(dir, &scenario.name);
    metrics.extend(point_gap(&timeline).map(|gap| metric("", "point-gap-ms", gap)));
    for step in timeline.steps {
        if let Some(to) = step.to.filter(|_| !step.failed) {
            let ms = to.saturating_sub(step.from) as f64;
            metrics.push(metric(&step.edge, &format!("step-ms {}", step.name), ms));
        }
    }
    metrics
}

/// The median time between one recovery point of a machine and the next, in milliseconds, as the
/// core states it; `None` if there are no two.
fn point_gap(timeline: &Timeline) -> Option<f64> {
    let mut points: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for moment in &timeline.moments {
        if let Happening::Point { machine, .. } = &moment.what {
            points.entry(machine).or_default().push(moment.at_ms);
        }
    }
    points.values_mut().for_each(|times| times.sort_unstable());
    let gaps = points.values().flat_map(|times| times.windows(2).map(|pair| (pair[1] - pair[0]) as f64));
    let gaps: Vec<_> = gaps.collect();
    (!gaps.is_empty()).then(|| statistics::median(&gaps))
}

/// `depth 32, log, replication`.
fn speed_name(depth: u32, log: bool, replication: bool) -> String {
    let parts = [(log, ", log"), (replication, ", replication")];
    let on: String = parts.into_iter().filter(|(on, _)| *on).map(|(_, name)| name).collect();
    format!("depth {depth}{on}")
}

/// The fingerprint of a host that is not known. Nothing is compared with it, not even another such.
pub(crate) const UNKNOWN_HOST: &str = "unknown";

/// A short text that is the same for hosts on which times can be compared: processor, cores,
/// memory in GiB and accelerator; `unknown` if the host is not known.
#[must_use]
pub fn fingerprint(host: &HostFacts) -> String {
    if !host.is_known() {
        return UNKNOWN_HOST.to_owned();
    }
    let HostFacts { cpu, cores, memory, accelerator, .. } = host;
    digest(&format!("{cpu}\n{cores}\n{}\n{accelerator}", memory >> 30))
}

/// The fingerprint of the host of a run. Shards on several hosts have one in common that is no
/// host's. Where one shard's host is not known, the others decide, because each scenario has that
/// of its own shard besides.
fn fingerprint_of_run(results: &Results) -> String {
    let Division::Merged(merged) = &results.division else { return fingerprint(&results.host) };
    let hosts = merged.shards.iter().filter_map(|shard| shard.host.as_ref());
    let hosts: BTreeSet<_> = hosts.filter(|host| host.is_known()).map(fingerprint).collect();
    let all = hosts.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
    match hosts.len() {
        0 => UNKNOWN_HOST.to_owned(),
        1 => all,
        _ => digest(&all),
    }
}

fn digest(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..12].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::Moment;

    #[test]
    fn the_time_between_points_is_the_median_of_each_machines_own() {
        let point = |machine: &str, at_ms| Moment {
            at_ms,
            what: Happening::Point { machine: machine.into(), point: String::new() },
        };
        let moments = [("a", 0), ("b", 100), ("a", 1_000), ("b", 1_300), ("a", 9_000)];
        let moments = moments.map(|(machine, at)| point(machine, at)).to_vec();
        let timeline = Timeline { moments, ..Timeline::default() };
        assert_eq!(point_gap(&timeline), Some(1_200.0));
        assert_eq!(point_gap(&Timeline::default()), None);
    }

    #[test]
    fn a_host_is_the_same_after_an_update_and_another_with_another_accelerator() {
        let host = HostFacts { cpu: "a".into(), cores: 2, memory: 5 << 30, ..HostFacts::default() };
        let updated = HostFacts { kernel: "6.2".into(), memory: (5 << 30) + 7, ..host.clone() };
        assert_eq!(fingerprint(&host), fingerprint(&updated));
        let faster = HostFacts { accelerator: "KVM".into(), ..host.clone() };
        assert_ne!(fingerprint(&host), fingerprint(&faster));
    }
}
