//! Finds libnbd.

fn main() {
    if let Err(error) = pkg_config::Config::new().atleast_version("1.10").probe("libnbd") {
        println!("cargo::error=libnbd's headers are missing ({error}); `cargo xtask setup` installs them");
    }
}
