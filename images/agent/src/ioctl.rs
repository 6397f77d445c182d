//! The only unsafe code: the `ioctl` call on device mapper's control device.
#![expect(unsafe_code)]

use std::ffi::c_void;
use std::fs::File;

use rustix::ioctl::{Direction, Ioctl, IoctlOutput, Opcode, opcode};

/// Size of the memory of a call: the kernel's `struct dm_ioctl` and the data after it.
pub(crate) const CALL_BYTES: usize = 4096;
/// Size of `struct dm_ioctl`, which is part of the opcode.
pub(crate) const HEADER_BYTES: usize = 312;
const GROUP: u8 = 0xfd;

/// One call: its number, and the memory that the kernel reads and writes.
struct Call<'a> {
    number: u8,
    memory: &'a mut [u8; CALL_BYTES],
}

// SAFETY: the opcode is one of device mapper's, all of which take a pointer to a `struct dm_ioctl`
// and access only its `data_size` bytes. `call` checks that `data_size` equals the size of
// `memory`.
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

/// Executes call `number` of device mapper with `memory`, which begins with a `struct dm_ioctl`.
pub(crate) fn call(control: &File, number: u8, memory: &mut [u8; CALL_BYTES]) -> rustix::io::Result<()> {
    let data_size = u32::from_ne_bytes([memory[12], memory[13], memory[14], memory[15]]);
    if data_size as usize != CALL_BYTES {
        return Err(rustix::io::Errno::INVAL);
    }
    // SAFETY: `data_size` was checked above, and `memory` is borrowed for the whole call.
    unsafe { rustix::ioctl::ioctl(control, Call { number, memory }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of the call that tells the version of device mapper.
    const VERSION: u8 = 0;

    fn memory(data_size: usize) -> [u8; CALL_BYTES] {
        let mut memory = [0; CALL_BYTES];
        // The major version of the interface.
        memory[0] = 4;
        memory[12..16].copy_from_slice(&u32::try_from(data_size).unwrap().to_ne_bytes());
        memory
    }

    #[test]
    fn a_call_that_claims_another_size_than_it_has_never_reaches_the_kernel() {
        let anything = File::open("/dev/null").unwrap();
        for claimed in [0, HEADER_BYTES, CALL_BYTES - 1, CALL_BYTES + 1] {
            let refused = call(&anything, VERSION, &mut memory(claimed));
            assert_eq!(refused, Err(rustix::io::Errno::INVAL), "{claimed} bytes");
        }
        assert_eq!(call(&anything, VERSION, &mut memory(CALL_BYTES)), Err(rustix::io::Errno::NOTTY));
    }

    #[test]
    fn the_kernel_answers_into_the_memory_of_the_call() {
        // Only root may open it, and a kernel without device mapper has none.
        let Ok(control) = File::options().read(true).write(true).open("/dev/mapper/control") else { return };
        let mut memory = memory(CALL_BYTES);
        call(&control, VERSION, &mut memory).unwrap();
        assert_eq!(u32::from_ne_bytes(memory[0..4].try_into().unwrap()), 4);
    }
}
