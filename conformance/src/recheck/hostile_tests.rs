//! Evidence that somebody made to do harm: it names files elsewhere, or holds pipes and links.

use std::os::unix::fs::symlink;

use super::*;

/// Copies a file to a place outside of the run, and has the result name it there.
async fn named(name: impl Fn(&Run, &Utf8Path) -> String) -> Recheck {
    let run = sound_run().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let outside = Utf8Path::from_path(elsewhere.path()).unwrap().join("system.base.raw");
    std::fs::copy(run.file("system.base.raw"), &outside).unwrap();
    let name = name(&run, &outside);
    run.write_result(|outcome| outcome.edges[2].disks[0].evidence.base = name);
    run.forge_seal();
    run.recheck().await.0
}

#[tokio::test]
async fn a_disk_outside_of_the_directory_is_never_judged() {
    let up = "../".repeat(20);
    let absolute = named(|_, outside| outside.to_string()).await;
    let relative = named(|_, outside| format!("{up}{}", outside.as_str().trim_start_matches('/'))).await;
    let link = named(|run, outside| {
        symlink(outside, run.file("link.raw")).unwrap();
        "edges/failback/link.raw".to_owned()
    });
    let folder = named(|run, outside| {
        symlink(outside.parent().unwrap(), run.file("link")).unwrap();
        "edges/failback/link/system.base.raw".to_owned()
    });
    for recheck in [absolute, relative, link.await, folder.await] {
        assert_eq!(recheck.verdict, Verdict::Unknown, "{:#?}", recheck.lines);
        let refused = |line: &String| line.contains("leads out of") || line.contains("symbolic link");
        assert!(recheck.lines.iter().any(refused), "{:#?}", recheck.lines);
    }
}

#[tokio::test]
async fn a_pipe_or_a_link_in_place_of_a_file_is_refused_and_nothing_waits_for_it() {
    let pipe = |path: &Utf8Path| {
        std::fs::remove_file(path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    let link = |path: &Utf8Path| {
        let aside = path.with_extension("aside");
        std::fs::rename(path, &aside).unwrap();
        symlink(aside, path).unwrap();
    };
    let places: [fn(&Run) -> Utf8PathBuf; 5] = [
        |run| run.scenario().join(RESULT),
        |run| run.scenario().join(SEAL),
        |run| run.scenario().join(STARTED),
        |run| run.file("system.writes"),
        |run| run.file("data.recovered.raw"),
    ];
    for place in places {
        for replace in [&pipe as &dyn Fn(&Utf8Path), &link] {
            let run = sound_run().await;
            replace(&place(&run));
            let (recheck, code) = run.recheck().await;
            assert_eq!(code, 3, "{:#?}", recheck.lines);
        }
    }
}

#[tokio::test]
async fn a_report_replaces_links_and_writes_nothing_where_they_lead() {
    let run = sound_run().await;
    let results = report::load(&run.dir, || Ok(HostFacts::default())).unwrap();
    let precious = run.dir.join("precious");
    std::fs::write(&precious, "as it was").unwrap();
    for name in ["results.json", "junit.xml", "summary.md", "report.html"] {
        symlink(&precious, run.dir.join(name)).unwrap();
        symlink(&precious, run.dir.join(format!("{name}.writing"))).unwrap();
    }
    report::write(&run.dir, &results).unwrap();
    for name in ["certificate.json", "certificate.md"] {
        symlink(&precious, run.dir.join(name)).unwrap();
    }
    crate::certificate::certify(&run.dir, &run.dir.join("certificate.json")).await.unwrap();
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "as it was");
}

#[tokio::test]
async fn the_page_shows_no_picture_from_outside_of_the_run() {
    let run = sound_run().await;
    let mut results = report::load(&run.dir, || Ok(HostFacts::default())).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(elsewhere.path().join("screen.png"), "secret").unwrap();
    results.scenarios[0].name = elsewhere.path().to_str().unwrap().to_owned();
    report::write(&run.dir, &results).unwrap();
    let page = std::fs::read_to_string(run.dir.join("report.html")).unwrap();
    assert!(!page.contains("c2VjcmV0"), "the page holds the file");
}
