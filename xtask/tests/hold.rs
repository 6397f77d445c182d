//! `xtask hold`: a program ends with the process that started it.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The time in which a program is gone.
const BOUND: Duration = Duration::from_secs(30);

/// Whether a process runs; a zombie does not.
fn runs(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_held_program_ends_with_its_parent() {
    let script = r#""$0" hold $$ sleep 600 & echo $!; wait"#;
    let mut shell = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_xtask")])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut pid = String::new();
    let output = shell.stdout.take().expect("its output");
    BufReader::new(output).read_line(&mut pid).expect("a line");
    let pid = pid.trim();
    let command = format!("/proc/{pid}/cmdline");
    let began = Instant::now();
    while !std::fs::read(&command).is_ok_and(|line| line.starts_with(b"sleep")) {
        assert!(began.elapsed() < BOUND, "it does not become the program");
        std::thread::yield_now();
    }
    shell.kill().expect("it runs");
    shell.wait().expect("it ends");
    let began = Instant::now();
    while runs(pid) {
        assert!(began.elapsed() < BOUND, "the program goes on without its parent");
        std::thread::yield_now();
    }
}

#[test]
fn a_program_whose_parent_is_gone_is_not_started() {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["hold", "1", "echo", "started"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout.is_empty(), "{output:?}");
}

#[test]
fn a_program_that_is_missing_is_named() {
    let parent = std::process::id().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["hold", &parent, "no-such-program", "--flag"])
        .output()
        .expect("it runs");
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3));
    assert!(message.contains("no-such-program") && message.lines().count() == 1, "{message}");
}
