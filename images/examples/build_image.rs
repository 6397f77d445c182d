//! Builds the guest's programs and the image: `cargo run -p images --example build_image`.

fn main() -> Result<(), images::ImageError> {
    let mut say = |line: &str| eprintln!("{line}");
    let workspace = camino::Utf8Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(".".into());
    let programs = images::build_programs(workspace, &mut say)?;
    let image = images::ensure(&images::cache_dir(), &programs, &mut say)?;
    println!("{}\n{}", image.system, image.data);
    Ok(())
}
