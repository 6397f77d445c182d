//! Runs QEMU's tools.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A scratch directory.
pub struct Scratch(TempDir);

impl Scratch {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// Runs a tool that must succeed.
pub fn run(tool: &str, args: &[&str]) {
    let output =
        Command::new(tool).args(args).output().unwrap_or_else(|e| panic!("{tool} (qemu-utils): {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {args:?}: {said}{}", String::from_utf8_lossy(&output.stdout));
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A `qemu-io` process that takes commands on its standard input; its disk is a raw file with a
/// write log.
pub fn logged(disk: &Path, log: &Path) -> Child {
    std::fs::File::create(log).unwrap();
    let image = format!(
        "driver=blklogwrites,file.driver=raw,file.discard=unmap,file.file.driver=file,file.file.filename={},\
         file.file.discard=unmap,log.driver=file,log.filename={}",
        text(disk),
        text(log)
    );
    Command::new("qemu-io")
        .args(["--discard", "unmap", "--image-opts", &image])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Sends `commands` and waits for the process to end.
pub fn feed(mut child: Child, commands: &[String]) {
    let mut input = child.stdin.take().unwrap();
    input.write_all((commands.join("\n") + "\n").as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
