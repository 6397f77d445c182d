//! The second reader agrees with QEMU.

use std::os::unix::fs::FileExt;
use std::path::Path;

use harness::oracle::{
    BlockClient, ClientSource, MemorySource, Qcow2Source, RawSource, SectorSource, compare,
};

use super::qemu::{Scratch, run, text};

/// The content of an image as QEMU reads it.
fn as_qemu_reads(scratch: &Scratch, image: &Path) -> RawSource {
    let flat = scratch.path("flat");
    run("qemu-img", &["convert", "-O", "raw", text(image), text(&flat)]);
    RawSource::open(&flat).unwrap()
}

fn agree(scratch: &Scratch, image: &Path) {
    let (qemu, ours) = (as_qemu_reads(scratch, image), Qcow2Source::open(image).unwrap());
    assert_eq!(compare(&qemu, &ours).unwrap(), None);
    // Again without skipping holes.
    let mut whole = MemorySource(vec![1; ours.bytes() as usize]);
    ours.read_at(0, &mut whole.0).unwrap();
    assert_eq!(compare(&qemu, &whole).unwrap(), None);
    // Unaligned offsets.
    let mut part = vec![0; 70_001];
    ours.read_at(12_345, &mut part).unwrap();
    assert!(part == whole.0[12_345..12_345 + part.len()]);
}

fn create(image: &Path, backing: Option<(&Path, &str)>, size: &str) {
    match backing {
        None => run("qemu-img", &["create", "-q", "-f", "qcow2", text(image), size]),
        Some((below, format)) => {
            run(
                "qemu-img",
                &["create", "-q", "-f", "qcow2", "-b", text(below), "-F", format, text(image), size],
            );
        }
    }
}

fn io(image: &Path, commands: &[&str]) {
    let args: Vec<_> = commands.iter().flat_map(|c| ["-c", c]).chain(["-f", "qcow2", text(image)]).collect();
    run("qemu-io", &args);
}

#[test]
fn a_chain_over_a_raw_base_reads_as_in_qemu() {
    let scratch = Scratch::new();
    let [base, middle, top] = ["base.raw", "middle", "top"].map(|name| scratch.path(name));
    std::fs::write(&base, (0..3u32 << 20).map(|i| (i >> 9) as u8 ^ i as u8).collect::<Vec<_>>()).unwrap();
    create(&middle, Some((&base, "raw")), "8M");
    io(&middle, &["write -P 1 100k 300k", "write -z 1M 256k", "write -P 2 3M 64k"]);
    create(&top, Some((&middle, "qcow2")), "16M");
    io(&top, &["write -P 3 128k 512", "write -P 4 7M 2M", "discard 2M 128k", "write -P 5 15M 1M"]);
    agree(&scratch, &top);
}

#[test]
fn small_clusters_and_compression_read_as_in_qemu() {
    let scratch = Scratch::new();
    let [raw, image] = ["raw", "image"].map(|name| scratch.path(name));
    std::fs::write(&raw, (0..5u32 << 20).map(|i| (i / 777) as u8).collect::<Vec<_>>()).unwrap();
    for cluster in ["cluster_size=4k", "cluster_size=64k", "cluster_size=2M"] {
        run("qemu-img", &["convert", "-c", "-O", "qcow2", "-o", cluster, text(&raw), text(&image)]);
        agree(&scratch, &image);
    }
}

#[test]
fn a_relative_backing_name_is_relative_to_the_overlay() {
    let scratch = Scratch::new();
    create(&scratch.path("below"), None, "1M");
    io(&scratch.path("below"), &["write -P 9 64k 64k"]);
    create(&scratch.path("top"), Some((Path::new("below"), "qcow2")), "1M");
    agree(&scratch, &scratch.path("top"));
}

#[test]
fn an_image_that_cannot_be_read_says_why() {
    let scratch = Scratch::new();
    let [below, top] = ["below", "top"].map(|name| scratch.path(name));
    create(&below, None, "1M");
    create(&top, Some((&below, "qcow2")), "1M");
    let error = || Qcow2Source::open(&top).unwrap_err().to_string();

    std::fs::remove_file(&below).unwrap();
    assert!(error().starts_with(text(&below)), "{}", error());
    std::fs::copy(&top, &below).unwrap();
    assert!(error().contains("more than 256 files"), "{}", error());
    std::fs::write(&below, "QFI").unwrap();
    assert!(error().starts_with(text(&below)), "{}", error());

    for (options, word) in
        [("compat=0.10", "version 2"), ("extended_l2=on", "extended L2"), ("cluster_size=512", "2^9")]
    {
        run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", options, text(&top), "1M"]);
        assert!(error().contains(word), "{}", error());
    }
    assert!(Qcow2Source::open(&scratch.path("none")).unwrap_err().to_string().contains("none"));
}

/// An image file may be damaged after it was opened.
#[test]
fn an_image_that_shrinks_is_an_error() {
    let scratch = Scratch::new();
    let image = scratch.path("image");
    create(&image, None, "4M");
    io(&image, &["write -P 9 0 4M"]);
    let ours = Qcow2Source::open(&image).unwrap();
    std::fs::File::options().write(true).open(&image).unwrap().set_len(1 << 20).unwrap();
    let error = ours.read_at(0, &mut vec![0; 4 << 20]).unwrap_err().to_string();
    assert!(error.contains(text(&image)), "{error}");
}

#[test]
fn differences_between_two_readers_are_found() {
    let scratch = Scratch::new();
    let path = scratch.path("raw");
    std::fs::write(&path, vec![0; 700]).unwrap();
    let raw = RawSource::open(&path).unwrap();
    assert_eq!(raw.bytes(), 1024);
    let mut other = MemorySource(vec![0; 1024]);
    assert_eq!(compare(&raw, &other).unwrap(), None);
    other.0[600] = 1;
    assert_eq!(compare(&raw, &other).unwrap(), Some(1));
    assert!(compare(&raw, &MemorySource(vec![0; 512])).is_err());
    assert!(raw.read_at(1, &mut [0; 1024]).is_err());
    std::fs::write(&path, vec![0; 100]).unwrap();
    assert!(raw.read_at(0, &mut [0; 1024]).is_err(), "a file that shrank is not zeroes");
}

/// A hole in one disk does not hide the data of the other.
#[test]
fn data_opposite_a_hole_is_compared() {
    let scratch = Scratch::new();
    let sparse = |name: &str, at: u64| {
        let file = std::fs::File::create(scratch.path(name)).unwrap();
        file.set_len(8 << 20).unwrap();
        file.write_all_at(&[1; 512], at).unwrap();
        RawSource::open(&scratch.path(name)).unwrap()
    };
    let (early, late) = (sparse("early", 1 << 20), sparse("late", 5 << 20));
    assert_eq!(compare(&early, &late).unwrap(), Some(2048));
    assert_eq!(compare(&late, &early).unwrap(), Some(2048));
}

/// Large reads are split before they reach a client.
#[test]
fn large_reads_are_split() {
    struct Client(Vec<usize>);
    impl BlockClient for Client {
        fn size(&self) -> u64 {
            20 << 20
        }
        fn read(&mut self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
            self.0.push(buf.len());
            buf.fill((offset >> 20) as u8);
            if self.0.len() > 3 { Err(std::io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
        }
    }
    let source = ClientSource::new(Client(Vec::new()));
    let mut buf = vec![0; 20 << 20];
    source.read_at(0, &mut buf).unwrap();
    assert_eq!((buf[0], buf[9 << 20], buf[19 << 20]), (0, 8, 16));
    assert!(source.read_at(0, &mut buf[..512]).is_err());
}
