//! The command line. Links neither libvirt nor libnbd: it must build and run on a machine that has neither,
//! in order to set it up.

mod bench;
mod checks;
mod clean;
mod cli;
mod conformance;
mod doctor;
mod error;
mod host;
mod images_cmd;
mod mutants;
mod run;
mod setup;
mod suite;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use cli::{Cli, Command, Images};

fn main() -> ExitCode {
    let words = Cli::parse();
    match dispatch(&words.command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(error::code_of(&error))
        }
    }
}

fn dispatch(command: &Command) -> Result<u8> {
    let root = run::workspace()?;
    let done = |result: Result<()>| result.map(|()| 0);
    match command {
        Command::Setup(consent) => done(setup::command(&root, consent.yes)),
        Command::Doctor { json } => doctor::command(&root, *json),
        Command::Conformance(arguments) => conformance::command(&root, arguments),
        Command::Test(consent) => checks::command(&root, consent),
        Command::Images { what: Some(Images::Build) } => done(images_cmd::build(&root)),
        Command::Images { .. } => done(images_cmd::list()),
        Command::Clean { runs, consent } => done(clean::command(&root, *runs, consent.yes)),
        Command::Bench(arguments) => bench::command(&root, arguments),
        Command::Mutants(arguments) => mutants::command(&root, arguments),
        Command::Diagrams => done(clean::diagrams(&root)),
        Command::Recheck { dir } => clean::recheck(&root, dir),
    }
}
