//! Hostile archives: one clear error or a correct result, nothing outside of the scratch directory, and the old file
//! unchanged.

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::pack::{Format, compress, members, pack, pack_directory};
use crate::support::environment::memory_dir;
use crate::support::extent::every;
use crate::support::{Cmd, LayoutBuilder, sha256};

/// A valid layout, packed, in a directory with only a directory for temporary files.
struct Fixture {
    temp: TempDir,
    layout: LayoutBuilder,
}

impl Fixture {
    fn new() -> Self {
        let mut layout = LayoutBuilder::new();
        let image = layout.image("linux/amd64", "app", &[b"one layer"]);
        layout.tag(&image.manifest, "app:1");
        layout.layer(b"an orphan");
        layout.write();
        let temp = memory_dir();
        fs::create_dir(temp.path().join("tmp")).expect("a directory");
        Self { temp, layout }
    }

    fn bytes(&self) -> Vec<u8> {
        pack_directory(self.layout.path())
    }

    fn path(&self) -> PathBuf {
        self.temp.path().join("images.tar")
    }

    /// Adds members in front of those of the layout.
    fn with(&self, add: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        add(&mut builder);
        let mut bytes = builder.into_inner().expect("it can be packed");
        // Without the two blocks of zeros at the end.
        bytes.truncate(bytes.len() - 1024);
        bytes.extend(self.bytes());
        bytes
    }

    fn run(&self, args: &[&str]) -> crate::support::Run {
        let tmp = self.temp.path().join("tmp");
        let run = Cmd::new(args)
            .env("TMPDIR", &tmp)
            .current_dir(self.temp.path())
            .run();
        let left = fs::read_dir(tmp).expect("it can be listed").count();
        assert_eq!(left, 0, "the scratch directory was not removed");
        run
    }

    /// Panics unless every command refuses it in one line, and nothing is changed.
    #[track_caller]
    fn refuses(&self, label: &str, bytes: &[u8], why: &str) {
        fs::write(self.path(), bytes).expect("it can be written");
        for args in [
            &["ls", "images.tar"][..],
            &["check", "images.tar"],
            &["gc", "--grace", "0", "images.tar"],
            &["rm", "images.tar", "app:1"],
        ] {
            let run = self.run(args);
            assert!(matches!(run.code, Some(3 | 4)), "{label}\n{}", run.all());
            assert_eq!(run.stdout, "", "{label}\n{}", run.all());
            assert!(run.stderr.contains(why), "{label}: {why}\n{}", run.all());
            assert!(run.stderr.lines().count() <= 2, "{label}\n{}", run.all());
        }
        assert!(
            fs::read(self.path()).expect("it is there") == bytes,
            "{label}"
        );
        let mut names: Vec<_> = fs::read_dir(self.temp.path())
            .expect("it can be listed")
            .map(|found| found.expect("it can be listed").file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["images.tar", "tmp"], "{label}");
    }

    /// Panics unless the orphan is deleted and everything else is kept.
    #[track_caller]
    fn is_swept(&self, label: &str, bytes: &[u8]) {
        fs::write(self.path(), bytes).expect("it can be written");
        let run = self.run(&["gc", "--grace", "0", "images.tar"]);
        run.ok();
        let orphan = format!("Deleted: {}", sha256(b"an orphan"));
        assert!(run.stdout.contains(&orphan), "{label}\n{}", run.all());
        assert_eq!(run.stdout.lines().count(), 2, "{label}\n{}", run.all());
        let new = fs::read(self.path()).expect("it is there");
        assert_eq!(members(bytes).len(), members(&new).len() + 1, "{label}");
    }
}

fn header(path: &str, kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    let name = path.as_bytes();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(1_700_000_000);
    header.set_cksum();
    header
}

#[test]
fn paths_out_of_the_archive_are_refused() {
    let fixture = Fixture::new();
    for path in [
        "../outside",
        "blobs/../../outside",
        "/etc/outside",
        "./../outside",
    ] {
        let bytes = fixture.with(|builder| {
            let header = header(path, tar::EntryType::Regular, 4);
            builder
                .append(&header, &b"evil"[..])
                .expect("it can be packed");
        });
        fixture.refuses(path, &bytes, path);
    }
    assert!(!Path::new("/etc/outside").exists());
}

