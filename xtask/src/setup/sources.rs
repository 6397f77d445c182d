//! Reads the configured sources of apt, and adds the backports suite to them.
//!
//! This file knows no mirror's address: the added source repeats the address, components and key of the machine's own.

use crate::system::System;

/// The file that set-up adds.
pub const BACKPORTS_FILE: &str = "/etc/apt/sources.list.d/roundtrip-backports.sources";

/// Settings that the backports take over from the release's source: name in deb822, name in the one-line format.
const SHARED: [(&str, &str); 3] =
    [("Architectures", "arch"), ("Signed-By", "signed-by"), ("Trusted", "trusted")];

/// One active source of binary packages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// Its addresses.
    pub uris: Vec<String>,
    /// Suites, such as `bookworm` and `bookworm-updates`.
    pub suites: Vec<String>,
    /// Components, such as `main`.
    pub components: Vec<String>,
    /// Settings from `SHARED`, by their deb822 names. A value may have several lines, such as an embedded key.
    pub settings: Vec<(String, String)>,
}

/// All active sources of a machine.
pub fn configured(system: &dyn System) -> Vec<Source> {
    let parts = system.list("/etc/apt/sources.list.d").into_iter();
    let paths = parts.map(|name| format!("/etc/apt/sources.list.d/{name}"));
    std::iter::once("/etc/apt/sources.list".to_owned())
        .chain(paths)
        .filter_map(|path| Some((system.read(&path)?, path)))
        .flat_map(|(text, path)| parse(&path, &text))
        .collect()
}

/// The sources in one file. The format follows from its name; apt ignores other names.
pub fn parse(path: &str, text: &str) -> Vec<Source> {
    match path.rsplit_once('.') {
        Some((_, "list")) => text.lines().filter_map(one_line).collect(),
        Some((_, "sources")) => stanzas(text).iter().filter_map(|fields| deb822(fields)).collect(),
        _ => Vec::new(),
    }
}

/// `deb [option=value …] uri suite component…`
fn one_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let mut rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
    let mut options = "";
    if let Some(bracketed) = rest.strip_prefix('[') {
        (options, rest) = bracketed.split_once(']')?;
    }
    let mut words = rest.split_whitespace().map(String::from);
    let uri = words.next()?;
    let suite = words.next()?;
    let setting = |(long, short): (&str, &str)| {
        let value =
            options.split_whitespace().find_map(|word| word.strip_prefix(short)?.strip_prefix('='))?;
        Some((long.to_owned(), value.replace(',', " ")))
    };
    Some(Source {
        uris: vec![uri],
        suites: vec![suite],
        components: words.collect(),
        settings: SHARED.into_iter().filter_map(setting).collect(),
    })
}

type Fields = Vec<(String, String)>;

