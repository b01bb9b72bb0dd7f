//! Reading and writing archives: files, links, pipes, several at once; and unsupported operations.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;

use super::pack::{Format, compress, decompress, members, pack_directory, through};
use crate::support::environment::memory_dir;
use crate::support::extent::{Extent, extent};
use crate::support::run::{PROGRAM, new_command};
use crate::support::{Cmd, LayoutBuilder};

/// A layout with two images that share nothing and an orphan, packed.
struct Fixture {
    layout: LayoutBuilder,
    temp: TempDir,
    bytes: Vec<u8>,
}

impl Fixture {
    fn new() -> Self {
        let mut layout = LayoutBuilder::new();
        for tag in ["app:1", "app:2"] {
            let image = layout.image("linux/amd64", tag, &[tag.as_bytes(), &[7; 70_000]]);
            layout.tag(&image.manifest, tag);
        }
        layout.layer(b"an orphan");
        layout.write();
        let bytes = pack_directory(layout.path());
        let temp = memory_dir();
        Self {
            layout,
            temp,
            bytes,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// Writes the archive under a name.
    fn archive(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, &self.bytes).expect("it can be written");
        path
    }

    fn names(&self) -> Vec<String> {
        let found = fs::read_dir(self.temp.path()).expect("it can be listed");
        let mut names: Vec<String> = found
            .map(|found| found.expect("it can be listed").file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

fn tags(archive: &Path) -> Vec<String> {
    let run = Cmd::new(["ls", "--format", "jsonl"]).arg(archive).run();
    run.ok();
    let mut tags: Vec<String> = ["app:1", "app:2"]
        .into_iter()
        .filter(|tag| run.stdout.contains(tag))
        .map(str::to_owned)
        .collect();
    tags.sort();
    tags
}

#[test]
fn an_archive_is_replaced_in_place_and_keeps_its_mode() {
    let fixture = Fixture::new();
    let path = fixture.archive("images.tar");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("a mode");
    symlink("images.tar", fixture.path("link")).expect("a link");
    let before = fs::metadata(&path).expect("it is there");
    let run = Cmd::new(["rm"])
        .arg(fixture.path("link"))
        .arg("app:1")
        .run();
    run.ok().says("Untagged: app:1");
    let after = fs::metadata(&path).expect("it is there");
    assert_eq!(after.mode(), before.mode());
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    assert!(after.len() < before.len());
    assert!(
        fixture.path("link").is_symlink(),
        "the link is still a link"
    );
    assert_eq!(tags(&path), ["app:2"]);
    assert_eq!(fixture.names(), ["images.tar", "link"], "nothing is left");
}

#[test]
fn nothing_is_written_if_there_is_nothing_to_do() {
    let fixture = Fixture::new();
    let path = fixture.archive("images.tar");
    let before = fs::metadata(&path).expect("it is there");
    for args in [
        &["rm", "-f", "PATH", "none"][..],
        // The orphan was packed long ago.
        &["gc", "PATH", "-n"],
        &["prune", "-f", "PATH", "--keep", "*", "--grace", "99999d"],
    ] {
        let path = path.to_str().expect("a path");
        let args = args.iter().map(|arg| arg.replace("PATH", path));
        Cmd::new(args).run().ok();
    }
    let after = fs::metadata(&path).expect("it is there");
    assert_eq!(before.ino(), after.ino());
    assert_eq!(before.ctime_nsec(), after.ctime_nsec());
}

#[test]
fn the_new_archive_is_written_to_another_file_and_the_old_one_is_kept() {
    let fixture = Fixture::new();
    let path = fixture.archive("images.tar");
    for (format, flags) in [
        (Format::Plain, &[][..]),
        (Format::Gzip, &["--compress", "gzip"]),
        (Format::Zstd, &["--compress", "zstd"]),
    ] {
        let out = fixture.path("out.tar");
        let run = Cmd::new(["rm"]).arg(&path).arg("app:1");
        let run = run.args(["-o", out.to_str().expect("a path")]).args(flags);
        run.run().ok();
        assert!(fs::read(&path).expect("it is there") == fixture.bytes);
        assert_eq!(tags(&out), ["app:2"], "{format:?}");
        let new = decompress(&fs::read(&out).expect("it is there"), format);
        assert!(members(&new).len() < members(&fixture.bytes).len());
        // An existing file is replaced.
        run.run().ok();
    }
    // With `-o`, a copy is written even if there was nothing to do.
    let copy = fixture.path("copy.tar");
    let run = Cmd::new(["gc"])
        .arg(fixture.path("out.tar"))
        .args(["--grace", "0"]);
    run.run().ok();
    let run = run.arg("-o").arg(&copy).args(["--compress", "none"]);
    run.run().ok().ends_with_line("Total reclaimed space: 0B");
    assert_eq!(tags(&copy), ["app:2"]);
}

#[test]
fn archives_pass_through_pipes() {
    let fixture = Fixture::new();
    for format in [Format::Plain, Format::Gzip, Format::Zstd] {
        let bytes = compress(&fixture.bytes, format);
        let ls = Cmd::new(["ls", "-"]).input(&bytes).run();
        ls.ok().says("app");
        for args in [&["df", "-"][..], &["check", "-"], &["blobs", "-", "--live"]] {
            Cmd::new(args).input(&bytes).run().ok();
        }
        let out = fixture.path("piped");
        let to = fs::File::create(&out).expect("a file");
        let mut child = new_command(PROGRAM)
            .args(["rm", "-", "app:1", "-o", "-"])
            .stdin(Stdio::piped())
            .stdout(to)
            .stderr(Stdio::piped())
            .spawn()
            .expect("it can be started");
        let mut stdin = child.stdin.take().expect("it is piped");
        std::io::Write::write_all(&mut stdin, &bytes).expect("it reads to the end");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        // Messages must not be written into the archive.
        assert!(said.contains("Untagged: app:1"), "{said}");
        assert!(said.contains("Total reclaimed space:"), "{said}");
        assert_eq!(tags(&out), ["app:2"], "{format:?}");
    }
}

#[test]
fn standard_input_may_be_a_file() {
    let fixture = Fixture::new();
    let path = fixture.archive("images.tar");
    let out = fixture.path("out.tar");
    let status = new_command(PROGRAM)
        .args(["rm", "-", "app:2", "-q", "-o"])
        .arg(&out)
        .stdin(fs::File::open(&path).expect("it is there"))
        .stdout(Stdio::null())
        .status()
        .expect("it can be started");
    assert!(status.success());
    assert_eq!(tags(&out), ["app:1"]);
}

#[test]
fn flags_that_exclude_each_other_are_a_usage_error() {
    let fixture = Fixture::new();
    let path = fixture.archive("images.tar");
    let (path, dir) = (path.to_str().expect("a path"), fixture.layout.path());
    let dir = dir.to_str().expect("a path");
    for args in [
        &["gc", "-"][..],
        &["rm", "-", "app:1"],
        &["gc", path, dir, "-o", "x"],
        &["gc", "-r", path, "-o", "x"],
        &["gc", dir, "-o", "x"],
        &["gc", path, "--compress", "xz"],
    ] {
        let run = Cmd::new(args).input(&fixture.bytes).run();
        run.exits(2);
        assert_eq!(run.stdout, "", "{}", run.all());
    }
    assert_eq!(fixture.names(), ["images.tar"]);
}

#[test]
fn operations_that_need_a_directory_are_refused_with_a_reason() {
    let fixture = Fixture::new();
    let path = fixture.archive("images.tar");
    let path = path.to_str().expect("a path");
    for (args, why) in [
        (&["rm", path, "app:1", "--trash"][..], "cannot have a trash"),
        (
            &["gc", path, "--trash", "--grace", "0"],
            "cannot have a trash",
        ),
        (&["undo", path], "cannot have a trash"),
        (&["trash", "ls", path], "cannot have a trash"),
        (&["trash", "empty", path], "cannot have a trash"),
        (&["check", path, "--repair"], "cannot be repaired"),
        (
            &["hold", "add", path, "release", "app:1"],
            "an archive cannot have holds",
        ),
        (
            &["hold", "rm", path, "release"],
            "an archive cannot have holds",
        ),
    ] {
        let run = Cmd::new(args).run();
        run.refused().one_error_with_hint().warns(why);
    }
    let trash = Cmd::new(["rm", path, "app:1", "--trash"]).run();
    trash.warns("`-o FILE`");
    assert!(fs::read(path).expect("it is there") == fixture.bytes);
}

#[test]
fn archives_and_directories_are_processed_in_one_call() {
    let fixture = Fixture::new();
    let (tar, gz) = (fixture.archive("a.tar"), fixture.path("b.tar.gz"));
    fs::write(&gz, compress(&fixture.bytes, Format::Gzip)).expect("it can be written");
    let args = [fixture.layout.path(), &tar, &gz];
    let df = Cmd::new(["df"]).args(args).run();
    df.ok().says("a.tar").says("b.tar.gz").says("Total");
    let gc = Cmd::new(["gc", "--grace", "0"]).args(args).run();
    gc.ok().says("Total reclaimed space:");
    for path in args {
        let run = Cmd::new(["gc", "--grace", "0"]).arg(path).run();
        run.ok().ends_with_line("Total reclaimed space: 0B");
    }
}

#[test]
fn archives_are_found_below_a_directory_by_name_and_content() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.path("deep")).expect("a directory");
    fixture.archive("a.tar");
    fixture.archive("deep/b.TAR");
    fs::write(
        fixture.path("deep/c.tgz"),
        compress(&fixture.bytes, Format::Gzip),
    )
    .expect("a file");
    // Another name, another content, a layout's own file.
    fixture.archive("d.bin");
    fs::write(fixture.path("e.tar"), "no archive").expect("a file");
    let other = super::pack::pack([("a/file", &b"text"[..])]);
    fs::write(fixture.path("f.tar"), other).expect("a file");
    // Files that another run has unpacked are not one either.
    let scratch = fixture.path(".ocisweep-abc123");
    fs::create_dir(&scratch).expect("a directory");
    let scratch = scratch.to_str().expect("a path");
    through(&["tar", "-x", "-C", scratch], &fixture.bytes);
    let run = Cmd::new(["ls", "-r", "--format", "json"])
        .arg(fixture.temp.path())
        .run();
    let json = run.ok().json();
    let layouts = json
        .get("layouts")
        .and_then(|it| it.as_array())
        .expect("a list");
    let paths: Vec<&str> = layouts
        .iter()
        .filter_map(|layout| layout.get("path")?.as_str()?.rsplit('/').next())
        .collect();
    assert_eq!(paths, ["a.tar", "b.TAR", "c.tgz"], "{}", run.all());
    assert_eq!(run.stderr, "", "{}", run.all());
}

#[test]
fn a_plan_applies_only_to_the_archive_that_it_was_made_for() {
    let fixture = Fixture::new();
    let path = fixture.archive("images.tar");
    let plan = fixture.path("plan.json");
    let run = Cmd::new(["prune", "-a", "--keep", "app:2", "--grace", "0", "--plan"]);
    run.arg(&plan).arg(&path).run().ok();
    assert!(fs::read(&path).expect("it is there") == fixture.bytes);
    Cmd::new(["apply", "-n"]).arg(&plan).run().ok();
    // Not the archive that the plan was made for.
    let kept = fs::read(&path).expect("it is there");
    Cmd::new(["rm"]).arg(&path).arg("app:2").run().ok();
    Cmd::new(["apply"]).arg(&plan).run().refused();
    assert_eq!(tags(&path), ["app:1"]);
    fs::write(&path, &kept).expect("it can be written");
    for (flags, format) in [
        (&[][..], Format::Plain),
        (&["--compress", "zstd"], Format::Zstd),
    ] {
        let out = fixture.path("out.tar");
        let run = Cmd::new(["apply"]).arg(&plan).args(flags);
        run.arg("-o").arg(&out).run().ok().says("Untagged: app:1");
        decompress(&fs::read(&out).expect("it is there"), format);
        assert_eq!(tags(&out), ["app:2"]);
    }
    assert!(fs::read(&path).expect("it is there") == kept);
    // Plans of several archives, or of a directory.
    let several = fixture.path("several.json");
    let run = Cmd::new(["prune", "--grace", "0", "--plan"]);
    let run = run.arg(&several).arg(&path);
    run.clone().arg(fixture.path("out.tar")).run().ok();
    let out = fixture.path("new.tar");
    let apply = Cmd::new(["apply", "-o"]).arg(&out).arg(&several);
    apply.run().exits(2).warns("several archives");
    fs::remove_file(&several).expect("it is there");
    let run = Cmd::new(["prune", "--grace", "0", "--plan"]);
    let run = run.arg(&several).arg(fixture.layout.path());
    run.run().ok();
    apply.run().exits(2).warns("a directory");
    assert!(!out.exists());
    Cmd::new(["apply"])
        .arg(&plan)
        .run()
        .ok()
        .says("Untagged: app:1");
    assert_eq!(tags(&path), ["app:2"]);
}

#[test]
fn formats_that_are_only_read_are_not_written() {
    let fixture = Fixture::new();
    if !crate::support::environment::has_tools(&["xz"]) {
        return;
    }
    let path = fixture.path("images.tar.xz");
    fs::write(&path, through(&["xz", "-c"], &fixture.bytes)).expect("it can be written");
    let before = fs::read(&path).expect("it is there");
    assert_eq!(tags(&path), ["app:1", "app:2"]);
    let run = Cmd::new(["rm"]).arg(&path).arg("app:1");
    run.run().refused().one_error_with_hint().warns("xz");
    assert!(fs::read(&path).expect("it is there") == before);
    let out = fixture.path("out.tar.zst");
    run.args(["--compress", "zstd", "-o"]).arg(&out).run().ok();
    assert_eq!(tags(&out), ["app:2"]);
}

/// Starts a run whose standard input is a file, and whose new archive is written to a FIFO without a reader.
fn spawn_to_fifo(fixture: &Fixture, args: &[&str], stdin: Stdio) -> (std::process::Child, PathBuf) {
    let fifo = fixture.path("fifo");
    let status = new_command("mkfifo").arg(&fifo).status();
    assert!(status.expect("mkfifo is everywhere").success());
    let child = new_command(PROGRAM)
        .args(args)
        .arg("-o")
        .arg(&fifo)
        .stdin(stdin)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it can be started");
    (child, fifo)
}

#[test]
fn an_archive_that_changes_while_it_is_piped_on_is_not_written_twice() {
    for is_stdin in [false, true] {
        let mut fixture = Fixture::new();
        // More than fits into a pipe.
        fixture.layout.file("notes", &[1; 300_000]);
        fixture.bytes = pack_directory(fixture.layout.path());
        let path = fixture.archive("images.tar");
        let name = if is_stdin {
            "-"
        } else {
            path.to_str().expect("a path")
        };
        let stdin = if is_stdin {
            Stdio::from(fs::File::open(&path).expect("it is there"))
        } else {
            Stdio::null()
        };
        let (child, fifo) = spawn_to_fifo(&fixture, &["rm", name, "none", "-f"], stdin);
        let mut out = fs::File::open(&fifo).expect("a FIFO");
        let mut written = vec![0; 512];
        std::io::Read::read_exact(&mut out, &mut written).expect("the run writes");
        // It has opened the archive, and cannot have written all of it into the pipe.
        let file = fs::File::options().append(true).open(&path);
        let time = std::time::SystemTime::UNIX_EPOCH;
        file.and_then(|file| file.set_modified(time))
            .expect("a time");
        std::io::Read::read_to_end(&mut out, &mut written).expect("the run ends");
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{said}");
        assert!(said.contains("changed by another program"), "{said}");
        assert!(written.len() <= fixture.bytes.len(), "{}", written.len());
    }
}

#[test]
fn an_output_that_is_the_archive_itself_replaces_it() {
    let fixture = Fixture::new();
    let path = fixture.archive("images.tar");
    let before = fs::metadata(&path).expect("it is there");
    let to = |args: &[&str]| {
        let run = Cmd::new(args).arg(&path).args(["-o", "./images.tar"]);
        run.current_dir(fixture.temp.path()).run()
    };
    to(&["gc", "--grace", "99999d"]).ok();
    let after = fs::metadata(&path).expect("it is there");
    assert_eq!(
        (after.ino(), after.ctime_nsec()),
        (before.ino(), before.ctime_nsec()),
        "there was nothing to do"
    );
    let run = Cmd::new(["rm"]).arg(&path).arg("app:1");
    let run = run.args(["-o", "./images.tar"]);
    run.current_dir(fixture.temp.path()).run().ok();
    assert_eq!(tags(&path), ["app:2"]);
    assert_eq!(fixture.names(), ["images.tar"]);
}

#[test]
fn standard_output_may_not_be_the_archive_itself() {
    let fixture = Fixture::new();
    let path = fixture.archive("images.tar");
    let own = fs::File::options().append(true).open(&path);
    let output = new_command(PROGRAM)
        .args(["rm", "images.tar", "app:1", "-o", "-"])
        .current_dir(fixture.temp.path())
        .stdout(own.expect("it is there"))
        .output()
        .expect("it can be started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("standard output is this archive"), "{said}");
    assert!(fs::read(&path).expect("it is there") == fixture.bytes);
}

#[test]
fn names_of_standard_output_mean_standard_output() {
    for name in ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
        let fixture = Fixture::new();
        let path = fixture.archive("images.tar");
        let out = fixture.path("out.tar");
        let status = new_command(PROGRAM)
            .args(["rm", "images.tar", "app:1", "-o", name])
            .current_dir(fixture.temp.path())
            .stdout(fs::File::create(&out).expect("a file"))
            .stderr(Stdio::null())
            .status();
        assert!(status.expect("it can be started").success(), "{name}");
        assert_eq!(tags(&out), ["app:2"], "{name}");
        assert!(fs::read(&path).expect("it is there") == fixture.bytes);
    }
}

#[test]
fn a_new_file_is_as_private_as_the_archive() {
    let fixture = Fixture::new();
    let path = fixture.archive("images.tar");
    for mode in [0o600, 0o640, 0o644] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        let out = fixture.path(&format!("{mode:o}"));
        let run = Cmd::new(["rm"]).arg(&path).args(["app:1", "-o"]).arg(&out);
        run.run().ok();
        let new = fs::metadata(&out).expect("it is there").mode();
        assert_eq!(new & 0o777 & !mode, 0, "{new:o} of {mode:o}");
    }
}

#[test]
fn an_error_of_writing_names_what_was_written_to() {
    let fixture = Fixture::new();
    let path = fixture.archive("images.tar");
    for (output, named) in [("/dev/full", "`/dev/full`"), ("/none/out", "`/none/out`")] {
        let run = Cmd::new(["rm"]).arg(&path).args(["app:1", "-o", output]);
        let run = run.run();
        assert!(!matches!(run.code, Some(0)), "{}", run.all());
        run.warns(named);
    }
    assert!(fs::read(&path).expect("it is there") == fixture.bytes);
}

#[test]
fn a_fifo_is_waited_for_until_it_has_a_writer() {
    let fixture = Fixture::new();
    let fifo = fixture.path("fifo");
    let status = new_command("mkfifo").arg(&fifo).status();
    assert!(status.expect("mkfifo is everywhere").success());
    let child = new_command(PROGRAM)
        .arg("ls")
        .arg(&fifo)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it can be started");
    // The writer cannot detect whether the reader checked earlier; a run that did not wait has ended by then.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let bytes = fixture.bytes.clone();
    let writer = std::thread::spawn(move || {
        let file = fs::OpenOptions::new().read(true).write(true).open(fifo);
        let mut file = file.expect("a FIFO");
        std::io::Write::write_all(&mut file, &bytes)
    });
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("app"));
    drop(writer);
}

