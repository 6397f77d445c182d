//! Made-up evidence of a whole scenario, unchanged and tampered with in each part.

use camino::{Utf8Path, Utf8PathBuf};
use witness::ledger::Record;

use super::*;
use crate::context::RunContext;
use crate::evidence::{ASKED, Evidence, RESULT, SEAL, STARTED};
use crate::judge::{self, DiskUnderTest};
use crate::outcome::{DiskOutcome, EdgeOutcome, HostFacts, Rpo, Rto};
use crate::report;
use crate::rules::RuleLog;
use crate::rules::ids::{FO_04, FO_10};

#[path = "hostile_tests.rs"]
mod hostile;
#[path = "merged_tests.rs"]
mod merged;
#[path = "other_evidence_tests.rs"]
mod other_evidence;
#[path = "skipped_tests.rs"]
mod skipped;

const SECTOR: usize = 512;
const DISK_BYTES: usize = 1 << 17;
const SCENARIO: &str = "vmware-azure";

/// One write of a log: its sector and its content.
type Write = (u64, [u8; SECTOR]);

/// A ledger record, at a sector of its own.
fn record(number: u64) -> Write {
    let record = Record { number, epoch: 1, uptime_ms: number, seen: 0, quiesced: false };
    (100 + number, record.encode())
}

/// The writes of the system disk and of the data disk. The ledger alternates between them.
fn writes() -> [Vec<Write>; 2] {
    [
        vec![(8, [1; SECTOR]), record(1), record(3), (8, [2; SECTOR]), record(5), (9, [3; SECTOR])],
        vec![record(2), record(4), record(6)],
    ]
}

/// A log in the dm-log-writes format.
fn log_of(writes: &[Write]) -> Vec<u8> {
    let mut log = [0x006a_7366_7773_6872_u64, 1, writes.len() as u64].map(u64::to_le_bytes).concat();
    log.extend(512_u32.to_le_bytes());
    log.resize(SECTOR, 0);
    for (sector, content) in writes {
        log.extend([*sector, 1, 0, 0].map(u64::to_le_bytes).concat());
        log.resize(log.len().next_multiple_of(SECTOR), 0);
        log.extend(content);
    }
    log
}

