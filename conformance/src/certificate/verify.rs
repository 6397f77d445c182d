//! Compares a certificate with the run that it is about.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use camino::Utf8Path;
use serde_json::{Value, json};

use super::document::{Certificate, claims_of, files_but_certificates, issue, rendering_of};
use super::files::{FileDigest, sha256};
use crate::evidence::RESULT;
use crate::foreign_files;
use crate::outcome::{Results, Verdict, from_stored};
use crate::recheck::{Recheck, judge_again};
use crate::report::tier::tier_of;
use crate::report::{self, RESULTS};
use crate::scenario::Tier;

/// Writes the certificate of a run and verifies it. If the evidence does not support its verdict,
/// the certificate is removed again. Returns whether there is one.
///
/// # Errors
/// The run has no results or no evidence, or a file cannot be read or written.
pub async fn certify(run: &Utf8Path, file: &Utf8Path) -> Result<(Recheck, bool)> {
    let claimed = match issue(run, file)?.claims.verdict {
        Verdict::Skipped => Verdict::Unknown,
        judged => judged,
    };
    let recheck = verify(file, run).await?;
    let supported = recheck.verdict <= claimed.and(Verdict::Pass);
    if !supported {
        for path in [file, &rendering_of(file)] {
            std::fs::remove_file(path).with_context(|| format!("remove {path}"))?;
        }
    }
    Ok((recheck, supported))
}

/// Verifies a certificate with the files of its run: each digest, whether the results state what
/// the certificate does, whether they follow from the evidence, and, by judging that again, whether
/// the evidence is right.
///
/// # Errors
/// The certificate was altered or cannot be read, or there is no evidence of a run.
pub async fn verify(file: &Utf8Path, run: &Utf8Path) -> Result<Recheck> {
    let certificate = Certificate::read(file)?;
    let (mut recheck, judged) = judge_again(run).await?;
    if judged == 0 && stores_no_disks(run)? {
        let line = "no scenario of this run stores disks to judge again: only digests were compared";
        recheck.note(line.to_owned());
    } else {
        recheck.require(judged);
    }
    let mut object = |line: String| recheck.object(Verdict::Unknown, line);
    match foreign_files::read(&rendering_of(file)) {
        Ok(text) if sha256(&text) == certificate.text_sha256 => {}
        Ok(_) => object(format!("{} is not the text of the certificate", rendering_of(file))),
        Err(error) => object(format!("the text {} cannot be read ({error})", rendering_of(file))),
    }
    differences(&certificate.files, &files_but_certificates(run, file)?).into_iter().for_each(&mut object);
    match claims_of(run) {
        Ok(claims) if claims == certificate.claims => {}
        Ok(_) => object(format!("{RESULTS} does not state what the certificate states")),
        Err(error) => object(format!("{error:#}")),
    }
    unsupported(run)?.into_iter().for_each(&mut object);
    if certificate.claims.verdict == Verdict::Skipped {
        object("every scenario was skipped: nothing was judged, and that is not a pass".to_owned());
    }
    let heading = certificate.claims.heading;
    recheck.note(format!("certificate of run {}: {heading}", certificate.claims.run));
    Ok(recheck)
}

/// One line for each file that is missing, was added or was altered.
fn differences(listed: &[FileDigest], found: &[FileDigest]) -> Vec<String> {
    let by_path = |files: &[FileDigest]| -> BTreeMap<String, FileDigest> {
        files.iter().map(|file| (file.path.clone(), file.clone())).collect()
    };
    let (listed, found) = (by_path(listed), by_path(found));
    let mut lines = Vec::new();
    for (path, file) in &listed {
        match found.get(path) {
            None => lines.push(format!("{path} is missing")),
            Some(now) if now != file => lines.push(format!("{path} is not what it was")),
            Some(_) => {}
        }
    }
    let added = found.keys().filter(|path| !listed.contains_key(*path));
    lines.extend(added.map(|path| format!("{path} is not in the certificate: it was added later")));
    lines
}

fn results_of(run: &Utf8Path) -> Result<Results> {
    let path = run.join(RESULTS);
    let text = foreign_files::read(&path).with_context(|| format!("read {path}"))?;
    from_stored(&text).with_context(|| format!("understand {path}"))
}

fn stores_no_disks(run: &Utf8Path) -> Result<bool> {
    let results = results_of(run)?;
    Ok(results.scenarios.iter().all(|scenario| {
        let simulated = tier_of(scenario) == Some(Tier::Sim);
        simulated || scenario.edges.iter().all(|edge| edge.disks.is_empty())
    }))
}

/// What the results state otherwise than the evidence does, from which they are collected again.
/// The host and what is worse than in earlier runs are no part of the evidence.
fn unsupported(run: &Utf8Path) -> Result<Vec<String>> {
    let stated = results_of(run)?;
    let found = match report::collect(run, stated.host.clone()) {
        Ok(found) => found,
        Err(error) => return Ok(vec![format!("{error:#}")]),
    };
    // Results went through the text once more, which may round a number.
    let found: Results = serde_json::from_str(&serde_json::to_string(&found)?)?;
    let mut lines: Vec<String> = parts_of(&stated)
        .into_iter()
        .zip(parts_of(&found))
        .filter(|((_, stated), (_, found))| stated != found)
        .map(|((name, _), _)| format!("{RESULTS} does not state the {name} that follows from the evidence"))
        .collect();
    let (stated, found) = (by_name(&stated), by_name(&found));
    let names: BTreeSet<&String> = stated.keys().chain(found.keys()).collect();
    for name in names.into_iter().filter(|name| stated.get(*name) != found.get(*name)) {
        lines.push(format!("{RESULTS} does not state of {name} what its {RESULT} states"));
    }
    Ok(lines)
}

/// What results state of the whole run, by what it is called.
fn parts_of(results: &Results) -> [(&'static str, Value); 7] {
    let Results { verdict, rules, not_judged, profile, began, request, division, .. } = results;
    let rules: Vec<_> = rules.iter().map(|rule| (rule.id, rule.tier, rule.verdict, rule.score)).collect();
    let not_judged: Vec<_> = not_judged.iter().map(|rule| rule.id).collect();
    [
        ("verdict", json!(verdict)),
        ("table of rules", json!(rules)),
        ("list of rules that were not judged", json!(not_judged)),
        ("profile", json!(profile)),
        ("time of the start", json!(began)),
        ("request", json!(request)),
        ("division into shards", json!(division)),
    ]
}

/// All that results state of each scenario.
fn by_name(results: &Results) -> BTreeMap<String, Vec<Value>> {
    let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for scenario in &results.scenarios {
        all.entry(scenario.name.clone()).or_default().push(json!(scenario));
    }
    all
}