/// Some programs pad the last block of a file, which gzip ignores. Anything else after the last member is damage.
#[test]
fn zeros_after_a_gzip_file_are_padding() {
    let fixture = Fixture::new();
    let (first, second) = fixture.bytes.split_at(fixture.bytes.len() / 2);
    let mut packed = compress(first, Format::Gzip);
    packed.extend(compress(second, Format::Gzip));
    let path = fixture.path("images.tar.gz");
    for zeros in [0, 1, 512, 100_000] {
        let mut padded = packed.clone();
        padded.resize(packed.len() + zeros, 0);
        fs::write(&path, &padded).expect("it can be written");
        assert_eq!(tags(&path), ["app:1", "app:2"], "{zeros}");
        Cmd::new(["check"]).arg(&path).run().ok();
        padded.extend([b'x'; 20]);
        fs::write(&path, &padded).expect("it can be written");
        let run = Cmd::new(["ls"]).arg(&path).run();
        run.exits(4).warns("gzip");
        assert_eq!(run.stdout, "", "{zeros}");
    }
}

#[test]
fn all_streams_of_a_bzip2_file_are_read() {
    if !crate::support::environment::has_tools(&["bzip2"]) {
        return;
    }
    let fixture = Fixture::new();
    let (first, second) = fixture.bytes.split_at(fixture.bytes.len() / 2);
    let mut packed = through(&["bzip2", "-c"], first);
    packed.extend(through(&["bzip2", "-c"], second));
    let path = fixture.path("images.tar.bz2");
    fs::write(&path, packed).expect("it can be written");
    assert_eq!(tags(&path), ["app:1", "app:2"]);
}

