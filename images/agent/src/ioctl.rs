//! The only module that speaks to the kernel by address: one call to device mapper's control device.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs::File;

use rustix::ioctl::{Direction, Ioctl, IoctlOutput, Opcode, opcode};

/// Bytes of a call: the kernel's `struct dm_ioctl` and room for what follows it.
pub(crate) const CALL_BYTES: usize = 4096;
/// Bytes of `struct dm_ioctl`, which the call's number contains.
pub(crate) const HEADER_BYTES: usize = 312;
const GROUP: u8 = 0xfd;

/// One call: its number, and the memory that the kernel reads and writes.
struct Call<'a> {
    number: u8,
    memory: &'a mut [u8; CALL_BYTES],
}

// SAFETY: the opcode is one of device mapper's, all of which take a pointer to `data_size` bytes and touch no more;
// `make` refuses memory that claims another size than it has.
unsafe impl Ioctl for Call<'_> {
    type Output = ();

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        opcode::from_components(Direction::ReadWrite, GROUP, self.number, HEADER_BYTES)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.memory.as_mut_ptr().cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// Makes call `number` of device mapper with `memory`, which begins with a `struct dm_ioctl`.
pub(crate) fn make(control: &File, number: u8, memory: &mut [u8; CALL_BYTES]) -> rustix::io::Result<()> {
    let told = u32::from_ne_bytes([memory[12], memory[13], memory[14], memory[15]]);
    if told as usize != CALL_BYTES {
        return Err(rustix::io::Errno::INVAL);
    }
    // SAFETY: see above; the memory is borrowed for the whole call.
    unsafe { rustix::ioctl::ioctl(control, Call { number, memory }) }
}
