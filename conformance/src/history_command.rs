//! The command `history`: lists, shows, accepts and deletes what a history holds.

use anyhow::Result;
use camino::Utf8Path;
use clap::Subcommand;

use crate::history::{self, History, Kind, Pruned, Usual};
use crate::host_facts::host_facts;

/// What to do with a history.
#[derive(Clone, Debug, Subcommand)]
pub enum HistoryCommand {
    /// Lists the runs, and then the benchmarks.
    List,
    /// Shows what is kept of a run or a benchmark.
    Show {
        /// Its id.
        run: String,
    },
    /// Deletes all but the newest runs and the newest benchmarks.
    Prune {
        /// How many of each to keep.
        #[arg(long)]
        keep: u32,
    },
    /// Notes that what changed up to a run or a benchmark is intended, on its host and for its
    /// core.
    Accept {
        /// Its id.
        run: String,
    },
    /// Prints every run as a line of JSON, and no benchmark.
    Export,
    /// Prints how long scenarios and steps usually take on this host, as JSON.
    Usual,
    /// Prints how long scenarios usually took on any host, as JSON.
    Durations,
}

/// Does it and returns the exit code.
///
/// # Errors
/// The history cannot be used, or has no such run.
pub fn run(file: &Utf8Path, what: &HistoryCommand) -> Result<u8> {
    let Some(mut history) = History::read(file)? else {
        match what {
            HistoryCommand::Usual => println!("{}", serde_json::to_string(&Usual::default())?),
            HistoryCommand::Durations => println!("{{}}"),
            _ => println!("There is no history {file} yet: each run adds itself to one."),
        }
        return Ok(0);
    };
    match what {
        HistoryCommand::List => {
            print!("{}", history::list(&history.runs()?));
            let benches = history.benches()?;
            if !benches.is_empty() {
                print!("\n{}", history::list_benches(&benches));
            }
        }
        HistoryCommand::Show { run } => match history.find(run)? {
            (Kind::Run, run) => print!("{}", history::show(&run)),
            (Kind::Bench, bench) => print!("{}", history::show_bench(&bench)),
        },
        HistoryCommand::Export => {
            for run in history.runs()? {
                print!("{}", history::export(&history.run(&run.run)?)?);
            }
        }
        HistoryCommand::Accept { run } => {
            history.accept(run)?;
            println!(
                "Whatever changed up to {run} is intended: reports on its host and core no longer call it a \
                 regression, unless --against names a border."
            );
        }
        HistoryCommand::Prune { keep } => {
            let Pruned { runs, benches } = history.prune(*keep)?;
            println!(
                "Deleted {runs} runs and {benches} benchmarks from {file}; the newest {keep} of each are kept."
            );
        }
        HistoryCommand::Durations => {
            println!("{}", serde_json::to_string(&history::durations(&history)?)?);
        }
        HistoryCommand::Usual => {
            let host = history::fingerprint(&host_facts()?);
            println!("{}", serde_json::to_string(&history::usual(&history, &host)?)?);
        }
    }
    Ok(0)
}
