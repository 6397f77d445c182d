//! Compiles the witness, the guest's program, as a static binary.

use std::process::{Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};

use crate::ImageError;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Compiles the witness of `workspace` and returns the binary's path. Its output lies in `target/guest`, so
/// that its flags never invalidate what is built for the host.
///
/// # Errors
/// Cargo is missing or the compilation fails; the error carries the end of what it printed.
pub fn build_witness(workspace: &Utf8Path, say: &mut dyn FnMut(&str)) -> Result<Utf8PathBuf, ImageError> {
    say("compiling the witness");
    let folder = workspace.join("target/guest");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--release", "--package", "witness", "--bin", "witness", "--features", "guest"])
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
    Ok(folder.join(TARGET).join("release/witness"))
}

/// Static, and without the paths of this machine in the binary.
fn flags(workspace: &Utf8Path) -> Vec<String> {
    let home = std::env::var("HOME").unwrap_or_default();
    let cargo_home = std::env::var("CARGO_HOME").unwrap_or_else(|_| format!("{home}/.cargo"));
    vec![
        "-Ctarget-feature=+crt-static".to_owned(),
        format!("--remap-path-prefix={workspace}=/roundtrip"),
        format!("--remap-path-prefix={cargo_home}=/cargo"),
    ]
}
