//! The rendering of a certificate in Markdown.

use std::fmt::Write as _;

use contract::{Bytes, Millis};

use super::claims::{ClaimedScenario, Claims, GROUPS, words_of};
use super::files::FileDigest;
use crate::outcome::Verdict;
use crate::report::RESULTS;

/// What a reader has to know whatever the run found.
const NOTICE: &str = "\
Every platform that is named here is a stand-in: QEMU guests, or a simulation in memory, with the
hardware, disk format and identity of a product. No product of the platforms' vendors took part.

The digests in the JSON file beside this text show that nothing was altered since it was written.
A digest is no signature: it does not show who wrote it. To verify the certificate with the files
of the run:

    cargo xtask recheck --certificate certificate.json RUN
";

/// The text.
pub(super) fn render(claims: &Claims, files: &[FileDigest]) -> String {
    let mut text = format!("# Roundtrip certificate: {}\n\n{}\n\n{NOTICE}\n", claims.heading, claims.reason);
    text += &facts(claims);
    text += "\n## Scenarios\n\n| scenario | where | verdict | what |\n|---|---|---|---|\n";
    claims.scenarios.iter().for_each(|scenario| text += &row(scenario));
    text += "\n## Rules\n\n| found | rules | meaning |\n|---|---|---|\n";
    for (name, meaning) in GROUPS {
        let _ = writeln!(text, "| {} | {} | {meaning} |", name, claims.group(name).len());
    }
    for (name, _) in GROUPS {
        let ids: Vec<_> = claims.group(name).iter().map(ToString::to_string).collect();
        if !ids.is_empty() {
            let _ = write!(text, "\n**{}:** {}\n", name, ids.join(" "));
        }
    }
    let bytes = files.iter().map(|file| file.bytes).sum();
    let _ = write!(text, "\n## Files\n\nThe run has {} files, {}.\n", files.len(), Bytes(bytes));
    if let Some(results) = files.iter().find(|file| file.path == RESULTS) {
        let _ = writeln!(text, "SHA-256 of `{RESULTS}`: `{}`", results.sha256);
    }
    text
}

fn facts(claims: &Claims) -> String {
    let Claims { suite, revision, cores, profile, run, began, command, seed, host, tiers, .. } = claims;
    let cores: Vec<_> = cores.iter().map(String::as_str).collect();
    let tiers: Vec<_> = tiers.iter().map(String::as_str).collect();
    let or =
        |text: &str, otherwise: &str| if text.is_empty() { otherwise.to_owned() } else { text.to_owned() };
    let facts = [
        ("core", or(&cores.join(", "), "none was tested")),
        ("suite", format!("{suite}, revision {}", or(revision, "not recorded"))),
        ("profile of external facts", profile.clone()),
        ("scenarios ran", tiers.join(" and ")),
        ("run", format!("{run}, began {}", or(began, "at a time that was not recorded"))),
        ("command", format!("`{}`", or(command, "not recorded"))),
        ("seeds", seed.clone().unwrap_or_else(|| "follow from the id of the run".to_owned())),
        (
            "host",
            format!(
                "{}, {} cores, {} of memory, Linux {}",
                host.cpu,
                host.cores,
                Bytes(host.memory),
                host.kernel
            ),
        ),
        (
            "accelerator",
            format!("{}; a trial boot took {}", or(&host.accelerator, "none"), Millis(host.boot_ms)),
        ),
        ("QEMU, libvirt", format!("{}, {}", or(&host.qemu, "none"), or(&host.libvirt, "none"))),
    ];
    let mut text = "| | |\n|---|---|\n".to_owned();
    for (name, value) in facts {
        let _ = writeln!(text, "| {name} | {} |", cell(&value));
    }
    text
}

fn row(scenario: &ClaimedScenario) -> String {
    let ClaimedScenario { name, title, tier, verdict, why, seeds, regressions, injected_fault, .. } =
        scenario;
    let verdict = match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "**FAIL**",
        Verdict::Unknown => "**UNKNOWN**",
        Verdict::Skipped => "skipped",
    };
    let mut what = title.clone();
    let mut add = |text: String| what += &format!(". {text}");
    if !why.is_empty() {
        add(why.clone());
    }
    if let Some(seeds) = seeds {
        add(format!("{} seeds from {}", seeds.count, seeds.first));
    }
    regressions.iter().for_each(|slow| add(format!("Regression: {slow}")));
    if let Some(fault) = injected_fault {
        add(format!("Fault injected on purpose: {fault}"));
    }
    let place = tier.map(words_of).unwrap_or_default();
    format!("| `{name}` | {place} | {verdict} | {} |\n", cell(&what))
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
