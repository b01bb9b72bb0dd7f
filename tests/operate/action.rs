//! The composite action in `docs/` works as documented: its scripts run here, with a local web server.

use std::fs;
use std::path::Path;

use crate::support::environment::{has_tools, memory_dir};
use crate::support::run::{PROGRAM, new_command, run};
use crate::support::{Run, TestLayout};

/// Returns the scripts of the action, in their order.
fn scripts() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/github-action.yml");
    let text = fs::read_to_string(path).expect("the action is there");
    let blocks = text.split("      run: |\n").skip(1);
    let scripts = blocks.map(|block| {
        let lines = block.lines();
        let lines = lines.take_while(|line| line.starts_with("        "));
        lines.map(|line| format!("{}\n", line.trim())).collect()
    });
    scripts.collect()
}

/// Runs a script as GitHub does.
fn bash(script: &str, directory: &Path, variables: &[(&str, &str)]) -> Run {
    let mut command = new_command("bash");
    command
        .args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script])
        .env("RUNNER_TEMP", directory)
        .env("GITHUB_PATH", directory.join("path"))
        .env("GITHUB_STEP_SUMMARY", directory.join("summary"))
        .envs(variables.iter().copied())
        .current_dir(directory);
    run(command)
}

#[test]
fn the_action_installs_the_program_and_cleans_the_cache() {
    if !has_tools(&["bash", "curl", "sha256sum"]) {
        return;
    }
    let [install, clean] = &scripts()[..] else {
        panic!("the action has two steps");
    };
    let temp = memory_dir();
    let url = format!("file://{PROGRAM}");
    let bytes = fs::read(PROGRAM).expect("the program is there");
    let digest = crate::support::sha256(&bytes);
    let sum = digest.trim_start_matches("sha256:");
    let wrong = "0".repeat(64);
    bash(install, temp.path(), &[("URL", &url), ("SHA256", &wrong)]).exits(1);
    assert!(
        !temp.path().join("path").exists(),
        "a wrong program is not used"
    );
    bash(install, temp.path(), &[("URL", &url), ("SHA256", sum)]).ok();
    let place = fs::read_to_string(temp.path().join("path")).expect("the PATH gets it");
    let path = std::env::var("PATH").expect("there is one");
    let path = format!("{}:{path}", place.trim());

    let mut cache = TestLayout::new();
    cache.small("latest", 1);
    let orphan = cache.layout.layer(b"of an older build");
    cache.write();
    let here = cache.path().to_str().expect("UTF-8");
    // The first run has no cache.
    for cache in ["absent", "-odd", here] {
        let variables = [
            ("PATH", path.as_str()),
            ("CACHE", cache),
            ("MAX_SIZE", "5GB"),
        ];
        bash(clean, temp.path(), &variables).ok();
    }
    assert!(!cache.layout.has(&orphan), "it is unreferenced");
    let summary = fs::read_to_string(temp.path().join("summary")).expect("a summary");
    assert!(summary.contains("| done |"), "{summary}");
}
