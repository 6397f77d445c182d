//! The command `soak`: judges what the cycles of a run took.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use camino::Utf8Path;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

use super::CYCLES;
use super::cycle_log::{CycleLine, Edges};
use super::series::{FEWEST, Series, Trend, Unit, WarmUp, tolerated};
use super::usage::Usage;
use crate::foreign_files;
use crate::outcome::Verdict;
use crate::recheck::stored::{self, Ended, Stored};
use crate::report;

/// The most cycles of one machine that are judged: all pairs of them are compared.
const MOST: usize = 4096;

/// Judges every scenario in `dir`, the directory of a run or of one scenario, that ran several
/// cycles, and prints a line for each quantity. Growth is judged from cycle `from` on, by default
/// after a tenth of all.
///
/// Returns 1 if a scenario failed; 3 if one is unknown or has too few cycles, or an edge is not
/// exact or not known to be; 2 if something grows; otherwise 0.
///
/// # Errors
/// There is no evidence, or it cannot be read.
pub fn run(dir: &Utf8Path, from: Option<u32>) -> Result<u8> {
    let warm_up = from.map_or(WarmUp::Tenth, WarmUp::Before);
    let mut whole = Findings::default();
    for stored in stored::find(dir)? {
        match stored {
            Stored::Ended(ended) => {
                if ended.dir.join(CYCLES).exists() {
                    whole.add(scenario(&ended, warm_up)?);
                }
            }
            Stored::Unfinished { name, why } => {
                println!("{name}: {why}");
                whole.verdict = whole.verdict.and(Verdict::Unknown);
            }
            Stored::Superseded { .. } => {}
        }
    }
    if whole.series == 0 {
        println!("{dir} stores nothing about cycles: run a scenario that can be repeated with --cycles");
        return Ok(report::exit_code(Verdict::Unknown, false));
    }
    let Findings { series, growing, undecided, .. } = whole;
    println!("{series} quantities: {growing} grow, {undecided} undecided; {}", tolerated());
    Ok(report::exit_code(whole.verdict, whole.growing > 0))
}

/// What was found about all series of a scenario or a run.
#[derive(Debug)]
struct Findings {
    verdict: Verdict,
    series: usize,
    growing: usize,
    undecided: usize,
}

impl Default for Findings {
    fn default() -> Self {
        Self { verdict: Verdict::Pass, series: 0, growing: 0, undecided: 0 }
    }
}

impl Findings {
    fn add(&mut self, other: Self) {
        self.verdict = self.verdict.and(other.verdict);
        self.series += other.series;
        self.growing += other.growing;
        self.undecided += other.undecided;
    }
}

/// Judges a scenario by its lines and by its own verdict.
fn scenario(ended: &Ended, warm_up: WarmUp) -> Result<Findings> {
    let path = ended.dir.join(CYCLES);
    let text = foreign_files::read(&path).with_context(|| format!("read {path}"))?;
    let lines = parse(&text).with_context(|| format!("understand {path}"))?;
    let mut verdict = ended.outcome.verdict;
    if let Some(why) = &ended.altered {
        println!("{}: {why}", ended.outcome.name);
        verdict = verdict.and(Verdict::Unknown);
    }
    let mut all = Findings { verdict, ..Findings::default() };
    let seeds: BTreeSet<_> = lines.iter().map(|line| line.seed).collect();
    for seed in seeds {
        let own: Vec<_> = lines.iter().filter(|line| line.seed == seed).collect();
        let name = match seed {
            Some(seed) => format!("{}, seed {seed}", ended.outcome.name),
            None => ended.outcome.name.clone(),
        };
        all.add(machine(&name, &own, warm_up)?);
    }
    Ok(all)
}

fn parse(text: &[u8]) -> Result<Vec<CycleLine>> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| Ok(serde_json::from_slice(line)?)).collect()
}

/// Judges the cycles over the same machines.
fn machine(name: &str, lines: &[&CycleLine], warm_up: WarmUp) -> Result<Findings> {
    ensure!(lines.len() <= MOST, "{name}: at most {MOST} cycles can be judged");
    let edges = lines.iter().fold(Edges::default(), |all, line| all.and(line.edges));
    println!(
        "{name}: {} of {} cycles, {} of {} edges exact",
        lines.len(),
        lines.first().map_or(0, |line| line.of),
        edges.exact,
        edges.judged
    );
    if let WarmUp::Before(cycle) = warm_up {
        println!("  growth from cycle {cycle} on");
    }
    let mut findings = Findings { verdict: completeness(lines), ..Findings::default() };
    let mut too_few = false;
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["quantity", "mean", "growth in a cycle", "95 % interval", ""]);
    for series in all_series(lines) {
        let judged = series.judge(warm_up);
        findings.series += 1;
        findings.growing += usize::from(series.counts && judged.trend == Trend::Grows);
        findings.undecided += usize::from(series.counts && judged.trend == Trend::Undecided);
        too_few |= judged.trend == Trend::TooFew;
        let percent = |share: f64| format!("{:+.3} %", 100.0 * share);
        let [growth, interval] = match judged.growth {
            Some(growth) => {
                [percent(growth.per_step), format!("{} to {}", percent(growth.low), percent(growth.high))]
            }
            None => [String::new(), String::new()],
        };
        table.add_row([
            &series.name,
            &series.show(judged.mean),
            &growth,
            &interval,
            &judged.trend.to_string(),
        ]);
    }
    if too_few {
        findings.verdict = findings.verdict.and(Verdict::Unknown);
    }
    for column in 1..4 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{}", table.trim_fmt());
    if too_few {
        println!("  {FEWEST} cycles are the fewest that can be judged, those that are left out not counted");
    }
    Ok(findings)
}

