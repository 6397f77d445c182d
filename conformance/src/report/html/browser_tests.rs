//! The page in a browser: no horizontal scrolling on a desktop and on a phone, no dead link,
//! nothing from elsewhere, no error on the console, and no serious objection of axe-core.
//!
//! `cargo xtask test` runs these tests. Others leave them out, because they need Chromium and
//! axe-core, which it installs.

use std::process::Command;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

use super::render;
use crate::report::samples;

const PROBE: &str = include_str!("browser_probe.js");
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// Where axe-core lies in the folder of tools, by the way in which it was installed.
const AXE: [&str; 2] = ["axe_playwright_python/axe.min.js", "node_modules/axe-core/axe.min.js"];
/// How long the scripts of the page may take, in the browser's own time.
const SCRIPTS_WITHIN: Duration = Duration::from_secs(120);

/// What the probe found at one width.
#[derive(Debug, Deserialize)]
struct Found {
    width: u32,
    dark: bool,
    overflow: i64,
    too_wide: Vec<String>,
    broken_anchors: Vec<String>,
    twice: Vec<String>,
    files: Vec<String>,
    from_elsewhere: Vec<String>,
    audited: String,
    serious: Vec<String>,
}

impl Found {
    /// Everything that is wrong with the page, one a line. `dir` is where it lies.
    fn objections(&self, dir: &Utf8Path) -> Vec<String> {
        let Self { width, dark, overflow, audited, .. } = self;
        let missing: Vec<_> = self.files.iter().filter(|file| !dir.join(file).exists()).cloned().collect();
        let scrolls = (*overflow > 0).then(|| format!("{overflow} pixels too wide"));
        let not_audited = audited.is_empty().then(|| "axe-core did not run".to_owned());
        let lists = [
            ("reaches beyond the page", &self.too_wide),
            ("leads to no place on the page", &self.broken_anchors),
            ("is there twice", &self.twice),
            ("leads to no file", &missing),
            ("is loaded from elsewhere", &self.from_elsewhere),
            ("axe-core objects", &self.serious),
        ];
        let listed =
            lists.into_iter().flat_map(|(what, all)| all.iter().map(move |one| format!("{what}: {one}")));
        let all = scrolls.into_iter().chain(not_audited).chain(listed);
        all.map(|objection| format!("{width} pixels, dark {dark}: {objection}")).collect()
    }
}

fn on_path(name: &&&str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(name).exists())
}

fn axe() -> String {
    let tools = images::cache_dir().join("tools");
    let found = AXE.iter().map(|path| tools.join(path)).find(|path| path.exists());
    let found =
        found.unwrap_or_else(|| panic!("axe-core is not below {tools}: `cargo xtask test` installs it"));
    std::fs::read_to_string(found).unwrap()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Shows a page to the browser, and returns what is wrong with it. `dir` is where the page lies.
fn objections(page: &str, dir: &Utf8Path) -> Vec<String> {
    let browser = BROWSERS.iter().find(on_path).expect("Chromium: `cargo xtask test` installs it");
    let around = format!(
        "<!doctype html><meta charset=utf-8><body><textarea id=report hidden>{}</textarea>\
         <script type='text/plain' id=axe>{}</script><pre id=found></pre><script>{PROBE}</script></body>",
        escaped(page),
        axe().replace("</script", "<\\/script"),
    );
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("probe.html");
    std::fs::write(&file, around).unwrap();
    let output = Command::new(browser)
        // Root, as in a container, has no sandbox.
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"])
        .arg(format!("--user-data-dir={}", scratch.path().join("profile").display()))
        .arg(format!("--virtual-time-budget={}", SCRIPTS_WITHIN.as_millis()))
        .arg(&file)
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    let found = dom.split("<pre id=\"found\">").nth(1).and_then(|rest| rest.split("</pre>").next());
    let found = found.unwrap_or_default().replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let found: Vec<Found> = serde_json::from_str(&found).unwrap_or_else(|error| panic!("{error}: {found}"));
    assert_eq!(found.len(), 4, "two widths, light and dark");
    let log = String::from_utf8_lossy(&output.stderr);
    let console = log.lines().filter(|line| line.contains(":CONSOLE")).map(|line| format!("console: {line}"));
    found.iter().flat_map(|found| found.objections(dir)).chain(console).collect()
}

/// A run with evidence, as [`samples::evidence`] makes it.
fn run_dir() -> (tempfile::TempDir, Utf8PathBuf) {
    let keep = tempfile::tempdir().unwrap();
    let dir = Utf8Path::from_path(keep.path()).unwrap().to_owned();
    samples::evidence(&dir);
    (keep, dir)
}

#[test]
#[ignore = "needs Chromium and axe-core: `cargo xtask test` installs both and runs it"]
fn in_a_browser_no_page_has_an_objection() {
    let (_keep, dir) = run_dir();
    let mut regressed = samples::passing();
    regressed
        .regressions
        .push("vmware-azure · failover: recovery time from 1.4 to 1.6 cold boots".to_owned());
    regressed.scenarios[0].slow.push("failover took 9 boots\nbefore: 2\nnow: 9".to_owned());
    for results in [samples::passing(), samples::failing(), samples::unknown(), regressed] {
        let page = render(&results, &dir);
        assert!(page.contains("<svg") && page.contains("data:image/png"), "the page has a plot and a screen");
        let objections = objections(&page, &dir);
        assert!(objections.is_empty(), "{:?}: {objections:#?}", results.verdict);
    }
}

#[test]
#[ignore = "needs Chromium and axe-core: `cargo xtask test` installs both and runs it"]
fn in_a_browser_the_page_of_trends_has_no_objection() {
    let (_keep, dir) = run_dir();
    let page = super::trend::render(&crate::regressions::compare::tests::sample());
    assert!(page.contains("<svg") && page.contains("↓ regression") && page.contains("Not judged"));
    let objections = objections(&page, &dir);
    assert!(objections.is_empty(), "{objections:#?}");
}

#[test]
#[ignore = "needs Chromium and axe-core: `cargo xtask test` installs both and runs it"]
fn in_a_browser_each_defect_of_a_page_is_found() {
    let (_keep, dir) = run_dir();
    let page = render(&samples::passing(), &dir);
    for (defect, wanted) in [
        ("<div style='width:5000px'>wide</div>", "pixels too wide"),
        ("<a href='#nowhere'>dead</a>", "leads to no place on the page"),
        ("<a href='no-such-file'>dead</a>", "leads to no file"),
        ("<p id='results'>twice</p>", "is there twice"),
        ("<p style='color:#777;background:#888'>hardly to be read</p>", "axe-core objects"),
        ("<script>console.error('defect')</script>", "console: "),
    ] {
        let objections = objections(&page.replace("</main>", &format!("{defect}</main>")), &dir);
        assert!(objections.iter().any(|objection| objection.contains(wanted)), "{wanted}: {objections:#?}");
    }
}