/// Splits deb822 text into stanzas of fields. Drops comments and keeps continuation lines with their field.
fn stanzas(text: &str) -> Vec<Fields> {
    let mut all: Vec<Fields> = vec![Vec::new()];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some(stanza) = all.last_mut() else { break };
        if line.trim().is_empty() {
            all.push(Vec::new());
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = stanza.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            stanza.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    all.retain(|stanza| !stanza.is_empty());
    all
}

fn deb822(fields: &[(String, String)]) -> Option<Source> {
    let field = |name: &str| {
        fields.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    };
    let words =
        |name: &str| field(name).unwrap_or_default().split_whitespace().map(String::from).collect::<Vec<_>>();
    let enabled = !matches!(field("Enabled").map(str::to_ascii_lowercase).as_deref(), Some("no" | "false"));
    let binary = words("Types").iter().any(|kind| kind == "deb");
    (enabled && binary).then(|| Source {
        uris: words("URIs"),
        suites: words("Suites"),
        components: words("Components"),
        settings: SHARED
            .iter()
            .filter_map(|(name, _)| Some(((*name).to_owned(), field(name)?.to_owned())))
            .collect(),
    })
}

/// Whether a source offers this release's backports.
pub fn has_backports(sources: &[Source], codename: &str) -> bool {
    let wanted = format!("{codename}-backports");
    sources.iter().any(|source| source.suites.contains(&wanted))
}

/// The text of a source for the backports, derived from the release's own source. None if that is not configured.
pub fn backports_beside(sources: &[Source], codename: &str) -> Option<String> {
    let names = [codename.to_owned(), format!("{codename}-updates"), "stable".into(), "oldstable".into()];
    let carries_release = |source: &&Source| {
        source.components.iter().any(|component| component == "main")
            && source.suites.iter().any(|suite| names.contains(suite))
            && !source.uris.iter().any(|uri| uri.contains("security"))
    };
    let source = sources.iter().find(carries_release)?;
    let mut text = format!(
        "# Added by Roundtrip's set-up: the release's own QEMU is too old for the suite.\n\
         Types: deb\nURIs: {}\nSuites: {codename}-backports\nComponents: {}\n",
        source.uris.join(" "),
        source.components.join(" "),
    );
    for (name, value) in &source.settings {
        // An embedded key begins on the line after the field's name.
        let gap = if value.starts_with('\n') { "" } else { " " };
        text.push_str(&format!("{name}:{gap}{value}\n"));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEB822: &str = "\
Types: deb
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
";

    #[test]
    fn backports_are_derived_from_the_releases_own_stanza() {
        let sources = parse("/etc/apt/sources.list.d/debian.sources", DEB822);
        assert_eq!(sources.len(), 2);
        let text = backports_beside(&sources, "bookworm").expect("the release is configured");
        let added = parse(BACKPORTS_FILE, &text);
        assert_eq!(added.len(), 1);
        assert_eq!(added[0].uris, ["http://mirror.example/debian"]);
        assert_eq!(added[0].suites, ["bookworm-backports"]);
        assert_eq!(added[0].components, ["main", "contrib"]);
        assert_eq!(added[0].settings, sources[0].settings);
        assert!(has_backports(&added, "bookworm"));
    }

    #[test]
    fn the_one_line_format_is_read_too() {
        let text = "# deb http://off.example x main\n\
            deb-src http://mirror.example/debian bookworm main\n\
            deb http://mirror.example/debian-security bookworm-security main\n\
            deb\t[arch=amd64,i386 signed-by=/k.gpg] http://mirror.example/debian bookworm main # the release\n";
        let sources = parse("/etc/apt/sources.list", text);
        assert_eq!(sources.len(), 2);
        let added = backports_beside(&sources, "bookworm").expect("the release is configured");
        assert!(
            added.contains("URIs: http://mirror.example/debian\nSuites: bookworm-backports\n"),
            "{added}"
        );
        assert!(added.contains("Architectures: amd64 i386\nSigned-By: /k.gpg\n"), "{added}");
    }

    #[test]
    fn an_embedded_key_is_kept() {
        let text = DEB822.replace(
            "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg",
            "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDME\n -----END PGP PUBLIC KEY BLOCK-----",
        );
        let sources = parse("a.sources", &text);
        let added = backports_beside(&sources, "bookworm").expect("the release is configured");
        assert_eq!(parse("b.sources", &added)[0].settings, sources[0].settings);
        assert!(added.contains("Signed-By:\n -----BEGIN"), "{added}");
    }

    #[test]
    fn disabled_and_unknown_sources_are_ignored() {
        assert_eq!(parse("a.sources", &format!("Enabled: no\n{DEB822}")).len(), 1);
        assert!(parse("a.sources.off", DEB822).is_empty());
        assert!(parse("a.list", "debx http://mirror.example/debian bookworm main\ndeb\ndeb [\n").is_empty());
        assert_eq!(backports_beside(&parse("a.sources", DEB822), "trixie"), None);
    }

    #[test]
    fn backports_are_found_in_any_file() {
        let sources = parse("x.list", "deb http://mirror.example/debian bookworm-backports main");
        assert!(has_backports(&sources, "bookworm"));
        assert!(!has_backports(&sources, "trixie"));
    }
}