/// Whether there is a line for each cycle that was asked for, and every edge is exact. The verdict
/// of the scenario says whose failure it is if one is not.
fn completeness(lines: &[&CycleLine]) -> Verdict {
    let numbered = (1..).zip(lines).all(|(number, line)| line.cycle == number);
    let whole = lines.last().is_some_and(|last| last.cycle == last.of);
    let exact = lines.iter().all(|line| line.edges.judged > 0 && line.edges.exact == line.edges.judged);
    if numbered && whole && exact { Verdict::Pass } else { Verdict::Unknown }
}

/// Every quantity that the lines have.
fn all_series(lines: &[&CycleLine]) -> Vec<Series> {
    let of = |value: fn(&CycleLine) -> u64| lines.iter().map(|line| value(line) as f64).collect::<Vec<_>>();
    let run = of(|line| line.disk.run);
    let mut all = vec![
        Series::new("time by the clock, not judged", Unit::Milliseconds, of(|line| line.ms)).only_shown(),
        Series::of_sums("disk that a cycle adds to the evidence", Unit::Bytes, &run),
        Series::new("disk of the core's state", Unit::Bytes, of(|line| line.disk.core)),
    ];
    let kinds: BTreeSet<_> = lines.iter().flat_map(|line| line.processes.keys()).collect();
    for kind in kinds {
        let of = |value: fn(&Usage) -> u64| {
            let value = |line: &&CycleLine| line.processes.get(kind).map_or(0, value) as f64;
            lines.iter().map(value).collect::<Vec<_>>()
        };
        let processor = of(|usage| usage.processor);
        all.extend([
            Series::of_sums(format!("{kind}: processor time of a cycle"), Unit::Milliseconds, &processor),
            Series::new(format!("{kind}: memory"), Unit::Bytes, of(|usage| usage.resident)),
            Series::new(format!("{kind}: open files"), Unit::Pieces, of(|usage| usage.files)),
            Series::new(format!("{kind}: threads"), Unit::Pieces, of(|usage| usage.threads)),
            Series::new(format!("{kind}: processes"), Unit::Pieces, of(|usage| usage.processes)),
        ]);
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::soak::cycle_log::Disk;
    use crate::soak::usage::SUITE;

    const MIB: u64 = 1 << 20;

    /// The lines of a run whose memory grows by so many bytes in each cycle.
    fn lines(cycles: u32, leak: u64) -> Vec<CycleLine> {
        let line = |cycle: u32| {
            let noise = u64::from(cycle * 37 % 11) * 40_960;
            let resident = 100 * MIB + noise + leak * u64::from(cycle);
            let processor = 700 * u64::from(cycle) + u64::from(cycle * 29 % 7) * 10;
            let usage = Usage { processes: 1, resident, files: 40, threads: 9, processor };
            CycleLine {
                cycle,
                of: cycles,
                seed: None,
                ms: 90_000 + u64::from(cycle * 29 % 7) * 100,
                edges: Edges { judged: 4, exact: 4 },
                processes: BTreeMap::from([(SUITE.to_owned(), usage)]),
                disk: Disk { run: 300 * MIB * u64::from(cycle), core: 3 * MIB },
            }
        };
        (1..=cycles).map(line).collect()
    }

    fn judged(lines: &[CycleLine]) -> Findings {
        machine("test", &lines.iter().collect::<Vec<_>>(), WarmUp::Tenth).expect("it can be judged")
    }

    #[test]
    fn a_leak_in_a_run_is_found_and_nothing_else_is() {
        let sound = judged(&lines(60, 0));
        assert_eq!((sound.verdict, sound.growing, sound.undecided), (Verdict::Pass, 0, 0));
        let leaks = judged(&lines(60, MIB / 4));
        assert_eq!((leaks.verdict, leaks.growing, leaks.series), (Verdict::Pass, 1, sound.series));
    }

    #[test]
    fn missing_cycles_edges_that_are_not_exact_and_few_cycles_are_no_pass() {
        assert_eq!(judged(&lines(6, 0)).verdict, Verdict::Unknown);
        let mut without_one = lines(60, 0);
        without_one.remove(30);
        assert_eq!(judged(&without_one).verdict, Verdict::Unknown);
        let mut without_end = lines(60, 0);
        without_end.pop();
        assert_eq!(judged(&without_end).verdict, Verdict::Unknown);
        let mut inexact = lines(60, 0);
        inexact[10].edges.exact = 3;
        assert_eq!(judged(&inexact).verdict, Verdict::Unknown);
        let mut without_edges = lines(60, 0);
        without_edges[10].edges = Edges::default();
        assert_eq!(judged(&without_edges).verdict, Verdict::Unknown);
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let all = lines(3, 5);
        let text: Vec<_> = all.iter().map(|line| serde_json::to_string(line).unwrap()).collect();
        assert_eq!(parse(text.join("\n").as_bytes()).unwrap(), all);
        assert!(parse(b"{}\n").is_err());
    }
}
