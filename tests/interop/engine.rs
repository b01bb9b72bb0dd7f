//! A real docker engine builds and saves images; it loads slimmed ones again, with the same image IDs and names. `ctr` of
//! its containerd imports slimmed layouts.
//!
//! The engine is started with its data in a temporary directory and without a network, and is stopped at the end of the
//! test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::environment::{has_tools, is_root, skip};
use crate::support::run::new_command;
use crate::support::{Cmd, Run, unpack};

/// An engine that runs until this is dropped.
struct Engine {
    temp: TempDir,
    child: Child,
}

impl Engine {
    /// Starts one. `None`: it is not installed, or not permitted to run.
    fn start() -> Option<Self> {
        if !has_tools(&["dockerd", "docker", "containerd", "ctr", "runc"]) {
            return None;
        }
        if !is_root() {
            skip("a docker engine needs root");
            return None;
        }
        let temp = TempDir::new().expect("a temporary directory can be made");
        let log = fs::File::create(temp.path().join("log")).expect("a file can be made");
        let path = |name: &str| temp.path().join(name).to_string_lossy().into_owned();
        let child = new_command("dockerd")
            .args([
                "--storage-driver",
                "vfs",
                "--bridge",
                "none",
                "--iptables=false",
            ])
            .args(["--data-root", &path("data"), "--exec-root", &path("exec")])
            .args([
                "--pidfile",
                &path("pid"),
                "-H",
                &format!("unix://{}", path("socket")),
            ])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor can be copied"))
            .stderr(log)
            .spawn()
            .expect("dockerd can be started");
        let mut engine = Self { temp, child };
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(60) {
            if engine.attempt(&["version"]).code == Some(0) {
                return Some(engine);
            }
            if !matches!(engine.child.try_wait(), Ok(None)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        let log = fs::read_to_string(engine.path("log")).unwrap_or_default();
        let last = log.lines().last().unwrap_or_default();
        skip(&format!("a docker engine does not run here: {last}"));
        None
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn attempt(&self, args: &[&str]) -> Run {
        self.run("docker", args)
    }

    fn run(&self, program: &str, args: &[&str]) -> Run {
        let socket = format!("unix://{}", self.path("socket").display());
        let output = new_command(program)
            .args(args)
            .current_dir(self.temp.path())
            .env("DOCKER_HOST", socket)
            .env("DOCKER_BUILDKIT", "0")
            .env("HOME", self.temp.path())
            .stdin(Stdio::null())
            .output()
            .expect("it can be started");
        Run {
            line: format!("{program} {}", args.join(" ")),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    fn docker(&self, args: &[&str]) -> Run {
        let run = self.attempt(args);
        run.ok();
        run
    }

    /// Returns names and full IDs of all images.
    fn images(&self) -> Vec<String> {
        let format = "{{.Repository}}:{{.Tag}} {{.ID}}";
        let run = self.docker(&["images", "--no-trunc", "--format", format]);
        let mut lines: Vec<String> = run.stdout.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    fn remove_all(&self) {
        let ids = self.docker(&["images", "-q"]).stdout;
        for id in ids.lines() {
            self.attempt(&["rmi", "-f", id]);
        }
        assert!(self.images().is_empty());
    }

    /// Imports an archive with the containerd of the engine.
    #[track_caller]
    fn import(&self, archive: &Path) {
        let socket = self.path("exec/containerd/containerd.sock");
        let (socket, archive) = (socket.to_string_lossy(), archive.to_string_lossy());
        let args = [
            "-a",
            &socket,
            "-n",
            "test",
            "images",
            "import",
            "--all-platforms",
            &archive,
        ];
        self.run("ctr", &args).ok();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
        drop(self.child.wait());
    }
}

fn listed(archive: &Path) -> Vec<String> {
    let output = new_command("tar")
        .arg("-tf")
        .arg(archive)
        .output()
        .expect("tar can be started");
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn an_engine_loads_slimmed_archives_that_it_saved() {
    let Some(engine) = Engine::start() else {
        return;
    };
    fs::create_dir(engine.path("context")).expect("a directory can be made");
    for (name, from) in [("base", "scratch"), ("one", "base"), ("two", "base")] {
        let file = engine.path("context").join(name);
        fs::write(&file, name.repeat(50_000)).expect("a file can be written");
        let text = format!("FROM {from}\nCOPY {name} /{name}\n");
        fs::write(engine.path("context/Dockerfile"), text).expect("a file can be written");
        engine.docker(&["build", "-q", "-t", &format!("{name}:latest"), "context"]);
    }
    engine.docker(&["tag", "two", "two:again"]);
    let before = engine.images();
    assert_eq!(before.len(), 4);
    engine.docker(&["save", "-o", "all.tar", "base", "one", "two", "two:again"]);
    let (all, slim) = (engine.path("all.tar"), engine.path("slim.tar"));
    let run = Cmd::new(["rm"])
        .arg(&all)
        .args(["one", "two:again", "-o"])
        .arg(&slim)
        .run();
    run.ok()
        .says("Untagged: one:latest")
        .says("Untagged: two:again");
    // The lists differ only by the removed images.
    let (old, new) = (listed(&all), listed(&slim));
    let left: Vec<&String> = old.iter().filter(|path| new.contains(path)).collect();
    assert_eq!(left, new.iter().collect::<Vec<_>>());
    assert!(new.len() < old.len());
    engine.remove_all();
    engine.docker(&["load", "-i", "slim.tar"]);
    let is_kept = |line: &&String| line.starts_with("base:") || line.starts_with("two:latest");
    let want: Vec<String> = before.iter().filter(is_kept).cloned().collect();
    assert_eq!(engine.images(), want);
    engine.docker(&["save", "-o", "again.tar", "two:latest"]);
    Cmd::new(["ls"])
        .arg(engine.path("again.tar"))
        .run()
        .ok()
        .says("two");
}

#[test]
fn an_engine_and_containerd_accept_slimmed_layouts() {
    let Some(engine) = Engine::start() else {
        return;
    };
    for (case, name) in [
        ("bk-multi", "example.com/multi:latest"),
        ("bk-oci-tar", "example.com/t:v1"),
        ("ctr-export-all", "ex.com/m:v1"),
    ] {
        let unpacked = unpack(case);
        let archive = engine.path("layout.tar");
        let packed = new_command("tar")
            .arg("-cf")
            .arg(&archive)
            .arg("-C")
            .arg(unpacked.layout("."))
            .arg(".")
            .status();
        assert!(packed.expect("tar can be started").success());
        let run = Cmd::new(["rm", "-f", "--only-platform", "linux/amd64", "--grace", "0"]);
        run.arg(&archive).arg(name).run().ok();
        engine.import(&archive);
    }
    // docker's own lists beside `index.json` are edited as well.
    let unpacked = unpack("docker-save-names");
    let archive = engine.path("save.tar");
    let packed = new_command("tar")
        .arg("-cf")
        .arg(&archive)
        .arg("-C")
        .arg(unpacked.layout("."))
        .args(["blobs", "index.json", "manifest.json", "oci-layout"])
        .status();
    assert!(packed.expect("tar can be started").success());
    Cmd::new(["rm"]).arg(&archive).arg("app:v1").run().ok();
    let run = engine.docker(&["load", "-i", "save.tar"]);
    run.says("app:latest")
        .keeps_quiet_about("docker.io/library/app:v1");
}
