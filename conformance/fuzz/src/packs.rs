//! Packed evidence is refused or unpacked into the files that were asked for, whatever its index
//! says.

use camino::{Utf8Path, Utf8PathBuf};
use conformance::packed::PackedEvidence;
use miniz_oxide::deflate::compress_to_vec_zlib;

/// Runs the target. The input is the text of an index, and behind a line of its own the blocks of
/// the pack that the index may name by the text `PACK`; both get the digests that belong to them.
pub fn run(input: &[u8]) {
    let keep = tempfile::tempdir_in("/dev/shm").expect("a temporary directory");
    let dir = Utf8Path::from_path(keep.path()).expect("a UTF-8 path");
    let folder = dir.join("scenario/packed");
    std::fs::create_dir_all(&folder).expect("a directory");
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (text, blocks) = input.split_at(end);
    let blocks = blocks.get(1..).unwrap_or_default();
    let pack = compress_to_vec_zlib(blocks, 1);
    let (content, stored) = (blake3::hash(blocks).to_string(), blake3::hash(&pack).to_string());
    std::fs::write(folder.join(format!("{content}.pack")), &pack).expect("a file");
    let text = String::from_utf8_lossy(text).replace("PACK", &content).replace("STORED", &stored);
    let mut index = compress_to_vec_zlib(text.as_bytes(), 1);
    index.extend(*blake3::hash(&index).as_bytes());
    std::fs::write(folder.join("index"), &index).expect("a file");
    let Ok(Some(packed)) = PackedEvidence::of_scenario(&dir.join("scenario")) else { return };
    let _ = packed.damages();
    let place = dir.join("place");
    std::fs::create_dir(&place).expect("a directory");
    let names: Vec<String> = packed.files().take(8).map(str::to_owned).collect();
    let wanted: Vec<(&str, Utf8PathBuf)> = names
        .iter()
        .enumerate()
        .map(|(number, name)| (name.as_str(), place.join(number.to_string())))
        .collect();
    let _ = packed.unpack(&wanted);
    let count = |dir: &Utf8Path| dir.read_dir_utf8().expect("readable").count();
    assert!(count(dir) == 2 && count(&folder) == 2 && count(&place) <= wanted.len(), "written elsewhere");
}
