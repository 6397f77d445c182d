//! The files that an edge was judged by, unpacked if they are packed.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use tempdirs::OwnedDir;

use crate::foreign_files;
use crate::outcome::EdgeOutcome;
use crate::packed::PackedEvidence;

/// The files of a scenario.
pub(crate) struct Files {
    dir: Utf8PathBuf,
    packed: Option<PackedEvidence>,
}

/// The files of an edge. What was unpacked is deleted with this.
pub(crate) struct UnpackedFiles<'a> {
    dir: &'a Utf8Path,
    unpacked: BTreeMap<String, Utf8PathBuf>,
    _keep: Option<OwnedDir>,
}

impl Files {
    /// The files of the scenario in `dir`.
    ///
    /// # Errors
    /// They are packed, and the index is missing or was altered.
    pub(crate) fn of_scenario(dir: &Utf8Path) -> Result<Self> {
        Ok(Self { dir: dir.to_owned(), packed: PackedEvidence::of_scenario(dir)? })
    }

    pub(crate) fn dir(&self) -> &Utf8Path {
        &self.dir
    }

    /// What is wrong with the packs, whether or not an edge needs them.
    pub(crate) fn damages(&self) -> Vec<String> {
        self.packed.as_ref().map(PackedEvidence::damages).unwrap_or_default()
    }

    /// The files of an edge. Those that are packed, and not there as they were, are unpacked into a
    /// directory that only this user can enter.
    ///
    /// # Errors
    /// A pack was altered, or there is no place to unpack.
    pub(crate) fn unpack(&self, edge: &EdgeOutcome) -> Result<UnpackedFiles<'_>> {
        let mut files = UnpackedFiles { dir: &self.dir, unpacked: BTreeMap::new(), _keep: None };
        let Some(packed) = &self.packed else { return Ok(files) };
        let evidence = edge.disks.iter().map(|disk| &disk.evidence);
        let names = evidence.flat_map(|evidence| [&evidence.base, &evidence.log, &evidence.recovered]);
        let mut names: Vec<&str> = names.map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names.retain(|name| packed.holds(name) && !self.dir.join(name).exists());
        let place = OwnedDir::new("recheck").context("make a directory to unpack into")?;
        let dir = Utf8Path::from_path(place.path()).context("the temporary directory has no UTF-8 name")?;
        // Numbers as names: what the evidence names could lie elsewhere.
        let wanted = names.iter().enumerate().map(|(number, name)| (*name, dir.join(number.to_string())));
        let wanted: Vec<(&str, Utf8PathBuf)> = wanted.collect();
        packed.unpack(&wanted)?;
        files.unpacked = wanted.into_iter().map(|(name, path)| (name.to_owned(), path)).collect();
        files._keep = Some(place);
        Ok(files)
    }
}

impl UnpackedFiles<'_> {
    /// The path of a file that the result names.
    ///
    /// # Errors
    /// The name leads out of the directory of the scenario.
    pub(crate) fn path(&self, name: &str) -> Result<Utf8PathBuf> {
        if let Some(path) = self.unpacked.get(name) {
            return Ok(path.clone());
        }
        let path = foreign_files::inside(self.dir, name)?;
        // Opening a pipe would wait for its writer.
        ensure!(!path.exists() || path.is_file(), "{path} is no regular file");
        Ok(path)
    }
}
