//! Exports inside this process, for platforms in memory: `nbd+memory:///NAME`.
//!
//! A registered [`Export`] is accessed through the same [`Client`](crate::Client) as a server's
//! export, so that code that copies disks does not notice the difference. The scheme is specific to
//! this crate; libnbd never sees it.

use std::fmt;
use std::sync::Arc;

use crate::export::{Connected, Export, Place, Refusal, Registry, Served, errno};
use crate::extent::{Extent, push};
use crate::ffi::Failure;

/// Prefix of the URIs of exports inside this process.
const SCHEME: &str = "nbd+memory:///";

static EXPORTS: Registry = Registry::new();

/// Registers an export for clients in this process, under `name` with a number appended.
pub fn serve(name: &str, export: Arc<dyn Export>) -> Served {
    Served::new(name, export, Place::Process(&EXPORTS), |name| format!("{SCHEME}{name}"))
}

/// The client's end of an export inside this process.
pub(crate) struct Connection {
    export: Connected,
    contexts: Vec<String>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("contexts", &self.contexts).finish_non_exhaustive()
    }
}

impl Connection {
    /// Whether a URI names an export inside this process.
    pub(crate) fn wanted(uri: &str) -> bool {
        uri.starts_with(SCHEME)
    }

    pub(crate) fn open(uri: &str) -> Result<Self, Failure> {
        let slot = EXPORTS.find(uri.strip_prefix(SCHEME).unwrap_or(uri));
        let slot =
            slot.ok_or_else(|| ("there is no such export in this process".to_owned(), errno::ENOENT))?;
        let export = slot.connect().map_err(|refusal| (refusal.message, refusal.errno))?;
        Ok(Self { export, contexts: Vec::new() })
    }

    /// Negotiates a meta context. Returns whether it is offered.
    pub(crate) fn negotiate(&mut self, context: &str) -> Result<bool, Failure> {
        let offered = self.ask(|export| export.extents(context))?.is_some();
        if offered {
            self.contexts.push(context.to_owned());
        }
        Ok(offered)
    }

    pub(crate) fn size(&self) -> Result<u64, Failure> {
        self.ask(|export| Ok(export.size()))
    }

    pub(crate) fn can_multi_conn(&self) -> Result<bool, Failure> {
        self.ask(|export| Ok(export.can_multi_conn()))
    }

    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Failure> {
        self.ask(|export| {
            within(export, offset, buffer.len() as u64)?;
            export.read(offset, buffer)
        })
    }

    pub(crate) fn write(&self, offset: u64, data: &[u8]) -> Result<(), Failure> {
        self.ask(|export| {
            within(export, offset, data.len() as u64)?;
            export.write(offset, data)
        })
    }

    pub(crate) fn zero(&self, offset: u64, length: u64) -> Result<(), Failure> {
        self.ask(|export| {
            within(export, offset, length)?;
            export.zero(offset, length)
        })
    }

    pub(crate) fn flush(&self) -> Result<(), Failure> {
        self.ask(|export| export.flush())
    }

    /// All extents in a negotiated context, in order; adjacent extents with equal flags are joined.
    pub(crate) fn extents(&self, context: &str) -> Result<Vec<Extent>, Failure> {
        let refuse = |message: String| (message, errno::EINVAL);
        if !self.contexts.iter().any(|known| known == context) {
            return Err(refuse(format!("{context} was not negotiated at connection")));
        }
        let (size, extents) = self.ask(|export| Ok((export.size(), export.extents(context)?)))?;
        let extents = extents.ok_or_else(|| refuse(format!("the export no longer offers {context}")))?;
        let (mut all, mut end) = (Vec::new(), 0);
        for extent in extents {
            if extent.offset != end {
                return Err(refuse(format!("no extent of {context} begins at byte {end}")));
            }
            end += extent.length;
            push(&mut all, extent);
        }
        if end == size { Ok(all) } else { Err(refuse(format!("{context} describes {end} of {size} bytes"))) }
    }

    fn ask<T>(&self, request: impl FnOnce(&dyn Export) -> Result<T, Refusal>) -> Result<T, Failure> {
        self.export.ask(request).map_err(|refusal| (refusal.message, refusal.errno))
    }
}

