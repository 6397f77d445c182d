//! Results for the tests of reports: a stored run, and what it would look like with other verdicts.

use camino::Utf8Path;
use serde_json::json;

use crate::evidence::PROGRESS;
use crate::outcome::{Results, RuleOutcome, Verdict, from_stored};
use crate::rules::Score;
use crate::timeline::{Happening, Moment, TIMELINE};

/// Folder of stored results.
const STORED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stored");
/// The scenario of the stored run.
const NAME: &str = "azure-azure";
/// The directory of a boot in its evidence.
const BOOT: &str = "sites/azure/machines/shop/boot-1";

/// The stored run, which passed.
pub(super) fn passing() -> Results {
    from_stored(&std::fs::read(format!("{STORED}/results-schema-2.json")).unwrap()).unwrap()
}

/// The same with a broken guarantee.
pub(super) fn failing() -> Results {
    with_worst(Verdict::Fail, Score::Broken, "3 points left")
}

/// The same with a guarantee about which nothing is known.
pub(super) fn unknown() -> Results {
    with_worst(Verdict::Unknown, Score::Unknown, "the guest did not boot")
}

/// Evidence of the stored run: steps, moments, acknowledgements and a screenshot, in `dir`.
pub(super) fn evidence(dir: &Utf8Path) {
    let boot = dir.join(NAME).join(BOOT);
    std::fs::create_dir_all(&boot).unwrap();
    std::fs::write(dir.join(NAME).join("result.json"), "{}").unwrap();
    let stored = |name: &str| std::fs::read(format!("{STORED}/{name}")).unwrap();
    std::fs::write(boot.join("screen.png"), stored("screen.png")).unwrap();
    let acks =
        (0..400).map(|number| format!("{{\"number\":{number},\"heard_ms\":{}}}\n", 8_000 + number * 40));
    std::fs::write(boot.join("acks.jsonl"), acks.collect::<String>()).unwrap();
    let at = |at_ms, what| serde_json::to_string(&Moment { at_ms, what }).unwrap() + "\n";
    let (machine, edge) = (|| "shop".to_owned(), || "failover".to_owned());
    let points = (0..5).map(|number| {
        at(10_000 + number * 1_000, Happening::Point { machine: machine(), point: format!("p-{number}") })
    });
    let moments = [
        at(300, Happening::PowerOn { machine: machine(), boot: BOOT.to_owned() }),
        at(8_200, Happening::Hello { machine: machine() }),
        at(15_000, Happening::SiteLost { site: "azure-standin".to_owned() }),
        at(14_400, Happening::Cut { edge: edge(), machine: machine() }),
        at(15_000, Happening::Stopped { edge: edge(), machine: machine() }),
        at(30_000, Happening::Fault { site: "azure-west-standin".to_owned(), fault: "power cut".to_owned() }),
        at(33_000, Happening::Healed { site: "azure-west-standin".to_owned() }),
    ];
    let moments: String = moments.into_iter().chain(points).collect();
    std::fs::write(dir.join(NAME).join(TIMELINE), moments).unwrap();
    let steps = [
        ("", "boot the source", 300, 8_200),
        ("protect", "initial replication", 8_300, 9_900),
        ("failover", "guest at work", 10_000, 15_000),
        ("failover", "start target machine", 15_100, 15_600),
        ("failover", "boot the recovered machine", 15_500, 24_000),
        ("reprotect", "synchronise differences", 24_500, 40_000),
    ];
    let steps = steps.into_iter().flat_map(|(edge, step, from, to)| {
        [("start", from), ("done", to)].map(|(state, at_ms)| {
            let line = json!({"at_ms": at_ms, "scenario": NAME, "edge": edge, "step": step, "state": state});
            format!("{line}\n")
        })
    });
    std::fs::write(dir.join(PROGRESS), steps.collect::<String>()).unwrap();
}

fn with_worst(verdict: Verdict, score: Score, found: &str) -> Results {
    let mut results = passing();
    results.verdict = verdict;
    let scenario = &mut results.scenarios[0];
    let held = |rule: &&mut RuleOutcome| rule.score == Score::Held;
    let rule = scenario.rules.iter_mut().find(held).unwrap();
    *rule = RuleOutcome { verdict, score, found: found.to_owned(), ..rule.clone() };
    let rule = rule.clone();
    scenario.verdict = verdict;
    scenario.why = rule.to_string();
    let judged = results.rules.iter_mut().find(|judged| (judged.id, judged.tier) == (rule.id, rule.tier));
    *judged.unwrap() = rule;
    results
}
