//! Calls of `qemu-img` and other tools that need no daemon.

use std::ffi::OsStr;

use camino::Utf8Path;
use serde::Deserialize;
use tokio::process::Command;

use crate::{Error, Result};

/// A disk image format of QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Plain bytes.
    Raw,
    /// QEMU's own format.
    Qcow2,
    /// VMware's format.
    Vmdk,
    /// Hyper-V's format.
    Vhdx,
}

impl Format {
    /// QEMU's name of the format, which is also its file name extension.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vhdx => "vhdx",
        }
    }
}

impl Format {
    /// Whether the format has tables of its own that `qemu-img check` can read.
    #[must_use]
    pub fn has_tables(self) -> bool {
        self != Self::Raw
    }
}

/// What `qemu-img info` reports about an image.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImageInfo {
    /// Format found in the file.
    pub format: String,
    /// Size the guest sees, in bytes.
    pub virtual_size: u64,
    /// Bytes taken on the host.
    #[serde(default)]
    pub actual_size: u64,
    /// Path of the backing file, absolute.
    #[serde(default)]
    pub full_backing_filename: Option<String>,
}

/// Runs a tool and returns what it printed.
///
/// # Errors
/// The tool is missing, or failed; its error output is in the message.
pub async fn run<S: AsRef<OsStr>>(tool: &str, arguments: &[S]) -> Result<String> {
    run_with(tool, arguments, &[0]).await
}

/// As [`run`], for a tool that succeeds with any of these exit codes.
async fn run_with<S: AsRef<OsStr>>(tool: &str, arguments: &[S], good: &[i32]) -> Result<String> {
    let output = Command::new(tool).args(arguments).kill_on_drop(true).output().await;
    let output = output.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::Missing { what: tool.to_owned(), found: "no such program".to_owned() }
        }
        _ => Error::File { path: tool.to_owned(), error },
    })?;
    if output.status.code().is_some_and(|code| good.contains(&code)) {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words: Vec<_> = arguments.iter().map(|a| a.as_ref().to_string_lossy()).collect();
    Err(Error::Tool {
        tool: tool.to_owned(),
        arguments: words.join(" "),
        output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// Creates an empty image of `bytes` bytes.
///
/// # Errors
/// As [`run`].
pub async fn create(path: &Utf8Path, format: Format, bytes: u64) -> Result<()> {
    let size = bytes.to_string();
    run("qemu-img", &["create", "-q", "-f", format.name(), path.as_str(), &size]).await.map(drop)
}

/// Creates a qcow2 delta over `backing`.
///
/// # Errors
/// As [`run`].
pub async fn create_delta(path: &Utf8Path, backing: &Utf8Path, backing_format: Format) -> Result<()> {
    let arguments =
        ["create", "-q", "-f", "qcow2", "-b", backing.as_str(), "-F", backing_format.name(), path.as_str()];
    run("qemu-img", &arguments).await.map(drop)
}

/// Copies the content of `from` into a new image; holes stay holes.
///
/// # Errors
/// As [`run`].
pub async fn convert(from: &Utf8Path, from_format: Format, to: &Utf8Path, to_format: Format) -> Result<()> {
    let arguments =
        ["convert", "-q", "-f", from_format.name(), "-O", to_format.name(), from.as_str(), to.as_str()];
    run("qemu-img", &arguments).await.map(drop)
}

/// Reads an image's metadata without opening its backing chain.
///
/// # Errors
/// As [`run`]; also if the output cannot be parsed.
pub async fn info(path: &Utf8Path) -> Result<ImageInfo> {
    let text = run("qemu-img", &["info", "-U", "--output=json", path.as_str()]).await?;
    serde_json::from_str(&text).map_err(|error| Error::Tool {
        tool: "qemu-img".to_owned(),
        arguments: format!("info {path}"),
        output: format!("cannot parse the output: {error}"),
    })
}

/// Exit code of `qemu-img check` for an image that has leaked clusters and is not corrupt: space
/// that a writer had taken and not yet used when it was killed.
const ONLY_LEAKS: i32 = 3;

/// Checks the metadata of an image, if its format [has any](Format::has_tables). Leaked clusters
/// are no damage.
///
/// # Errors
/// As [`run`]; a damaged image is an error with qemu-img's output.
pub async fn check(path: &Utf8Path, format: Format) -> Result<()> {
    if format == Format::Raw {
        return Ok(());
    }
    let arguments = ["check", "-q", "-f", format.name(), path.as_str()];
    run_with("qemu-img", &arguments, &[0, ONLY_LEAKS]).await.map(drop)
}
