//! The list of methods against the traits. That the arguments fit is checked by the compiler.

use wire::methods::{CORE, PLATFORM};

fn methods(source: &str) -> Vec<&str> {
    let (_, body) = source.split_once("\npub trait ").expect("the file has a trait");
    let body = body.split("\n}\n").next().expect("the trait ends");
    let lines = body.lines().filter_map(|line| line.strip_prefix("    async fn "));
    lines.filter_map(|line| line.split('(').next()).collect()
}

#[test]
fn the_list_has_every_method_of_the_traits() {
    let core = include_str!("../../../contract/src/core.rs");
    let platform = include_str!("../../../contract/src/platform.rs");
    assert_eq!(methods(core), CORE);
    assert_eq!(methods(platform), PLATFORM);
}
