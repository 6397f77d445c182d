//! The screens of the recovered machines, inlined.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use camino::{Utf8Path, Utf8PathBuf};
use maud::{Markup, html};

use crate::foreign_files;

/// The name of a screenshot in the directory of a boot.
const SCREEN: &str = "screen.png";
/// Bytes of the largest screenshot that is inlined. One of a text console has about 6 KiB.
const LARGEST: usize = 64 << 10;
/// Bytes of all screenshots of a page together.
const TOTAL: usize = 700 << 10;
/// How deep below a scenario's directory the directory of a boot lies.
const DEPTH: u32 = 6;

/// What is left of [`TOTAL`].
pub(super) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(TOTAL)
    }
}

impl Budget {
    /// Whether an image of so many bytes may still be inlined; if so, it is counted.
    fn takes(&mut self, bytes: usize) -> bool {
        let fits = bytes <= LARGEST.min(self.0);
        if fits {
            self.0 -= bytes;
        }
        fits
    }
}

/// A figure for each screenshot in the evidence of a scenario. One that does not fit is a link.
pub(super) fn figures(scenario: &Utf8Path, budget: &mut Budget) -> Markup {
    let mut found = Vec::new();
    find(scenario, DEPTH, &mut found);
    found.sort();
    if found.is_empty() {
        return html! {};
    }
    html! {
        h4 { "Recovered machines" }
        div.screens { @for path in &found { (figure(scenario, path, budget)) } }
    }
}

fn figure(scenario: &Utf8Path, path: &Utf8Path, budget: &mut Budget) -> Markup {
    let inside = path.strip_prefix(scenario).unwrap_or(path);
    let words = words(inside);
    let link = format!("{}/{inside}", scenario.file_name().unwrap_or_default());
    let image = foreign_files::read_at_most(path, LARGEST as u64).unwrap_or_default();
    html! {
        figure {
            @if !image.is_empty() && budget.takes(image.len()) {
                img alt={ "Screen of " (words) } loading="lazy"
                    src={ "data:image/png;base64," (STANDARD.encode(&image)) };
            }
            figcaption { a href=(link) { (words) } }
        }
    }
}

/// `shop on azure, boot 2`, from `sites/azure/machines/shop/boot-2/screen.png`.
fn words(path: &Utf8Path) -> String {
    let parts: Vec<_> = path.iter().collect();
    match parts.as_slice() {
        [_, site, _, machine, boot, _] => format!("{machine} on {site}, {}", boot.replace('-', " ")),
        _ => path.to_string(),
    }
}

fn find(dir: &Utf8Path, depth: u32, found: &mut Vec<Utf8PathBuf>) {
    let Ok(entries) = dir.read_dir_utf8() else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => find(path, depth - 1, found),
            Ok(kind) if kind.is_file() && entry.file_name() == SCREEN => found.push(path.to_owned()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_names_its_machine_and_one_that_is_too_large_is_only_a_link() {
        let keep = tempfile::tempdir().unwrap();
        let scenario = Utf8Path::from_path(keep.path()).unwrap().join("vmware-azure");
        let boot = scenario.join("sites/azure/machines/shop/boot-2");
        std::fs::create_dir_all(&boot).unwrap();
        std::fs::write(boot.join(SCREEN), vec![7; 300]).unwrap();
        let text = figures(&scenario, &mut Budget::default()).into_string();
        assert!(
            text.contains("Screen of shop on azure, boot 2") && text.contains("data:image/png"),
            "{text}"
        );
        assert!(text.contains("href=\"vmware-azure/sites/azure/machines/shop/boot-2/screen.png\""), "{text}");
        let without = figures(&scenario, &mut Budget(299)).into_string();
        assert!(!without.contains("<img") && without.contains("href="), "{without}");
    }
}
