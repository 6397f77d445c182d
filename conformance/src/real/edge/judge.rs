//! The verdict on an edge: the oracle's, and that of the witness inside the guest.

use witness::ledger::RecordNumber;
use witness::protocol::Findings;

use crate::blame::ScenarioError;
use crate::judge::{self, DiskUnderTest, JudgedMachine};
use crate::outcome::{EdgeOutcome, Rpo, Rto, Sent, Verdict};
use crate::real::context::ScenarioContext;
use crate::real::edge::name::EdgeName;
use crate::rules::ids::{FO_10, FX_61};

/// The oracle's verdict on a machine's disks, and the proof that the oracle works.
pub(crate) struct JudgedDisks {
    pub(crate) machine: JudgedMachine,
    /// The sectors that the self-test of the oracle altered; `None` if it did not run.
    pub(crate) self_test: Option<String>,
}

/// Everything that decides and describes the outcome of an edge.
pub(crate) struct Judgement {
    pub(crate) disks: JudgedDisks,
    pub(crate) rpo: Rpo,
    pub(crate) rto: Rto,
    /// What was sent, on an edge that begins replication.
    pub(crate) sent: Option<Sent>,
    /// An objection that does not come from the oracle. It counts if the oracle has none.
    pub(crate) other_objection: Option<String>,
}

/// Judges the disks, and tests the oracle on one of them unless it objects anyway.
pub(crate) async fn judge_disks(
    context: &ScenarioContext,
    edge: EdgeName,
    disks_under_test: Vec<DiskUnderTest>,
    initial_record: RecordNumber,
) -> Result<JudgedDisks, ScenarioError> {
    let step = context.evidence.step(edge.as_str(), "judge the disks");
    let seed = context.findings().edges.len() as u64;
    // The number of the edge chooses the disk, so that every disk is altered at some edge.
    let altered = disks_under_test[seed as usize % disks_under_test.len()].clone();
    let machine = judge::judge(disks_under_test, initial_record, context.evidence.dir()).await?;
    // On a disk that is wrong already, the oracle would report that place and not the altered one.
    let self_test = match machine.objection() {
        None => Some(judge::self_test_oracle(altered, seed).await?),
        Some(_) => None,
    };
    step.done();
    Ok(JudgedDisks { machine, self_test })
}

/// FX-61: where the guest discards what it frees, its disks are recovered exactly as well.
fn check_discards(context: &ScenarioContext, edge: EdgeName, machine: &JudgedMachine) {
    if !context.shape.discards() {
        return;
    }
    let entries = machine.disks.iter().flat_map(|disk| disk.log.entries());
    let discards = entries.filter(|entry| entry.is_discard()).count();
    match (machine.unknown(), discards) {
        (Some(why), _) => context.unknown(FX_61, why),
        (None, 0) => context.unknown(FX_61, format!("{edge}: the guest had discarded nothing")),
        (None, _) => {
            let objection = machine.objection();
            let found = objection.as_deref().unwrap_or("every disk is exact or epoch-consistent");
            let found = format!("{edge}: after discards, {found}");
            context.check(FX_61, objection.is_none(), found);
        }
    }
}

