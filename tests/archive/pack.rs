//! Creates archives, and parses them member by member.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;

use crate::support::CaseLayout;
use crate::support::run::new_command;

/// The compression of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Format {
    Plain,
    Gzip,
    Zstd,
}

/// A member, with all blocks that belong to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) path: String,
    /// Its headers.
    pub(super) header: Vec<u8>,
    pub(super) content: Vec<u8>,
}

/// Packs a recorded layout, in the order in which it was recorded.
pub(super) fn pack_case(case: &CaseLayout) -> Vec<u8> {
    let path = format!(
        "{}/testdata/corpus/{}.tar",
        env!("CARGO_MANIFEST_DIR"),
        case.case
    );
    let mut recorded = tar::Archive::new(fs::File::open(path).expect("the case is there"));
    let prefix = match case.directory.as_str() {
        "." => case.case.clone(),
        directory => format!("{}/{directory}", case.case),
    };
    let mut builder = tar::Builder::new(Vec::new());
    for entry in recorded.entries().expect("the case is an archive") {
        let mut entry = entry.expect("the case is an archive");
        let path = entry.path().expect("it has a path").into_owned();
        let Ok(inside) = path.strip_prefix(&prefix) else {
            continue;
        };
        if inside.as_os_str().is_empty() {
            continue;
        }
        let mut header = entry.header().clone();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("it can be read");
        builder
            .append_data(&mut header, inside, &*content)
            .expect("it can be packed");
    }
    builder.into_inner().expect("it can be packed")
}

/// Packs files under their paths.
pub(super) fn pack<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        builder
            .append_data(&mut header, path, content)
            .expect("it can be packed");
    }
    builder.into_inner().expect("it can be packed")
}

/// Packs a directory, in the order of its names.
pub(super) fn pack_directory(root: &Path) -> Vec<u8> {
    let mut files = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for found in fs::read_dir(&directory).expect("it can be listed") {
            let path = found.expect("it can be listed").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let inside = path.strip_prefix(root).expect("it lies below");
                let inside = inside.to_str().expect("a name of a test").to_owned();
                files.insert(inside, fs::read(&path).expect("it can be read"));
            }
        }
    }
    pack(files.iter().map(|(path, text)| (&**path, &**text)))
}

/// Compresses with the usual program, or with a library if it is not installed.
pub(super) fn compress(bytes: &[u8], format: Format) -> Vec<u8> {
    match format {
        Format::Plain => bytes.to_vec(),
        Format::Gzip if is_installed("gzip") => through(&["gzip", "-n"], bytes),
        Format::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
            encoder.write_all(bytes).expect("it fits into memory");
            encoder.finish().expect("it fits into memory")
        }
        Format::Zstd if is_installed("zstd") => through(&["zstd", "-q"], bytes),
        Format::Zstd => zstd::encode_all(bytes, 3).expect("it fits into memory"),
    }
}

pub(super) fn decompress(bytes: &[u8], format: Format) -> Vec<u8> {
    match format {
        Format::Plain => bytes.to_vec(),
        Format::Gzip if is_installed("gzip") => through(&["gzip", "-d"], bytes),
        Format::Gzip => {
            let mut text = Vec::new();
            let mut decoder = flate2::read::MultiGzDecoder::new(bytes);
            decoder.read_to_end(&mut text).expect("it is gzip");
            text
        }
        Format::Zstd if is_installed("zstd") => through(&["zstd", "-q", "-d"], bytes),
        Format::Zstd => zstd::decode_all(bytes).expect("it is zstd"),
    }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Runs a filter.
pub(super) fn through(command: &[&str], bytes: &[u8]) -> Vec<u8> {
    use std::process::Stdio;

    let (program, args) = command.split_first().expect("a command has a name");
    let mut child = new_command(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
    let mut stdin = child.stdin.take().expect("it is piped");
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || {
        let _ignored = stdin.write_all(&bytes);
    });
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("it was written");
    assert!(output.status.success(), "{command:?}");
    output.stdout
}

/// Parses an archive into its members.
pub(super) fn members(bytes: &[u8]) -> Vec<Member> {
    let mut archive = tar::Archive::new(bytes);
    let mut found = Vec::new();
    let mut start = 0;
    for entry in archive.entries().expect("it is an archive") {
        let mut entry = entry.expect("it is an archive");
        let path = entry.path().expect("it has a path");
        let path = path.to_str().expect("a name of a test").to_owned();
        let data = usize::try_from(entry.raw_file_position()).expect("it fits");
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("it can be read");
        let header = bytes.get(start..data).expect("it lies inside").to_vec();
        start = data + content.len().div_ceil(512) * 512;
        found.push(Member {
            path,
            header,
            content,
        });
    }
    found
}
