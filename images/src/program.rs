//! Compiles the guest's programs as static binaries.

use std::process::{Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};

use crate::ImageError;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The guest's own programs, as static binaries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// The suite's witness.
    pub witness: Utf8PathBuf,
    /// The replication agent.
    pub agent: Utf8PathBuf,
}

/// Compiles the guest's programs of `workspace`. The output goes to `target/guest`, so that the
/// different flags never invalidate host builds.
///
/// # Errors
/// Cargo is missing or the compilation fails; the error contains the end of the output.
pub fn build_programs(workspace: &Utf8Path, say: &mut dyn FnMut(&str)) -> Result<Programs, ImageError> {
    say("compiling the guest's programs");
    let folder = workspace.join("target/guest");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command
        .args([
            "build",
            "--release",
            "--package",
            "witness",
            "--bin",
            "witness",
            "--features",
            "witness/guest",
        ])
        .args(["--package", "agent", "--bin", "agent", "--features", "agent/guest"])
        .args(["--target", TARGET, "--target-dir", folder.as_str()])
        .current_dir(workspace)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(workspace).join("\x1f"))
        .env_remove("RUSTFLAGS")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "none")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .stdin(Stdio::null());
    crate::tools::run(&mut command)?;
    let built = folder.join(TARGET).join("release");
    Ok(Programs { witness: built.join("witness"), agent: built.join("agent") })
}

/// Compiler flags for a static binary that does not contain the paths of this machine.
fn flags(workspace: &Utf8Path) -> Vec<String> {
    let home = std::env::var("HOME").unwrap_or_default();
    let cargo_home = std::env::var("CARGO_HOME").unwrap_or_else(|_| format!("{home}/.cargo"));
    vec![
        "-Ctarget-feature=+crt-static".to_owned(),
        format!("--remap-path-prefix={workspace}=/roundtrip"),
        format!("--remap-path-prefix={cargo_home}=/cargo"),
    ]
}
