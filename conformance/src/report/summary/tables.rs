//! The tables of `--verbose`: each edge of each scenario, and each rule that matters.

use std::fmt::Write as _;

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
use contract::{Bytes, Millis};

use crate::outcome::{
    DiskOutcome, EdgeOutcome, LeftDisk, Results, Rpo, RuleOutcome, ScenarioOutcome, Verdict,
};
use crate::report::figures::{grouped, sign};
use crate::report::rules::{JudgedRules, count};
use crate::report::speeds::{depths, speed_line};
use crate::rules::Score;

/// A scenario with its edges, disks, speeds and reason.
pub(super) fn scenario_block(text: &mut String, scenario: &ScenarioOutcome) {
    let _ = writeln!(text, "\n{} {} — {}", sign(scenario.verdict), scenario.name, scenario.title);
    if let Some(mutant) = &scenario.mutant {
        let _ = writeln!(text, "   fault injected into the core: {mutant}");
    }
    if !scenario.edges.is_empty() {
        let _ = writeln!(text, "{}", edges(&scenario.edges));
    }
    for remark in &scenario.remarks {
        let _ = writeln!(text, "   {remark}");
    }
    for depth in depths(&scenario.speeds) {
        let _ = writeln!(text, "   {}", speed_line(&scenario.speeds, depth));
    }
    if !scenario.disks_left.is_empty() {
        let _ = writeln!(text, "   {}", disks_left(&scenario.disks_left));
    }
    let boots: u64 = scenario.boots_ms.iter().sum();
    if boots > 0 {
        let _ = writeln!(
            text,
            "   {} in total, {:.1} × its {} cold boots",
            Millis(scenario.ms),
            scenario.ms as f64 / boots as f64,
            scenario.boots_ms.len(),
        );
    }
    if !scenario.why.is_empty() {
        let _ = writeln!(text, "   why: {}", scenario.why);
    }
}

/// `9 disk images checked: all intact`.
fn disks_left(disks: &[LeftDisk]) -> String {
    let intact = |disk: &&LeftDisk| (disk.checked, disk.readable) == (Verdict::Pass, Verdict::Pass);
    let damaged = disks.len() - disks.iter().filter(intact).count();
    let found = if damaged == 0 { "all intact".to_owned() } else { format!("{damaged} NOT INTACT") };
    format!("{} disk images checked: {found}", disks.len())
}

