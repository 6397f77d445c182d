//! A rehearsal of the jobs for Kubernetes: the commands of their containers run here, with the
//! volume as a directory.

use std::path::Path;
use std::process::Command;

use crate::calls::container;
use crate::files::{KUBERNETES, texts, yaml};
use crate::place::{Place, Ran, SHARDS, results, run};

/// Where the containers see the volume.
const VOLUME: &str = "/runs";

/// Runs the command of a manifest's container. The engine replaces variables in it.
fn pod(manifest: &str, volume: &Path, variables: &[(&str, String)]) -> Ran {
    let container = container(&yaml(&format!("{KUBERNETES}/{manifest}")));
    let listed: Vec<_> = container["env"].as_array().expect("variables").iter().collect();
    let quick = crate::place::QUICK.map(|(name, value)| (name, value.to_owned()));
    let known: Vec<_> = quick.iter().chain(variables).collect();
    let words = texts(&container["command"]).into_iter().map(|word| {
        let filled =
            known.iter().fold(word, |word, (name, value)| word.replace(&format!("$({name})"), value));
        assert!(!filled.contains("$("), "the rehearsal does not know what {filled} means");
        filled.replace(VOLUME, &volume.display().to_string())
    });
    let words: Vec<String> = words.collect();
    for (name, _) in variables {
        assert!(listed.iter().any(|variable| variable["name"] == *name), "{manifest} sets no {name}");
    }
    run(Command::new(&words[0]).args(&words[1..]), variables)
}

#[test]
#[ignore = "runs the sim tier several times"]
fn the_jobs_rehearsed() {
    let place = Place::new();
    let volume = place.path("volume");
    std::fs::create_dir(&volume).expect("made");
    let name = || ("RUN_NAME", "nightly".to_owned());
    for index in 0..SHARDS {
        let shard =
            [name(), ("JOB_COMPLETION_INDEX", index.to_string()), ("JOB_COMPLETIONS", SHARDS.to_string())];
        let ran = pod("job.yaml", &volume, &shard);
        assert!(ran.code == 0 && ran.output.contains(&format!("Shard {} of {SHARDS}", index + 1)), "{ran:?}");
        assert!(
            !volume.join("history.sqlite").exists(),
            "a shard does not change what others are divided by"
        );
    }
    let ran = pod("report.yaml", &volume, &[name()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let whole = results(&volume.join("nightly/report"));
    assert_eq!((&whole["verdict"], &whole["division"]["run"]), (&"pass".into(), &"nightly".into()));
    assert!(volume.join("history.sqlite").exists());
    for (manifest, page) in [("compare.yaml", "report/trend.html"), ("cost.yaml", "cost/report.html")] {
        let ran = pod(manifest, &volume, &[name()]);
        assert!(ran.code == 0 && volume.join("nightly").join(page).exists(), "{manifest}: {ran:?}");
    }
}
