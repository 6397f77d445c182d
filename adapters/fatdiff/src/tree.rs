//! The directories and files of a FAT file system, and who uses which cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::FatError;
use crate::volume::Volume;

/// Bytes of a record of a directory.
pub(crate) const RECORD: usize = 32;
/// First byte of a record that was deleted.
const DELETED: u8 = 0xe5;
const ATTRIBUTES: usize = 11;
/// Attributes of a record that holds a part of a long name.
const LONG_NAME: u8 = 0x0f;
const VOLUME_LABEL: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
/// Positions of the characters in such a record.
const LONG_NAME_AT: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
/// Most records of a long name.
const MOST_PARTS: usize = 20;
/// Most bytes of all paths together. A boot partition has a few hundred files.
const MOST_PATH_BYTES: usize = 16 << 20;
/// Directories that lie deeper than this are a circle.
const DEEPEST: usize = 64;

/// Whether a record holds no file.
pub(crate) fn is_free(record: &[u8]) -> bool {
    matches!(record[0], 0 | DELETED)
}

/// Whether a record holds a part of a long name.
pub(crate) fn is_long_name(record: &[u8]) -> bool {
    record[ATTRIBUTES] == LONG_NAME
}

/// A file or a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Offsets of its records in its directory, from the partition's beginning.
    pub(crate) records: BTreeSet<usize>,
    /// Its clusters, in order.
    pub(crate) clusters: Vec<u32>,
    is_directory: bool,
}

/// Every file and directory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    /// By path in lower case, such as `/loader/loader.conf`.
    entries: BTreeMap<String, Entry>,
    /// The path that uses a cluster; `/` is the root directory.
    owners: BTreeMap<u32, Arc<str>>,
    directory_clusters: BTreeSet<u32>,
    path_bytes: usize,
}

impl Tree {
    /// Reads all directories.
    ///
    /// # Errors
    /// A chain is broken, or two files share a cluster.
    pub(crate) fn read(volume: Volume<'_>) -> Result<Self, FatError> {
        let mut tree = Self::default();
        let root = match volume.geometry.root_cluster {
            None => volume.geometry.fixed_root.clone().step_by(RECORD).collect(),
            Some(first) => {
                let clusters = volume.chain(first)?;
                tree.own("/", &clusters, true)?;
                records_of(volume, &clusters)
            }
        };
        tree.read_directory(volume, "", &root, 0)?;
        Ok(tree)
    }

    /// The file at a path, whatever the case of its letters.
    pub(crate) fn find(&self, path: &str) -> Option<&Entry> {
        self.entries.get(&path.to_lowercase())
    }

    /// The path that uses a cluster.
    pub(crate) fn owner(&self, cluster: u32) -> Option<&str> {
        self.owners.get(&cluster).map(AsRef::as_ref)
    }

    /// Whether a cluster belongs to a directory.
    pub(crate) fn is_directory_cluster(&self, cluster: u32) -> bool {
        self.directory_clusters.contains(&cluster)
    }

    fn read_directory(
        &mut self,
        volume: Volume<'_>,
        path: &str,
        records: &[usize],
        depth: usize,
    ) -> Result<(), FatError> {
        if depth > DEEPEST {
            return Err(FatError::Damaged(format!("{path} contains itself")));
        }
        for (name, entry) in named_entries(volume, records)? {
            let path = format!("{path}/{name}");
            self.own(&path, &entry.clusters, entry.is_directory)?;
            if entry.is_directory {
                self.read_directory(volume, &path, &records_of(volume, &entry.clusters), depth + 1)?;
            }
            self.entries.insert(path, entry);
        }
        Ok(())
    }

    fn own(&mut self, path: &str, clusters: &[u32], is_directory: bool) -> Result<(), FatError> {
        self.path_bytes += path.len();
        if self.path_bytes > MOST_PATH_BYTES {
            return Err(FatError::Damaged(format!("its paths have more than {MOST_PATH_BYTES} bytes")));
        }
        let owner: Arc<str> = path.into();
        for cluster in clusters {
            if let Some(other) = self.owners.insert(*cluster, Arc::clone(&owner)) {
                return Err(FatError::Damaged(format!("{other} and {path} share cluster {cluster}")));
            }
            if is_directory {
                self.directory_clusters.insert(*cluster);
            }
        }
        Ok(())
    }
}

/// Offsets of all records in the clusters of a directory.
fn records_of(volume: Volume<'_>, clusters: &[u32]) -> Vec<usize> {
    clusters.iter().flat_map(|cluster| volume.geometry.cluster(*cluster).step_by(RECORD)).collect()
}

/// The entries of a directory, except for those of the directory itself and its parent, with their
/// names in lower case.
fn named_entries(volume: Volume<'_>, records: &[usize]) -> Result<Vec<(String, Entry)>, FatError> {
    let mut entries = Vec::new();
    let mut long_name = Vec::new();
    let mut parts = BTreeSet::new();
    let mut used = 0;
    for at in records {
        let record = &volume.bytes[*at..*at + RECORD];
        if record[0] == 0 {
            break;
        }
        if record[0] == DELETED {
            long_name.clear();
            parts.clear();
            continue;
        }
        parts.insert(*at);
        if is_long_name(record) {
            if parts.len() > MOST_PARTS {
                return Err(FatError::Damaged(format!("a name has more than {MOST_PARTS} parts")));
            }
            // The parts of a long name come in reverse order.
            long_name.splice(0..0, LONG_NAME_AT.map(|at| u16::from_le_bytes([record[at], record[at + 1]])));
            continue;
        }
        let name = if long_name.is_empty() { short_name(record) } else { long_name_of(&long_name) };
        let records = std::mem::take(&mut parts);
        long_name.clear();
        if record[ATTRIBUTES] & VOLUME_LABEL == 0 && name != "." && name != ".." {
            let number = |at: usize| u32::from(u16::from_le_bytes([record[at], record[at + 1]]));
            let clusters = volume.chain(number(20) << 16 | number(26))?;
            used += clusters.len();
            // Before the chains are kept: they may be one long chain, once for each file.
            if used > volume.geometry.clusters_end as usize {
                return Err(FatError::Damaged("the files of a directory share clusters".to_owned()));
            }
            let is_directory = record[ATTRIBUTES] & DIRECTORY != 0;
            entries.push((name, Entry { records, clusters, is_directory }));
        }
    }
    Ok(entries)
}

fn long_name_of(units: &[u16]) -> String {
    let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
    String::from_utf16_lossy(&units[..end]).to_lowercase()
}

/// `SYSLINUX CFG` is `syslinux.cfg`.
fn short_name(record: &[u8]) -> String {
    let part = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_lowercase();
    let (stem, extension) = (part(&record[..8]), part(&record[8..11]));
    if extension.is_empty() { stem } else { format!("{stem}.{extension}") }
}
