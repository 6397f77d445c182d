//! All packs of a scenario.

use anyhow::{Context as _, Result, ensure};
use camino::{Utf8Path, Utf8PathBuf};

use super::folder::PackFolder;
use super::index::PACKED;

/// The packed evidence of a scenario. Each file lies in one of its folders.
pub struct PackedEvidence {
    folders: Vec<PackFolder>,
}

impl PackedEvidence {
    /// The packed evidence of the scenario in `dir`; `None` if nothing of it is packed.
    ///
    /// # Errors
    /// An index is missing or was altered.
    pub fn of_scenario(dir: &Utf8Path) -> Result<Option<Self>> {
        let folders: Vec<_> = folders_of(dir)?.into_iter().map(PackFolder::open).collect::<Result<_>>()?;
        Ok((!folders.is_empty()).then_some(Self { folders }))
    }

    /// Names of the files that it holds, relative to the directory of the scenario.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.folders.iter().flat_map(PackFolder::files)
    }

    /// Whether it holds the file of this name, relative to the directory of the scenario.
    #[must_use]
    pub fn holds(&self, name: &str) -> bool {
        self.length(name).is_some()
    }

    /// The length of a file that it holds.
    pub(super) fn length(&self, name: &str) -> Option<u64> {
        self.folders.iter().find_map(|folder| folder.length(name))
    }

    /// What is wrong with the packs: one line for each that is missing or was altered.
    #[must_use]
    pub fn damages(&self) -> Vec<String> {
        self.folders.iter().flat_map(PackFolder::damages).collect()
    }

    /// Writes a packed file to each of the new files. Names in an index are only compared, so that
    /// an index cannot choose where to write.
    ///
    /// # Errors
    /// A file is not packed, a pack was altered, or the new files cannot be written. What would not
    /// fit on the disk is refused before a folder's files are written.
    pub fn unpack(&self, files: &[(&str, Utf8PathBuf)]) -> Result<()> {
        for (name, _) in files {
            ensure!(self.holds(name), "{name} is in no pack");
        }
        let mut left = files.to_vec();
        for folder in &self.folders {
            let (here, elsewhere): (Vec<_>, Vec<_>) =
                left.into_iter().partition(|(name, _)| folder.length(name).is_some());
            folder.unpack(&here)?;
            left = elsewhere;
        }
        Ok(())
    }
}

/// The folders of packs in the directory of a scenario, sorted by name.
///
/// # Errors
/// The directory cannot be read.
pub(super) fn folders_of(dir: &Utf8Path) -> Result<Vec<Utf8PathBuf>> {
    let mut folders = Vec::new();
    for entry in dir.read_dir_utf8().with_context(|| format!("read {dir}"))? {
        let entry = entry?;
        if is_folder_name(entry.file_name()) {
            folders.push(entry.path().to_owned());
        }
    }
    folders.sort();
    Ok(folders)
}

/// The folder of what was packed as the `number`th, while the scenario ran.
pub(super) fn numbered(dir: &Utf8Path, number: u32) -> Utf8PathBuf {
    dir.join(format!("{PACKED}-{number}"))
}

fn is_folder_name(name: &str) -> bool {
    name.strip_prefix(PACKED).is_some_and(|rest| {
        rest.is_empty() || rest.strip_prefix('-').is_some_and(|number| number.parse::<u32>().is_ok())
    })
}