/// Stores the evidence of one edge, whose disks hold the first `cuts` writes, and judges it.
async fn store_edge(dir: &Utf8Path, name: &str, cuts: [usize; 2]) -> EdgeOutcome {
    let place = dir.join("edges").join(name);
    std::fs::create_dir_all(&place).unwrap();
    let put = |file: String, bytes: &[u8]| {
        let path = place.join(file);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let mut disks = Vec::new();
    for ((disk, writes), cut) in ["system", "data"].into_iter().zip(writes()).zip(cuts) {
        let mut recovered = vec![0; DISK_BYTES];
        for (sector, content) in &writes[..cut] {
            recovered[*sector as usize * SECTOR..][..SECTOR].copy_from_slice(content);
        }
        disks.push(DiskUnderTest {
            name: disk.to_owned(),
            initial_image: put(format!("{disk}.base.raw"), &vec![0; DISK_BYTES]),
            log: put(format!("{disk}.writes"), &log_of(&writes)),
            recovered: put(format!("{disk}.recovered.raw"), &recovered),
            editable_files: vec![],
            second_reader: Err("not in this test".to_owned()),
        });
    }
    let machine = judge::judge(disks, 0, dir).await.unwrap();
    let objection = machine.objection();
    let lost = machine.lost;
    EdgeOutcome {
        name: name.to_owned(),
        verdict: if objection.is_none() { Verdict::Pass } else { Verdict::Fail },
        why: objection.unwrap_or_default(),
        evidence: machine.evidence(),
        disks: machine.disks.into_iter().map(|disk| disk.outcome).collect(),
        rpo: Rpo {
            ms: 5,
            records: 1,
            writes: lost.writes,
            bytes: lost.bytes,
            acknowledged: Some(5),
            survived: Some(4),
            claimed_ms: Some(5),
        },
        rto: Rto::default(),
        sent: None,
        flip: Some("system: sectors 8 and 9".to_owned()),
    }
}

/// A run with one scenario, whose disks hold the first `cuts` writes at each edge.
pub(super) async fn run_with(cuts: [usize; 2]) -> Run {
    let run = Run::new();
    run.fill(cuts).await;
    run
}

/// Stores the evidence of a scenario whose disks hold the first `cuts` writes at each edge.
async fn store_scenario(evidence: &Evidence, cuts: [usize; 2]) {
    let mut outcome = ScenarioOutcome::begun(SCENARIO, "", None);
    for edge in ["failover", "reprotect", "failback", "reprotect-forward"] {
        outcome.edges.push(store_edge(evidence.dir(), edge, cuts).await);
    }
    outcome.verdict = outcome.edges[0].verdict;
    outcome.why.clone_from(&outcome.edges[0].why);
    let mut rules = RuleLog::default();
    rules.check(FO_10, outcome.verdict == Verdict::Pass, "the disks");
    let row = scenario::all().unwrap().into_iter().find(|row| row.name == SCENARIO).unwrap();
    row.promises.iter().for_each(|rule| rules.check(*rule, true, "as it should be"));
    outcome.rules = rules.into_outcomes();
    evidence.end(&outcome).unwrap();
}

/// A run whose disks are consistent.
pub(super) async fn sound_run() -> Run {
    run_with([4, 2]).await
}

pub(super) struct Run {
    _keep: tempfile::TempDir,
    pub(super) dir: Utf8PathBuf,
}

impl Run {
    fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
        Self { _keep: keep, dir }
    }

    async fn fill(&self, cuts: [usize; 2]) {
        store_scenario(&self.begin(SCENARIO), cuts).await;
    }

    fn begin(&self, scenario: &str) -> Evidence {
        let context = RunContext {
            variant: None,
            dir: self.dir.clone(),
            id: "test".to_owned(),
            name: None,
            keep: false,
            connect: None,
            mutant: None,
            cycles: 1,
            seeds: 1,
            rules: Vec::new(),
            kills: None,
        };
        Evidence::begin(&context, scenario).unwrap()
    }

    pub(super) fn scenario(&self) -> Utf8PathBuf {
        self.dir.join(SCENARIO)
    }

    pub(super) fn file(&self, name: &str) -> Utf8PathBuf {
        self.scenario().join("edges/failback").join(name)
    }

    /// Alters one byte of a file of an edge.
    fn alter(&self, name: &str, at: usize) {
        let path = self.file(name);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }

    pub(super) fn write_result(&self, change: impl FnOnce(&mut ScenarioOutcome)) {
        let path = self.scenario().join(RESULT);
        let mut outcome: ScenarioOutcome = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut outcome);
        std::fs::write(path, serde_json::to_vec_pretty(&outcome).unwrap()).unwrap();
    }

    /// Writes a seal that fits the result, as somebody could who knows how.
    pub(super) fn forge_seal(&self) {
        let text = std::fs::read(self.scenario().join(RESULT)).unwrap();
        let seal = serde_json::json!({"result": blake3::hash(&text).to_string()});
        std::fs::write(self.scenario().join(SEAL), seal.to_string()).unwrap();
    }

    /// The repeated judgement and its exit code.
    pub(super) async fn recheck(&self) -> (Recheck, u8) {
        let recheck = recheck(&self.dir).await.unwrap();
        let code = report::exit_code(recheck.verdict, false);
        (recheck, code)
    }
}

fn middle_of_data(write: usize) -> usize {
    SECTOR * (2 + 2 * write) + 100
}

#[tokio::test]
async fn unchanged_evidence_passes_as_a_run_and_as_a_scenario() {
    let run = sound_run().await;
    for dir in [run.dir.clone(), run.scenario()] {
        let recheck = recheck(&dir).await.unwrap();
        assert_eq!(recheck.verdict, Verdict::Pass, "{:#?}", recheck.lines);
        assert_eq!(recheck.lines.len(), 8, "{:#?}", recheck.lines);
        assert!(recheck.lines.iter().all(|line| line.ends_with("(as before)")), "{:#?}", recheck.lines);
    }
}

