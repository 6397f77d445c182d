//! Reads a file from the FAT partition without mounting it, which would need four more kernel
//! modules.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Prints a file.
pub(crate) fn print(device: &str, path: &str) -> Result<(), String> {
    let bytes = read(device, path).map_err(|e| format!("cannot read {path} from {device}: {e}"))?;
    io::stdout().write_all(&bytes).map_err(|e| e.to_string())
}

fn read(device: &str, path: &str) -> io::Result<Vec<u8>> {
    let volume = fatfs::FileSystem::new(ReadOnly(File::open(device)?), fatfs::FsOptions::new())?;
    let mut bytes = Vec::new();
    volume.root_dir().open_file(path.trim_start_matches('/'))?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A device that refuses writes, whatever the file system layer tries.
struct ReadOnly(File);

impl Read for ReadOnly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Seek for ReadOnly {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl Write for ReadOnly {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
