//! The summary on the terminal.

use std::fmt::Write as _;

use camino::Utf8Path;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
use contract::{Bytes, Millis};

use super::host_line;
use crate::outcome::{DiskOutcome, EdgeOutcome, LeftDisk, Results, Rpo, ScenarioOutcome, Speed, Verdict};

pub(super) fn render(results: &Results, dir: &Utf8Path) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "\nRoundtrip · {}", host_line(&results.host));
    if !results.host.accelerator_why.is_empty() {
        let _ = writeln!(text, "  not KVM: {}", gist(&results.host.accelerator_why));
    }
    for scenario in &results.scenarios {
        scenario_block(&mut text, scenario);
    }
    rules_block(&mut text, results);
    for slow in results.slow() {
        let _ = writeln!(text, "   slower than it may be: {slow}");
    }
    let _ = writeln!(text, "\n{}  {}", sign(results.verdict), closing(results.verdict));
    let _ = writeln!(text, "   report {}", dir.join("report.html"));
    text
}

fn scenario_block(text: &mut String, scenario: &ScenarioOutcome) {
    let _ = writeln!(text, "\n{} {} — {}", sign(scenario.verdict), scenario.name, scenario.title);
    if let Some(mutant) = &scenario.mutant {
        let _ = writeln!(text, "   the core was made faulty on purpose: {mutant}");
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
            "   {} in all, {:.1} × its {} cold boots",
            Millis(scenario.ms),
            scenario.ms as f64 / boots as f64,
            scenario.boots_ms.len(),
        );
    }
    if !scenario.why.is_empty() {
        let _ = writeln!(text, "   why: {}", scenario.why);
    }
}

/// The depths measured, in order.
pub(super) fn depths(speeds: &[Speed]) -> Vec<u32> {
    let mut depths: Vec<_> = speeds.iter().map(|speed| speed.depth).collect();
    depths.dedup();
    depths
}

/// `depth 1: 1,234 writes a second with neither · log 0.93 × · replication 0.85 × · both 0.80 ×`.
pub(super) fn speed_line(speeds: &[Speed], depth: u32) -> String {
    let parts = speeds.iter().filter(|speed| speed.depth == depth).map(|speed| {
        match (speed.log, speed.replication) {
            (false, false) => {
                let mean = speed.per_second.iter().sum::<f64>() / speed.per_second.len().max(1) as f64;
                format!("{} writes a second with neither", grouped(mean as u64))
            }
            (true, false) => format!("log {:.2} ×", speed.ratio),
            (false, true) => format!("replication {:.2} ×", speed.ratio),
            (true, true) => format!("both {:.2} ×", speed.ratio),
        }
    });
    format!("depth {depth}: {}", parts.collect::<Vec<_>>().join(" · "))
}

/// `9 volumes looked at as files: clean, and of their format`.
fn disks_left(disks: &[LeftDisk]) -> String {
    let whole = disks.iter().filter(|d| (d.checked, d.readable) == (Verdict::Pass, Verdict::Pass)).count();
    let bad = disks.len() - whole;
    let found =
        if bad == 0 { "all whole and of their format".to_owned() } else { format!("{bad} NOT WHOLE") };
    format!("{} volumes looked at as files: {found}", disks.len())
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
    if rpo.records == 0 && rpo.writes == 0 {
        return "nothing".to_owned();
    }
    let (records, writes) = (grouped(rpo.records), grouped(rpo.writes));
    format!("{} · {records} records\n{writes} writes, {}", Millis(rpo.ms), Bytes(rpo.bytes))
}

fn rules_block(text: &mut String, results: &Results) {
    let count = |verdict| results.rules.iter().filter(|rule| rule.verdict == verdict).count();
    let _ = writeln!(
        text,
        "\n   rules looked at: {} held, {} broken, {} unknown",
        count(Verdict::Pass),
        count(Verdict::Fail),
        count(Verdict::Unknown)
    );
    for rule in results.rules.iter().filter(|rule| rule.verdict == Verdict::Fail) {
        let _ = writeln!(text, "   ✗ {}: {}", rule.id, rule.found);
    }
}

fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "✓",
        Verdict::Fail => "✗",
        Verdict::Unknown => "?",
    }
}

fn closing(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "conforms",
        Verdict::Fail => "does not conform",
        Verdict::Unknown => "nothing can be said: this is not a pass",
    }
}

/// The end of the first line: errors are told from the outside in, and what matters comes last.
fn gist(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    line.rsplit("error: ").next().unwrap_or(line)
}

/// A number with a comma at every thousand.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        let texts = [0, 999, 1_000, 19_989, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "19,989", "1,234,567"]);
    }

    #[test]
    fn a_disk_that_stands_nowhere_shows_no_cut() {
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
        (outcome.cut, outcome.oracle) = (None, "foreign".into());
        assert_eq!(disk(&outcome), "data FOREIGN");
    }
}
