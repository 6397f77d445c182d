//! The command line. It links neither libvirt nor libnbd, so that it builds and runs on a machine
//! that has neither and can set that machine up.

mod bench;
mod cargo;
mod certificate;
mod checks;
mod clean;
mod cli;
mod conformance;
mod crash_states;
mod docs;
mod doctor;
mod error;
mod exhaust;
mod fuzz;
mod guest_images;
mod history;
mod hold;
mod image_builds;
mod merge;
mod mutants;
mod process;
mod recheck;
mod report;
mod room;
mod sanitize;
mod sbom;
mod setup;
mod soak;
mod suite;
mod system;
mod terminal;
mod torture;
mod variants;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use cli::{Cli, Command, Images, ReportCommand};

fn main() -> ExitCode {
    let arguments = match Cli::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    match dispatch(&arguments.command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(error::code_of(&error))
        }
    }
}

/// Prints what the argument parser has to say: help and version are no errors.
fn refuse(error: &clap::Error) -> ExitCode {
    // There is nowhere left to report that standard error is closed.
    let _ = error.print();
    ExitCode::from(cli::exit_code(error))
}

fn dispatch(command: &Command) -> Result<u8> {
    let root = cargo::workspace()?;
    let done = |result: Result<()>| result.map(|()| 0);
    match command {
        Command::Setup { image, consent } => done(setup::command(&root, consent.yes, *image)),
        Command::Doctor { json } => doctor::command(&root, *json),
        Command::Conformance(arguments) => conformance::command(&root, arguments),
        Command::Test(consent) => checks::command(&root, consent),
        Command::Fuzz(arguments) => fuzz::command(&root, arguments),
        Command::Sbom { unsafe_code: true, .. } => done(sbom::print_unsafe(&root)),
        Command::Sbom { out, .. } => done(sbom::command(&root, out.as_deref())),
        Command::Images { what } => match what {
            Some(Images::Build) => done(guest_images::build(&root)),
            Some(Images::Verify(consent)) => image_builds::verify(&root, consent.yes),
            Some(Images::Make { cache, witness, agent }) => done(guest_images::make(cache, witness, agent)),
            Some(Images::List) | None => done(guest_images::list()),
        },
        Command::Clean(arguments) => done(clean::command(&root, arguments)),
        Command::Bench(arguments) => bench::command(&root, arguments),
        Command::Docs { experiments } => done(docs::command(&root, *experiments)),
        Command::Report(arguments) => match &arguments.what {
            Some(ReportCommand::Merge(arguments)) => merge::command(&root, arguments),
            None => report::command(&root, arguments),
        },
        Command::History { history, what } => history::command(&root, history, what),
        Command::Recheck { dir, certificate } => recheck::command(&root, dir, certificate.as_deref()),
        Command::CrashStates { evidence, samples, seed } => {
            crash_states::command(&root, evidence, *samples, *seed)
        }
        Command::Certificate { run, out } => certificate::command(&root, run, out.as_deref()),
        Command::Mutants(arguments) => mutants::command(&root, arguments),
        Command::Variants(arguments) => variants::command(&root, arguments),
        Command::Exhaust(arguments) => exhaust::command(&root, arguments),
        Command::Torture(arguments) => torture::command(&root, arguments),
        Command::Sanitize(consent) => sanitize::command(&root, consent),
        Command::Soak(arguments) => soak::command(&root, arguments),
        Command::Hold { parent, words } => hold::command(*parent, words),
    }
}
