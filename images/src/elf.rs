//! A minimal ELF reader: the libraries that a program needs, and the metadata of a kernel module.

/// One section: name, type, linked section and content.
struct Section<'a> {
    name: &'a str,
    kind: u32,
    link: usize,
    bytes: &'a [u8],
}

const SHT_DYNAMIC: u32 = 6;
const SHT_NOBITS: u32 = 8;
const DT_NEEDED: u64 = 1;

/// Names of the shared libraries that a program or library needs. Empty for a static program;
/// `None` if `file` is not a 64-bit ELF file.
pub(crate) fn needed(file: &[u8]) -> Option<Vec<String>> {
    let sections = sections(file)?;
    let Some(dynamic) = sections.iter().find(|s| s.kind == SHT_DYNAMIC) else { return Some(Vec::new()) };
    let strings = sections.get(dynamic.link)?.bytes;
    let entries = dynamic.bytes.chunks_exact(16);
    let wanted = entries.filter(|entry| u64_at(entry, 0) == Some(DT_NEEDED));
    wanted.map(|entry| text_at(strings, u64_at(entry, 8)? as usize).map(str::to_owned)).collect()
}

/// The `key=value` pairs in a kernel module. `None` if `file` is not a module.
pub(crate) fn module_info(file: &[u8]) -> Option<Vec<(String, String)>> {
    let sections = sections(file)?;
    let info = sections.iter().find(|s| s.name == ".modinfo")?.bytes;
    let entries = info.split(|byte| *byte == 0).filter_map(|entry| std::str::from_utf8(entry).ok());
    Some(
        entries
            .filter_map(|entry| entry.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
    )
}

fn sections(file: &[u8]) -> Option<Vec<Section<'_>>> {
    const ELF64_LITTLE: &[u8] = b"\x7fELF\x02\x01";
    if !file.starts_with(ELF64_LITTLE) {
        return None;
    }
    let table = u64_at(file, 0x28)? as usize;
    let (entry_bytes, count, names) = (u16_at(file, 0x3a)?, u16_at(file, 0x3c)?, u16_at(file, 0x3e)?);
    let header = |index: usize| file.get(table.checked_add(index * entry_bytes)?..);
    let names = contents(file, header(names)?)?;
    (0..count)
        .map(|index| {
            let header = header(index)?;
            Some(Section {
                name: text_at(names, u32_at(header, 0)? as usize)?,
                kind: u32_at(header, 4)?,
                link: u32_at(header, 0x28)? as usize,
                bytes: contents(file, header)?,
            })
        })
        .collect()
}

fn contents<'a>(file: &'a [u8], header: &[u8]) -> Option<&'a [u8]> {
    if u32_at(header, 4)? == SHT_NOBITS {
        return Some(&[]);
    }
    let (start, length) = (u64_at(header, 0x18)? as usize, u64_at(header, 0x20)? as usize);
    file.get(start..start.checked_add(length)?)
}

fn text_at(strings: &[u8], at: usize) -> Option<&str> {
    let rest = strings.get(at..)?;
    std::str::from_utf8(rest.split(|byte| *byte == 0).next()?).ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?).into())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_program_needs_the_c_library() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(needed(&program).unwrap().iter().any(|name| name.starts_with("libc.so")));
        assert!(module_info(&program).is_none());
    }

    #[test]
    fn truncated_files_are_refused() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for length in [0, 5, 6, 63, 64, 4096] {
            assert!(needed(&program[..length]).is_none(), "{length} bytes");
        }
    }
}
