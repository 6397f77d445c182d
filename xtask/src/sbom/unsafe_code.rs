//! Counts where the source of a crate says `unsafe`.

use anyhow::{Context as _, Result};
use camino::Utf8Path;

/// Folders of a crate that no program of ours is made of.
const LEFT_OUT: [&str; 7] = ["tests", "benches", "examples", "fuzz", "target", "corpus", ".git"];

/// In how many places the source files of the crate in `folder` have the word `unsafe` outside of
/// comments and texts. Crates that lie deeper, with a manifest of their own, are not counted.
pub fn places(folder: &Utf8Path) -> Result<usize> {
    let mut sum = 0;
    for entry in folder.read_dir_utf8().with_context(|| format!("read {folder}"))? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type()?.is_dir() {
            if !LEFT_OUT.contains(&name) && !path.join("Cargo.toml").exists() {
                sum += places(path)?;
            }
        } else if path.extension() == Some("rs") {
            let text = std::fs::read(path).with_context(|| format!("read {path}"))?;
            sum += count(&String::from_utf8_lossy(&text));
        }
    }
    Ok(sum)
}

/// How often a text has the word outside of comments and of texts in quotes. Lints are named
/// `unsafe_code`, which is another word.
fn count(text: &str) -> usize {
    let quoted = |line: &str| line.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    let code = text.lines().map(|line| quoted(line).split("//").next().unwrap_or_default().to_owned());
    let in_line = |line: String| {
        let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.filter(|word| *word == "unsafe").count()
    };
    code.map(in_line).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_counts() {
        let code = "unsafe { x() } // unsafe\n/// unsafe\nunsafe fn y() {}\n#![deny(unsafe_code)]";
        assert_eq!(count(code), 2);
        let quote = '"';
        assert_eq!(count(&format!("{quote}unsafe{quote} + unsafe {quote}// unsafe{quote}")), 1);
    }
}
