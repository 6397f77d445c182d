//! Packed evidence of a whole scenario, unchanged and tampered with.

use camino::{Utf8Path, Utf8PathBuf};

use super::tests::{Run, run_with, sound_run};
use crate::evidence::RESULT;
use crate::outcome::ScenarioOutcome;
use crate::packed::{EarlierEdges, PACKED, compact};

fn outcome(run: &Run) -> ScenarioOutcome {
    serde_json::from_slice(&std::fs::read(run.scenario().join(RESULT)).unwrap()).unwrap()
}

/// Packs the evidence of the run's scenario, whose files have the endings that those of guests
/// have.
fn pack(run: &Run) {
    assert!(compact(&run.scenario(), &outcome(run)).unwrap().is_some());
}

fn disks_below(dir: &Utf8Path) -> Vec<Utf8PathBuf> {
    let mut found = Vec::new();
    for entry in dir.read_dir_utf8().unwrap() {
        let path = entry.unwrap().path().to_owned();
        match path.is_dir() {
            true => found.extend(disks_below(&path)),
            false if path.extension().is_some_and(|end| ["raw", "writes"].contains(&end)) => found.push(path),
            false => {}
        }
    }
    found
}

#[tokio::test]
async fn packed_evidence_is_judged_exactly_as_before() {
    let run = sound_run().await;
    let before = run.recheck().await;
    std::fs::write(run.scenario().join("replica.qcow2"), "a disk that no verdict depends on").unwrap();
    std::fs::write(run.scenario().join("log.jsonl"), "{}").unwrap();
    pack(&run);
    assert_eq!(disks_below(&run.scenario()), Vec::<Utf8PathBuf>::new());
    assert!(!run.scenario().join("replica.qcow2").exists() && run.scenario().join("log.jsonl").exists());
    assert_eq!(run.recheck().await, before);
    assert_eq!(before.1, 0);
    assert!(compact(&run.scenario(), &outcome(&run)).unwrap().is_none(), "it is packed already");
}

#[tokio::test]
async fn edges_that_were_packed_while_the_scenario_ran_are_judged_exactly_as_before() {
    let run = sound_run().await;
    let (before, dir) = (run.recheck().await, run.scenario());
    let mut first = outcome(&run).edges;
    let second = first.split_off(first.len() / 2);
    let mut earlier = EarlierEdges::none(dir.clone());
    let other = dir.join("edges/1-failover/system.point.raw");
    std::fs::create_dir_all(other.parent().unwrap()).unwrap();
    std::fs::write(&other, "no verdict depends on it").unwrap();
    let all = disks_below(&dir);
    earlier.cycle_ended(first).unwrap();
    assert_eq!(disks_below(&dir), all, "the next cycle may need them");
    earlier.cycle_ended(second).unwrap();
    let left = disks_below(&dir);
    assert!(!left.is_empty() && left.len() < all.len() && !left.contains(&other));
    assert_eq!(run.recheck().await, before, "some files are packed and some are not");
    pack(&run);
    assert_eq!(disks_below(&dir), Vec::<Utf8PathBuf>::new());
    assert!(dir.join(format!("{PACKED}-1")).is_dir() && !dir.join(format!("{PACKED}-2")).exists());
    assert_eq!(run.recheck().await, before);
    std::fs::remove_dir_all(dir.join(format!("{PACKED}-1"))).unwrap();
    assert_ne!(run.recheck().await.1, 0, "a missing folder is no pass");
}

#[tokio::test]
async fn a_file_that_is_written_again_after_it_was_packed_is_kept() {
    let run = sound_run().await;
    let (dir, edges) = (run.scenario(), outcome(&run).edges);
    let mut earlier = EarlierEdges::none(dir.clone());
    earlier.cycle_ended(edges.clone()).unwrap();
    earlier.cycle_ended(edges).unwrap();
    let again = dir.join(&outcome(&run).edges[0].disks[0].evidence.recovered);
    std::fs::write(&again, "of another machine with the same name").unwrap();
    assert!(earlier.cycle_ended(vec![]).is_err() && compact(&dir, &outcome(&run)).is_err());
    assert!(again.exists());
}

#[tokio::test]
async fn the_evidence_of_a_scenario_that_did_not_pass_stays_as_it_is() {
    let run = run_with([5, 1]).await;
    let files = disks_below(&run.scenario());
    assert!(compact(&run.scenario(), &outcome(&run)).unwrap().is_none());
    assert_eq!(disks_below(&run.scenario()), files);
    assert!(!run.scenario().join(PACKED).exists());
}

