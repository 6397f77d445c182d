use super::*;
use crate::outcome::{Merged, MergedShard, ShardState};

/// The scenarios whose evidence counts as that of another run, of these scenarios and run ids.
fn foreign(scenarios: &[(&str, Option<&str>)], division: &Division) -> Vec<(String, String)> {
    let keep = tempfile::tempdir().unwrap();
    let dir = Utf8Path::from_path(keep.path()).unwrap();
    let place = |(scenario, run): &(&str, Option<&str>)| {
        let place = dir.join(scenario);
        std::fs::create_dir(&place).unwrap();
        let run = run.map(ToOwned::to_owned);
        let mark = StartMark { scenario: (*scenario).to_owned(), run, at: None };
        std::fs::write(place.join(STARTED), serde_json::to_vec(&mark).unwrap()).unwrap();
        place
    };
    let places: Vec<_> = scenarios.iter().map(place).collect();
    let found = Foreign::among(&places, division);
    let why = |place: &Utf8PathBuf| Some((place.file_name()?.to_owned(), found.check(place).err()?));
    places.iter().filter_map(why).collect()
}

fn named(found: &[(String, String)]) -> Vec<&str> {
    found.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn scenarios_of_one_run_belong_together_whatever_its_directory_is_called() {
    assert!(foreign(&[("a", Some("A")), ("b", Some("A"))], &Division::Whole).is_empty());
    assert!(foreign(&[("a", None), ("b", None)], &Division::Whole).is_empty(), "an older suite");
}

#[test]
fn the_scenario_of_another_run_is_named_with_both_runs() {
    let found = foreign(&[("a", Some("B")), ("b", Some("A")), ("c", Some("B"))], &Division::Whole);
    let why = "its evidence is of run A, that of other scenarios of run B";
    assert_eq!(found, [("b".to_owned(), why.to_owned())]);
    let found = foreign(&[("a", Some("B")), ("b", None), ("c", Some("B"))], &Division::Whole);
    assert_eq!(named(&found), ["b"], "a start mark without an id is of no known run");
}

#[test]
fn nothing_is_known_if_no_run_has_most_scenarios() {
    let found = foreign(&[("a", Some("B")), ("b", Some("A"))], &Division::Whole);
    assert_eq!(named(&found), ["a", "b"]);
    assert!(found[1].1.contains("of run A, that of other scenarios of run B"), "{found:?}");
}

#[test]
fn tests_by_hand_each_have_an_id_and_belong_together() {
    let by_hand = [("a", Some("by-hand-1")), ("b", Some("by-hand-2"))];
    assert!(foreign(&by_hand, &Division::Whole).is_empty());
    let [a, b] = by_hand;
    let mixed = foreign(&[a, b, ("c", Some("A"))], &Division::Whole);
    assert_eq!(named(&mixed), ["c"], "evidence by hand is not that of a run");
}

#[test]
fn each_shard_of_a_merged_run_has_a_run_of_its_own() {
    let shard = |number, names: &[&str]| MergedShard {
        number,
        scenarios: names.iter().map(ToString::to_string).collect(),
        state: ShardState::Ended(0),
        host: None,
    };
    let shards = vec![shard(1, &["a", "b", "c"]), shard(2, &["d"])];
    let merged = Division::Merged(Merged { run: String::new(), sources: String::new(), shards });
    let (a, d) = (("a", Some("A")), ("d", Some("D")));
    assert!(foreign(&[a, ("b", Some("A")), d], &merged).is_empty());
    assert_eq!(named(&foreign(&[a, ("b", Some("A")), ("c", Some("D")), d], &merged)), ["c"]);
    let found = foreign(&[a, d, ("e", Some("A"))], &merged);
    assert_eq!(found, [("e".to_owned(), "no shard of this run had to run it".to_owned())]);
}