#[test]
fn links_and_devices_in_the_layout_are_refused_and_kept_elsewhere() {
    let fixture = Fixture::new();
    let kinds = [
        tar::EntryType::Symlink,
        tar::EntryType::Link,
        tar::EntryType::Fifo,
        tar::EntryType::Char,
        tar::EntryType::Block,
    ];
    for kind in kinds {
        let link = |path: &str, target: &str| {
            fixture.with(|builder| {
                let mut header = header(path, kind, 0);
                header.set_link_name(target).expect("a target");
                header.set_cksum();
                builder.append(&header, &b""[..]).expect("it can be packed");
            })
        };
        let blob = format!("blobs/sha256/{}", "a".repeat(64));
        for path in [&*blob, "blobs", "blobs/sha512", "list.json", ".ocisweep"] {
            let bytes = link(path, "/etc/passwd");
            fixture.refuses(&format!("{kind:?} {path}"), &bytes, path);
        }
        // Whatever its name, a link in the root directory may point to a list of blobs.
        let is_link = matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link);
        if is_link {
            fixture.refuses(
                &format!("{kind:?}"),
                &link("latest", "notes/list"),
                "latest",
            );
        } else {
            fixture.is_swept(&format!("{kind:?}"), &link("latest", "/etc/passwd"));
        }
        if kind == tar::EntryType::Link {
            let nowhere = link("notes/latest", "notes/nothing");
            fixture.refuses("to nowhere", &nowhere, "`notes/nothing`, which is not");
        } else {
            fixture.is_swept(&format!("{kind:?}"), &link("notes/latest", "/etc/passwd"));
        }
    }
}

#[test]
fn a_link_to_a_list_of_blobs_is_refused_in_the_root_directory() {
    let fixture = Fixture::new();
    let list = list_of(&sha256(b"an orphan"), 0);
    for kind in [tar::EntryType::Symlink, tar::EntryType::Link] {
        let bytes = fixture.with(|builder| {
            let file = header("notes/list", tar::EntryType::Regular, list.len() as u64);
            builder
                .append(&file, list.as_bytes())
                .expect("it can be packed");
            append_link(builder, kind, "more", "notes/list");
        });
        fixture.refuses(&format!("{kind:?}"), &bytes, "`more` is a link");
    }
}

#[test]
fn hard_links_to_files_of_the_layout_are_refused_wherever_they_are() {
    let fixture = Fixture::new();
    // The layout is in a directory, and the links are beside it.
    let mut archive = tar::Builder::new(Vec::new());
    for member in members(&fixture.bytes()) {
        let path = format!("images/{}", member.path);
        let mut header = header("x", tar::EntryType::Regular, member.content.len() as u64);
        archive
            .append_data(&mut header, &path, &*member.content)
            .expect("it can be packed");
    }
    let nested = archive.into_inner().expect("it can be packed");
    let orphan = format!("images/blobs/{}", sha256(b"an orphan").replace(':', "/"));
    for target in [
        orphan.clone(),
        format!("././{orphan}"),
        format!("/{orphan}"),
        format!("images/../{orphan}"),
        orphan.replace("blobs/", "blobs//"),
        "images/index.json".to_owned(),
    ] {
        let mut builder = tar::Builder::new(Vec::new());
        append_link(&mut builder, tar::EntryType::Link, "copy", &target);
        let mut bytes = builder.into_inner().expect("it can be packed");
        bytes.truncate(512);
        bytes.extend(&nested);
        fixture.refuses(&target, &bytes, "`copy` is a link to the file `images/");
    }
    fixture.is_swept("without one", &nested);
}

#[test]
fn members_below_a_link_are_refused() {
    let fixture = Fixture::new();
    // `tar` would write that list into the root directory of the layout.
    let bytes = fixture.with(|builder| {
        append_link(builder, tar::EntryType::Symlink, "notes/here", "..");
        let list = list_of(&sha256(b"an orphan"), 0);
        let file = header(
            "notes/here/list",
            tar::EntryType::Regular,
            list.len() as u64,
        );
        builder
            .append(&file, list.as_bytes())
            .expect("it can be packed");
    });
    fixture.refuses("below a link", &bytes, "is below another");
}

