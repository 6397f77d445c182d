//! Boots the image under plain QEMU, without libvirt, on several kinds of hardware and communicates
//! with its witness: `cargo run -p images --example try_boot [NAME...]` after `--example
//! build_image`.
//!
//! Prints one line per trial, with seconds since power-on; fails if any trial fails.

mod guest;
mod trials;

use std::process::ExitCode;

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let image = match images::find(&images::cache_dir()) {
        Ok(Some(image)) => image,
        other => {
            eprintln!("no image ({other:?}): run `cargo run -p images --example build_image`");
            return ExitCode::from(3);
        }
    };
    let mut failed = 0;
    for (name, trial) in
        trials::ALL.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name))
    {
        match trials::run(name, *trial, &image) {
            Ok(report) => println!("{name:<16} ok      {report}"),
            Err(problem) => {
                failed += 1;
                println!("{name:<16} FAILED  {problem}");
            }
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
