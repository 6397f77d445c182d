//! A volume and its hive are read or refused, whatever is written on them.

use std::sync::OnceLock;

use windows_volume::{Registry, SystemHive, WindowsVolume};

/// The usual volume and where its hive lies, made once.
fn usual() -> &'static (Vec<u8>, SystemHive) {
    static USUAL: OnceLock<(Vec<u8>, SystemHive)> = OnceLock::new();
    USUAL.get_or_init(|| {
        let volume = WindowsVolume::default().bytes().expect("the committed volume");
        let hive = SystemHive::find(&volume).expect("its hive");
        (volume, hive)
    })
}

/// Runs the target. The input holds what is written over the usual volume, one part behind the
/// other: where, a length, and the bytes. The highest bit of a place means the hive and not the
/// volume.
pub fn run(input: &[u8]) {
    let mut volume = usual().0.clone();
    let mut rest = input;
    while let Some([low, middle, high, length]) = take(&mut rest, 4) {
        let at = u64::from(*low) | u64::from(*middle) << 8 | u64::from(*high & 0x7f) << 16;
        let Some(content) = take(&mut rest, usize::from(*length)) else { break };
        let at = if high & 0x80 == 0 { Some(at) } else { usual().1.extents.place(at) };
        let at = at.and_then(|at| usize::try_from(at).ok());
        if let Some(part) = at.and_then(|at| volume.get_mut(at..at + content.len())) {
            part.copy_from_slice(content);
        }
    }
    let Ok(hive) = SystemHive::find(&volume) else { return };
    let extents = &hive.extents.0;
    assert!(extents.iter().all(|extent| extent.end <= volume.len() as u64), "it lies on the volume");
    let bytes: u64 = extents.iter().map(|extent| extent.end - extent.start).sum();
    assert_eq!(bytes, hive.bytes.len() as u64, "every byte of the hive has a place");
    let Ok(registry) = Registry::read(&hive.bytes) else { return };
    assert_eq!(registry.differences(&registry), [], "nothing differs from itself");
    let _ = registry.start("VMTools");
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, more) = rest.split_at_checked(count)?;
    *rest = more;
    Some(taken)
}