#[tokio::test]
async fn edges_of_several_cycles_are_told_apart() {
    let run = sound_run().await;
    run.write_result(|outcome| outcome.edges.extend(outcome.edges.clone()));
    let (recheck, _) = run.recheck().await;
    let about = |edge: &str| {
        let begins = |line: &&String| line.starts_with(&format!("{SCENARIO} {edge} system: exact"));
        recheck.lines.iter().filter(begins).count()
    };
    let found = ["failback (1 of 2)", "failback (2 of 2)", "failback"].map(about);
    assert_eq!(found, [1, 1, 0], "{:#?}", recheck.lines);
}

#[tokio::test]
async fn evidence_whose_log_went_on_after_the_judgement_passes() {
    let run = sound_run().await;
    let mut writes = writes()[0].clone();
    writes.extend([record(7), (8, [2; SECTOR])]);
    std::fs::write(run.file("system.writes"), log_of(&writes)).unwrap();
    let (recheck, code) = run.recheck().await;
    assert_eq!(code, 0, "{:#?}", recheck.lines);
}

#[tokio::test]
async fn one_altered_byte_never_passes_wherever_it_is() {
    let sites = [
        ("system.recovered.raw", 8 * SECTOR, 1),
        ("system.recovered.raw", DISK_BYTES - 1, 1),
        ("data.recovered.raw", 104 * SECTOR + 60, 1),
        ("system.base.raw", 200 * SECTOR, 1),
        // A sector that the guest overwrote: the oracle's verdict does not depend on it.
        ("system.base.raw", 8 * SECTOR, 3),
        ("system.writes", middle_of_data(3), 1),
        // A write that a later one hides, and one after the disk's place in the write order.
        ("system.writes", middle_of_data(0), 3),
        ("system.writes", middle_of_data(5), 3),
        ("data.writes", middle_of_data(1), 1),
    ];
    for (file, at, expected) in sites {
        let run = sound_run().await;
        run.alter(file, at);
        let (recheck, code) = run.recheck().await;
        assert_eq!(code, expected, "byte {at} of {file}: {:#?}", recheck.lines);
        assert!(recheck.lines.iter().any(|line| line.contains("is not what it was")), "{:#?}", recheck.lines);
    }
}

#[tokio::test]
async fn a_file_of_another_length_never_passes() {
    for (file, length, expected) in [
        ("system.recovered.raw", DISK_BYTES - 1, 1),
        ("system.recovered.raw", DISK_BYTES - SECTOR, 1),
        ("system.recovered.raw", DISK_BYTES + SECTOR, 1),
        ("data.writes", 700, 3),
        ("data.writes", 0, 3),
    ] {
        let run = sound_run().await;
        let path = run.file(file);
        std::fs::File::options().write(true).open(path).unwrap().set_len(length as u64).unwrap();
        let (recheck, code) = run.recheck().await;
        assert_eq!(code, expected, "{file} of {length} bytes: {:#?}", recheck.lines);
    }
}

#[tokio::test]
async fn a_missing_file_is_no_pass() {
    for file in ["system.recovered.raw", "system.writes", "system.base.raw"] {
        let run = sound_run().await;
        std::fs::remove_file(run.file(file)).unwrap();
        assert_eq!(run.recheck().await.1, 3, "{file}");
    }
    for file in [STARTED, SEAL, RESULT] {
        let run = sound_run().await;
        std::fs::remove_file(run.scenario().join(file)).unwrap();
        assert_eq!(run.recheck().await.1, 3, "{file}");
    }
}

