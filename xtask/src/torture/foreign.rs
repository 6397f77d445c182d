//! What belongs to somebody else and must survive every kill: a domain, and directories that are
//! named almost like ours.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};

use crate::error::infrastructure;

/// A file in each foreign directory, with its content.
const FILE: (&str, &str) = ("notes.txt", "This belongs to somebody else.");

/// How the names of foreign directories begin, also those of another campaign.
const NOTES: &str = "roundtrip-notes-";

/// A foreign domain and foreign directories. They are removed when this is dropped.
pub struct Foreign {
    uri: String,
    domain: String,
    uuid: String,
    directories: Vec<Utf8PathBuf>,
}

/// `virsh` with arguments; its output if it succeeds.
pub fn virsh(uri: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new("virsh")
        .args(["--connect", uri, "--quiet"])
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .context("tried to start virsh")?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(infrastructure(format!("virsh {}: {}", arguments.join(" "), message.trim())))
}

fn description(name: &str) -> String {
    format!(
        "<domain type='qemu'><name>{name}</name><description>roundtrip</description><memory \
         unit='MiB'>32</memory><os><type arch='x86_64' machine='pc'>hvm</type></os></domain>"
    )
}

/// Whether a path is a foreign directory, of this campaign or of one beside it.
pub fn is_foreign(path: &Utf8Path) -> bool {
    path.file_name().is_some_and(|name| name.starts_with(NOTES))
}

impl Foreign {
    /// Starts the domain and makes a directory in each of these.
    pub fn begin(uri: &str, name: &str, dir: &Utf8Path, parents: &[&Utf8Path]) -> Result<Self> {
        let domain = format!("foreign-{name}");
        let xml = dir.join("foreign.xml");
        std::fs::write(&xml, description(&domain)).with_context(|| format!("tried to write {xml}"))?;
        // A transient domain without a disk: it leaves nothing when it ends.
        virsh(uri, &["create", xml.as_str()])?;
        let directories = parents.iter().map(|parent| parent.join(format!("{NOTES}{name}")));
        let mut foreign =
            Self { uri: uri.to_owned(), domain, uuid: String::new(), directories: directories.collect() };
        foreign.uuid = virsh(uri, &["domuuid", &foreign.domain])?;
        for directory in &foreign.directories {
            std::fs::create_dir(directory)
                .and_then(|()| std::fs::write(directory.join(FILE.0), FILE.1))
                .with_context(|| format!("tried to make {directory}"))?;
        }
        Ok(foreign)
    }

    /// What of it did not survive.
    pub fn missing(&self) -> Vec<String> {
        let directories = self
            .directories
            .iter()
            .filter(|one| std::fs::read_to_string(one.join(FILE.0)).map_or(true, |text| text != FILE.1));
        let mut missing: Vec<String> =
            directories.map(|one| format!("the foreign directory {one} is gone or altered")).collect();
        let state = virsh(&self.uri, &["domstate", &self.domain]).unwrap_or_default();
        let uuid = virsh(&self.uri, &["domuuid", &self.domain]).unwrap_or_default();
        if state.trim() != "running" || uuid != self.uuid {
            missing.push(format!("the foreign domain {} is gone ({})", self.domain, state.trim()));
        }
        missing
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // What cannot be removed is named after this campaign, and holds nothing.
        let _ = virsh(&self.uri, &["destroy", &self.domain]);
        for directory in &self.directories {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}
