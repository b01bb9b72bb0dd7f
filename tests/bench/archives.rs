//! What an archive costs, beside the programs that do the least of it: `tar -t`, which seeks from header to header, and `cat` of as many
//! bytes as are kept.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::contend::Bench;
use crate::measure::{Invocation, Sample, find};
use crate::report::seconds;
use crate::shape::Scale;

const PLATFORMS: [&str; 2] = ["amd64", "arm64"];
const LAYERS: usize = 4;

/// Measures one archive of two platforms, and prints a table. `false`: a run did not do its work.
pub(crate) fn run(out: &mut dyn Write, bench: &Bench) -> io::Result<bool> {
    let layer_bytes = match bench.options.scale {
        Scale::Full => 256 << 20,
        Scale::Smoke => 256 << 10,
    };
    let (Some(tar), Some(shell)) = (find("tar"), find("sh")) else {
        writeln!(out, "\nArchives were not measured: there is no `tar`.")?;
        return Ok(true);
    };
    let directory = tempfile::Builder::new()
        .prefix("archive-")
        .tempdir_in(&bench.options.dir)?;
    let archive = directory.path().join("images.tar");
    write(&archive, layer_bytes)?;
    let (whole, kept) = (fs::metadata(&archive)?.len(), (layer_bytes * LAYERS) as u64);
    let new = directory.path().join("new.tar");
    let ocisweep = |args: &[&str]| {
        let mut args: Vec<OsString> = args.iter().map(Into::into).collect();
        args.insert(1, archive.clone().into());
        Invocation::new(&bench.options.binary, args)
    };
    let path = |path: &PathBuf| path.to_string_lossy().into_owned();
    let copy = format!(
        "head -c {kept} '{}' | cat > '{}'",
        path(&archive),
        path(&new)
    );
    let (output, only) = (path(&new), "linux/amd64");
    let calls = [
        ("`tar -t`", Invocation::new(&tar, ["-tf", &path(&archive)])),
        ("`ocisweep ls`", ocisweep(&["ls"])),
        ("`ocisweep df`", ocisweep(&["df"])),
        (
            "`cat` of what is kept",
            Invocation::new(&shell, ["-c", &copy]),
        ),
        (
            "`ocisweep rm --only-platform`",
            ocisweep(&["rm", "app", "--only-platform", only, "-o", &output]),
        ),
    ];
    writeln!(
        out,
        "\n## Archives\n\nOne plain archive of {whole} bytes, cached.\n"
    )?;
    writeln!(
        out,
        "| | wall | CPU | peak MB |\n| --- | ---: | ---: | ---: |"
    )?;
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); calls.len()];
    for _ in 0..bench.options.runs {
        for ((_, call), samples) in calls.iter().zip(&mut samples) {
            fs::remove_file(&new).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
            samples.push(bench.meter.run(call)?);
        }
    }
    for ((name, _), samples) in calls.iter().zip(&samples) {
        let median = |of: &dyn Fn(&Sample) -> Option<f64>| {
            let mut all: Vec<f64> = samples.iter().filter_map(of).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied()
        };
        let show = |value: Option<f64>| value.map_or("–".to_owned(), seconds);
        let peak = median(&|sample| sample.peak_bytes.map(|bytes| bytes as f64 / 1e6));
        writeln!(
            out,
            "| {name} | {} | {} | {} |",
            show(median(&|sample| Some(sample.wall.as_secs_f64()))),
            show(median(&|sample| sample.cpu.map(|cpu| cpu.as_secs_f64()))),
            peak.map_or("–".to_owned(), |mb| format!("{mb:.1}")),
        )?;
    }
    // The last contender has written it.
    let new = fs::metadata(&new)?.len();
    Ok((kept..kept + (1 << 20)).contains(&new))
}

/// Writes an archive of an image with two platforms that share no layer.
fn write(path: &Path, layer_bytes: usize) -> io::Result<()> {
    let mut archive = tar::Builder::new(io::BufWriter::new(fs::File::create(path)?));
    let mut add = |path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        // Long ago, so that nothing counts as being written.
        header.set_mtime(1_700_000_000);
        archive.append_data(&mut header, path, bytes)
    };
    let mut blob = |kind: &str, bytes: &[u8], more: &str| -> io::Result<String> {
        let digest = Sha256::digest(bytes);
        let mut name = [0; 32];
        name.copy_from_slice(&digest);
        let hex = crate::layout::to_hex(&name);
        add(&format!("blobs/sha256/{hex}"), bytes)?;
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
                word.copy_from_slice(&state.to_le_bytes());
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
    add("index.json", index.as_bytes())?;
    add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    archive.into_inner()?.flush()
}
