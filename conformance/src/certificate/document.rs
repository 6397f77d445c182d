//! The certificate as a file.

use anyhow::{Context as _, Result, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::claims::Claims;
use super::files::{FileDigest, files_of, sha256};
use super::text;
use crate::foreign_files;
use crate::outcome::from_stored;
use crate::report::RESULTS;

/// Name of a certificate in the directory of its run.
pub const FILE: &str = "certificate.json";
/// Version of the format.
const FORMAT: u32 = 1;

/// A certificate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    format: u32,
    /// What it states.
    pub claims: Claims,
    /// Every file of the run.
    pub files: Vec<FileDigest>,
    /// SHA-256 of the rendering.
    pub text_sha256: String,
    /// SHA-256 of this certificate with an empty text here.
    sha256: String,
}

/// Where the rendering of a certificate lies.
pub(super) fn rendering_of(file: &Utf8Path) -> Utf8PathBuf {
    file.with_extension("md")
}

/// The files of a run that a certificate does not list, because they are the certificate: the given
/// one, and one under the usual name.
pub(super) fn files_but_certificates(run: &Utf8Path, file: &Utf8Path) -> Result<Vec<FileDigest>> {
    let usual = run.join(FILE);
    let (text, usual_text) = (rendering_of(file), rendering_of(&usual));
    files_of(run, &[file, &text, &usual, &usual_text])
}

/// The claims that follow from the stored results of the run in `run`.
pub(super) fn claims_of(run: &Utf8Path) -> Result<Claims> {
    let path = run.join(RESULTS);
    let stored = foreign_files::read(&path)
        .with_context(|| format!("read {path}; `cargo xtask report` writes it from the evidence"))?;
    Claims::of(&from_stored(&stored).with_context(|| format!("understand {path}"))?)
}

/// Writes the certificate of the run in `run`, and its rendering beside it.
///
/// # Errors
/// The run has no results, or a file cannot be read or written.
pub fn issue(run: &Utf8Path, file: &Utf8Path) -> Result<Certificate> {
    let claims = claims_of(run)?;
    let files = files_but_certificates(run, file)?;
    let text = text::render(&claims, &files);
    let certificate = Certificate {
        format: FORMAT,
        claims,
        files,
        text_sha256: sha256(text.as_bytes()),
        sha256: String::new(),
    };
    let sealed = certificate.sealed()?;
    let rendering = rendering_of(file);
    foreign_files::replace(&rendering, text.as_bytes()).with_context(|| format!("write {rendering}"))?;
    foreign_files::replace(file, sealed.json()?.as_bytes()).with_context(|| format!("write {file}"))?;
    Ok(sealed)
}

impl Certificate {
    /// Reads a certificate, of which every byte must be as it was written.
    ///
    /// # Errors
    /// It cannot be read, was altered, or has another format.
    pub fn read(file: &Utf8Path) -> Result<Self> {
        let text = foreign_files::read(file).with_context(|| format!("read the certificate {file}"))?;
        let text = String::from_utf8(text).with_context(|| format!("read the certificate {file}"))?;
        let certificate: Self =
            serde_json::from_str(&text).with_context(|| format!("understand the certificate {file}"))?;
        let found = certificate.format;
        ensure!(found == FORMAT, "the certificate {file} has format {found}, this suite reads {FORMAT}");
        let same = certificate.json()? == text && certificate == certificate.clone().sealed()?;
        ensure!(same, "the certificate {file} is not what the suite wrote: it was altered");
        Ok(certificate)
    }

    /// With the digest that belongs to the rest.
    pub(super) fn sealed(self) -> Result<Self> {
        let unsealed = Self { sha256: String::new(), ..self };
        Ok(Self { sha256: sha256(unsealed.json()?.as_bytes()), ..unsealed })
    }

    pub(super) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}
