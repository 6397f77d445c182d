//! Judges one edge again: all its disks together, by the files that it was judged by.

use witness::ledger::RecordNumber;

use super::files::{Files, UnpackedFiles};
use crate::judge::{self, DiskUnderTest, JudgedDisk, JudgedMachine};
use crate::outcome::{DiskDigests, DiskOutcome, EdgeEvidence, EdgeOutcome, Rpo, Verdict};

/// Verdicts on parts of an edge, each with a line that begins after the edge's name.
type Lines = Vec<(Verdict, String)>;

/// Judges all disks of an edge again and compares everything that follows from them with the
/// record. Each disk that was judged has one line, and each difference another.
pub(super) async fn judge_again(files: &Files, edge: &EdgeOutcome) -> Lines {
    let mut lines = recorded(edge);
    let Some(initial_record) = edge.evidence.initial_record else {
        let why = "the result does not hold what it takes to judge the edge again; an older suite wrote it";
        lines.push((Verdict::Unknown, format!(": {why}")));
        return lines;
    };
    let names: Vec<_> = edge.disks.iter().map(|disk| disk.name.as_str()).collect();
    if names.is_empty() || names != edge.evidence.disks {
        let line = format!(": disks {:?} were judged, {names:?} are recorded", edge.evidence.disks);
        lines.push((Verdict::Unknown, line));
        return lines;
    }
    match judge_files(files, edge, initial_record).await {
        Err(error) => lines.push((Verdict::Unknown, format!(": cannot be judged again: {error:#}"))),
        Ok(machine) => lines.extend(compare(edge, &machine)),
    }
    lines
}

async fn judge_files(
    files: &Files,
    edge: &EdgeOutcome,
    initial_record: RecordNumber,
) -> anyhow::Result<JudgedMachine> {
    let unpacked = files.unpack(edge)?;
    let disks = edge.disks.iter().map(|disk| Ok((under_test(&unpacked, disk)?, disk.of)));
    let disks = disks.collect::<anyhow::Result<_>>()?;
    judge::judge_first_writes(disks, initial_record, files.dir()).await
}

/// Compares what the oracle finds with the record.
fn compare(edge: &EdgeOutcome, machine: &JudgedMachine) -> Lines {
    let mut lines = Vec::new();
    let mut truncated = false;
    for (disk, JudgedDisk { outcome: now, .. }) in edge.disks.iter().zip(&machine.disks) {
        truncated |= now.of < disk.of;
        let found = compare_disk(disk, now);
        lines.extend(found.into_iter().map(|(verdict, line)| (verdict, format!(" {}: {line}", disk.name))));
    }
    // Records that a truncated log lacks prove nothing about the disks.
    if !truncated {
        let whole = compare_machine(edge, machine);
        lines.extend(whole.into_iter().map(|(verdict, line)| (verdict, format!(": {line}"))));
    }
    lines
}

/// What the record of an edge says against a pass, without its files.
fn recorded(edge: &EdgeOutcome) -> Lines {
    let mut lines = Vec::new();
    let mut object = |verdict, line: String| lines.push((verdict, format!(": {line}")));
    if edge.verdict != Verdict::Pass {
        object(edge.verdict, format!("its recorded verdict is not a pass: {}", edge.why));
        return lines;
    }
    if !edge.why.is_empty() {
        object(Verdict::Unknown, format!("it is recorded as a pass, and yet: {}", edge.why));
    }
    if let Some(objection) = &edge.evidence.objection {
        object(Verdict::Fail, format!("it is recorded as a pass, and yet: {objection}"));
    }
    if edge.flip.is_none() {
        object(Verdict::Unknown, "the test of the oracle is not recorded".to_owned());
    }
    if let Some(beyond_claim) = edge.rpo.claim_objection() {
        object(Verdict::Fail, format!("it is recorded as a pass, and yet: {beyond_claim}"));
    }
    if let Some(line) = loss_mismatch(&edge.rpo, &edge.evidence) {
        object(Verdict::Unknown, line);
    }
    lines
}

/// What is wrong with the recorded loss, if it does not follow from the rest of the record.
fn loss_mismatch(rpo: &Rpo, evidence: &EdgeEvidence) -> Option<String> {
    let acknowledged = rpo.acknowledged?;
    let survived = rpo.survived?;
    let most = acknowledged.saturating_sub(survived);
    if rpo.records > most || (rpo.records == 0) != (most == 0) {
        return Some(format!(
            "{} lost records are recorded, but {acknowledged} was the last acknowledged and {survived} survived",
            rpo.records
        ));
    }
    // The witness may miss the last record of a disk that lost power.
    let on_disks = evidence.contiguous?;
    let agree = survived == on_disks || (!evidence.complete && survived + 1 == on_disks);
    (!agree).then(|| {
        format!("record {survived} is recorded as the last that survived, the disks hold {on_disks}")
    })
}

