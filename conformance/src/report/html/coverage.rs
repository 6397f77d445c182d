//! How many rules the run judged, by class and by platform.

use maud::{Markup, html};

use super::parts::class;
use crate::outcome::Results;
use crate::outcome::Verdict;
use crate::report::rules::JudgedRules;
use crate::rules::{Class, Rule, Source, catalogue};

const CLASSES: [Class; 4] = [Class::Guarantee, Class::Limitation, Class::Advice, Class::StandIn];
const SOURCES: [Source; 5] = [Source::Vmware, Source::Hyperv, Source::Physical, Source::Azure, Source::Kvm];

/// The rules of a class that apply to a platform.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    /// In the catalogue.
    all: usize,
    /// Judged: neither unknown nor skipped.
    judged: usize,
    broken: usize,
    unknown: usize,
}

fn tally(judged: &JudgedRules<'_>, applies: impl Fn(&Rule) -> bool) -> Tally {
    let mut tally = Tally::default();
    for rule in catalogue().iter().filter(|rule| applies(rule)) {
        tally.all += 1;
        match judged.outcome(rule.id).map(|outcome| outcome.score.verdict()) {
            None | Some(Verdict::Skipped) => {}
            Some(Verdict::Unknown) => tally.unknown += 1,
            Some(verdict) => {
                tally.judged += 1;
                tally.broken += usize::from(verdict == Verdict::Fail);
            }
        }
    }
    tally
}

pub(super) fn section(results: &Results) -> Markup {
    let judged = JudgedRules::of(results);
    html! {
        section aria-labelledby="coverage" {
            h2 id="coverage" { "Rule coverage" }
            p.soft {
                "Rules that this run judged, of those in the catalogue. A rule counts for each kind of source "
                "that it applies to."
            }
            table.stack {
                thead { tr {
                    th scope="col" { "class" } th.n scope="col" { "all" }
                    @for source in SOURCES { th.n scope="col" { (source.as_str()) } }
                } }
                tbody { @for class in CLASSES { tr {
                    th scope="row" { (class.as_str()) }
                    (cell("all", tally(&judged, |rule| rule.class == class)))
                    @for source in SOURCES {
                        (cell(source.as_str(), tally(&judged, |rule| {
                            rule.class == class && rule.platforms.contains(&source)
                        })))
                    }
                } } }
            }
        }
    }
}

fn cell(label: &str, tally: Tally) -> Markup {
    let Tally { all, judged, broken, unknown } = tally;
    html! {
        td.n data-label=(label) {
            @if all == 0 { span.soft { "none" } } @else { (judged) " of " (all) }
            @if broken > 0 { br; span class=(class(Verdict::Fail)) { "✗ " (broken) " broken" } }
            @if unknown > 0 { br; span class=(class(Verdict::Unknown)) { "? " (unknown) " unknown" } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn every_rule_is_counted_in_its_class_and_a_broken_one_shows() {
        let results = samples::failing();
        let judged = JudgedRules::of(&results);
        let all: usize = CLASSES.iter().map(|class| tally(&judged, |rule| rule.class == *class).all).sum();
        assert_eq!(all, catalogue().len());
        let whole = tally(&judged, |_| true);
        assert_eq!((whole.broken, whole.unknown), (1, 0));
        assert!(section(&results).into_string().contains("✗ 1 broken"));
        let unknown = samples::unknown();
        assert_eq!(tally(&JudgedRules::of(&unknown), |_| true).unknown, 1);
    }
}
