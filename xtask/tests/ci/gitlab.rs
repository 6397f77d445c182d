//! A rehearsal of the pipeline of GitLab: the scripts of its jobs run here, stage after stage. All
//! jobs share one work tree, as if every artifact were handed on.

use std::process::Command;

use serde_json::Value;

use crate::files::{GITLAB, root, texts, yaml};
use crate::place::{Place, Ran, SHARDS, results, run, shell};

/// The variables that GitLab sets.
fn variables(index: usize) -> Vec<(&'static str, String)> {
    vec![
        ("CI_PIPELINE_ID", "77".to_owned()),
        ("CI_NODE_INDEX", index.to_string()),
        ("CI_NODE_TOTAL", SHARDS.to_string()),
    ]
}

/// Runs the scripts of a job up to the first that fails, and returns how it ended.
fn job(pipeline: &Value, name: &str, variables: &[(&str, String)]) -> Ran {
    let mut last = Ran { code: 0, output: String::new(), answer: String::new() };
    for line in texts(&pipeline[name]["script"]) {
        last = shell(&line, variables);
        if last.code != 0 {
            break;
        }
    }
    for line in texts(&pipeline[name]["after_script"]) {
        let after = shell(&line, variables);
        assert_eq!(after.code, 0, "{after:?}");
        last.output += &after.output;
    }
    last
}

#[test]
#[ignore = "runs the sim tier several times"]
fn the_pipeline_rehearsed() {
    let place = Place::new();
    let pipeline = yaml(GITLAB);
    assert!(pipeline["shard"]["parallel"].as_u64().is_some_and(|shards| shards > 1));
    assert_eq!(job(&pipeline, "history", &[]).code, 0);
    for index in 1..=SHARDS {
        let ran = job(&pipeline, "shard", &variables(index));
        assert!(ran.code == 0 && ran.output.contains(&format!("Shard {index} of {SHARDS}")), "{ran:?}");
    }
    let ran = job(&pipeline, "report", &[]);
    assert!(ran.code == 0 && ran.output.contains("## ✓ Roundtrip: conforms"), "{ran:?}");
    let ran = job(&pipeline, "compare", &[]);
    assert!(ran.code == 0 && root().join("report/trend.html").exists(), "{ran:?}");
    let ran = job(&pipeline, "cost", &[]);
    assert!(ran.code == 0 && root().join("cost/report.html").exists(), "{ran:?}");
    let whole = results(&root().join("report"));
    assert_eq!((&whole["verdict"], &whole["division"]["run"]), (&"pass".into(), &"77".into()));
    let junit = &pipeline["report"]["artifacts"]["reports"]["junit"];
    assert!(root().join(junit.as_str().expect("a path")).exists());
    place.tidy();
    // A history is never begun where the one with all nights belongs.
    let ran = job(&pipeline, "cost", &[]);
    assert!(ran.code == 3 && ran.output.contains("There is no history"), "{ran:?}");
    assert!(!root().join("history").exists());
    // Without an engine, `auto` says what it looked for.
    let alone = ["xtask", "conformance", "--tier", "sim", "--shard", "auto"];
    let refused = run(Command::new("cargo").args(alone), &[]);
    assert!(refused.code == 64 && refused.output.contains("CI_NODE_INDEX"), "{refused:?}");
}
