//! Two builds of one recipe give the same bytes, and nothing is built twice in one cache.
//!
//! The test downloads nothing: it needs the packages of an earlier build in the user's cache.

use camino::{Utf8Path, Utf8PathBuf};

/// A separate cache with the user's packages; `None` if no image was ever built.
fn cache_with_packages(dir: &tempfile::TempDir) -> Option<Utf8PathBuf> {
    let source = images::cache_dir().join("debs");
    if !source.join("packages.json").is_file() || !images::missing_tools().is_empty() {
        eprintln!("skipped: no packages in {source}, or a tool is missing");
        return None;
    }
    let cache = Utf8Path::from_path(dir.path())?.join("cache");
    std::fs::create_dir_all(cache.join("debs")).ok()?;
    for file in source.read_dir_utf8().ok()?.filter_map(Result::ok) {
        std::fs::copy(file.path(), cache.join("debs").join(file.file_name())).ok()?;
    }
    Some(cache)
}

/// Files that replace the guest's programs, which are not run in this test.
fn programs(folder: &Utf8Path) -> images::Programs {
    let program = |name: &str| {
        let path = folder.join(name);
        std::fs::write(&path, name).expect("written");
        path
    };
    images::Programs { witness: program("witness"), agent: program("agent") }
}

fn hash(path: &Utf8Path) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(path).expect("opened")).expect("read");
    hasher.finalize()
}

#[test]
fn equal_recipes_give_equal_images() {
    let (first_dir, second_dir) =
        (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let caches = (cache_with_packages(&first_dir), cache_with_packages(&second_dir));
    let (Some(first), Some(second)) = caches else { return };
    let programs = programs(&first);

    let one = images::ensure(&first, &programs, &mut |_| {}).expect("built");
    // Inode times would differ from those of the first build if they came from the clock.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let other = images::ensure(&second, &programs, &mut |_| {}).expect("built");
    assert_eq!(one.hash, other.hash);
    assert_eq!(hash(&one.system), hash(&other.system), "system disks differ");
    assert_eq!(hash(&one.data), hash(&other.data), "data disks differ");
    for shape in images::shape::ALL {
        let of = |image: &images::Image, dir: &tempfile::TempDir| -> Vec<blake3::Hash> {
            let dir = Utf8Path::from_path(dir.path()).expect("a UTF-8 path").join(shape.name);
            std::fs::create_dir_all(&dir).expect("a folder");
            let disks = images::disks(image, shape, &images::Variant::default(), &dir).expect("made");
            disks.iter().map(|disk| hash(&disk.path)).collect()
        };
        assert_eq!(of(&one, &first_dir), of(&other, &second_dir), "disks of shape {:?} differ", shape.name);
    }

    let mut steps = Vec::new();
    let again = images::ensure(&first, &programs, &mut |step| steps.push(step.to_owned())).expect("found");
    assert_eq!((&again, steps.len()), (&one, 0), "nothing is built again: {steps:?}");
    assert_eq!(images::find(&first).expect("readable"), Some(one));

    for (count, program) in [(2, &programs.witness), (3, &programs.agent)] {
        std::fs::write(program, "another program").expect("written");
        let changed = images::ensure(&first, &programs, &mut |_| {}).expect("built");
        assert_ne!(changed.hash, other.hash);
        assert_eq!(images::list(&first).expect("readable").len(), count);
    }
}

#[test]
fn concurrent_builds_do_not_disturb_each_other() {
    let dir = tempfile::tempdir().expect("a folder");
    let Some(cache) = cache_with_packages(&dir) else { return };
    let programs = programs(&cache);
    let build = || images::ensure(&cache, &programs, &mut |_| {}).expect("built");
    let (one, other) = std::thread::scope(|scope| {
        let (one, other) = (scope.spawn(build), scope.spawn(build));
        (one.join().expect("ended"), other.join().expect("ended"))
    });
    assert_eq!(one, other);
    assert_eq!(images::list(&cache).expect("readable").len(), 1);
}
