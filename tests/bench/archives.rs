//! The cost of an archive, compared with programs that do the minimum: `tar -t`, which seeks from header to header, `cat` of
//! the bytes that are kept, a pipe that decompresses and compresses, and `tar -x` of many small members.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};

use crate::contend::Bench;
use crate::measure::{Invocation, Sample, find};
use crate::report::seconds;
use crate::shape::Scale;

const PLATFORMS: [&str; 2] = ["amd64", "arm64"];
const LAYERS: usize = 4;

/// One line of a table.
struct Contender {
    label: String,
    call: Invocation,
    /// The number of the line that it is compared with, and the allowed ratio.
    goal: Option<(usize, f64)>,
}

impl Contender {
    fn new(label: impl Into<String>, call: Invocation) -> Self {
        Self {
            label: label.into(),
            call,
            goal: None,
        }
    }

    fn within(mut self, times: f64, line: usize) -> Self {
        self.goal = Some((line, times));
        self
    }
}

/// The content of the layers.
#[derive(Clone, Copy)]
enum Content {
    /// Incompressible bytes.
    Random,
    /// Words that repeat in part: compressed, about a third as long.
    Text,
}

/// Measures archives, and prints a table for each. `false`: a run did not do its work.
pub(crate) fn run(out: &mut dyn Write, bench: &Bench) -> io::Result<bool> {
    let (layer_bytes, small) = match bench.options.scale {
        Scale::Full => (256 << 20, 100_000),
        Scale::Smoke => (256 << 10, 100),
    };
    let (Some(_), Some(shell)) = (find("tar"), find("sh")) else {
        writeln!(out, "\nArchives were not measured: there is no `tar`.")?;
        return Ok(true);
    };
    let directory = tempfile::Builder::new()
        .prefix("archive-")
        .tempdir_in(&bench.options.dir)?;
    let work = Work {
        bench,
        directory: directory.path(),
        shell,
        binary: fs::canonicalize(&bench.options.binary)?,
    };
    writeln!(out, "\n## Archives")?;
    let is_sound = work.plain(out, layer_bytes)?;
    work.compressed(out, layer_bytes / 16)?;
    work.small_members(out, small)?;
    Ok(is_sound)
}

struct Work<'a> {
    bench: &'a Bench,
    directory: &'a Path,
    /// Both are absolute, since they are called from that directory.
    shell: PathBuf,
    binary: PathBuf,
}

