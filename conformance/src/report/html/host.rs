//! Where and how the run took place, and how to repeat it.

use camino::Utf8Path;
use contract::{Bytes, Millis};
use maud::{Markup, html};

use super::parts::{command, evidence_links};
use crate::outcome::Results;

pub(super) fn section(results: &Results, dir: &Utf8Path) -> Markup {
    let Results { host, suite, run, profile, began, reported, request, division, .. } = results;
    let files = ["results.json", "junit.xml", "progress.jsonl", "nextest.log"].map(ToOwned::to_owned);
    let facts = [
        ("suite", suite.clone()),
        ("run", run.clone()),
        ("part", division.words().unwrap_or_default()),
        ("began", began.clone()),
        ("reported", reported.clone()),
        ("profile of external facts", profile.clone()),
        ("host", format!("{} cores, {} of memory, Linux {}", host.cores, Bytes(host.memory), host.kernel)),
        ("QEMU, libvirt", format!("{}, {}", host.qemu, host.libvirt)),
        ("accelerator", host.accelerator.clone()),
        ("not KVM, because", host.accelerator_why.clone()),
        ("trial boot", Millis(host.boot_ms).to_string()),
        ("guest image", host.image.clone()),
        ("seed", request.seed.clone().unwrap_or_default()),
    ];
    html! {
        section aria-labelledby="host" {
            h2 id="host" { "Host and repetition" }
            dl.facts {
                @for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
                    dt { (name) } dd { (value) }
                }
                dt { "evidence" } dd { (evidence_links(dir, &files)) }
            }
            @if !request.command.is_empty() {
                p { "The command of this run:" }
                (command(&request.command))
            }
            p.soft {
                "Seeds follow from the id of the run. A finding of the simulated tier names its seed, and "
                "ROUNDTRIP_SEED runs that one again. Compare times only with those of the same host and accelerator."
            }
        }
    }
}