#[test]
fn a_damaged_archive_below_a_directory_is_reported_with_a_status() {
    let fixture = Fixture::new();
    fixture.archive("a.tar");
    let cut = &fixture.bytes[..fixture.bytes.len() / 2];
    fs::write(fixture.path("b.tar"), cut).expect("it can be written");
    for args in [
        &["check", "-r"][..],
        &["gc", "-r", "-n"],
        &["df", "-r"],
        &["ls", "-r"],
    ] {
        let run = Cmd::new(args).arg(fixture.temp.path()).run();
        assert!(matches!(run.code, Some(3 | 4)), "{args:?}\n{}", run.all());
        run.warns("b.tar").warns("truncated");
    }
    assert!(fs::read(fixture.path("b.tar")).expect("it is there") == cut);
}

#[test]
fn documents_are_unpacked_in_memory_while_they_are_small() {
    let fixture = Fixture::new();
    let path = fixture.archive("images.tar");
    let large = fixture.path("large.tar");
    fixture.layout.file("notes.json", &[b' '; 40 << 20]);
    fs::write(&large, pack_directory(fixture.layout.path())).expect("it can be written");
    let many = fixture.path("many.tar");
    let files = members(&fixture.bytes);
    let numbers: Vec<String> = (0..10_001)
        .map(|number| format!("notes/{number}"))
        .collect();
    let own = files.iter().map(|member| (&*member.path, &*member.content));
    let more = numbers.iter().map(|name| (&**name, &b""[..]));
    fs::write(&many, super::pack::pack(own.chain(more))).expect("it can be written");
    let memory = "/dev/shm";
    let has_room = rustix::fs::statvfs(memory)
        .is_ok_and(|found| found.f_bavail.saturating_mul(found.f_frsize) >= 1 << 30);
    if !has_room {
        crate::support::environment::skip("/dev/shm has less than 1 GiB free");
        return;
    }
    if !crate::support::environment::has_tools(&["strace"]) {
        return;
    }
    let none = fixture.path("tmp");
    fs::create_dir(&none).expect("a directory");
    for (archive, variable, expected) in [
        (&path, None, (true, false)),
        (&path, Some(&none), (false, true)),
        // Started in memory, then repeated on disk.
        (&large, None, (true, true)),
        (&many, None, (true, true)),
    ] {
        if archive == &many && extent() == Extent::Sample {
            // It takes twenty thousand files.
            continue;
        }
        let mut command = new_command("strace");
        command
            .args([
                "-f",
                "--seccomp-bpf",
                "-qq",
                "-e",
                "trace=mkdir,mkdirat",
                env!("CARGO_BIN_EXE_ocisweep"),
                "ls",
            ])
            .arg(archive)
            .env_remove("TMPDIR");
        if let Some(directory) = variable {
            command.env("TMPDIR", directory);
        }
        let output = command.output().expect("it can be started");
        assert!(output.status.success());
        let calls = String::from_utf8_lossy(&output.stderr).into_owned();
        let in_memory = calls.contains("/dev/shm/.ocisweep-");
        let elsewhere = calls
            .lines()
            .any(|line| line.contains("/.ocisweep-") && !line.contains("/dev/shm/.ocisweep-"));
        let made = calls.lines().filter(|line| line.contains("/.ocisweep-"));
        assert!(made.clone().all(|line| line.contains("0700")), "{calls}");
        assert_eq!(
            (in_memory, elsewhere),
            expected,
            "{}\n{calls}",
            archive.display()
        );
    }
}

