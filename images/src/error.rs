//! Errors of building, finding and customising an image.

use camino::{Utf8Path, Utf8PathBuf};

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A program or file that the build needs is not on this host.
    #[error("{name} is missing: install the Debian package {package}, or run `cargo xtask setup`")]
    MissingTool {
        /// Program or file.
        name: String,
        /// Debian package that contains it.
        package: String,
    },
    /// A program that the build runs failed.
    #[error("{command} failed ({status}): {output}")]
    Command {
        /// The command line.
        command: String,
        /// Its exit status.
        status: String,
        /// The end of its output.
        output: String,
    },
    /// A file could not be read, written or moved.
    #[error("{what} {path}: {source}")]
    Io {
        /// The failed operation, such as `cannot read`.
        what: &'static str,
        /// The path.
        path: Utf8PathBuf,
        /// The error that the system returned.
        source: std::io::Error,
    },
    /// A Debian package is neither in the cache nor available for download.
    #[error("the package {package} is not in the cache and cannot be downloaded: {reason}")]
    Package {
        /// Name of the package.
        package: String,
        /// The error from apt or the cache.
        reason: String,
    },
    /// The packages lack something that the image needs.
    #[error("the packages do not contain {what}")]
    Incomplete {
        /// The missing file, library or kernel module.
        what: String,
    },
    /// A file is not what its name promises.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: Utf8PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The variant asks for something that the image does not support.
    #[error("invalid variant: {0}")]
    Variant(String),
}

/// Adds the path to an I/O error.
pub(crate) trait AtPath<T> {
    /// Turns an [`std::io::Error`] into an [`ImageError`] about `path`.
    fn at(self, what: &'static str, path: &Utf8Path) -> Result<T, ImageError>;
}

impl<T> AtPath<T> for std::io::Result<T> {
    fn at(self, what: &'static str, path: &Utf8Path) -> Result<T, ImageError> {
        self.map_err(|source| ImageError::Io { what, path: path.to_owned(), source })
    }
}
