//! The directory of a campaign.

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};

/// The directory of a campaign. It is removed if nothing was found.
pub struct Place {
    /// Its path.
    pub dir: Utf8PathBuf,
    /// The name of the campaign.
    pub name: String,
    /// Whether it stays.
    pub keep: bool,
}

impl Place {
    /// Makes the directory of a campaign of this kind.
    pub fn new(what: &str, out: Option<&Utf8Path>) -> Result<Self> {
        let name = format!("{}-{}", std::process::id(), jiff::Timestamp::now().as_second() % 100_000);
        let temporary = Utf8PathBuf::try_from(std::env::temp_dir())?;
        let dir = match out {
            Some(out) => Utf8PathBuf::try_from(std::env::current_dir()?)?.join(out),
            None => temporary.join(format!("{what}-{name}")),
        };
        std::fs::create_dir_all(dir.join("t")).with_context(|| format!("tried to make {dir}"))?;
        Ok(Self { dir, name, keep: out.is_some() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.keep {
            // It holds evidence of runs that did as they should.
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}
