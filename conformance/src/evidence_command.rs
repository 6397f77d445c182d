//! Commands about stored evidence, whose exit codes are verdicts.

use anyhow::Result;
use camino::Utf8Path;
use contract::Bytes;

use crate::packed::{self, Compacted};
use crate::recheck::{self, Recheck};
use crate::{certificate, report};

/// Judges the evidence in `dir` again, and verifies a certificate if there is one.
///
/// # Errors
/// There is no evidence, or the certificate was altered.
pub async fn judge_again(dir: &Utf8Path, certificate: Option<&Utf8Path>) -> Result<u8> {
    let recheck = match certificate {
        Some(file) => certificate::verify(file, dir).await?,
        None => recheck::recheck(dir).await?,
    };
    Ok(print(&recheck))
}

/// Writes the certificate of the run in `dir`, unless the evidence does not support its verdict.
///
/// # Errors
/// The run has no results or no evidence, or a file cannot be read or written.
pub async fn certify(dir: &Utf8Path, file: &Utf8Path) -> Result<u8> {
    let (recheck, written) = certificate::certify(dir, file).await?;
    let code = print(&recheck);
    if written {
        println!("Wrote {file}, and beside it the text for people, {}.", file.with_extension("md"));
    } else {
        println!("There is no certificate: the evidence does not support the verdict in the results.");
    }
    Ok(code)
}

fn print(recheck: &Recheck) -> u8 {
    for line in &recheck.lines {
        println!("{line}");
    }
    report::exit_code(recheck.verdict, false)
}

/// Packs the evidence of the scenarios of the run in `dir` that passed.
///
/// # Errors
/// The evidence cannot be read or written. It is complete nevertheless.
pub fn pack(dir: &Utf8Path) -> Result<u8> {
    for (scenario, Compacted { before, after, took }) in packed::compact_run(dir)? {
        let (before, after, ms) = (Bytes(before), Bytes(after), took.as_millis());
        println!("{dir}: packed the evidence of {scenario}, {before} became {after} in {ms} ms");
    }
    Ok(0)
}