/// Refuses a range that is not inside the export, as libnbd does.
fn within(export: &dyn Export, offset: u64, length: u64) -> Result<(), Refusal> {
    let size = export.size();
    match offset.checked_add(length) {
        Some(end) if end <= size => Ok(()),
        _ => {
            let text = format!("{length} bytes at {offset} are not inside an export of {size} bytes");
            Err(Refusal::new(text, errno::EINVAL))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ALLOCATION, Client};
    use std::sync::{Mutex, PoisonError};

    /// A disk in memory; in the allocation context its first half is data.
    struct Ram(Mutex<Vec<u8>>);

    impl Ram {
        fn serve(name: &str, bytes: usize) -> Served {
            serve(name, Arc::new(Self(Mutex::new(vec![0; bytes]))))
        }

        fn bytes<T>(&self, work: impl FnOnce(&mut Vec<u8>) -> T) -> Result<T, Refusal> {
            Ok(work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)))
        }
    }

    impl Export for Ram {
        fn size(&self) -> u64 {
            self.bytes(|all| all.len() as u64).unwrap_or_default()
        }

        fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Refusal> {
            let at = offset as usize;
            self.bytes(|all| buffer.copy_from_slice(&all[at..at + buffer.len()]))
        }

        fn write(&self, offset: u64, data: &[u8]) -> Result<(), Refusal> {
            let at = offset as usize;
            if data.contains(&0xee) {
                return Err(Refusal::new("no space left", errno::ENOSPC));
            }
            self.bytes(|all| all[at..at + data.len()].copy_from_slice(data))
        }

        fn zero(&self, offset: u64, length: u64) -> Result<(), Refusal> {
            self.bytes(|all| all[offset as usize..(offset + length) as usize].fill(0))
        }

        fn flush(&self) -> Result<(), Refusal> {
            Ok(())
        }

        fn extents(&self, context: &str) -> Result<Option<Vec<Extent>>, Refusal> {
            let half = self.size() / 2;
            let run = |offset, flags| Extent { offset, length: half, flags };
            Ok(match context {
                ALLOCATION => Some(vec![run(0, 0), run(half, 3)]),
                "test:gap" => Some(vec![run(0, 0), run(half + 1, 3)]),
                _ => None,
            })
        }
    }

    #[test]
    fn one_client_reads_what_another_wrote() {
        let served = Ram::serve("disk", 8192);
        let mut client = Client::connect(&served.uri()).unwrap();
        assert_eq!(client.size(), 8192);
        client.write(100, b"hello").unwrap();
        client.zero(101, 2).unwrap();
        client.flush().unwrap();
        let mut buffer = [0; 7];
        Client::connect(&served.uri()).unwrap().read(99, &mut buffer).unwrap();
        assert_eq!(&buffer, b"\0h\0\0lo\0");
    }

    #[test]
    fn exports_of_the_same_name_are_distinct() {
        let (one, other) = (Ram::serve("same", 512), Ram::serve("same", 1024));
        assert_ne!(one.uri(), other.uri());
        assert_eq!(Client::connect(&other.uri()).unwrap().size(), 1024);
    }

    #[test]
    fn requests_to_a_closed_export_fail() {
        let served = Ram::serve("gone", 512);
        let uri = served.uri();
        let mut client = Client::connect(&uri).unwrap();
        drop(served);
        let error = client.read(0, &mut [0; 8]).unwrap_err();
        assert_eq!((error.operation, error.errno), ("read", errno::ENOTCONN));
        assert!(error.message.contains("export closed"), "{error}");
        let error = Client::connect(&uri).unwrap_err();
        assert_eq!((error.operation, error.errno), ("connect", errno::ENOENT));
    }

    #[test]
    fn a_range_beyond_the_end_and_a_refusal_of_the_export_are_errors() {
        let served = Ram::serve("small", 512);
        let mut client = Client::connect(&served.uri()).unwrap();
        assert_eq!(client.read(510, &mut [0; 3]).unwrap_err().errno, errno::EINVAL);
        assert_eq!(client.write(u64::MAX, b"x").unwrap_err().errno, errno::EINVAL);
        assert_eq!(client.zero(0, 513).unwrap_err().errno, errno::EINVAL);
        let error = client.write(0, &[0xee]).unwrap_err();
        assert_eq!((error.operation, error.errno), ("write", errno::ENOSPC));
        assert_eq!(error.uri, served.uri());
    }

    #[test]
    fn contexts_must_be_offered_and_negotiated() {
        let served = Ram::serve("contexts", 1024);
        let mut client = Client::connect_with(&served.uri(), &[ALLOCATION]).unwrap();
        let flags: Vec<_> = client.extents(ALLOCATION).unwrap().iter().map(|e| (e.offset, e.flags)).collect();
        assert_eq!(flags, [(0, 0), (512, 3)]);
        assert!(Client::connect(&served.uri()).unwrap().extents(ALLOCATION).is_err());
        let error = Client::connect_with(&served.uri(), &["qemu:dirty-bitmap:x"]).unwrap_err();
        assert!(error.message.contains("does not offer"), "{error}");
    }

    #[test]
    fn extents_with_a_gap_are_refused() {
        let served = Ram::serve("gap", 1024);
        let mut client = Client::connect_with(&served.uri(), &["test:gap"]).unwrap();
        let error = client.extents("test:gap").unwrap_err();
        assert!(error.message.contains("begins at byte 512"), "{error}");
    }
}
