//! What a shard says of itself in its directory, so that a merge can tell whether shards belong
//! together and whether one is missing.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result};
use camino::Utf8Path;
use serde_json::json;

use super::choice::Shard;
use crate::error::infrastructure;

/// The file that says which part of a run this is. `conformance/src/outcome/division.rs` reads it.
pub const DIVISION: &str = "division.json";
/// The file that says how a shard ended. Without it the shard was killed.
const ENDED: &str = "ended.json";
/// Options of a shard's command that the command of the whole run does not have.
const OF_A_SHARD: [&str; 2] = ["--shard", "--out"];
/// The option that names a run.
const RUN_NAME: &str = "--run-name";

/// Writes which part of the run the shard is: `divided` lists the scenarios of every shard.
pub fn note(dir: &Utf8Path, shard: &Shard, run: &str, sources: &str, divided: &[Vec<String>]) -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let division = json!({
        "kind": "shard",
        "number": shard.number,
        "of": shard.of,
        "run": run,
        "sources": sources,
        "command": whole_command(&words, run),
        "divided": divided,
    });
    write(&dir.join(DIVISION), &division)
}

/// Writes with which exit code the shard ended, if it had begun.
pub fn ended(dir: &Utf8Path, code: u8) -> Result<()> {
    if !dir.join(DIVISION).exists() {
        return Ok(());
    }
    write(&dir.join(ENDED), &json!({"code": code}))
}

fn write(path: &Utf8Path, value: &serde_json::Value) -> Result<()> {
    std::fs::write(path, value.to_string()).with_context(|| format!("tried to write {path}"))
}

/// The command of the whole run, from the words of a shard's command.
fn whole_command(words: &[String], run: &str) -> String {
    let mut kept = Vec::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if OF_A_SHARD.contains(&word.as_str()) {
            rest.next();
        } else if !OF_A_SHARD.iter().any(|option| word.starts_with(&format!("{option}="))) {
            kept.push(word.as_str());
        }
    }
    let named = kept.iter().any(|word| *word == RUN_NAME || word.starts_with(&format!("{RUN_NAME}=")));
    if !named {
        kept.extend([RUN_NAME, run]);
    }
    format!("cargo xtask {}", shell_words::join(kept))
}

/// What the sources are: their git commit, with a digest of what was changed since then. Shards of
/// different sources are no parts of one run.
pub fn sources(root: &Utf8Path) -> Result<String> {
    let commit = git(root, &["rev-parse", "HEAD"], b"")?;
    let changes = git(root, &["diff", "HEAD"], b"")?;
    if changes.is_empty() {
        return Ok(commit);
    }
    let digest = git(root, &["hash-object", "--stdin"], changes.as_bytes())?;
    Ok(format!("{commit}+{}", digest.get(..12).unwrap_or(&digest)))
}

fn git(root: &Utf8Path, arguments: &[&str], input: &[u8]) -> Result<String> {
    let mut command = Command::new("git");
    command.args(["-C", root.as_str()]).args(arguments);
    let output = output_of(&mut command, input).map_err(|error| refusal(&error.to_string()))?;
    if !output.status.success() {
        return Err(refusal(String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn output_of(command: &mut Command, input: &[u8]) -> std::io::Result<Output> {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn()?;
    // Dropped at the end of the statement, so that git sees the end of its input.
    child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input))?;
    child.wait_with_output()
}

fn refusal(why: &str) -> anyhow::Error {
    let why = why.lines().next().unwrap_or_default();
    infrastructure(format!(
        "A shard names the git commit of its sources, and git does not tell it ({why}): run it in a git work tree."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_of_the_whole_run_names_no_shard_and_its_seeds() {
        let words = |text: &str| shell_words::split(text).expect("words");
        for shard in [
            "conformance --tier sim --shard 1/2 --out a",
            "conformance --shard=1/2 --tier sim --out=a",
            "conformance --tier sim --run-name nightly --shard auto",
        ] {
            let whole = whole_command(&words(shard), "nightly");
            assert_eq!(whole, "cargo xtask conformance --tier sim --run-name nightly", "{shard}");
        }
    }

    #[test]
    fn sources_are_a_commit_and_what_was_changed_since() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let root = Utf8Path::from_path(scratch.path()).expect("a UTF-8 path");
        let error = sources(root).expect_err("it is no repository");
        assert_eq!(error.to_string().lines().count(), 1);
        let git = |arguments: &[&str]| git(root, arguments, b"").expect("git works");
        git(&["init", "--quiet"]);
        std::fs::write(root.join("file"), "one\n").expect("written");
        git(&["add", "file"]);
        git(&["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "--quiet", "-m", "one"]);
        let committed = sources(root).expect("a commit");
        assert_eq!(committed, git(&["rev-parse", "HEAD"]));
        std::fs::write(root.join("file"), "two\n").expect("written");
        let changed = sources(root).expect("a commit");
        assert!(changed.starts_with(&format!("{committed}+")), "{changed}");
    }

    #[test]
    fn a_shard_that_never_began_has_no_end() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let dir = Utf8Path::from_path(scratch.path()).expect("a UTF-8 path");
        ended(dir, 3).expect("nothing to write");
        assert!(!dir.join(ENDED).exists());
        let shard = Shard { number: 1, of: 2, run: None };
        note(dir, &shard, "nightly", "abc", &[vec!["a".into()], vec!["b".into()]]).expect("written");
        ended(dir, 3).expect("written");
        assert!(dir.join(ENDED).exists());
    }
}