impl Work<'_> {
    fn shell(&self, script: &str) -> Invocation {
        let mut call = Invocation::new(&self.shell, ["-c", script]);
        call.directory = Some(self.directory.to_owned());
        call
    }

    fn ocisweep(&self, args: &[&str]) -> Invocation {
        let args = args.iter().map(OsString::from);
        let mut call = Invocation::new(&self.binary, args);
        call.directory = Some(self.directory.to_owned());
        call
    }

    /// One plain archive of two platforms.
    fn plain(&self, out: &mut dyn Write, layer_bytes: usize) -> io::Result<bool> {
        let archive = self.directory.join("images.tar");
        write(&archive, layer_bytes, Content::Random)?;
        let (whole, kept) = (fs::metadata(&archive)?.len(), (layer_bytes * LAYERS) as u64);
        let copy = format!("head -c {kept} images.tar | cat > new.tar");
        let only = "--only-platform=linux/amd64";
        let removal = ["rm", "images.tar", "app", only, "-o", "new.tar"];
        let contenders = [
            Contender::new(
                "`tar --seek -tf`",
                self.shell("exec tar --seek -tf images.tar"),
            ),
            Contender::new("`ocisweep ls`", self.ocisweep(&["ls", "images.tar"])).within(1.5, 0),
            Contender::new("`ocisweep df`", self.ocisweep(&["df", "images.tar"])).within(1.5, 0),
            Contender::new("`ocisweep --version`", self.ocisweep(&["--version"])),
            Contender::new("`cat` of what is kept", self.shell(&copy)),
            Contender::new("`ocisweep rm --only-platform`", self.ocisweep(&removal)).within(1.2, 4),
        ];
        let title = format!("One plain archive of {whole} bytes, cached.");
        self.table(out, &title, &contenders)?;
        // The last contender has written it.
        let new = fs::metadata(self.directory.join("new.tar"))?.len();
        fs::remove_file(&archive)?;
        Ok((kept..kept + (1 << 20)).contains(&new))
    }

    /// Compressed archives from which nothing is removed.
    fn compressed(&self, out: &mut dyn Write, layer_bytes: usize) -> io::Result<()> {
        for (content, name) in [
            (Content::Random, "cannot be compressed"),
            (Content::Text, "can be compressed"),
        ] {
            let archive = self.directory.join("images.tar");
            write(&archive, layer_bytes, content)?;
            let whole = fs::metadata(&archive)?.len();
            let mut contenders = Vec::new();
            for codec in ["zstd", "gzip"]
                .into_iter()
                .filter(|name| find(name).is_some())
            {
                let packed = format!("images.{codec}");
                let status = Command::new(codec)
                    .args(["-q", "-c", "images.tar"])
                    .current_dir(self.directory)
                    .stdout(fs::File::create(self.directory.join(&packed))?)
                    .stdin(Stdio::null())
                    .status()?;
                if !status.success() {
                    return Err(io::Error::other(format!("`{codec}` ended with {status}")));
                }
                let pipe = format!("{codec} -qdc {packed} | {codec} -qc > new.tar");
                // The new archive is flushed to disk, so the pipe is as well.
                let pipe = format!("{pipe} && sync new.tar");
                let line = contenders.len();
                contenders.push(Contender::new(
                    format!("`{codec} -dc \\| {codec} -c`, `sync`"),
                    self.shell(&pipe),
                ));
                let all = "--only-platform=linux/amd64,linux/arm64";
                let args = ["rm", &packed, "app", all, "-o", "new.tar", "--compress"];
                let call = self.ocisweep(&[&args[..], &[codec]].concat());
                contenders.push(
                    Contender::new(format!("`ocisweep rm`, {codec}"), call).within(1.3, line),
                );
                contenders.push(Contender::new(
                    format!("`ocisweep check`, {codec}"),
                    self.ocisweep(&["check", &packed]),
                ));
            }
            let title = format!("An archive of {whole} bytes that {name}; everything is kept.");
            self.table(out, &title, &contenders)?;
        }
        Ok(())
    }

    /// An archive of very many small blobs, all but a few of them orphans.
    fn small_members(&self, out: &mut dyn Write, members: usize) -> io::Result<()> {
        let archive = self.directory.join("images.tar");
        let mut builder = builder(&archive)?;
        for number in 0..members {
            let blob = format!("blob {number} ").repeat(80);
            append_blob(&mut builder, blob.as_bytes())?;
        }
        append_image(&mut builder, 1024, Content::Random)?;
        builder.into_inner()?.flush()?;
        let unpack = "mkdir x && tar -C x -xf images.tar && rm -r x";
        let contenders = [
            Contender::new("`tar -xf`, `rm -r`", self.shell(unpack)),
            Contender::new("`ocisweep df`", self.ocisweep(&["df", "images.tar"])).within(1.0, 0),
        ];
        let title = format!("An archive of {members} small members.");
        self.table(out, &title, &contenders)
    }

    /// Runs the contenders in turn, and prints medians.
    fn table(&self, out: &mut dyn Write, title: &str, all: &[Contender]) -> io::Result<()> {
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); all.len()];
        for _ in 0..self.bench.options.runs {
            for (contender, samples) in all.iter().zip(&mut samples) {
                fs::remove_file(self.directory.join("new.tar")).or_else(|error| {
                    match error.kind() {
                        io::ErrorKind::NotFound => Ok(()),
                        _ => Err(error),
                    }
                })?;
                samples.push(self.bench.meter.run(&contender.call)?);
            }
        }
        let median = |line: usize, of: &dyn Fn(&Sample) -> Option<f64>| {
            let samples = samples.get(line).into_iter().flatten();
            crate::measure::median(samples.filter_map(of))
        };
        let wall = |line| median(line, &|sample| Some(sample.wall.as_secs_f64()));
        let show = |value: Option<f64>| value.map_or("–".to_owned(), seconds);
        writeln!(out, "\n{title}\n")?;
        writeln!(out, "| | wall | CPU | peak MB | ratio | goal |")?;
        writeln!(out, "| --- | ---: | ---: | ---: | ---: | ---: |")?;
        for (line, contender) in all.iter().enumerate() {
            let peak = median(line, &|sample| {
                sample.peak_bytes.map(|bytes| bytes as f64 / 1e6)
            });
            let (ratio, goal) = match contender.goal {
                Some((other, goal)) => {
                    let ratio = wall(line).zip(wall(other)).map(|(own, other)| own / other);
                    let ratio = ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
                    (ratio, format!("{goal:.1}"))
                }
                None => Default::default(),
            };
            writeln!(
                out,
                "| {} | {} | {} | {} | {ratio} | {goal} |",
                contender.label,
                show(wall(line)),
                show(median(line, &|sample| sample
                    .cpu
                    .map(|cpu| cpu.as_secs_f64()))),
                peak.map_or("–".to_owned(), |mb| format!("{mb:.1}")),
            )?;
        }
        Ok(())
    }
}