#[tokio::test]
async fn every_altered_byte_and_every_missing_pack_is_no_pass() {
    let run = sound_run().await;
    pack(&run);
    let files = run.scenario().join(PACKED).read_dir_utf8().unwrap();
    for path in files.map(|entry| entry.unwrap().path().to_owned()) {
        let original = std::fs::read(&path).unwrap();
        for at in (0..original.len()).step_by(original.len() / 8) {
            let mut altered = original.clone();
            altered[at] ^= 1;
            std::fs::write(&path, altered).unwrap();
            assert_eq!(run.recheck().await.1, 3, "byte {at} of {path}");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(run.recheck().await.1, 3, "{path} is missing");
        std::fs::write(&path, original).unwrap();
        assert_eq!(run.recheck().await.1, 0);
    }
    std::fs::remove_dir_all(run.scenario().join(PACKED)).unwrap();
    assert_eq!(run.recheck().await.1, 3, "no evidence is left");
}

/// What a suite that is killed while it packs may leave behind, and whether the next call has
/// anything to do.
#[tokio::test]
async fn a_killed_packing_loses_nothing_and_is_finished_later() {
    // Before the packs are complete: a part of them, under the other name.
    let run = sound_run().await;
    let writing = run.scenario().join("packed.writing");
    std::fs::create_dir(&writing).unwrap();
    std::fs::write(writing.join("index"), "half an ind").unwrap();
    assert_eq!(run.recheck().await.1, 0);
    pack(&run);
    assert!(!writing.exists());
    assert_eq!(run.recheck().await.1, 0);
    // Between the first and the last file that is deleted.
    let run = sound_run().await;
    let files: Vec<_> =
        disks_below(&run.scenario()).into_iter().map(|p| (std::fs::read(&p).unwrap(), p)).collect();
    pack(&run);
    for keep in [1, files.len() / 2, files.len()] {
        for (content, path) in &files[..keep] {
            std::fs::write(path, content).unwrap();
        }
        assert_eq!(run.recheck().await.1, 0, "{keep} files are left");
        let (content, path) = &files[0];
        std::fs::write(path, &content[1..]).unwrap();
        assert_ne!(run.recheck().await.1, 0, "a file that is left was altered");
        pack(&run);
        assert_eq!(disks_below(&run.scenario()), Vec::<Utf8PathBuf>::new());
        assert_eq!(run.recheck().await.1, 0);
    }
}

#[tokio::test]
async fn files_are_deleted_only_if_the_packs_are_sound() {
    let run = sound_run().await;
    let file = disks_below(&run.scenario()).remove(0);
    let content = std::fs::read(&file).unwrap();
    pack(&run);
    std::fs::write(&file, &content).unwrap();
    let packs = run.scenario().join(PACKED).read_dir_utf8().unwrap();
    let pack =
        packs.map(|entry| entry.unwrap().path().to_owned()).find(|path| path.extension() == Some("pack"));
    std::fs::write(pack.unwrap(), b"altered").unwrap();
    assert!(compact(&run.scenario(), &outcome(&run)).is_err());
    assert!(file.exists());
}

#[tokio::test]
async fn names_in_a_result_do_not_choose_where_recheck_writes() {
    let run = sound_run().await;
    let outside = run.dir.join("outside.raw");
    let base = |outcome: &ScenarioOutcome| outcome.edges[2].disks[0].evidence.base.clone();
    let inside = base(&outcome(&run));
    pack(&run);
    rename_in_index(&run, &inside, "../outside.raw");
    run.write_result(|outcome| outcome.edges[2].disks[0].evidence.base = "../outside.raw".to_owned());
    run.forge_seal();
    assert_eq!(run.recheck().await.1, 0, "the packs hold it");
    assert!(!outside.exists());
}

/// Gives a packed file another name, with the digest that belongs to the index.
fn rename_in_index(run: &Run, name: &str, another: &str) {
    let path = run.scenario().join(PACKED).join("index");
    let bytes = std::fs::read(&path).unwrap();
    let (compressed, _) = bytes.split_last_chunk::<{ blake3::OUT_LEN }>().unwrap();
    let text = miniz_oxide::inflate::decompress_to_vec_zlib(compressed).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains(name), "{text}");
    let text = text.replace(name, another);
    let mut bytes = miniz_oxide::deflate::compress_to_vec_zlib(text.as_bytes(), 6);
    bytes.extend(*blake3::hash(&bytes).as_bytes());
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_file_outside_of_the_directory_is_not_packed_and_nothing_is_deleted() {
    let run = sound_run().await;
    std::fs::copy(run.file("system.base.raw"), run.dir.join("outside.raw")).unwrap();
    run.write_result(|outcome| outcome.edges[2].disks[0].evidence.base = "../outside.raw".to_owned());
    let files = disks_below(&run.dir);
    let error = format!("{:#}", compact(&run.scenario(), &outcome(&run)).unwrap_err());
    assert!(error.contains("leads out of its directory"), "{error}");
    assert_eq!(disks_below(&run.dir), files);
}
