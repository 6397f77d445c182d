//! What a timeline shows in its lanes: bars with a colour each.

use plotters::style::RGBColor;

use crate::timeline::{Happening, Moment, Step, Timeline};

/// What a bar or a mark stands for. The colours are told apart on a light and on a dark page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) enum Kind {
    /// An edge or a phase.
    Edge,
    /// A step of the suite.
    Suite,
    /// A step of a job of the core.
    Job,
    /// A guest boots.
    Boot,
    /// A step that failed, or that did not end.
    Failed,
    /// A fault is active, or a site is lost.
    Fault,
    /// The moment of a recovery point.
    Point,
    /// Records that a guest's writer had acknowledged.
    Writes,
    /// The cut of the disks, and the moment up to which writes count as lost.
    Cut,
}

/// All of them, with their words for people.
pub(in crate::report) const LEGEND: [(Kind, &str); 9] = [
    (Kind::Edge, "edge or phase"),
    (Kind::Job, "job step of the core"),
    (Kind::Boot, "guest boots"),
    (Kind::Suite, "step of the suite"),
    (Kind::Failed, "failed or not ended"),
    (Kind::Fault, "fault active, site lost"),
    (Kind::Point, "recovery point"),
    (Kind::Writes, "records acknowledged per second"),
    (Kind::Cut, "from the disks' cut to the loss of the source"),
];

impl Kind {
    /// Red, green and blue.
    pub(in crate::report) const fn rgb(self) -> (u8, u8, u8) {
        match self {
            Self::Edge => (0x7b, 0x8f, 0xb3),
            Self::Suite => (0x9a, 0xa0, 0xa8),
            Self::Job => (0x2f, 0x7e, 0xd8),
            Self::Boot => (0xd1, 0x8f, 0x16),
            Self::Failed => (0xd6, 0x3a, 0x2f),
            Self::Fault => (0xb8, 0x4a, 0x9c),
            Self::Point => (0x2a, 0x9d, 0x6f),
            Self::Writes => (0x4f, 0x8f, 0xa8),
            Self::Cut => (0xe0, 0x56, 0x4a),
        }
    }

    pub(super) const fn colour(self) -> RGBColor {
        let (red, green, blue) = self.rgb();
        RGBColor(red, green, blue)
    }
}

/// A bar from one moment to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bar {
    pub(super) kind: Kind,
    pub(super) from: u64,
    pub(super) to: u64,
    /// Its text, if there is room: a long one, or else a short one.
    pub(super) text: [String; 2],
}

/// A lane: bars in rows, so that none hides another.
pub(super) struct Lane {
    pub(super) caption: &'static str,
    pub(super) rows: Vec<Vec<Bar>>,
}

/// The lanes of a timeline. One without a bar is left out.
pub(super) fn lanes(timeline: &Timeline) -> Vec<Lane> {
    let names = timeline.edge_names();
    let edges = timeline.edges().into_iter().map(|(name, from, to)| {
        let number = names.iter().position(|known| *known == name).map_or(0, |index| index + 1).to_string();
        Bar { kind: Kind::Edge, from, to, text: [format!("{number} {name}"), number] }
    });
    let end = timeline.end();
    let steps = timeline.steps.iter().map(|step| Bar {
        kind: kind_of(step),
        from: step.from,
        to: step.to.unwrap_or(end),
        text: [step.name.clone(), String::new()],
    });
    let all = [
        ("edges and phases", edges.collect()),
        ("steps", steps.collect()),
        ("boots", boots(&timeline.moments, end)),
        ("faults", faults(&timeline.moments, end)),
    ];
    let lanes = all.into_iter().filter(|(_, bars): &(_, Vec<Bar>)| !bars.is_empty());
    lanes.map(|(caption, bars)| Lane { caption, rows: rows(bars) }).collect()
}

/// Names of steps of the suite itself; all others are steps of the core's jobs, or boots.
const OF_THE_SUITE: &[&str] = &[
    "a public address",
    "check every disk of the replica",
    "check every disk that is left",
    "first sound answer of its service",
    "grow a disk",
    "guest at work",
    "install the machine",
    "judge the disks",
    "kill QEMU, and boot the machine again",
    "log in to the source",
    "moments that all machines share",
    "recovery points from changes",
    "recovery points of new moments",
    "replication comes back",
    "rules of machine and subnet",
    "shut the guest down",
    "the fault is active",
    "what the core makes of it",
];

fn kind_of(step: &Step) -> Kind {
    match step.name.as_str() {
        _ if step.failed || step.to.is_none() => Kind::Failed,
        name if name.starts_with("boot ") => Kind::Boot,
        name if OF_THE_SUITE.contains(&name) => Kind::Suite,
        _ => Kind::Job,
    }
}

