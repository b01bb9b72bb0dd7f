//! The recipes in `docs/recipes.md` work as written: their lines run here, in an empty job directory.
//!
//! *What is replaced*: only programs that need a network or a daemon, by small scripts that come first on the `PATH`. `wget`
//! copies the program under test, `docker buildx build` does with the directories of `--cache-from` and `--cache-to` what BuildKit's
//! client does with them, and unpacks a cache that BuildKit wrote; `docker save`, `ssh` and `less` copy. `/var`, `/srv` and
//! `/usr/local` are directories of the test, mounted there.
//!
//! YAML is read by Python, and the lines of jobs are taken from what it read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::environment::{
    has_tools, in_namespace, install, install_script, memory_dir, skip_unless_required,
};
use crate::support::run::{PROGRAM, new_command, run, try_run};
use crate::support::snapshot::copy_dir;
use crate::support::{CaseLayout, Cmd, LayoutBuilder, Run, blobs, cases, sha256};

/// A fenced block of the page.
struct Block {
    /// The heading above it.
    heading: String,
    language: String,
    text: String,
}

/// Returns all fenced blocks of `docs/recipes.md`.
fn blocks() -> Vec<Block> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recipes.md");
    let page = fs::read_to_string(path).expect("the page is there");
    let mut blocks: Vec<Block> = Vec::new();
    let (mut heading, mut is_open) = ("", false);
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(_) if is_open => is_open = false,
            Some(language) => {
                is_open = true;
                blocks.push(Block {
                    heading: heading.to_owned(),
                    language: language.to_owned(),
                    text: String::new(),
                });
            }
            None if is_open => {
                let block = blocks.last_mut().expect("a block is open");
                block.text.push_str(line);
                block.text.push('\n');
            }
            None => {
                heading = line
                    .strip_prefix('#')
                    .map_or(heading, |line| line.trim_start_matches(['#', ' ']));
            }
        }
    }
    assert!(!is_open, "the last block has no end");
    blocks
}

/// Returns the block of a language below a heading.
fn block(heading: &str, language: &str) -> String {
    let mut found = blocks().into_iter();
    let found = found.find(|block| block.heading == heading && block.language == language);
    found.expect("there is such a block").text
}

/// Reads YAML. `None`: nothing here can read it.
#[track_caller]
fn yaml(text: &str) -> Option<Value> {
    const READ: &str = "import json, sys, yaml; json.dump(yaml.safe_load(sys.argv[1]), sys.stdout)";
    // The first one on the `PATH` may have no modules, and that of the system has its packages.
    let pythons = ["python3", "/usr/bin/python3"];
    let python = |program: &str, script: &str, text: &str| {
        let mut command = new_command(program);
        command.args(["-c", script, text]);
        try_run(command).ok()
    };
    let can_read =
        |program: &&str| python(program, "import yaml", "").is_some_and(|run| run.code == Some(0));
    let Some(program) = pythons.into_iter().find(can_read) else {
        skip_unless_required("there is no Python with the module `yaml`");
        return None;
    };
    let run = python(program, READ, text).expect("it ran just now");
    Some(run.ok().json())
}

/// Returns the strings of a list in a document.
fn lines(document: &Value, pointer: &str) -> Vec<String> {
    let list = document.pointer(pointer).and_then(Value::as_array);
    let list = list.unwrap_or_else(|| panic!("there is no {pointer} in {document}"));
    let text = |item: &Value| item.as_str().expect("each line is a string").to_owned();
    list.iter().map(text).collect()
}