/// Neither memory nor scratch directories grow with the number of plain archives: only the first ones are kept unpacked
/// until they are processed, and the others are read again.
#[test]
fn only_a_few_archives_are_unpacked_at_a_time() {
    let fixture = Fixture::new();
    for number in 0..12 {
        fixture.archive(&format!("{number}.tar"));
    }
    let has_room = rustix::fs::statvfs("/dev/shm")
        .is_ok_and(|found| found.f_bavail.saturating_mul(found.f_frsize) >= 1 << 30);
    if !has_room || !crate::support::environment::has_tools(&["strace"]) {
        crate::support::environment::skip("/dev/shm has less than 1 GiB free, or no strace");
        return;
    }
    let given: Vec<PathBuf> = (0..12)
        .map(|number| fixture.path(&format!("{number}.tar")))
        .collect();
    let below = ["-r".into(), fixture.temp.path().to_owned()];
    let run = |paths: &[PathBuf]| {
        let output = new_command("strace")
            .args([
                "-f",
                "--seccomp-bpf",
                "-qq",
                "-e",
                "trace=mkdir,unlinkat,rmdir",
            ])
            .args([env!("CARGO_BIN_EXE_ocisweep"), "ls"])
            .args(paths)
            .env_remove("TMPDIR")
            .output()
            .expect("it can be started");
        assert!(output.status.success());
        let calls = String::from_utf8_lossy(&output.stderr).into_owned();
        let (mut now, mut most, mut made) = (0_u32, 0, 0);
        for line in calls
            .lines()
            .filter(|line| line.contains("/.ocisweep-scratch-"))
        {
            if line.contains("mkdir(") {
                (now, made) = (now + 1, made + 1);
                most = most.max(now);
            } else {
                now = now.saturating_sub(1);
            }
        }
        ((made, most, now), calls)
    };
    for paths in [&given[..], &below] {
        // Runs of other tests may consider a directory that is not locked yet a leftover. It is created again, and these
        // numbers differ.
        let mut last = String::new();
        let is_met = (0..10).any(|_| {
            let (counts, calls) = run(paths);
            last = calls;
            counts == (16, 9, 0)
        });
        assert!(is_met, "{last}");
    }
}