type Builder = tar::Builder<io::BufWriter<fs::File>>;

fn builder(path: &Path) -> io::Result<Builder> {
    Ok(tar::Builder::new(io::BufWriter::new(fs::File::create(
        path,
    )?)))
}

fn append(archive: &mut Builder, path: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    // Long ago, so that nothing counts as being written.
    header.set_mtime(1_700_000_000);
    archive.append_data(&mut header, path, bytes)
}

/// Appends a blob, and returns its digest in hexadecimal.
fn append_blob(archive: &mut Builder, bytes: &[u8]) -> io::Result<String> {
    let mut name = [0; 32];
    name.copy_from_slice(&Sha256::digest(bytes));
    let hex = crate::layout::to_hex(&name);
    append(archive, &format!("blobs/sha256/{hex}"), bytes)?;
    Ok(hex)
}

/// Writes an archive of one image.
fn write(path: &Path, layer_bytes: usize, content: Content) -> io::Result<()> {
    let mut archive = builder(path)?;
    append_image(&mut archive, layer_bytes, content)?;
    archive.into_inner()?.flush()
}

/// Appends an image with two platforms that share no layer, and the files of a layout.
fn append_image(archive: &mut Builder, layer_bytes: usize, content: Content) -> io::Result<()> {
    let mut blob = |kind: &str, bytes: &[u8], more: &str| -> io::Result<String> {
        let hex = append_blob(archive, bytes)?;
        let kind = format!("application/vnd.oci.image.{kind}");
        let len = bytes.len();
        Ok(format!(
            r#"{{"mediaType":"{kind}","digest":"sha256:{hex}","size":{len}{more}}}"#
        ))
    };
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut layer = vec![0; layer_bytes];
    let mut manifests = Vec::new();
    for platform in PLATFORMS {
        let mut layers = Vec::new();
        for _ in 0..LAYERS {
            for word in layer.chunks_exact_mut(8) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let bytes = match content {
                    Content::Random => state,
                    // Half of the bits of four of eight bytes differ.
                    Content::Text => state & 0x0F0F_0F0F | 0x2E2E_7365_6972_6564,
                };
                word.copy_from_slice(&bytes.to_le_bytes());
            }
            layers.push(blob("layer.v1.tar", &layer, "")?);
        }
        let config = format!(r#"{{"os":"linux","architecture":"{platform}"}}"#);
        let config = blob("config.v1+json", config.as_bytes(), "")?;
        let layers = layers.join(",");
        let manifest = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]}}"#);
        let more = format!(r#","platform":{{"os":"linux","architecture":"{platform}"}}"#);
        manifests.push(blob("manifest.v1+json", manifest.as_bytes(), &more)?);
    }
    let manifests = manifests.join(",");
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{manifests}]}}"#);
    let name = r#","annotations":{"org.opencontainers.image.ref.name":"app"}"#;
    let entry = blob("index.v1+json", index.as_bytes(), name)?;
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#);
    append(archive, "index.json", index.as_bytes())?;
    let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
    append(archive, "oci-layout", layout)
}
