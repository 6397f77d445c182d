//! Pairs the disks of one machine with their copies, and compares two copies of a disk.

use std::ops::Range;

use camino::Utf8Path;
use harness::oracle::{self, RawSource, SECTOR_BYTES, SectorSource as _};

use crate::blame::ScenarioError;

/// Each disk with its copy, both in boot order. `what` says what the copies are.
///
/// # Errors
/// There are not as many copies as disks, or there is none: the core's failure.
pub(crate) fn pair_disks<'a, S, R>(
    what: &str,
    disks: &'a [S],
    copies: &'a [R],
) -> Result<Vec<(&'a S, &'a R)>, ScenarioError> {
    if copies.is_empty() || disks.len() != copies.len() {
        let (expected, found) = (disks.len(), copies.len());
        return Err(ScenarioError::core(format!("{what} has {found} disks instead of {expected}")));
    }
    Ok(disks.iter().zip(copies).collect())
}

/// The first of `sectors` in which two raw disks differ. If one disk is longer, the first sector
/// that the other one lacks differs in any case.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn first_difference(
    a: &Utf8Path,
    b: &Utf8Path,
    sectors: Range<u64>,
) -> Result<Option<u64>, ScenarioError> {
    let open = |path: &Utf8Path| RawSource::open(path.as_std_path()).map_err(anyhow::Error::from);
    let a = open(a)?;
    let b = open(b)?;
    if a.stored_bytes() != b.stored_bytes() {
        return Ok(Some(a.stored_bytes().min(b.stored_bytes()) / SECTOR_BYTES));
    }
    Ok(oracle::compare_range(&a, &b, sectors).map_err(anyhow::Error::from)?)
}

#[cfg(test)]
mod tests {
    use camino::Utf8PathBuf;

    use super::*;

    #[test]
    fn a_missing_or_an_additional_disk_is_the_cores_failure() {
        assert_eq!(pair_disks("the point", &[1, 2], &["a", "b"]).unwrap(), [(&1, &"a"), (&2, &"b")]);
        for copies in [&["a"][..], &["a", "b", "c"], &[]] {
            let error = pair_disks("the point", &[1, 2], copies).unwrap_err();
            assert!(
                matches!(&error, ScenarioError::CoreViolation(why) if why.contains("instead of 2")),
                "{error}"
            );
        }
        assert!(pair_disks::<u8, u8>("the point", &[], &[]).is_err(), "nothing would be judged");
    }

    #[test]
    fn disks_of_different_sizes_differ() {
        let dir = tempfile::tempdir().unwrap();
        let file = |bytes: usize| {
            let path = Utf8PathBuf::from_path_buf(dir.path().join(bytes.to_string())).unwrap();
            std::fs::write(&path, vec![0; bytes]).unwrap();
            path
        };
        let differs = |bytes| first_difference(&file(8192), &file(bytes), 2..4).unwrap();
        assert_eq!([8192, 8191, 7680, 8704].map(differs), [None, Some(15), Some(15), Some(16)]);
    }
}
