//! The ACPI power button: pressing it shuts the machine down.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::engine::Engine;
use crate::hook;

/// Size of the kernel's `struct input_event` on a 64-bit machine; type, code and value are its last
/// eight bytes.
const EVENT_BYTES: usize = 24;
const KEY_EVENT: u16 = 1;
const POWER_KEY: u16 = 116;
const PRESSED: i32 = 1;

/// Starts the thread that waits for the button, whose driver is loaded after the witness started.
pub(crate) fn watch(engine: Arc<Mutex<Engine>>) {
    let wait = move || {
        loop {
            if pressed() {
                hook::shut_down(&engine);
            } else {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    };
    // Without this thread the machine can still be shut down in other ways.
    let _ = std::thread::Builder::new().name("power button".into()).spawn(wait);
}

/// Waits for a press of the button; `false` if there is no button yet.
fn pressed() -> bool {
    let Some(mut events) = device().and_then(|path| File::open(path).ok()) else { return false };
    let mut event = [0; EVENT_BYTES];
    while events.read_exact(&mut event).is_ok() {
        if is_press(&event) {
            return true;
        }
    }
    false
}

fn device() -> Option<PathBuf> {
    let entries = fs::read_dir("/sys/class/input").ok()?.filter_map(Result::ok);
    let is_button = |name: &str| {
        let described = fs::read_to_string(format!("/sys/class/input/{name}/device/name"));
        name.starts_with("event") && described.is_ok_and(|text| text.trim() == "Power Button")
    };
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.find(|name| is_button(name)).map(|name| PathBuf::from("/dev/input").join(name))
}

fn is_press(event: &[u8; EVENT_BYTES]) -> bool {
    let kind = u16::from_le_bytes([event[16], event[17]]);
    let code = u16::from_le_bytes([event[18], event[19]]);
    let value = i32::from_le_bytes([event[20], event[21], event[22], event[23]]);
    (kind, code, value) == (KEY_EVENT, POWER_KEY, PRESSED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pressed_power_key_counts() {
        let mut event = [0; EVENT_BYTES];
        assert!(!is_press(&event));
        event[16..24].copy_from_slice(&[1, 0, 116, 0, 1, 0, 0, 0]);
        assert!(is_press(&event));
        event[20] = 0;
        assert!(!is_press(&event));
    }
}