fn under_test(files: &UnpackedFiles<'_>, disk: &DiskOutcome) -> anyhow::Result<DiskUnderTest> {
    let evidence = &disk.evidence;
    Ok(DiskUnderTest {
        name: disk.name.clone(),
        initial_image: files.path(&evidence.base)?,
        log: files.path(&evidence.log)?,
        recovered: files.path(&evidence.recovered)?,
        editable_files: evidence.editable_files.clone(),
        second_reader: Err("only the oracle judges again".to_owned()),
    })
}

fn compare_disk(before: &DiskOutcome, now: &DiskOutcome) -> Lines {
    let mut lines = Vec::new();
    if now.of < before.of {
        let line = format!(
            "the write log {} holds only {} of the {} writes that it held: it is truncated; restore it from a \
             copy of the evidence, or run the scenario again",
            before.evidence.log, now.of, before.of
        );
        return vec![(Verdict::Unknown, line)];
    }
    let finding = |disk: &DiskOutcome| (disk.oracle.clone(), disk.cut, disk.of, disk.compared);
    if finding(before) == finding(now) {
        lines.push((Verdict::Pass, format!("{} (as before)", now.words)));
    } else {
        lines.push((Verdict::Unknown, format!("{} (NOT as before: {})", now.words, before.words)));
    }
    if before.evidence.ignored_sectors != now.evidence.ignored_sectors {
        let [was, is] = [before, now].map(|disk| ignored(&disk.evidence.ignored_sectors));
        let line = format!("{was} were not compared, but edits of hydration explain {is}");
        lines.push((Verdict::Unknown, line));
    }
    if before.second_reader.starts_with("differs") {
        lines.push((Verdict::Fail, format!("the second reader {}", before.second_reader)));
    }
    lines.extend(compare_files(before, now));
    lines
}

/// Ranges of sectors as a reader sees them.
fn ignored(ranges: &[(u64, u64)]) -> String {
    let ranges: Vec<_> = ranges.iter().map(|(first, count)| format!("{first}+{count}")).collect();
    if ranges.is_empty() { "no sectors".to_owned() } else { format!("sectors {}", ranges.join(", ")) }
}

/// Files of a disk that are not what they were when it was judged.
fn compare_files(before: &DiskOutcome, now: &DiskOutcome) -> Lines {
    let (Some(then), Some(found)) = (&before.evidence.digests, &now.evidence.digests) else {
        return vec![(Verdict::Unknown, "the digests of its files are not recorded".to_owned())];
    };
    let DiskDigests { base, log, recovered } = then;
    let files = [
        (&before.evidence.base, base == &found.base),
        (&before.evidence.log, log == &found.log),
        (&before.evidence.recovered, recovered == &found.recovered),
    ];
    let altered = files.into_iter().filter(|(_, same)| !same);
    altered
        .map(|(file, _)| (Verdict::Unknown, format!("{file} is not what it was when the disk was judged")))
        .collect()
}

/// Compares what the oracle finds about all disks together with the record.
fn compare_machine(edge: &EdgeOutcome, machine: &JudgedMachine) -> Lines {
    let mut lines = Vec::new();
    let now = machine.evidence();
    if let Some(objection) = &now.objection {
        lines.push((severity(machine), objection.clone()));
    }
    if now == edge.evidence {
        return lines;
    }
    let EdgeEvidence { contiguous, seen, complete, lost_writes, lost_bytes, objection, .. } = &edge.evidence;
    let before = (contiguous, seen, complete, lost_writes, lost_bytes, objection);
    let EdgeEvidence { contiguous, seen, complete, lost_writes, lost_bytes, objection, .. } = &now;
    let found = (contiguous, seen, complete, lost_writes, lost_bytes, objection);
    let line = format!(
        "the disks together are not as before: (last record, neighbour's record, complete, writes lost, bytes \
         lost, objection) was {before:?} and is {found:?}"
    );
    lines.push((Verdict::Unknown, line));
    lines
}

/// How bad an objection is: nothing can be said if the oracle has no verdict on the disks that it
/// could not place, and otherwise it is the core's failure.
fn severity(machine: &JudgedMachine) -> Verdict {
    let mut doubtful = machine.disks.iter().filter(|disk| disk.cut.is_none()).peekable();
    let unknown = doubtful.peek().is_some() && doubtful.all(|disk| disk.outcome.oracle == "unknown");
    if unknown { Verdict::Unknown } else { Verdict::Fail }
}