/// The parts of `docker` that the recipes use. The directories appear before the build: buildkit client/solve.go
/// `parseCacheOptions` opens a content store in each.
const DOCKER: &str = r#"#!/bin/sh
set -e
state=$(dirname "$0")/../state
case "$1 $2" in
"context create" | "buildx create") exit ;;
"save "*) exec cat "$state/saved.tar" ;;
"buildx build") ;;
*) echo "unexpected: docker $*" >&2; exit 1 ;;
esac
for word; do
    case $word in
    type=local,src=*) mkdir -p "${word#type=local,src=}/ingest" ;;
    type=local,dest=*,mode=max) dest=${word#type=local,dest=}; dest=${dest%,mode=max}; mkdir -p "$dest/ingest" ;;
    esac
done
if [ -e "$state/build-fails" ]; then echo 'ERROR: failed to solve' >&2; exit 1; fi
cp -rp "$state/cache/." "$dest"
"#;

/// `wget` as the recipes call it: with a header and a file to write.
const WGET: &str = r#"#!/bin/sh
test "$#:$1:$2:$4:$3" = "6:-q:--header:-O:JOB-TOKEN:secret" || exit 1
test "$6" = https://gitlab.example.com/api/v4/projects/7/packages/generic/ocisweep/1/ocisweep || exit 1
cp "$(dirname "$0")/../state/ocisweep" "$5"
chmod 644 "$5"
"#;

/// `ssh`, to the machine that loads an image.
const SSH: &str = r#"#!/bin/sh
test "$*" = 'edge docker load' && cat > arrived.tar && echo arrived
"#;

/// What the mounts need: the places of the test, then the directory of the job, and the command.
const MOUNT: &str = r#"for place in var srv usr/local; do
    test -d "/$place" && mount --bind "$1/$place" "/$place" || exit 99
done
export PATH="$1/bin:/usr/local/bin:$PATH" HOME="$1/home" LC_ALL=C.UTF-8
cd "$1/job"; script=$2; shift 3
exec $1 "$script""#;

/// A machine on which jobs run. It keeps its files from one run to the next.
struct Machine {
    _temp: tempfile::TempDir,
    root: PathBuf,
    /// The recorded cache that a build writes.
    cache: CaseLayout,
}

impl Machine {
    /// Creates one. With `is_installed`, the program is installed on it.
    fn new(is_installed: bool) -> Self {
        let temp = memory_dir();
        let root = temp.path().to_owned();
        for place in [
            "bin",
            "home",
            "job",
            "state",
            "srv",
            "var/cache/buildx",
            "var/lib/node_exporter",
            "var/lib/ocisweep",
            "var/log/ocisweep",
            "usr/local/bin",
        ] {
            fs::create_dir_all(root.join(place)).expect("directories can be made");
        }
        let machine = Self {
            _temp: temp,
            root,
            cache: recorded_cache(),
        };
        machine.program("bin/docker", DOCKER);
        machine.program("bin/wget", WGET);
        machine.program("bin/ssh", SSH);
        machine.program("bin/less", "#!/bin/sh\nexec cat -- \"$@\"\n");
        let program = machine.join("state/ocisweep");
        install(Path::new(PROGRAM), &program);
        if is_installed {
            fs::hard_link(&program, machine.join("usr/local/bin/ocisweep"))
                .expect("a link can be made");
        }
        // Blobs that a build wrote an hour ago or earlier are not in flight.
        let (_kept, cache) = machine.cache.unpack();
        copy_dir(&cache, &machine.join("state/cache"));
        let mut command = new_command("find");
        command.arg(machine.join("state/cache")).args([
            "-type",
            "f",
            "-exec",
            "touch",
            "-h",
            "-d",
            "2001-02-03",
            "{}",
            "+",
        ]);
        run(command).ok();
        machine
    }

    fn join(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    fn program(&self, relative: &str, script: &str) {
        install_script(script, &self.join(relative));
    }

    /// Lets the builds that follow fail or succeed.
    fn builds_fail(&self, fail: bool) {
        let flag = self.join("state/build-fails");
        if fail {
            fs::write(flag, "").expect("a file can be written");
        } else {
            fs::remove_file(flag).expect("it is there");
        }
    }

    /// Runs lines of a shell, such as `sh -ec`, in the directory of the job. `None`: nothing can be mounted here.
    #[track_caller]
    fn run(&self, shell: &str, variables: &[(&str, &str)], script: &str) -> Option<Run> {
        let exports = variables
            .iter()
            .map(|(name, value)| format!("export {name}='{value}'\n"));
        let script = exports.collect::<String>() + script;
        // The program that this helper appends is not used: the recipes find theirs on the `PATH`.
        in_namespace(
            &self.root,
            MOUNT,
            &[self.root.as_os_str(), script.as_ref()],
            [shell],
        )
    }

    /// Asserts that a cache has exactly the blobs that the recorded one needs.
    #[track_caller]
    fn is_clean(&self, cache: &str, run: &Run) {
        let there: Vec<String> = blobs(&self.join(cache)).into_keys().collect();
        let keep: Vec<String> = self.cache.expected("keep").into_iter().collect();
        assert_eq!(there, keep, "{}", run.all());
    }

    /// Asserts that the cache was not swept.
    #[track_caller]
    fn is_untouched(&self, cache: &str, run: &Run) {
        let all = blobs(&self.join("state/cache")).len();
        assert_eq!(blobs(&self.join(cache)).len(), all, "{}", run.all());
    }
}

/// Returns the cache that BuildKit wrote ten times into one directory.
fn recorded_cache() -> CaseLayout {
    let mut cases = cases().into_iter();
    let case = cases
        .find(|case| case.name == "bkcache-max")
        .expect("it is recorded");
    let layout = case.layouts.into_iter().next().expect("it has a layout");
    assert!(
        !layout.expected("garbage").is_empty(),
        "nothing would be swept"
    );
    layout
}

/// Replaces the variables that a configuration may use, as its service does before it starts the job.
fn expanded(text: &str, variables: &[(&str, &str)]) -> String {
    let mut text = text.to_owned();
    for (name, value) in variables {
        text = text.replace(&format!("${name}"), value);
    }
    text
}

#[test]
fn every_yaml_of_the_recipes_can_be_read() {
    let action = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/github-action.yml");
    let action = fs::read_to_string(action).expect("the action is there");
    let Some(action) = yaml(&action) else {
        return;
    };
    let mut seen = 0;
    for block in blocks().iter().filter(|block| block.language == "yaml") {
        assert!(
            yaml(&block.text).is_some_and(|document| document.is_object()),
            "{}",
            block.heading
        );
        seen += 1;
    }
    assert_eq!(seen, 3, "GitHub, GitLab, Buildkite");
    // Every input that the workflow gives is one of the action, and every expression of the action names one of them.
    let workflow = yaml(&block("GitHub Actions", "yaml")).expect("as before");
    let steps = workflow
        .pointer("/jobs/build/steps")
        .and_then(Value::as_array);
    let steps = steps.expect("the job has steps");
    let step = steps
        .iter()
        .find(|step| step["uses"] == "./.github/actions/ocisweep");
    let given = step.expect("the action is used")["with"]
        .as_object()
        .expect("it gets inputs")
        .clone();
    let inputs = action["inputs"].as_object().expect("it has inputs");
    for name in given.keys() {
        assert!(inputs.contains_key(name), "the action has no input {name}");
    }
    for expression in action.to_string().split("${{ ").skip(1) {
        let name = expression.split(" }}").next().unwrap_or_default();
        let name = name.strip_prefix("inputs.").unwrap_or(name);
        assert!(inputs.contains_key(name), "the action has no input {name}");
    }
    // It cleans the directory that was cached, before the step that saves it.
    let cached = steps.iter().find(|step| {
        step["uses"]
            .as_str()
            .is_some_and(|uses| uses.starts_with("actions/cache@"))
    });
    assert_eq!(
        cached.expect("a cache is used")["with"]["path"],
        given["path"]
    );
    // The local action is found after the checkout only.
    assert!(
        steps[0]["uses"]
            .as_str()
            .is_some_and(|uses| uses.starts_with("actions/checkout@"))
    );
}

#[test]
fn the_job_of_gitlab_runs() {
    let Some(document) = yaml(&block("GitLab", "yaml")) else {
        return;
    };
    let machine = Machine::new(false);
    let bytes = fs::read(PROGRAM).expect("the program is there");
    let sum = sha256(&bytes).trim_start_matches("sha256:").to_owned();
    let predefined = [
        ("CI_API_V4_URL", "https://gitlab.example.com/api/v4"),
        ("CI_PROJECT_ID", "7"),
        ("CI_JOB_TOKEN", "secret"),
    ];
    let own = document["build"]["variables"]
        .as_object()
        .expect("the job has variables");
    let own: BTreeMap<&str, String> = own
        .iter()
        .map(|(name, value)| {
            (
                name.as_str(),
                expanded(value.as_str().expect("a string"), &predefined),
            )
        })
        .collect();
    let mut variables = predefined.to_vec();
    variables.extend(own.iter().map(|(name, value)| (*name, value.as_str())));
    let mut script = lines(&document, "/build/before_script");
    script.extend(lines(&document, "/build/script"));
    let script = script.join("\n");
    let job = |sum: &str| {
        let mut variables = variables.clone();
        variables.push(("OCISWEEP_SHA256", sum));
        machine.run("sh -ec", &variables, &script)
    };
    // The first build fails: the job fails with it.
    machine.builds_fail(true);
    let Some(run) = job(&sum) else {
        return;
    };
    run.exits(1).warns("failed to solve");
    // The downloaded program does not match its checksum: nothing is built.
    machine.builds_fail(false);
    let run = job(&"0".repeat(64)).expect("as before");
    assert_ne!(run.code, Some(0), "{}", run.all());
    assert!(
        !machine.join("job/.buildx-cache/index.json").exists(),
        "{}",
        run.all()
    );
    // The first run that succeeds, and one that finds the cache.
    for _ in 0..2 {
        let run = job(&sum).expect("as before");
        run.ok().says("Total reclaimed space: ");
        machine.is_clean("job/.buildx-cache", &run);
    }
    // GitLab saves what the job writes.
    assert_eq!(lines(&document, "/build/cache/paths"), [".buildx-cache"]);
    // A cache that was damaged in transfer fails the job, and loses nothing.
    fs::write(machine.join("state/cache/index.json"), "{").expect("a file can be written");
    let run = job(&sum).expect("as before");
    run.exits(3);
    machine.is_untouched("job/.buildx-cache", &run);
}

/// Returns the shell commands of a part of a Jenkinsfile.
fn steps(part: &str) -> Vec<String> {
    let lines = part.lines().filter_map(|line| {
        let line = line.trim().strip_prefix("sh '")?;
        line.strip_suffix('\'').map(str::to_owned)
    });
    lines.collect()
}

#[test]
fn the_pipeline_of_jenkins_runs() {
    let text = block("Jenkins", "groovy");
    let (open, closed) = (text.matches('{').count(), text.matches('}').count());
    assert_eq!(open, closed, "each brace has its other one");
    let (stages, post) = text.split_once("post {").expect("it cleans in the end");
    assert!(
        post.trim_start().starts_with("always {"),
        "also after a build that failed"
    );
    let cache = text
        .split("CACHE = \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let cache = cache
        .expect("it has a cache")
        .replace("${env.JOB_NAME}", "team/app/feature%2Fx");
    let relative = cache.trim_start_matches('/').to_owned();
    let machine = Machine::new(true);
    let variables = [("CACHE", cache.as_str())];
    // Jenkins runs each step by itself, with `sh -xe`.
    let run = |part: &str| -> Option<Vec<Run>> {
        let steps = steps(part);
        assert!(!steps.is_empty(), "{part}");
        let runs = steps
            .iter()
            .map(|step| machine.run("sh -xec", &variables, step));
        runs.collect()
    };
    machine.builds_fail(true);
    let Some(failed) = run(stages) else {
        return;
    };
    failed[0].exits(1);
    assert!(
        machine.join(&relative).join("ingest").is_dir(),
        "as BuildKit leaves it"
    );
    // The job fails because of its build, not because of the cleanup.
    let post_of_failed = run(post).expect("as before");
    post_of_failed[0].ok();
    machine.builds_fail(false);
    for _ in 0..2 {
        run(stages)
            .expect("as before")
            .iter()
            .for_each(|run| _ = run.ok());
        let cleaned = run(post).expect("as before");
        cleaned[0].ok().says("Total reclaimed space: ");
        machine.is_clean(&relative, &cleaned[0]);
    }
    fs::write(machine.join(&relative).join("index.json"), "{").expect("a file can be written");
    run(post).expect("as before")[0].exits(3);
}

#[test]
fn the_pipeline_of_buildkite_runs() {
    let Some(document) = yaml(&block("Buildkite", "yaml")) else {
        return;
    };
    if !has_tools(&["bash"]) {
        return;
    }
    let command = document["steps"][0]["command"]
        .as_str()
        .expect("a step with a command");
    // The upload of a pipeline replaces variables, and `$$` by `$`.
    let rest = command.replace("$$", "");
    assert!(
        !rest.contains('$'),
        "a variable of the job is replaced too early: {command}"
    );
    let command = command.replace("$$", "$");
    let machine = Machine::new(true);
    let variables = [("BUILDKITE_PIPELINE_SLUG", "app")];
    // The free space of the disk is unknown here; `budget` has the tests of that.
    let command = command.replace("--min-free 15%", "--min-free 1B");
    let run = || machine.run("bash -ec", &variables, &command);
    machine.builds_fail(true);
    let Some(failed) = run() else {
        return;
    };
    failed.exits(1).warns("failed to solve");
    machine.builds_fail(false);
    for _ in 0..2 {
        let run = run().expect("as before");
        run.ok().says("Total reclaimed space: ");
        machine.is_clean("var/cache/buildx/app", &run);
    }
}

/// Returns the values of a key in units of systemd.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    let lines = unit.lines();
    lines
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .collect()
}

#[test]
fn the_commands_of_the_units_run() {
    let nightly = block("A cache on a build server, every night", "ini");
    let scrub = block("A scrub of a mirror, every night", "ini");
    let machine = Machine::new(true);
    let start = |unit: &str| {
        let [command] = values(unit, "ExecStart")[..] else {
            panic!("a unit has one command");
        };
        machine.run("sh -ec", &[], command)
    };
    // The first night there is no cache yet.
    fs::remove_dir(machine.join("var/cache/buildx")).expect("it is empty");
    let Some(run) = start(&nightly) else {
        return;
    };
    run.ok();
    for path in values(&nightly, "ReadWritePaths").join(" ").split(' ') {
        let is_there = machine.join(path.trim_start_matches(['-', '/'])).exists();
        assert!(
            is_there || path.starts_with('-'),
            "the unit would not start without {path}"
        );
    }
    copy_dir(
        &machine.join("state/cache"),
        &machine.join("var/cache/buildx"),
    );
    let run = start(&nightly).expect("as before");
    run.ok();
    machine.is_clean("var/cache/buildx", &run);
    for written in [
        "var/log/ocisweep/audit.jsonl",
        "var/lib/node_exporter/ocisweep.prom",
    ] {
        assert!(machine.join(written).exists(), "{}", run.all());
    }
    fs::create_dir(machine.join("srv/mirrors")).expect("a directory can be made");
    copy_dir(
        &machine.join("var/cache/buildx"),
        &machine.join("srv/mirrors/one"),
    );
    for _ in 0..2 {
        start(&scrub).expect("as before").ok();
    }
    let record = machine.join("var/lib/ocisweep/mirrors.check");
    // The command that the page shows to count what was verified.
    let record = fs::read_to_string(record).expect("a record was written");
    assert!(record.contains("\"verified\":\""), "{record}");
}

/// An image of two platforms, each with a layer of its own.
fn platforms(layout: &mut LayoutBuilder, name: &str) {
    let amd = layout.image("linux/amd64", name, &[name.as_bytes(), b"amd64"]);
    let arm = layout.image("linux/arm64", name, &[name.as_bytes(), b"arm64"]);
    let index = layout.platforms(&[("linux/amd64", &amd), ("linux/arm64", &arm)]);
    layout.tag(&index, name);
}

impl Machine {
    /// Writes a layout with images of two platforms, and a blob that nothing references.
    fn layout(&self, relative: &str, names: &[&str]) {
        let path = self.join(relative);
        fs::create_dir_all(&path).expect("directories can be made");
        let mut layout = LayoutBuilder::at(&path);
        for name in names {
            platforms(&mut layout, name);
        }
        layout.layer(b"of an older build");
        layout.write();
    }

    /// Writes an archive of such a layout.
    fn archive(&self, relative: &str, names: &[&str]) {
        self.layout("packed", names);
        let mut command = new_command("tar");
        command
            .arg("-cf")
            .arg(self.join(relative))
            .arg("-C")
            .arg(self.join("packed"))
            .arg(".");
        run(command).ok();
    }
}

/// The shell recipes: heading, number of the block, preparation, and expected result.
type Recipe = (&'static str, usize, fn(&Machine), fn(&Machine, &Run));

const RECIPES: &[Recipe] = &[
    (
        "A build cache in CI within a budget",
        0,
        |machine| {
            copy_dir(
                &machine.join("state/cache"),
                &machine.join("job/.buildx-cache"),
            );
        },
        |machine, run| machine.is_clean("job/.buildx-cache", run),
    ),
    (
        "Many layouts on one disk",
        0,
        |machine| {
            machine.layout("srv/mirrors/one", &["app:1"]);
            machine.layout("srv/mirrors/two", &["app:2"]);
        },
        |_, run| _ = run.says("Total reclaimed space: "),
    ),
    (
        "An image for one device",
        0,
        |machine| machine.layout("job/images", &["app:1.4", "app:1.3"]),
        |machine, run| {
            let digest = sha256(b"amd64");
            let left = blobs(&machine.join("job/images"));
            // The other image has the same layer.
            assert!(left.contains_key(&digest), "{}", run.all());
            assert_eq!(platforms_of(machine, "images", "app:1.4"), ["linux/arm64"]);
        },
    ),
    (
        "An image on its way to another machine",
        0,
        |machine| machine.archive("state/saved.tar", &["app:1.4"]),
        |machine, run| {
            // The output is an archive, not text.
            assert!(run.stdout.starts_with("arrived"), "{}", run.all());
            assert_eq!(
                platforms_of(machine, "arrived.tar", "app:1.4"),
                ["linux/amd64"]
            );
        },
    ),
    (
        "An image on its way to another machine",
        1,
        |machine| {
            fs::create_dir(machine.join("job/dist")).expect("a directory can be made");
            machine.archive("job/dist/images.tar", &["app:1.4"]);
        },
        |machine, _| {
            assert_eq!(
                platforms_of(machine, "dist/device.tar.zst", "app:1.4"),
                ["linux/arm64"]
            );
            assert_eq!(platforms_of(machine, "dist/images.tar", "app:1.4").len(), 2);
        },
    ),
    (
        "A mirror, once a month",
        0,
        |machine| {
            machine.layout(
                "job/mirror",
                &["app:0-lts", "app:1", "app:2", "app:3", "app:4"],
            );
        },
        |machine, run| {
            run.says("Total reclaimed space: ").says("app:1");
            let left = machine.run("sh -ec", &[], "ocisweep ls --format '{{.Tag}}' mirror");
            let left = left.expect("as before").stdout;
            assert_eq!(
                left.lines().count(),
                4,
                "the last three, and what customers run: {left}"
            );
            assert!(left.contains("0-lts"), "{left}");
        },
    ),
    (
        "A release pipeline that signs",
        0,
        |machine| {
            machine.layout("job/dist", &["app:1", "app:2"]);
            Cmd::gc(&machine.join("job/dist")).run().ok();
        },
        |_, run| _ = run.says("Would reclaim 0B"),
    ),
    (
        "A laptop",
        0,
        |machine| machine.layout("home/oci/test", &["build-1", "build-2", "app:1"]),
        |machine, run| {
            run.says("Untagged: build-1").says("RECLAIMABLE");
            let left = machine.run("sh -ec", &[], "ocisweep ls --format '{{.Tag}}' ~/oci/test");
            assert_eq!(left.expect("as before").stdout, "1\n");
        },
    ),
];

/// Blocks that build programs and packages, for which `.ci/run` has steps.
const BUILDS: &str = "A static program, an image and packages";

/// Returns the platforms of an image, in a layout or an archive in the directory of the job.
#[track_caller]
fn platforms_of(machine: &Machine, layout: &str, name: &str) -> Vec<String> {
    let script = format!("ocisweep ls --tree --format json {layout}");
    let run = machine.run("sh -ec", &[], &script).expect("as before");
    let json = run.ok().json();
    let images = json["layouts"][0]["images"]
        .as_array()
        .expect("a list of images");
    let image = images
        .iter()
        .find(|image| image["names"].to_string().contains(name));
    let children = image.expect("it is there")["children"]
        .as_array()
        .expect("an index");
    let platform = |child: &Value| child["platform"].as_str().expect("a platform").to_owned();
    children.iter().map(platform).collect()
}

#[test]
fn the_lines_of_shell_run() {
    for (heading, number, prepare, judge) in RECIPES {
        let all = blocks().into_iter();
        let of_heading = |block: &Block| block.heading == *heading && block.language == "sh";
        let mut found = all.filter(of_heading);
        let mut script = found.nth(*number).expect("there is such a block").text;
        // There is no user to answer the confirmation, which has its own test on a terminal.
        script = script.replace("ocisweep prune ~/oci/*", "ocisweep prune --force ~/oci/*");
        let machine = Machine::new(true);
        prepare(&machine);
        // A pipe fails only with its last command; in a test, with any of them.
        let shell = match has_tools(&["bash"]) {
            true => "bash -eo pipefail -c",
            false => "sh -ec",
        };
        let Some(run) = machine.run(shell, &[], &script) else {
            return;
        };
        run.ok();
        judge(&machine, &run);
    }
    let known = |block: &Block| {
        RECIPES
            .iter()
            .filter(|(heading, ..)| *heading == block.heading)
            .count()
    };
    for block in blocks()
        .iter()
        .filter(|block| block.language == "sh" && block.heading != BUILDS)
    {
        let others = blocks()
            .iter()
            .filter(|other| other.language == "sh" && other.heading == block.heading)
            .count();
        assert_eq!(
            known(block),
            others,
            "a recipe that no test runs: {}",
            block.heading
        );
    }
}
