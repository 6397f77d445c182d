//! What set-up asks about a machine, behind a trait so that tests can describe any machine.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

/// Directories of system programs; an ordinary user's PATH on Debian lacks the `sbin` ones.
const SYSTEM_DIRS: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Read-only questions about a machine and its operating system.
pub trait System {
    /// A file's text.
    fn read(&self, path: &str) -> Option<String>;
    /// Whether a path exists.
    fn exists(&self, path: &str) -> bool;
    /// The names in a directory, sorted. Empty if it cannot be read.
    fn list(&self, dir: &str) -> Vec<String>;
    /// The standard output of a program, if the program is installed and succeeded.
    fn output(&self, argv: &[&str]) -> Option<String>;
    /// Whether a process accepts connections at a Unix socket.
    fn accepts(&self, socket: &str) -> bool;
    /// Whether this process is root.
    fn is_root(&self) -> bool;

    /// The directories in which programs are looked for.
    fn program_dirs(&self) -> Vec<String> {
        SYSTEM_DIRS.map(String::from).to_vec()
    }

    /// The path of a program, if it is installed.
    fn program(&self, name: &str) -> Option<String> {
        self.program_dirs().iter().map(|dir| format!("{dir}/{name}")).find(|path| self.exists(path))
    }
}

/// The machine on which this program runs.
pub struct LiveSystem;

impl System for LiveSystem {
    fn read(&self, path: &str) -> Option<String> {
        std::fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn exists(&self, path: &str) -> bool {
        Path::new(path).exists()
    }

    fn list(&self, dir: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    fn output(&self, argv: &[&str]) -> Option<String> {
        let (name, rest) = argv.split_first()?;
        let program = self.program(name)?;
        let output = Command::new(program)
            .args(rest)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn accepts(&self, socket: &str) -> bool {
        UnixStream::connect(socket).is_ok()
    }

    fn is_root(&self) -> bool {
        rustix::process::geteuid().is_root()
    }

    fn program_dirs(&self) -> Vec<String> {
        let path = std::env::var("PATH").unwrap_or_default();
        path.split(':').filter(|dir| !dir.is_empty()).chain(SYSTEM_DIRS).map(String::from).collect()
    }
}

#[cfg(test)]
pub mod fixture {
    //! A machine described by a test.

    use std::collections::{BTreeMap, BTreeSet};

    use super::System;

    /// A machine described by a test: its files, the output of its programs, the sockets that accept connections.
    #[derive(Default, Clone)]
    pub struct Fixture {
        files: BTreeMap<String, String>,
        answers: BTreeMap<String, String>,
        sockets: BTreeSet<String>,
        ordinary: bool,
    }

    impl Fixture {
        pub fn file(mut self, path: &str, text: &str) -> Self {
            self.files.insert(path.into(), text.into());
            self
        }

        pub fn program(self, name: &str) -> Self {
            self.file(&format!("/usr/bin/{name}"), "")
        }

        pub fn answer(mut self, command: &str, text: &str) -> Self {
            self.answers.insert(command.into(), text.into());
            let name = command.split(' ').next().unwrap_or_default().to_owned();
            self.program(&name)
        }

        pub fn socket(mut self, path: &str) -> Self {
            self.sockets.insert(path.into());
            self
        }

        pub fn ordinary_user(mut self) -> Self {
            self.ordinary = true;
            self
        }
    }

    impl System for Fixture {
        fn read(&self, path: &str) -> Option<String> {
            self.files.get(path).cloned()
        }

        fn exists(&self, path: &str) -> bool {
            let inside = format!("{path}/");
            self.files.keys().any(|file| file == path || file.starts_with(&inside))
        }

        fn list(&self, dir: &str) -> Vec<String> {
            let inside = format!("{dir}/");
            self.files.keys().filter_map(|file| file.strip_prefix(&inside)).map(String::from).collect()
        }

        fn output(&self, argv: &[&str]) -> Option<String> {
            self.answers.get(&argv.join(" ")).cloned()
        }

        fn accepts(&self, socket: &str) -> bool {
            self.sockets.contains(socket)
        }

        fn is_root(&self) -> bool {
            !self.ordinary
        }
    }
}
