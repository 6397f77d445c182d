//! The foreign function interface: declarations of libnbd, and a handle that closes itself.
#![expect(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{self, NonNull};

use crate::extent::Extent;

/// libnbd's error message and error number.
pub(crate) type Failure = (String, i32);

#[repr(C)]
struct Raw {
    _opaque: [u8; 0],
}

type ExtentFn = unsafe extern "C" fn(*mut c_void, *const c_char, u64, *mut u32, usize, *mut c_int) -> c_int;

#[repr(C)]
struct ExtentCallback {
    callback: ExtentFn,
    user_data: *mut c_void,
    free: Option<unsafe extern "C" fn(*mut c_void)>,
}

#[repr(C)]
struct CompletionCallback {
    callback: Option<unsafe extern "C" fn(*mut c_void, *mut c_int) -> c_int>,
    user_data: *mut c_void,
    free: Option<unsafe extern "C" fn(*mut c_void)>,
}

/// A request is asked for its completion; libnbd calls nothing.
const NO_CALLBACK: CompletionCallback =
    CompletionCallback { callback: None, user_data: ptr::null_mut(), free: None };

unsafe extern "C" {
    fn nbd_create() -> *mut Raw;
    fn nbd_close(handle: *mut Raw);
    fn nbd_get_error() -> *const c_char;
    fn nbd_get_errno() -> c_int;
    fn nbd_add_meta_context(handle: *mut Raw, name: *const c_char) -> c_int;
    fn nbd_can_meta_context(handle: *mut Raw, name: *const c_char) -> c_int;
    fn nbd_connect_uri(handle: *mut Raw, uri: *const c_char) -> c_int;
    fn nbd_can_multi_conn(handle: *mut Raw) -> c_int;
    fn nbd_get_size(handle: *mut Raw) -> i64;
    fn nbd_pread(handle: *mut Raw, buffer: *mut c_void, count: usize, offset: u64, flags: u32) -> c_int;
    fn nbd_pwrite(handle: *mut Raw, buffer: *const c_void, count: usize, offset: u64, flags: u32) -> c_int;
    fn nbd_zero(handle: *mut Raw, count: u64, offset: u64, flags: u32) -> c_int;
    fn nbd_flush(handle: *mut Raw, flags: u32) -> c_int;
    fn nbd_block_status(
        handle: *mut Raw,
        count: u64,
        offset: u64,
        extent: ExtentCallback,
        flags: u32,
    ) -> c_int;
    fn nbd_aio_pread(
        handle: *mut Raw,
        buffer: *mut c_void,
        count: usize,
        offset: u64,
        completion: CompletionCallback,
        flags: u32,
    ) -> i64;
    fn nbd_aio_pwrite(
        handle: *mut Raw,
        buffer: *const c_void,
        count: usize,
        offset: u64,
        completion: CompletionCallback,
        flags: u32,
    ) -> i64;
    fn nbd_aio_command_completed(handle: *mut Raw, cookie: u64) -> c_int;
    fn nbd_poll(handle: *mut Raw, timeout: c_int) -> c_int;
    fn nbd_shutdown(handle: *mut Raw, flags: u32) -> c_int;
}

/// An open libnbd handle.
#[derive(Debug)]
pub(crate) struct Handle(NonNull<Raw>);

// SAFETY: libnbd's handles may move between threads; each call takes the handle's own lock.
unsafe impl Send for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle is owned and is not used again.
        unsafe {
            nbd_shutdown(self.0.as_ptr(), 0);
            nbd_close(self.0.as_ptr());
        }
    }
}

impl Handle {
    pub(crate) fn new() -> Result<Self, Failure> {
        // SAFETY: no arguments; null is checked.
        NonNull::new(unsafe { nbd_create() }).map(Self).ok_or_else(last_failure)
    }

    pub(crate) fn add_meta_context(&self, name: &str) -> Result<(), Failure> {
        let name = c_string(name)?;
        // SAFETY: handle and string live through the call.
        check(unsafe { nbd_add_meta_context(self.0.as_ptr(), name.as_ptr()) }).map(drop)
    }

    pub(crate) fn can_meta_context(&self, name: &str) -> Result<bool, Failure> {
        let name = c_string(name)?;
        // SAFETY: handle and string live through the call.
        check(unsafe { nbd_can_meta_context(self.0.as_ptr(), name.as_ptr()) }).map(|yes| yes == 1)
    }

    pub(crate) fn connect_uri(&self, uri: &str) -> Result<(), Failure> {
        let uri = c_string(uri)?;
        // SAFETY: handle and string live through the call.
        check(unsafe { nbd_connect_uri(self.0.as_ptr(), uri.as_ptr()) }).map(drop)
    }

    pub(crate) fn can_multi_conn(&self) -> Result<bool, Failure> {
        // SAFETY: the handle is open.
        check(unsafe { nbd_can_multi_conn(self.0.as_ptr()) }).map(|yes| yes == 1)
    }

    pub(crate) fn size(&self) -> Result<u64, Failure> {
        // SAFETY: the handle is open.
        u64::try_from(unsafe { nbd_get_size(self.0.as_ptr()) }).map_err(|_| last_failure())
    }

    pub(crate) fn pread(&mut self, buffer: &mut [u8], offset: u64) -> Result<(), Failure> {
        let (at, count) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: `buffer` is exclusively borrowed for the duration of the synchronous call.
        check(unsafe { nbd_pread(self.0.as_ptr(), at, count, offset, 0) }).map(drop)
    }

    pub(crate) fn pwrite(&mut self, data: &[u8], offset: u64) -> Result<(), Failure> {
        // SAFETY: `data` is only read, and is borrowed for the duration of the synchronous call.
        check(unsafe { nbd_pwrite(self.0.as_ptr(), data.as_ptr().cast(), data.len(), offset, 0) }).map(drop)
    }