/// Records the outcome of an edge: FO-10 with the loss that the core claims, the trace, the time
/// bound and the verdict.
///
/// # Errors
/// The edge did not pass.
pub(crate) fn finish_edge(
    context: &ScenarioContext,
    edge: EdgeName,
    judgement: Judgement,
) -> Result<(), ScenarioError> {
    let Judgement { disks: JudgedDisks { machine, self_test }, rpo, rto, sent, other_objection } = judgement;
    check_discards(context, edge, &machine);
    let unknown = machine.unknown();
    let objection = machine.objection().or(other_objection).or_else(|| rpo.claim_objection());
    let verdict = verdict(objection.is_some(), unknown.is_some());
    let mut findings = context.findings();
    for disk in &machine.disks {
        findings.trace.push(format!("{edge}: disk {} is {}", disk.outcome.name, disk.outcome.oracle));
    }
    let bound = edge.bound_in_boots();
    findings.trace.push(format!("{edge}: recovery time is bounded by {bound} boots"));
    if rto.boots > f64::from(bound) {
        findings.slow.push(format!("{edge} took {:.1} cold boots, its bound is {bound}", rto.boots));
    }
    let is_sound = machine.join.is_some() && machine.objection().is_none();
    let found = objection.clone();
    let found =
        found.unwrap_or_else(|| "every disk is exact or epoch-consistent, joined by the ledger".to_owned());
    match unknown {
        // Evidence is missing, which says nothing about the core.
        Some(why) => findings.rules.unknown(FO_10, why),
        None => findings.rules.check(FO_10, is_sound, found),
    }
    if let Some(beyond_claim) = rpo.claim_objection() {
        findings.rules.check(FO_10, false, format!("{edge}: {beyond_claim}"));
    }
    findings.edges.push(EdgeOutcome {
        name: edge.to_string(),
        verdict,
        why: objection.clone().unwrap_or_default(),
        evidence: machine.evidence(),
        disks: machine.disks.into_iter().map(|disk| disk.outcome).collect(),
        rpo,
        rto,
        sent,
        flip: self_test,
    });
    match (verdict, objection) {
        (Verdict::Fail, Some(why)) => Err(ScenarioError::CoreViolation(format!("{edge}: {why}"))),
        (Verdict::Unknown, Some(why)) => Err(ScenarioError::Inconclusive(format!("{edge}: {why}"))),
        _ => Ok(()),
    }
}

/// The verdict on an edge. Missing evidence is never the core's failure.
fn verdict(has_objection: bool, is_unknown: bool) -> Verdict {
    match (has_objection, is_unknown) {
        (false, _) => Verdict::Pass,
        (true, true) => Verdict::Unknown,
        (true, false) => Verdict::Fail,
    }
}

/// What the witness inside the guest found that contradicts the verdict on the disks, if anything.
pub(crate) fn contradiction_inside(findings: &Findings, machine: &JudgedMachine) -> Option<String> {
    let ledger = &findings.ledger;
    if !ledger.torn.is_empty() || !ledger.missing.is_empty() {
        return Some(format!(
            "the ledger inside has torn {:?} and missing {:?}",
            ledger.torn, ledger.missing
        ));
    }
    if !findings.bank.sound() {
        return Some(format!("the bank inside is unsound: {:?}", findings.bank));
    }
    if let Some(broken) = findings.file_systems.iter().find(|fs| fs.errors) {
        return Some(format!("the file system on {} carries its error mark", broken.role));
    }
    match machine.contiguous() {
        Some(on_disks) if !records_agree(on_disks, ledger.contiguous, machine.complete()) => Some(format!(
            "the disks hold ledger records up to {on_disks}, the witness inside finds {}",
            ledger.contiguous
        )),
        _ => None,
    }
}

/// Whether the last record on the disks is the one that the witness finds. On disks that lost power
/// the witness may miss the very last one: its block was written, but the file system had not yet
/// committed that the block belongs to the file. Such a record was not acknowledged.
fn records_agree(on_disks: RecordNumber, inside: RecordNumber, complete: bool) -> bool {
    on_disks == inside || (!complete && on_disks == inside + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objection_is_the_cores_failure_unless_evidence_is_missing() {
        assert_eq!(verdict(false, false), Verdict::Pass);
        assert_eq!(verdict(true, true), Verdict::Unknown);
        assert_eq!(verdict(true, false), Verdict::Fail);
    }

    #[test]
    fn only_a_disk_that_lost_power_may_hide_its_last_record() {
        assert!(records_agree(130, 130, true) && records_agree(130, 130, false));
        assert!(records_agree(130, 129, false));
        assert!(!records_agree(130, 129, true), "an orderly shutdown hides nothing");
        assert!(!records_agree(130, 128, false) && !records_agree(129, 130, false));
    }
}