fn edges(edges: &[EdgeOutcome]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(["", "edge", "disks", "lost (RPO)", "took (RTO)", "boots"]);
    for edge in edges {
        let disks: Vec<_> = edge.disks.iter().map(disk).collect();
        table.add_row([
            sign(edge.verdict).to_owned(),
            edge.name.clone(),
            disks.join("\n"),
            rpo(&edge.rpo),
            Millis(edge.rto.ms).to_string(),
            format!("{:.1}", edge.rto.boots),
        ]);
    }
    for column in [4, 5] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// `system exact 7,873 of 19,989`.
fn disk(disk: &DiskOutcome) -> String {
    match disk.cut {
        Some(cut) => format!("{} {} {} of {}", disk.name, disk.oracle, grouped(cut), grouped(disk.of)),
        None => format!("{} {}", disk.name, disk.oracle.to_uppercase()),
    }
}

fn rpo(rpo: &Rpo) -> String {
    let claimed = claimed(rpo).map_or_else(String::new, |claimed| format!("\n{claimed}"));
    if rpo.records == 0 && rpo.writes == 0 {
        return format!("nothing{claimed}");
    }
    let (records, writes) = (grouped(rpo.records), grouped(rpo.writes));
    format!("{} · {records} records\n{writes} writes, {}{claimed}", Millis(rpo.ms), Bytes(rpo.bytes))
}

/// The loss that the core claims, next to the measured one.
fn claimed(rpo: &Rpo) -> Option<String> {
    rpo.claimed_ms.map(|ms| match ms {
        0 => "the core claims nothing".to_owned(),
        ms => format!("the core claims {}", Millis(ms)),
    })
}

/// The rules by class, with every finding that differs from what was expected.
pub(super) fn rules_block(text: &mut String, results: &Results) {
    let rules = JudgedRules::of(results);
    let _ = writeln!(
        text,
        "\n   rules: {} held, {} broken, {} unknown",
        count(rules.deciding(), Score::Held),
        count(rules.deciding(), Score::Broken),
        rules.scored(&[Score::Unknown]).count(),
    );
    findings(text, "✗", rules.scored(&[Score::Broken]));
    for (capability, ids) in rules.skipped() {
        let _ = writeln!(text, "   skipped, because the core has no `{capability}`: {}", ids.join(" "));
    }
    let _ = writeln!(
        text,
        "   documented limits: {} as documented, {} different",
        count(rules.limitations(), Score::AsDocumented),
        count(rules.limitations(), Score::DiffersFromLimit),
    );
    findings(text, "·", rules.scored(&[Score::DiffersFromLimit]));
    let _ = writeln!(
        text,
        "   advice: {} followed, {} not followed",
        count(rules.advice(), Score::Followed),
        count(rules.advice(), Score::NotFollowed),
    );
    findings(text, "·", rules.scored(&[Score::NotFollowed]));
    let unchecked = results.not_judged.iter().filter(|rule| !rule.unchecked.is_empty()).count();
    let _ = writeln!(
        text,
        "   not judged in this run: {} rules, and {unchecked} that have no check; report.html lists them",
        results.not_judged.len() - unchecked,
    );
}

/// Rules with what was expected and what was found.
fn findings<'a>(text: &mut String, sign: &str, rules: impl Iterator<Item = &'a RuleOutcome>) {
    for RuleOutcome { id, title, tier, score, expected, found, .. } in rules {
        let _ = writeln!(text, "   {sign} {id} {title}");
        let _ = writeln!(text, "       {} ({} tier)", score.words(), tier.as_str());
        let _ = writeln!(text, "       expected: {expected}");
        let _ = writeln!(text, "       found:    {found}");
    }
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::super::{Detail, render};
    use super::*;
    use crate::outcome::{Division, HostFacts, Request, SCHEMA};
    use crate::rules::RuleLog;
    use crate::rules::coverage::not_judged;
    use crate::rules::ids::{FO_04, LC_01, LC_14, PL_08};

    fn results(rules: Vec<RuleOutcome>) -> Results {
        Results {
            schema: SCHEMA,
            suite: String::new(),
            run: String::new(),
            profile: "asr-2019".to_owned(),
            began: String::new(),
            reported: String::new(),
            request: Request::default(),
            division: Division::default(),
            host: HostFacts::default(),
            verdict: Verdict::Fail,
            scenarios: Vec::new(),
            regressions: Vec::new(),
            not_judged: not_judged(&rules),
            rules,
        }
    }

    #[test]
    fn every_finding_shows_the_rule_what_was_expected_and_what_was_found() {
        let mut real = RuleLog::default();
        real.check(LC_01, true, "two cycles");
        real.check(FO_04, false, "3 points left");
        let mut sim = RuleLog::simulated();
        sim.check(LC_01, true, "64 seeds");
        sim.check(LC_14, false, "accepted");
        sim.check(PL_08, false, "no time in the job record");
        let rules = real.into_outcomes().into_iter().chain(sim.into_outcomes());
        let results = results(rules.collect());
        let text = render(&results, Utf8Path::new("run"), Detail::Tables);
        let unchecked = results.not_judged.iter().filter(|rule| !rule.unchecked.is_empty()).count();
        let left_out = results.not_judged.len() - unchecked;
        let lines = |id: crate::rules::RuleId, score: Score, tier: &str, found: &str| {
            let rule = id.rule();
            format!(
                "{id} {}\n       {} ({tier} tier)\n       expected: {}\n       found:    {found}\n",
                rule.title,
                score.words(),
                rule.evidence
            )
        };
        for wanted in [
            "profile asr-2019",
            "rules: 1 held, 1 broken, 0 unknown",
            "documented limits: 0 as documented, 1 different",
            "advice: 0 followed, 1 not followed",
            &format!("not judged in this run: {left_out} rules, and {unchecked} that have no check"),
            &lines(FO_04, Score::Broken, "real", "3 points left"),
            &lines(LC_14, Score::DiffersFromLimit, "sim", "accepted"),
            &lines(PL_08, Score::NotFollowed, "sim", "no time in the job record"),
        ] {
            assert!(text.contains(wanted), "{wanted} is missing in:\n{text}");
        }
    }

    #[test]
    fn the_claimed_loss_stands_next_to_the_measured_one() {
        let lost = Rpo { ms: 480, records: 12, writes: 30, bytes: 4096, ..Rpo::default() };
        assert_eq!(rpo(&lost), "480 ms · 12 records\n30 writes, 4.0 KiB");
        let with_claim = rpo(&Rpo { claimed_ms: Some(900), ..lost });
        assert!(with_claim.ends_with("4.0 KiB\nthe core claims 900 ms"), "{with_claim}");
        assert_eq!(rpo(&Rpo { claimed_ms: Some(0), ..Rpo::default() }), "nothing\nthe core claims nothing");
    }

    #[test]
    fn a_disk_that_is_no_prefix_of_the_writes_shows_no_cut() {
        let mut outcome = DiskOutcome {
            name: "data".into(),
            oracle: "exact".into(),
            cut: Some(7_873),
            of: 19_989,
            compared: 1,
            words: String::new(),
            second_reader: String::new(),
            evidence: crate::outcome::DiskEvidence::default(),
        };
        assert_eq!(disk(&outcome), "data exact 7,873 of 19,989");
        outcome.cut = None;
        outcome.oracle = "foreign".into();
        assert_eq!(disk(&outcome), "data FOREIGN");
    }
}