/// What a person could change in a result, and the exit code if the seal was forged as well.
type Edit = (&'static str, fn(&mut ScenarioOutcome), u8);

const EDITS: [Edit; 17] = [
    ("an edge removed", |outcome| drop(outcome.edges.remove(2)), 3),
    ("all edges removed", |outcome| outcome.edges.clear(), 3),
    ("an edge renamed", |outcome| outcome.edges[0].name = "failback".to_owned(), 3),
    ("an edge failed", |outcome| outcome.edges[3].verdict = Verdict::Fail, 1),
    ("a disk removed", |outcome| drop(outcome.edges[1].disks.remove(1)), 3),
    ("the disks exchanged", |outcome| outcome.edges[1].disks.reverse(), 3),
    ("the ledger's rule removed", |outcome| outcome.rules.retain(|rule| rule.id != FO_10), 3),
    ("a promised rule removed", |outcome| outcome.rules.retain(|rule| rule.id != FO_04), 3),
    ("a rule's verdict", |outcome| outcome.rules[0].verdict = Verdict::Fail, 1),
    ("a disk's place", |outcome| outcome.edges[0].disks[0].cut = Some(6), 3),
    ("lost writes", |outcome| outcome.edges[0].evidence.lost_writes = 0, 3),
    ("lost records", |outcome| outcome.edges[0].rpo.records = 0, 3),
    ("completeness", |outcome| outcome.edges[0].evidence.complete = true, 3),
    ("the claimed loss", |outcome| outcome.edges[0].rpo.ms = 506, 1),
    ("the last record", |outcome| outcome.edges[0].rpo.survived = Some(5), 3),
    ("the self-test", |outcome| outcome.edges[0].flip = None, 3),
    ("the initial record", |outcome| outcome.edges[0].evidence.initial_record = Some(5), 3),
];

#[tokio::test]
async fn an_edited_result_is_no_pass_even_with_a_forged_seal() {
    for (what, change, expected) in EDITS {
        let run = sound_run().await;
        run.write_result(change);
        let (recheck, code) = run.recheck().await;
        assert!(recheck.lines.iter().any(|line| line.contains("edited afterwards")), "{what}");
        assert_ne!(code, 0, "{what}");
        run.forge_seal();
        let (recheck, code) = run.recheck().await;
        assert_eq!(code, expected, "{what}: {:#?}", recheck.lines);
    }
}

#[tokio::test]
async fn an_edit_that_contradicts_nothing_is_noticed_by_the_seal() {
    let run = sound_run().await;
    run.write_result(|outcome| outcome.boots_ms.push(7));
    assert_eq!(run.recheck().await.1, 3);
}

#[tokio::test]
async fn disks_that_were_never_together_in_that_state_fail_whatever_is_recorded() {
    // Each disk alone is an exact prefix, but record 5 is there and record 4 is not.
    let run = run_with([5, 1]).await;
    let (recheck, code) = run.recheck().await;
    assert_eq!(code, 1, "{:#?}", recheck.lines);
    run.write_result(|outcome| {
        outcome.verdict = Verdict::Pass;
        outcome.why.clear();
        outcome.rules.iter_mut().for_each(|rule| {
            rule.verdict = Verdict::Pass;
            rule.score = crate::rules::Score::Held;
        });
        for edge in &mut outcome.edges {
            edge.verdict = Verdict::Pass;
            edge.why.clear();
            edge.evidence.objection = None;
        }
    });
    run.forge_seal();
    let (recheck, code) = run.recheck().await;
    assert_eq!(code, 1);
    assert!(recheck.lines.iter().any(|line| line.contains("never in this state together")), "{recheck:#?}");
}

#[tokio::test]
async fn a_recorded_failure_stays_one_although_the_disks_are_sound() {
    let run = sound_run().await;
    run.write_result(|outcome| {
        outcome.verdict = Verdict::Fail;
        outcome.why = "the source was still running".to_owned();
    });
    run.forge_seal();
    assert_eq!(run.recheck().await.1, 1);
    run.write_result(|outcome| outcome.verdict = Verdict::Unknown);
    run.forge_seal();
    assert_eq!(run.recheck().await.1, 3);
}

#[tokio::test]
async fn a_scenario_that_did_not_end_is_unknown_and_named() {
    let run = sound_run().await;
    run.begin("hyperv-azure");
    let (recheck, code) = run.recheck().await;
    assert_eq!(code, 3);
    assert!(recheck.lines.contains(&"hyperv-azure: it started and left no result".to_owned()), "{recheck:?}");
}

#[tokio::test]
async fn a_killed_attempt_that_was_repeated_counts_no_more_and_is_named() {
    let run = Run::new();
    drop(run.begin(SCENARIO));
    run.fill([4, 2]).await;
    let (recheck, code) = run.recheck().await;
    assert_eq!(code, 0, "{:#?}", recheck.lines);
    let attempt = format!("{SCENARIO}.attempt-1: an earlier attempt, which a later one replaced");
    assert!(recheck.lines.contains(&attempt), "{:#?}", recheck.lines);
}

#[tokio::test]
async fn an_attempt_without_a_later_one_is_unknown_whatever_its_result() {
    let run = sound_run().await;
    std::fs::rename(run.scenario(), run.dir.join(format!("{SCENARIO}.attempt-1"))).unwrap();
    let (recheck, code) = run.recheck().await;
    assert_eq!(code, 3);
    let line = format!("{SCENARIO}: earlier attempts are stored, and the last one is not");
    assert!(recheck.lines.contains(&line), "{:#?}", recheck.lines);
}

#[tokio::test]
async fn a_scenario_that_was_asked_for_and_never_started_is_unknown_and_named() {
    let run = sound_run().await;
    std::fs::write(run.dir.join(ASKED), format!(r#"["{SCENARIO}", "hyperv-azure"]"#)).unwrap();
    let (recheck, code) = run.recheck().await;
    assert_eq!(code, 3);
    let line = "hyperv-azure: the run was asked for it, and it never started".to_owned();
    assert!(recheck.lines.contains(&line), "{:#?}", recheck.lines);
}

#[tokio::test]
async fn a_scenario_that_the_report_names_and_the_directory_lacks_is_unknown() {
    let run = sound_run().await;
    let mut results = report::collect(&run.dir, HostFacts::default()).unwrap();
    report::write(&run.dir, &results).unwrap();
    assert_eq!(run.recheck().await.1, 0);
    let second = ScenarioOutcome { name: "hyperv-azure".to_owned(), ..results.scenarios[0].clone() };
    results.scenarios.push(second);
    report::write(&run.dir, &results).unwrap();
    assert_eq!(run.recheck().await.1, 3);
}

#[tokio::test]
async fn a_simulated_scenario_is_named_and_does_not_fail() {
    let run = sound_run().await;
    let evidence = run.begin("sim-vmware-azure");
    let mut outcome = ScenarioOutcome::begun("sim-vmware-azure", "", None);
    outcome.verdict = Verdict::Pass;
    let mut edge = store_edge(&run.scenario(), "failover (seed 1)", [4, 2]).await;
    edge.evidence = crate::outcome::EdgeEvidence::default();
    edge.disks =
        vec![DiskOutcome { evidence: crate::outcome::DiskEvidence::default(), ..edge.disks[0].clone() }];
    outcome.edges.push(edge);
    evidence.end(&outcome).unwrap();
    let (recheck, code) = run.recheck().await;
    assert_eq!(code, 0, "{:#?}", recheck.lines);
    assert!(recheck.lines.iter().any(|line| line.starts_with("sim-vmware-azure: simulated")), "{recheck:#?}");
    outcome.verdict = Verdict::Fail;
    evidence.end(&outcome).unwrap();
    assert_eq!(run.recheck().await.1, 1, "a simulated failure stays one");
}

#[tokio::test]
async fn results_without_a_judged_disk_and_unknown_scenarios_are_no_pass() {
    for name in ["sim-vmware-azure", "identity", "no-such-scenario"] {
        let run = sound_run().await;
        std::fs::remove_dir_all(run.scenario()).unwrap();
        let evidence = run.begin(name);
        let mut outcome = ScenarioOutcome::begun(name, "", None);
        outcome.verdict = Verdict::Pass;
        evidence.end(&outcome).unwrap();
        assert_eq!(run.recheck().await.1, 3, "{name}");
    }
}

#[tokio::test]
async fn an_empty_directory_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(dir.path()).unwrap();
    let error = recheck(path).await.unwrap_err().to_string();
    assert!(error.ends_with("holds no evidence of a scenario"), "{error}");
}