    /// Reads all parts, with all requests in flight at once. Each part: offset, buffer.
    pub(crate) fn pread_each<'a>(
        &mut self,
        parts: impl Iterator<Item = (u64, &'a mut [u8])>,
    ) -> Result<(), Failure> {
        let handle = self.0.as_ptr();
        // No code of the caller may run, and panic, while libnbd uses buffers.
        let parts: Vec<_> = parts.collect();
        self.finish(parts.into_iter().map(|(offset, buffer)| {
            let (at, count) = (buffer.as_mut_ptr().cast(), buffer.len());
            // SAFETY: `finish` returns only once libnbd no longer uses the buffer, which is
            // exclusively borrowed until then.
            unsafe { nbd_aio_pread(handle, at, count, offset, NO_CALLBACK, 0) }
        }))
    }

    /// Writes all parts, with all requests in flight at once. Each part: offset, data.
    pub(crate) fn pwrite_each<'a>(
        &mut self,
        parts: impl Iterator<Item = (u64, &'a [u8])>,
    ) -> Result<(), Failure> {
        let handle = self.0.as_ptr();
        let parts: Vec<_> = parts.collect();
        self.finish(parts.into_iter().map(|(offset, data)| {
            // SAFETY: `finish` returns only once libnbd no longer uses the data, which is only
            // read, and borrowed until then.
            unsafe { nbd_aio_pwrite(handle, data.as_ptr().cast(), data.len(), offset, NO_CALLBACK, 0) }
        }))
    }

    /// Issues requests and waits until libnbd has finished with all of them. Returns the first
    /// failure; after one no more requests are issued.
    fn finish(&mut self, issued: impl Iterator<Item = i64>) -> Result<(), Failure> {
        let mut failure = None;
        let mut cookies = Vec::new();
        for cookie in issued {
            match u64::try_from(cookie) {
                Ok(cookie) => cookies.push(cookie),
                Err(_) => {
                    failure = Some(last_failure());
                    break;
                }
            }
        }
        for cookie in cookies {
            if let Err(failed) = self.wait_for(cookie) {
                failure.get_or_insert(failed);
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Waits for the end of one request, which it retires.
    fn wait_for(&mut self, cookie: u64) -> Result<(), Failure> {
        loop {
            // SAFETY: the handle is open.
            if check(unsafe { nbd_aio_command_completed(self.0.as_ptr(), cookie) })? == 1 {
                return Ok(());
            }
            // SAFETY: the handle is open.
            if let Err(failure) = check(unsafe { nbd_poll(self.0.as_ptr(), -1) }) {
                self.give_up();
                return Err(failure);
            }
        }
    }

    /// Closes the connection, after which libnbd uses no buffer any more. Later requests fail.
    fn give_up(&mut self) {
        match Self::new() {
            Ok(unconnected) => *self = unconnected,
            // Without memory for an empty handle: libnbd must not go on to use the buffers.
            Err(_) => std::process::abort(),
        }
    }

    pub(crate) fn zero(&mut self, count: u64, offset: u64) -> Result<(), Failure> {
        // SAFETY: the handle is open.
        check(unsafe { nbd_zero(self.0.as_ptr(), count, offset, 0) }).map(drop)
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        // SAFETY: the handle is open.
        check(unsafe { nbd_flush(self.0.as_ptr(), 0) }).map(drop)
    }

    /// Extents from `offset` on, with lengths and flags only: the caller has to compute the
    /// offsets.
    pub(crate) fn block_status(
        &mut self,
        count: u64,
        offset: u64,
        context: &str,
    ) -> Result<Vec<Extent>, Failure> {
        let mut wanted = Wanted { context: c_string(context)?, found: Vec::new() };
        let callback =
            ExtentCallback { callback: collect, user_data: ptr::from_mut(&mut wanted).cast(), free: None };
        // SAFETY: the call is synchronous, so `wanted` outlives every use of its pointer.
        check(unsafe { nbd_block_status(self.0.as_ptr(), count, offset, callback, 0) })?;
        Ok(wanted.found)
    }
}

struct Wanted {
    context: CString,
    found: Vec<Extent>,
}

unsafe extern "C" fn collect(
    user_data: *mut c_void,
    context: *const c_char,
    _offset: u64,
    entries: *mut u32,
    count: usize,
    _error: *mut c_int,
) -> c_int {
    // SAFETY: libnbd passes our pointer back, a C string, and `count` integers, all valid during
    // this call. `block_status` does not access `wanted` until libnbd has returned.
    let (wanted, context, entries) = unsafe {
        (
            &mut *user_data.cast::<Wanted>(),
            CStr::from_ptr(context),
            std::slice::from_raw_parts(entries, count),
        )
    };
    if context == wanted.context.as_c_str() {
        let runs = entries.chunks_exact(2);
        wanted.found.extend(runs.map(|run| Extent {
            offset: 0,
            length: u64::from(run[0]),
            flags: u64::from(run[1]),
        }));
    }
    0
}

fn c_string(text: &str) -> Result<CString, Failure> {
    CString::new(text).map_err(|_| (format!("{text:?} contains a zero byte"), 0))
}

fn check(result: c_int) -> Result<c_int, Failure> {
    if result == -1 { Err(last_failure()) } else { Ok(result) }
}

fn last_failure() -> Failure {
    // SAFETY: libnbd keeps the thread's last error until its next call, and null is checked.
    unsafe {
        let text = nbd_get_error();
        let text = if text.is_null() {
            "no reason given".to_owned()
        } else {
            CStr::from_ptr(text).to_string_lossy().into_owned()
        };
        (text, nbd_get_errno())
    }
}
