//! What can go wrong while an image is built, found or customised.

use camino::{Utf8Path, Utf8PathBuf};

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A program or file that the build needs is not on this machine.
    #[error("{name} is missing: install the Debian package {package}, or run `cargo xtask setup`")]
    MissingTool {
        /// Program or file.
        name: String,
        /// Debian package that has it.
        package: String,
    },
    /// A program that the build runs did not succeed.
    #[error("{command} failed ({status}): {output}")]
    Command {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// A file could not be read, written or moved.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was tried, such as `cannot read`.
        what: &'static str,
        /// On which path.
        path: Utf8PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A Debian package is neither in the cache nor to be had.
    #[error("the package {package} is not in the cache and cannot be downloaded: {reason}")]
    Package {
        /// Name of the package.
        package: String,
        /// What apt or the cache said.
        reason: String,
    },
    /// The packages do not hold what the image needs.
    #[error("the packages hold no {what}")]
    Incomplete {
        /// The file, library or kernel module that was looked for.
        what: String,
    },
    /// A file is not what its name says.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: Utf8PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The variant asks for something the image cannot do.
    #[error("the variant is not usable: {0}")]
    Variant(String),
}

/// Names the path in an I/O error.
pub(crate) trait AtPath<T> {
    /// Turns an [`std::io::Error`] into an [`ImageError`] about `path`.
    fn at(self, what: &'static str, path: &Utf8Path) -> Result<T, ImageError>;
}

impl<T> AtPath<T> for std::io::Result<T> {
    fn at(self, what: &'static str, path: &Utf8Path) -> Result<T, ImageError> {
        self.map_err(|source| ImageError::Io { what, path: path.to_owned(), source })
    }
}
