//! The disk that is copied: a sparse raw file with the same content in every run.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use anyhow::{Context as _, Result};
use camino::Utf8Path;
use rustix::fs::{Advice, fadvise};

/// Smallest extent of content or hole, in bytes.
const GRAIN: u64 = 64 * 1024;
/// Longest extent, in grains: 64 KiB to 8 MiB, like files and the gaps between them.
const LONGEST: u64 = 128;

/// Pseudo-random numbers that follow from a seed.
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number (SplitMix64).
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn fill(&mut self, buffer: &mut [u8]) {
        for word in buffer.chunks_mut(8) {
            word.copy_from_slice(&self.next().to_le_bytes()[..word.len()]);
        }
    }
}

/// Makes a raw image of `size` bytes. In its first `used` bytes, extents of incompressible content
/// alternate with holes; about half is content. Returns the bytes of content.
pub(super) fn make(path: &Utf8Path, size: u64, used: u64) -> Result<u64> {
    let write = || -> io::Result<u64> {
        let file = File::create(path)?;
        file.set_len(size)?;
        let mut numbers = Numbers::new(1);
        let mut buffer = vec![0; (GRAIN * LONGEST) as usize];
        let mut at = 0;
        let mut content = 0;
        while at < used {
            let length = (GRAIN * (1 + numbers.next() % LONGEST)).min(used - at);
            let part = &mut buffer[..length as usize];
            numbers.fill(part);
            file.write_all_at(part, at)?;
            content += length;
            at += length + GRAIN * (1 + numbers.next() % LONGEST);
        }
        file.sync_all()?;
        Ok(content)
    };
    write().with_context(|| format!("make the disk {path}"))
}

/// Whether a file is in the host's page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cache {
    /// All of it.
    Warm,
    /// Nothing of it.
    Cold,
}

impl Cache {
    /// Reads the file into the page cache, or drops it from there.
    pub(super) fn prepare(self, path: &Utf8Path) -> Result<()> {
        let prepare = || -> io::Result<()> {
            let mut file = File::open(path)?;
            match self {
                Self::Warm => io::copy(&mut file, &mut io::sink()).map(drop),
                Self::Cold => Ok(fadvise(&file, 0, None, Advice::DontNeed)?),
            }
        };
        prepare().with_context(|| format!("put {path} into the page cache, or out of it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn about_half_of_the_disk_is_content_and_the_rest_holes() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("disk.raw");
        let (size, used) = (128 << 20, 64 << 20);
        let content = make(&path, size, used).unwrap();
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!(meta.len(), size);
        assert!((used / 4..used * 3 / 4).contains(&content), "{content}");
        assert!(meta.blocks() * 512 < content + (1 << 20), "{} blocks", meta.blocks());
        let mut first = [0; 4096];
        File::open(&path).unwrap().read_exact_at(&mut first, 0).unwrap();
        assert!(first.iter().filter(|byte| **byte == 0).count() < 64, "the content is compressible");
    }
}