fn boots(moments: &[Moment], end: u64) -> Vec<Bar> {
    let on = moments.iter().enumerate().filter_map(|(index, moment)| match &moment.what {
        Happening::PowerOn { machine, boot } => Some((index, moment.at_ms, machine, boot)),
        _ => None,
    });
    on.map(|(index, from, machine, boot)| {
        let hello = moments[index..]
            .iter()
            .find(|later| matches!(&later.what, Happening::Hello { machine: known } if known == machine));
        let kind = if hello.is_some() { Kind::Boot } else { Kind::Failed };
        let to = hello.map_or(end, |hello| hello.at_ms);
        Bar { kind, from, to, text: [format!("{machine}, {}", site_of(boot)), machine.clone()] }
    })
    .collect()
}

/// The site in the path of a boot's directory, such as `sites/azure/machines/shop/boot-1`.
fn site_of(boot: &str) -> &str {
    boot.split('/').nth(1).unwrap_or(boot)
}

fn faults(moments: &[Moment], end: u64) -> Vec<Bar> {
    let began = moments.iter().enumerate().filter_map(|(index, moment)| match &moment.what {
        Happening::Fault { site, fault } => Some((index, moment.at_ms, site, fault.as_str(), true)),
        // A lost site is back at the next reprotection, which is an edge of its own.
        Happening::SiteLost { site } => Some((index, moment.at_ms, site, "site lost", false)),
        _ => None,
    });
    began
        .map(|(index, from, site, what, heals)| {
            let healed = moments[index..].iter().find(|later| {
                heals && matches!(&later.what, Happening::Healed { site: known } if known == site)
            });
            let to = match healed {
                Some(healed) => healed.at_ms,
                None if heals => end,
                None => from,
            };
            Bar { kind: Kind::Fault, from, to, text: [format!("{what}, {site}"), what.to_owned()] }
        })
        .collect()
}

/// Puts each bar into the first row in which it hides no other.
fn rows(mut bars: Vec<Bar>) -> Vec<Vec<Bar>> {
    bars.sort_by_key(|bar| (bar.from, bar.to));
    let mut rows: Vec<Vec<Bar>> = Vec::new();
    for bar in bars {
        let free = rows.iter_mut().find(|row| row.last().is_none_or(|last| last.to <= bar.from));
        match free {
            Some(row) => row.push(bar),
            None => rows.push(vec![bar]),
        }
    }
    rows
}

/// The timeline in words, for those who do not see it.
pub(in crate::report) fn words_of(timeline: &Timeline) -> String {
    let edges = timeline.edges();
    let parts = edges.iter().map(|(name, from, to)| {
        format!("{name} from {:.1} to {:.1} s", *from as f64 / 1000.0, *to as f64 / 1000.0)
    });
    let points = timeline.moments.iter().filter(|moment| matches!(moment.what, Happening::Point { .. }));
    let parts: Vec<_> = parts.chain([format!("{} recovery points", points.count())]).collect();
    format!("Timeline of {:.1} s: {}", timeline.end() as f64 / 1000.0, parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(from: u64, to: u64) -> Bar {
        Bar { kind: Kind::Job, from, to, text: [String::new(), String::new()] }
    }

    #[test]
    fn bars_that_overlap_are_in_different_rows() {
        let rows = rows(vec![bar(0, 10), bar(10, 20), bar(5, 12)]);
        assert_eq!(rows, [vec![bar(0, 10), bar(10, 20)], vec![bar(5, 12)]]);
    }

    #[test]
    fn edges_that_take_turns_keep_their_numbers() {
        let step = |edge: &str, from| Step {
            edge: edge.to_owned(),
            name: "boot".to_owned(),
            from,
            to: Some(from + 1),
            failed: false,
        };
        let steps = vec![step("app", 0), step("db", 1), step("app", 2), step("db", 3)];
        let timeline = Timeline { steps, ..Timeline::default() };
        let texts: Vec<_> = lanes(&timeline)[0].rows[0].iter().map(|bar| bar.text[0].clone()).collect();
        assert_eq!(
            (timeline.edge_names(), texts),
            (
                vec!["app", "db"],
                vec!["1 app".to_owned(), "2 db".to_owned(), "1 app".to_owned(), "2 db".to_owned()]
            )
        );
    }

    #[test]
    fn a_boot_lasts_until_the_hello_of_its_machine_and_a_fault_until_it_is_healed() {
        let at = |at_ms, what| Moment { at_ms, what };
        let machine = || "shop".to_owned();
        let site = || "azure-standin".to_owned();
        let moments = [
            at(5, Happening::PowerOn { machine: machine(), boot: "sites/azure/machines/shop/boot-1".into() }),
            at(8, Happening::Hello { machine: machine() }),
            at(20, Happening::Fault { site: site(), fault: "power cut".into() }),
            at(30, Happening::Healed { site: site() }),
        ];
        let boots = boots(&moments, 99);
        assert_eq!((boots[0].from, boots[0].to, boots[0].text[0].as_str()), (5, 8, "shop, azure"));
        let faults = faults(&moments, 99);
        assert_eq!((faults[0].from, faults[0].to), (20, 30));
        assert_eq!(super::boots(&moments[..1], 99)[0].kind, Kind::Failed, "it never said hello");
    }
}