/// A list of one blob in JSON, followed by this number of spaces.
fn list_of(digest: &str, spaces: usize) -> String {
    let entry = format!(r#"{{"mediaType":"t","digest":"{digest}","size":9}}"#);
    format!(r#"{{"manifests":[{entry}]{}}}"#, " ".repeat(spaces))
}

fn append_link(
    builder: &mut tar::Builder<Vec<u8>>,
    kind: tar::EntryType,
    path: &str,
    target: &str,
) {
    let mut header = header(path, kind, 0);
    // Written directly: the setter of the crate normalises it.
    header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.set_cksum();
    builder.append(&header, &b""[..]).expect("it can be packed");
}

#[test]
fn large_lists_of_other_tools_keep_blobs_in_any_encoding() {
    let digest = sha256(b"an orphan");
    let text = list_of(&digest, 100_000);
    let utf_16 = |mark: [u8; 2], bytes: fn(u16) -> [u8; 2]| {
        let units = text.encode_utf16().flat_map(bytes);
        mark.into_iter().chain(units).collect::<Vec<u8>>()
    };
    let spaces = format!("{}{text}", " ".repeat(100_000));
    for (name, list) in [
        ("list.json", text.clone().into_bytes()),
        ("list", text.clone().into_bytes()),
        ("MORE.JSON", spaces.clone().into_bytes()),
        ("spaces", spaces.into_bytes()),
        ("mark", format!("\u{feff}{text}").into_bytes()),
        ("little", utf_16([0xff, 0xfe], u16::to_le_bytes)),
        ("big", utf_16([0xfe, 0xff], u16::to_be_bytes)),
    ] {
        let fixture = Fixture::new();
        fs::write(fixture.layout.path().join(name), &list).expect("it can be written");
        let bytes = fixture.bytes();
        for (label, path) in [
            ("archive", fixture.path()),
            ("directory", fixture.layout.path().to_owned()),
        ] {
            fs::write(fixture.path(), &bytes).expect("it can be written");
            let run = Cmd::new(["gc", "--grace", "0"]).arg(&path).run();
            run.ok().keeps_quiet_about(&digest);
            assert!(
                run.stdout.ends_with("Total reclaimed space: 0B\n"),
                "{label} {name}\n{}",
                run.all()
            );
        }
        assert!(fs::read(fixture.path()).expect("it is there") == bytes);
    }
}

#[test]
fn a_list_that_is_too_large_is_refused_as_in_a_directory() {
    let fixture = Fixture::new();
    let list = list_of(&sha256(b"an orphan"), 64 << 20);
    fs::write(fixture.layout.path().join("list.json"), list).expect("it can be written");
    let bytes = fixture.bytes();
    fs::write(fixture.path(), &bytes).expect("it can be written");
    for path in [fixture.path(), fixture.layout.path().to_owned()] {
        let run = Cmd::new(["gc", "--grace", "0"]).arg(&path).run();
        run.refused().warns("list.json").warns("larger than");
    }
    assert!(fs::read(fixture.path()).expect("it is there") == bytes);
}

#[test]
fn a_global_header_is_kept_when_the_member_after_it_is_removed() {
    let fixture = Fixture::new();
    let record = b"18 comment=global\n";
    let orphan = sha256(b"an orphan").replace(':', "/");
    let mut layout = members(&fixture.bytes());
    layout.retain(|member| !member.path.ends_with(&orphan));
    let bytes = fixture.with(|builder| {
        let global = header(
            "pax_global_header",
            tar::EntryType::XGlobalHeader,
            record.len() as u64,
        );
        builder
            .append(&global, &record[..])
            .expect("it can be packed");
        let file = header(
            &format!("blobs/{orphan}"),
            tar::EntryType::Regular,
            b"an orphan".len() as u64,
        );
        builder
            .append(&file, &b"an orphan"[..])
            .expect("it can be packed");
    });
    // Without its second copy.
    let mut archive = bytes[..2048].to_vec();
    for member in &layout {
        archive.extend(&member.header);
        archive.extend(&member.content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    fs::write(fixture.path(), &archive).expect("it can be written");
    fixture.run(&["gc", "--grace", "0", "images.tar"]).ok();
    let new = fs::read(fixture.path()).expect("it is there");
    assert!(
        new[..1024] == archive[..1024],
        "the global header is lost or damaged"
    );
    assert_eq!(archive.len() - new.len(), 1024, "the orphan went");
}

#[test]
fn paths_that_are_too_long_or_used_by_the_program_itself_are_refused() {
    let fixture = Fixture::new();
    let long = "a/".repeat(2100);
    for (path, why) in [
        (
            ".ocisweep-docker-archive/index.json",
            ".ocisweep-docker-archive",
        ),
        (&*format!("{long}x"), "longer than 4096 bytes"),
    ] {
        let bytes = fixture.with(|builder| {
            let fields = [("path", path.as_bytes())];
            builder
                .append_pax_extensions(fields)
                .expect("it can be packed");
            let file = header("x", tar::EntryType::Regular, 4);
            builder
                .append(&file, &b"text"[..])
                .expect("it can be packed");
        });
        fixture.refuses(why, &bytes, why);
    }
}

#[test]
fn two_members_of_one_path_are_refused() {
    let fixture = Fixture::new();
    for path in ["index.json", "./index.json", "blobs//sha256/../x"] {
        let bytes = fixture.with(|builder| {
            let header = header(path, tar::EntryType::Regular, 2);
            builder
                .append(&header, &b"{}"[..])
                .expect("it can be packed");
        });
        let why = if path.contains("..") {
            "`..`"
        } else {
            "`index.json`"
        };
        fixture.refuses(path, &bytes, why);
    }
    // A file in place of a directory.
    let bytes = fixture.with(|builder| {
        let header = header("blobs/sha256", tar::EntryType::Regular, 0);
        builder.append(&header, &b""[..]).expect("it can be packed");
    });
    fixture.refuses("a file for a directory", &bytes, "blobs/sha256");
    // A directory may occur twice.
    let bytes = fixture.with(|builder| {
        for _ in 0..2 {
            let header = header("blobs/sha256/", tar::EntryType::Directory, 0);
            builder.append(&header, &b""[..]).expect("it can be packed");
        }
    });
    fixture.is_swept("a directory twice", &bytes);
}

#[test]
fn an_archive_that_is_truncated_at_any_block_is_refused() {
    let fixture = Fixture::new();
    let bytes = fixture.bytes();
    for blocks in 1..bytes.len() / 512 - 1 {
        let why = "truncated";
        let cut = &bytes[..blocks * 512];
        fs::write(fixture.path(), cut).expect("it can be written");
        let run = fixture.run(&["gc", "--grace", "0", "images.tar"]);
        run.refused().warns(why);
        assert!(fs::read(fixture.path()).expect("it is there") == cut);
    }
    fixture.refuses("not a block", &bytes[..700], "truncated");
    for format in [Format::Gzip, Format::Zstd] {
        let packed = compress(&bytes, format);
        for part in 1..8 {
            let cut = &packed[..packed.len() * part / 8];
            fs::write(fixture.path(), cut).expect("it can be written");
            let run = fixture.run(&["gc", "--grace", "0", "images.tar"]);
            assert!(
                matches!(run.code, Some(3 | 4)),
                "{format:?} {part}\n{}",
                run.all()
            );
            assert!(fs::read(fixture.path()).expect("it is there") == cut);
        }
        // The end of the compressed stream is there as well.
        let garbage = [&packed[..], b"garbage"].concat();
        fs::write(fixture.path(), &garbage).expect("it can be written");
        let run = fixture.run(&["gc", "--grace", "0", "images.tar"]);
        assert!(matches!(run.code, Some(3 | 4)), "{format:?}\n{}", run.all());
    }
}

#[test]
fn false_sizes_are_refused() {
    let fixture = Fixture::new();
    let bytes = fixture.bytes();
    let whole = bytes.len() as u64;
    for size in [whole, 1 << 40, u64::MAX >> 1] {
        let bytes = fixture.with(|builder| {
            let header = header("large", tar::EntryType::Regular, size);
            builder.append(&header, &b""[..]).expect("it can be packed");
        });
        fs::write(fixture.path(), &bytes).expect("it can be written");
        let run = fixture.run(&["gc", "--grace", "0", "images.tar"]);
        run.refused();
        assert!(fs::read(fixture.path()).expect("it is there") == bytes);
    }
    fixture.refuses(
        "data after the end",
        &[&bytes[..], &bytes[..]].concat(),
        "after its end",
    );
}

#[test]
fn pax_and_gnu_headers_are_supported() {
    let fixture = Fixture::new();
    let long = format!("notes/{}/text", "x".repeat(150));
    let bytes = fixture.with(|builder| {
        let mut header = header("short", tar::EntryType::Regular, 4);
        builder
            .append_data(&mut header, &long, &b"text"[..])
            .expect("it can be packed");
        let fields = [
            ("mtime", &b"1600000000.5"[..]),
            ("SCHILY.xattr.user.a", b"b"),
        ];
        builder
            .append_pax_extensions(fields)
            .expect("it can be packed");
        let header = self::header("extended", tar::EntryType::Regular, 4);
        builder
            .append(&header, &b"text"[..])
            .expect("it can be packed");
    });
    fixture.is_swept("PAX and GNU", &bytes);
    for (key, value) in [
        ("GNU.sparse.major", "1"),
        ("path", "../x"),
        ("size", "99999999"),
    ] {
        let bytes = fixture.with(|builder| {
            let fields = [(key, value.as_bytes())];
            builder
                .append_pax_extensions(fields)
                .expect("it can be packed");
            let header = header("extended", tar::EntryType::Regular, 4);
            builder
                .append(&header, &b"text"[..])
                .expect("it can be packed");
        });
        fs::write(fixture.path(), &bytes).expect("it can be written");
        fixture.run(&["gc", "--grace", "0", "images.tar"]).refused();
        assert!(
            fs::read(fixture.path()).expect("it is there") == bytes,
            "{key}"
        );
    }
}

#[test]
fn a_member_of_eight_gigabytes_is_skipped() {
    let fixture = Fixture::new();
    let head = fixture.with(|_| {});
    let mut large = header(
        "blobs/sha256/0000000000000000000000000000000000000000000000000000000000000000",
        tar::EntryType::Regular,
        0,
    );
    large.set_size(8 << 30);
    large.set_cksum();
    let file = fs::File::create(fixture.path()).expect("a file");
    file.write_all_at(large.as_bytes(), 0)
        .expect("it can be written");
    file.write_all_at(&head, 512 + (8 << 30))
        .expect("it can be written");
    let run = fixture.run(&["df", "images.tar"]);
    run.ok().says("8.59GB");
    let run = fixture.run(&["gc", "-n", "--grace", "0", "images.tar"]);
    run.ok().says("Would reclaim 8.59GB");
    let run = fixture.run(&["gc", "--grace", "0", "images.tar"]);
    run.ok();
    let left = fs::metadata(fixture.path()).expect("it is there");
    assert!(left.len() < 1 << 20, "{}", left.len());
    assert!(left.blocks() * 512 < 1 << 20);
}

#[test]
fn a_decompression_bomb_takes_no_space() {
    let fixture = Fixture::new();
    // A blob of 8 MB of zeros, in 8 kB.
    let zeros = vec![0; 8 << 20];
    let path = format!("blobs/{}", sha256(&zeros).replace(':', "/"));
    let bytes = fixture.with(|builder| {
        let mut header = header("x", tar::EntryType::Regular, zeros.len() as u64);
        builder
            .append_data(&mut header, &path, &*zeros)
            .expect("it can be packed");
    });
    let packed = compress(&bytes, Format::Gzip);
    assert!(packed.len() < 1 << 20);
    fs::write(fixture.path(), packed).expect("it can be written");
    fixture.run(&["check", "--orphans", "images.tar"]);
    fixture.run(&["gc", "--grace", "0", "images.tar"]).ok();
    // Zeros alone are not an archive.
    let packed = compress(&vec![0; 8 << 20], Format::Gzip);
    fixture.refuses("zeros", &packed, "images.tar");
}

/// A hundred thousand, or in a sample a fifth of these.
#[test]
fn many_members_are_read() {
    let members = 100_000 / every(5, 1);
    let fixture = Fixture::new();
    let bytes = fixture.with(|builder| {
        for number in 0..members {
            let header = header(&format!("other/{number}"), tar::EntryType::Regular, 0);
            builder.append(&header, &b""[..]).expect("it can be packed");
        }
    });
    fs::write(fixture.path(), &bytes).expect("it can be written");
    let run = fixture.run(&["gc", "--grace", "0", "images.tar"]);
    run.ok();
    let new = fs::read(fixture.path()).expect("it is there");
    assert_eq!(bytes.len() - new.len(), 1024, "one small blob was deleted");
}

#[test]
fn a_path_that_is_not_a_layout_is_reported_as_such() {
    let fixture = Fixture::new();
    let text = pack([("a/file", &b"text"[..])]);
    fixture.refuses("files", &text, "no `index.json`");
    fixture.refuses("text", b"not an archive", "not a directory");
    fixture.refuses("nothing", b"", "not a directory");
    let (index, marker) = (&b"{}"[..], &br#"{"imageLayoutVersion":"1.0.0"}"#[..]);
    let two = pack([
        ("a/index.json", index),
        ("a/oci-layout", marker),
        ("b/index.json", index),
        ("b/oci-layout", marker),
    ]);
    fixture.refuses("two layouts", &two, "`a`, `b`");
    let zarf = [
        ("zarf.yaml", &b"kind: ZarfPackageConfig"[..]),
        ("checksums.txt", b""),
    ];
    let bytes = fixture.with(|builder| {
        for (path, text) in zarf {
            let header = header(path, tar::EntryType::Regular, text.len() as u64);
            builder.append(&header, text).expect("it can be packed");
        }
    });
    fs::write(fixture.path(), &bytes).expect("it can be written");
    fixture.run(&["ls", "images.tar"]).ok();
    for args in [
        &["gc", "--grace", "0", "images.tar"][..],
        &["gc", "-n", "--grace", "0", "images.tar"],
    ] {
        let run = fixture.run(args);
        run.refused().one_error_with_hint().warns("checksums.txt");
    }
    assert!(fs::read(fixture.path()).expect("it is there") == bytes);
}