/// An archive that is piped in slowly does not block others, and two threads read one archive only once.
#[test]
fn archives_are_read_at_the_same_time() {
    use std::sync::mpsc;
    use std::time::Duration;

    use ocisweep::archive::{ArchiveOptions, Archives};
    use ocisweep::progress::Silent;

    let fixture = Fixture::new();
    let path = fixture.archive("app.tar");
    let fifo = fixture.path("fifo");
    let status = new_command("mkfifo").arg(&fifo).status();
    assert!(status.expect("mkfifo is everywhere").success());
    let archives = Archives::new(ArchiveOptions::default());
    let (opened, wait) = mpsc::channel();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| {
            archives
                .open(&fifo, &Silent)
                .map(|layout| layout.is_packed())
        });
        std::thread::sleep(Duration::from_millis(200));
        for _ in 0..2 {
            let opened = opened.clone();
            let (archives, path) = (&archives, &path);
            scope.spawn(move || {
                let layout = archives.open(path, &Silent).expect("it can be read");
                opened.send(layout.is_packed()).expect("it is waited for");
            });
        }
        let first = wait.recv_timeout(Duration::from_secs(20));
        let second = wait.recv_timeout(Duration::from_secs(20));
        // Before the assertions: otherwise a failure would wait for it forever.
        fs::write(&fifo, &fixture.bytes).expect("it is read");
        assert_eq!((first, second), (Ok(true), Ok(true)));
        let slow = slow.join().expect("no panic");
        assert!(slow.expect("it can be read"));
    });
}
