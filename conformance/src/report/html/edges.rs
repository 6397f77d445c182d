//! The edges of a scenario: the cut of each disk, loss and recovery time.

use contract::{Bytes, Millis};
use maud::{Markup, html};

use super::parts::{badge, class, in_boots};
use crate::outcome::{DiskOutcome, EdgeOutcome, GUEST_BOOTS, Rpo, Rto, RtoStep};
use crate::report::figures::grouped;
use crate::report::timeline::Kind;

/// Steps of a recovery time that no job of the core contains.
const OUTSIDE_THE_JOB: [&str; 3] = [GUEST_BOOTS, "service answers", "first recovery point"];
/// Colours of the parts of a recovery time, in turn.
const PARTS: [Kind; 4] = [Kind::Job, Kind::Point, Kind::Fault, Kind::Edge];

pub(super) fn cards(edges: &[EdgeOutcome]) -> Markup {
    html! {
        @if !edges.is_empty() {
            div.edges { @for edge in edges { (card(edge)) } }
        }
    }
}

fn card(edge: &EdgeOutcome) -> Markup {
    let EdgeOutcome { name, verdict, why, disks, rpo, rto, flip, .. } = edge;
    html! {
        div class={ "card " (class(*verdict)) } {
            h4 { (name) " " (badge(*verdict)) }
            @if !why.is_empty() { p class=(class(*verdict)) { (why) } }
            @for disk in disks { (disk_strip(disk)) }
            (lost(rpo))
            (took(rto))
            @if !disks.is_empty() { (details(disks, flip.as_deref())) }
        }
    }
}

/// The writes of a disk's log that the disk holds.
fn disk_strip(disk: &DiskOutcome) -> Markup {
    let DiskOutcome { name, oracle, cut, of, .. } = disk;
    let lost = |cut: &u64| of.saturating_sub(*cut);
    html! {
        p {
            b { (name) } " "
            @match cut {
                Some(cut) => { (oracle) ": first " (grouped(*cut)) " of " (grouped(*of)) " writes" }
                None => { span.fail { (oracle) } }
            }
            @if let Some(cut) = cut {
                span.strip aria-hidden="true" {
                    span.kept style={ "flex:" (cut) } {}
                    @if lost(cut) > 0 { span.lost style={ "flex:" (lost(cut)) } {} }
                }
            }
        }
    }
}

/// The measured loss next to the claimed one, on one scale.
fn lost(rpo: &Rpo) -> Markup {
    let measured = if rpo.records == 0 && rpo.writes == 0 {
        "nothing".to_owned()
    } else {
        let (records, writes) = (grouped(rpo.records), grouped(rpo.writes));
        format!("{} · {records} records · {writes} writes, {}", Millis(rpo.ms), Bytes(rpo.bytes))
    };
    let longest = rpo.ms.max(rpo.claimed_ms.unwrap_or_default()).max(1);
    html! {
        p {
            b { "Lost (RPO)" } " " (measured)
            @if let Some(claimed) = rpo.claimed_ms {
                @if longest > 1 {
                    span.pair {
                        small { "measured" } (bar("lost", rpo.ms, longest)) small.n { (Millis(rpo.ms)) }
                        small { "claimed" } (bar("kept", claimed, longest)) small.n { (Millis(claimed)) }
                    }
                } @else { br; small { "The core claims to have lost nothing." } }
            }
        }
    }
}

fn bar(class: &str, value: u64, longest: u64) -> Markup {
    html! {
        span.strip aria-hidden="true" {
            span class=(class) style={ "flex:" (value) } {}
            span style={ "flex:" (longest - value) } {}
        }
    }
}

/// The recovery time, its parts, and how much of it the core's own job record covers.
fn took(rto: &Rto) -> Markup {
    if rto.ms == 0 && rto.steps.is_empty() {
        return html! {};
    }
    let steps: Vec<_> = rto.steps.iter().filter(|step| step.ms > 0).collect();
    html! {
        p {
            b { "Took (RTO)" } " " (Millis(rto.ms))
            @if rto.boots > 0.0 { " · " (in_boots(rto.boots)) }
            @if !steps.is_empty() {
                span.strip aria-hidden="true" { @for (index, step) in steps.iter().enumerate() {
                    span style={ "flex:" (step.ms) ";background:" (colour(step, index)) } {}
                } }
                small {
                    "The core's job claims " (Millis(claimed(rto))) ". "
                    @for (index, step) in steps.iter().enumerate() {
                        @if index > 0 { " · " }
                        (step.name) " " (Millis(step.ms))
                    }
                }
            }
        }
    }
}

/// The time that the steps of the core's job took, as the core states it.
fn claimed(rto: &Rto) -> u64 {
    let of_job = rto.steps.iter().filter(|step| !OUTSIDE_THE_JOB.contains(&step.name.as_str()));
    of_job.map(|step| step.ms).sum()
}

fn colour(step: &RtoStep, index: usize) -> String {
    let kind = match step.name.as_str() {
        GUEST_BOOTS => Kind::Boot,
        "service answers" | "first recovery point" => Kind::Suite,
        _ => PARTS[index % PARTS.len()],
    };
    let (red, green, blue) = kind.rgb();
    format!("rgb({red} {green} {blue})")
}

fn details(disks: &[DiskOutcome], flip: Option<&str>) -> Markup {
    html! {
        details {
            summary { "What the oracle compared" }
            dl.facts { @for disk in disks {
                dt { (disk.name) }
                dd {
                    (disk.words) "; " (Bytes(disk.compared)) " compared. Second reader: "
                    (disk.second_reader) "."
                }
            } }
            @if let Some(flip) = flip {
                p.soft { "To test the oracle, sectors were altered in memory, and it reported them: " (flip) "." }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measured_and_claimed_loss_stand_side_by_side() {
        let rpo =
            Rpo { ms: 480, records: 12, writes: 30, bytes: 4096, claimed_ms: Some(900), ..Rpo::default() };
        let text = lost(&rpo).into_string();
        for wanted in ["480 ms · 12 records · 30 writes, 4.0 KiB", "measured", "claimed", "900 ms"] {
            assert!(text.contains(wanted), "{wanted} is missing in {text}");
        }
    }

    #[test]
    fn the_claimed_recovery_time_is_that_of_the_job_alone() {
        let step = |name: &str, ms| RtoStep { name: name.to_owned(), ms };
        let steps =
            vec![step("start target machine", 400), step("guest boots", 7_000), step("service answers", 9)];
        assert_eq!(claimed(&Rto { ms: 7_500, boots: 1.0, steps }), 400);
    }
}
