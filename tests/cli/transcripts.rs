//! docker's output compared with ours, line by line: the commands in `testdata/docker/transcripts.txt` run on a layout with
//! the same images.
//!
//! The comparison is recorded in `snapshots/docker-transcripts.txt`: equal lines, `-` lines that only docker prints, `+`
//! lines that only ocisweep prints. Each of the latter two must be explained by one of [`DIFFERENCES`], which name a row of
//! `docs/docker-differences.md`, and is recorded with it: a new difference fails until it is fixed or has a row.
//!
//! *Translation*: the layout comes after the words of the command, docker's argument of `image ls` becomes `--filter reference=`, and
//! `prune -a` gets `--allow-empty`, without which it would be refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use jiff::Timestamp;

use crate::support::dated::{ImageBuilder, NOW, TestLayout};
use crate::support::transcript::{matches, package};
use crate::support::{Cmd, Desc, Run, media};

/// An intended difference.
struct Difference {
    /// The first cell of its row in `docs/docker-differences.md`.
    row: &'static str,
    /// Returns `true` if it explains a line, of docker (`-`) or of ocisweep (`+`), in the output of a command.
    explains: fn(command: &str, line: &str) -> bool,
}

const DIFFERENCES: &[Difference] = &[
    // Unsupported commands come first: they explain all of their lines.
    difference("`image inspect`", |command, _| {
        command.starts_with("image inspect")
    }),
    difference("`prune --format json`", |command, _| {
        command == "image prune -f --format json"
    }),
    difference("preview", |command, _| {
        command == "image prune -f --dry-run"
    }),
    difference("no terminal and no `-f`", |command, _| {
        let is_prune = command.starts_with("image prune") || command.starts_with("system prune");
        is_prune
            && !command.contains(" -f")
            && !command.contains("-af")
            && !command.contains("--force")
    }),
    difference("an invalid command line", |command, _| {
        let lacks = [
            "image rm",
            "image rm --bogus x",
            "image rm --platform",
            "rmi",
        ];
        lacks.contains(&command) || command.ends_with(" foo") || command.ends_with("--filter =x")
    }),
    difference("`dangling=`", |command, _| {
        command.contains("prune") && command.contains("dangling=")
    }),
    difference("filters", |command, _| {
        let keys = ["=foo=", "reference=", "before=", "until=1s"];
        command.contains("prune") && keys.iter().any(|key| command.contains(key))
    }),
    difference("an empty label", |command, line| {
        command.contains("label=")
            && (line.contains("a label needs a name") || is_end(command, line))
    }),
    difference("an invalid command line", |command, line| {
        // An invalid filter: another message and status.
        line.contains("invalid filter")
            || line.contains("invalid value for 'until'")
            || ((command.contains("-f ") || command.contains("--filter ")) && is_status(line))
    }),
    difference(
        "an argument that is a name and a prefix of an ID",
        |command, line| {
            let is_meant = |word: &str| command.starts_with("image rm") && command.contains(word);
            (is_meant("{alpha:4}") || is_meant("-f {alpha:12}"))
                && (line.contains("ambiguous reference")
                    || line.contains("{alpha:")
                    || is_status(line))
                || line.starts_with("- {alpha:") && line.ends_with(":latest {bravo:12}")
        },
    ),
    difference("a short ID", |command, line| {
        // The image is gone when the longer prefix is given.
        let commands = ["image rm {alpha:3}", "image rm {alpha:4}"];
        commands.contains(&command) && !line.contains("hint:")
    }),
    difference("the digest of a platform", |_, line| {
        line.contains("{amd64") && line.contains("! ")
    }),
    difference("an ID with several names", |command, line| {
        !several(command)
            && (line.contains("multiple repositories") || line.contains("is referenced by"))
    }),
    difference("several arguments", |command, line| {
        let words = [
            "Untagged:",
            "Deleted: {alpha}",
            "Deleted: {bravo}",
            "Deleted: {charlie}",
            "conflict:",
            "No such image",
        ];
        several(command) && (words.iter().any(|word| line.contains(word)) || is_status(line))
            // The rest of them.
            || line == "+ alpha:1 {alpha:12}"
    }),
    difference("`Deleted:`", |_, line| {
        line.starts_with("+ Deleted: {config of ") || line.starts_with("+ Deleted: {layer")
    }),
    difference("the lines", |command, line| {
        let words = [
            "Deleted Images:",
            "untagged: ",
            "deleted: ",
            "Untagged: ",
            "Deleted: ",
        ];
        command.contains("prune") && words.iter().any(|word| line[2..].starts_with(word))
    }),
    difference("end of the output", |command, line| {
        command.contains("rm") && line == "+ Total reclaimed space: SIZE"
    }),
    difference("the last line", |command, line| {
        command.contains("prune") && line.starts_with("+ kept ")
    }),
    difference("an invalid name", |_, line| {
        line.contains("invalid reference format")
    }),
    difference("an error", |_, line| line.starts_with("+ ! hint: ")),
    difference("a filter that matches nothing", |_, line| {
        line.starts_with("+ ! no image passes") || line.contains("filters nothing")
    }),
    difference("`ls --tree`", |command, line| {
        let flags = ["-q", "--no-trunc", "--digests", "--format json"];
        command.contains("--tree")
            && (flags.iter().any(|flag| command.ends_with(flag))
                || line.contains("attestation")
                || line.contains("└─ linux/amd64  {alpha")
                || line.contains("EXPERIMENTAL")
                || line.contains("experimental")
                || line.contains("Info ->"))
    }),
    difference("`ls`: an absent platform", |command, line| {
        let words = ["sparse", "missing", "partial"];
        command.contains("--tree") && words.iter().any(|word| line.contains(word))
    }),
    difference("`ls`: an argument", |command, line| {
        command == "image ls a b"
            || (command.starts_with("images ") && line.contains("did you mean"))
            || command == "image ls ''"
    }),
    difference("`ls -q`", |command, _| {
        command.starts_with("image ls -q") || command == "image ls -aq"
    }),
    difference("`ls --digests`", |command, line| {
        command.contains("--digests") && line.contains("{") && !line.contains("<none>  <none>  {")
    }),
    difference("`ls`: untagged images", |command, line| {
        (command.contains("image ls") || command == "images")
            && line.starts_with('+')
            && line.contains("{untagged")
            && !line.contains("  SIZE  SIZE")
    }),
    difference("an image without a date", |_, line| {
        line.contains("nocreated") || line.contains("epoch")
    }),
    difference("`ls`: the table", |command, line| {
        let is_table = (command.contains("ls") || command.starts_with("images"))
            && !command.contains("--tree")
            && !command.contains("{{");
        is_table
            && (line.ends_with("EXTRA")
                || line.ends_with("CREATED  SIZE")
                || line.ends_with(" SIZE"))
    }),
    difference("`ls`: names of one image", |command, line| {
        command.contains("{{")
            && ["{names:12}", "{alpha:12}", ":latest {bravo:12}"]
                .iter()
                .any(|name| line.ends_with(name))
    }),
    difference("`df -v`", |command, _| command == "system df -v"),
    difference("`df`: the rows", |command, line| {
        let rows = [
            "Containers",
            "Local Volumes",
            "Build Cache",
            "Untagged",
            "Orphans",
            "Temporary",
        ];
        command == "system df" && rows.iter().any(|row| line[2..].starts_with(row))
    }),
    difference("`df`: ACTIVE", |command, line| {
        command == "system df" && line[2..].starts_with("Images")
    }),
];

const fn difference(row: &'static str, explains: fn(&str, &str) -> bool) -> Difference {
    Difference { row, explains }
}

/// Returns `true` for an exit status.
fn is_status(line: &str) -> bool {
    line[2..].starts_with("= ")
}

/// Returns `true` for the last line of a prune that does nothing.
fn is_end(command: &str, line: &str) -> bool {
    let is_zero = line == "- Total reclaimed space: 0B";
    (command.contains("prune") && is_zero) || is_status(line)
}

/// Returns `true` for `image rm` with several images.
fn several(command: &str) -> bool {
    let images = command.strip_prefix("image rm ").unwrap_or_default();
    images
        .split(' ')
        .filter(|word| !word.starts_with('-'))
        .count()
        > 1
}

/// Pairs of texts, such as key and value of a label.
type Pairs = &'static [(&'static str, &'static str)];

/// The images of the transcripts: name, date, labels.
const IMAGES: &[(&str, &str, Pairs)] = &[
    (
        "alpha",
        "2024-01-01T00:00:00Z",
        &[("stage", "prod"), ("team", "a")],
    ),
    (
        "bravo",
        "2025-06-01T00:00:00Z",
        &[("stage", "dev"), ("team", "b")],
    ),
    (
        "charlie",
        "2024-09-01T00:00:00Z",
        &[("stage", "prod"), ("team", "c")],
    ),
    ("nolabel", "2023-06-01T00:00:00Z", &[]),
    ("untagged", "2024-03-01T00:00:00Z", &[]),
    ("names", "2024-01-01T00:00:00Z", &[]),
    ("future", "2031-01-01T00:00:00Z", &[]),
    ("epoch", "1970-01-01T00:00:00Z", &[]),
    ("nocreated", "", &[]),
    ("armonly", "2024-01-01T00:00:00Z", &[]),
    ("colla", "1970-01-01T00:00:00Z", &[]),
    ("collb", "1970-01-01T00:00:00Z", &[]),
];

/// The image indexes: name, then platform and name of each child. A child without a platform is an attestation, and one that begins
/// with `-` is absent.
const INDEXES: &[(&str, Pairs)] = &[
    (
        "multi",
        &[
            ("linux/amd64", "amd64"),
            ("linux/arm64/v8", "arm64"),
            ("linux/arm/v7", "armv7"),
            ("linux/arm/v6", "armv6"),
            ("linux/386", "386"),
            ("", "attestation-1"),
            ("", "attestation-2"),
        ],
    ),
    (
        "multi2",
        &[("linux/amd64", "amd64"), ("linux/s390x", "s390x")],
    ),
    (
        "sparse",
        &[
            ("linux/amd64", "sparse-amd64"),
            ("linux/arm64/v8", "-sparse-arm64"),
            ("linux/riscv64", "-sparse-riscv64"),
        ],
    ),
    (
        "labelmix",
        &[
            ("linux/amd64", "labelmix-1"),
            ("linux/arm64/v8", "labelmix-2"),
            ("linux/arm/v7", "labelmix-3"),
        ],
    ),
];

/// The names of an image that are not its own with the tag `1`.
fn names_of(image: &str) -> Vec<String> {
    match image {
        "untagged" => Vec::new(),
        "names" => [
            "acme/xray:1",
            "ghcr.io/acme/xray:1",
            "registry.example.com:5000/team/sub/xray:1",
            "xray:1",
        ]
        .map(str::to_owned)
        .to_vec(),
        image => vec![format!("{image}:1")],
    }
}

/// A layout with images of the transcripts.
struct Daemon {
    layout: TestLayout,
    /// Names of digests, as `{alpha}`.
    digests: BTreeMap<String, String>,
}

impl Daemon {
    fn new(loaded: &[&str], tags: &[(&str, &str)]) -> Self {
        let mut daemon = Self {
            layout: TestLayout::new(),
            digests: BTreeMap::new(),
        };
        let loaded = loaded.iter().flat_map(|image| match *image {
            "collide" => vec!["colla", "collb"],
            image => vec![image],
        });
        for image in loaded {
            let desc = daemon.load(image);
            daemon.digests.insert(desc.digest.clone(), image.to_owned());
            let mut names = names_of(image);
            // In the order of the commands: a new name may get a further one.
            for (old, new) in tags {
                if names.iter().any(|name| name == old) {
                    names.push(match new.contains(':') {
                        true => (*new).to_owned(),
                        false => format!("{new}:latest"),
                    });
                }
            }
            for name in &names {
                daemon.layout.layout.tag(&desc, name);
            }
            if names.is_empty() {
                daemon.layout.layout.entry(&desc);
            }
            // For `until`, it was loaded just now.
            let loaded: Timestamp = NOW.parse().expect("a time");
            let loaded = loaded - Duration::from_millis(500);
            daemon.layout.added_at(&desc, loaded.into());
        }
        daemon.layout.write();
        daemon
    }

    /// Stores an image of the same size as docker's: two layers that all of them have, and one of its own for some.
    fn image(
        &mut self,
        name: &str,
        created: &str,
        platform: &str,
        labels: &[(&str, &str)],
    ) -> Desc {
        let mut image = ImageBuilder::new(name).platform(platform);
        image = image.layer(&[b'1'; 200_800]).layer(&[b'2'; 50_250]);
        if name == "charlie" {
            image = image.weighs(50_260);
        }
        if !created.is_empty() {
            image = image.created(created);
        }
        for (key, value) in labels {
            image = image.label(key, value);
        }
        let stored = image.store(&self.layout.layout);
        let config = format!("config of {name}");
        self.digests.insert(stored.config.digest, config);
        for (number, layer) in (1..).zip(&stored.layers) {
            let layer_name = match number {
                3 => format!("layer of {name}"),
                number => format!("layer {number}"),
            };
            self.digests.insert(layer.digest.clone(), layer_name);
        }
        stored.manifest
    }

    fn load(&mut self, name: &str) -> Desc {
        if let Some((name, created, labels)) = IMAGES.iter().find(|(image, ..)| *image == name) {
            let platform = if *name == "armonly" {
                "linux/arm64"
            } else {
                "linux/amd64"
            };
            return self.image(name, created, platform, labels);
        }
        let (_, children) = INDEXES
            .iter()
            .find(|(image, _)| *image == name)
            .expect("a known image");
        let mut list: Vec<Desc> = Vec::new();
        for (platform, child) in *children {
            let child_name = child.trim_start_matches('-');
            let labels: &[(&str, &str)] = match *child {
                "labelmix-1" => &[("stage", "dev")],
                "labelmix-2" => &[("stage", "prod")],
                _ => &[],
            };
            let created = "2024-01-01T00:00:00Z";
            if child.starts_with('-') {
                let absent = Desc::missing(media::MANIFEST, child_name);
                self.digests
                    .insert(absent.digest.clone(), child_name.to_owned());
                list.push(absent.platform(platform));
                continue;
            }
            let mut desc = self.image(child_name, created, platform, labels);
            self.digests
                .insert(desc.digest.clone(), child_name.to_owned());
            desc = match (*platform, list.first()) {
                ("", Some(first)) => desc.attests(first),
                (platform, _) => desc.platform(platform),
            };
            list.push(desc);
        }
        self.layout.layout.index(&list)
    }

    /// Replaces names with digests.
    fn expand(&self, command: &str) -> String {
        let mut command = command.to_owned();
        for (digest, name) in &self.digests {
            let hex = digest.trim_start_matches("sha256:");
            command = command.replace(&format!("{{{name}}}"), digest);
            for digits in [3, 4, 12, 64] {
                command = command.replace(&format!("{{{name}:{digits}}}"), &hex[..digits]);
            }
        }
        command
    }

    /// Returns the lines of a run, in the format of the transcripts.
    fn lines(&self, run: &Run) -> Vec<String> {
        let stdout = run.stdout.lines().map(str::to_owned);
        let stderr = run.stderr.lines().map(|line| format!("! {line}"));
        let status = format!("= {}", run.code.unwrap_or(-1));
        let lines = stdout.chain(stderr).filter(|line| !line.trim().is_empty());
        let mut lines: Vec<String> = lines.map(|line| self.normal(&line)).collect();
        lines.push(status);
        lines
    }

    fn normal(&self, line: &str) -> String {
        let path = self.layout.path().to_string_lossy().into_owned();
        let mut line = line
            .replace(&path, "LAYOUT")
            .replace("! ocisweep: ", "! error: ");
        for (digest, name) in &self.digests {
            let hex = digest.trim_start_matches("sha256:");
            line = line.replace(digest, &format!("{{{name}}}"));
            line = line.replace(hex, &format!("{{{name}:64}}"));
            line = line.replace(&hex[..12], &format!("{{{name}:12}}"));
            for digits in [3, 4] {
                let name = format!("{{{name}:{digits}}}:latest");
                line = line.replace(&format!(" {}:latest", &hex[..digits]), &format!(" {name}"));
                if line.starts_with(&format!("{}:latest ", &hex[..digits])) {
                    line = format!("{name}{}", &line[digits + ":latest".len()..]);
                }
            }
        }
        let mut words: Vec<String> = Vec::new();
        for word in line.split(' ') {
            words.push(size(word));
        }
        let line = words.join(" ");
        // Columns are two spaces apart.
        let mut text = String::new();
        for column in line.split("  ").map(str::trim_end) {
            if !column.is_empty() {
                if !text.is_empty() {
                    text.push_str("  ");
                }
                text.push_str(column.trim_start());
            }
        }
        text
    }
}

/// Returns `SIZE` for a size that is not 0, and `(N%)` for a percentage.
fn size(word: &str) -> String {
    let (bare, end) = match word.strip_suffix([',', ';', ':']) {
        Some(bare) => (bare, &word[bare.len()..]),
        None => (word, ""),
    };
    if bare.starts_with('(') && word.ends_with("%)") {
        return "(N%)".to_owned();
    }
    for unit in ["kB", "MB", "B"] {
        if let Some(number) = bare.strip_suffix(unit) {
            return match number.parse::<f64>() {
                Ok(0.0) | Err(_) => word.to_owned(),
                Ok(_) => format!("SIZE{end}"),
            };
        }
    }
    word.to_owned()
}

/// Returns the words of a command, in which single quotes group words.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, part) in command.split('\'').enumerate() {
        match number % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

/// Returns the arguments of ocisweep for a command of docker.
fn translate(command: &str, layout: &str) -> Vec<String> {
    let words = words(command);
    let groups = ["image", "system"];
    let count = if groups.contains(&words[0].as_str()) {
        2
    } else {
        1
    };
    let (own, rest) = words.split_at(count.min(words.len()));
    let mut args = own.to_vec();
    args.push(layout.to_owned());
    let is_list = matches!(own.join(" ").as_str(), "image ls" | "images");
    if own.last().is_some_and(|word| word == "prune")
        && rest.iter().any(|word| word == "-a" || word == "-af")
    {
        args.push("--allow-empty".to_owned());
    }
    let mut is_value = false;
    for word in rest {
        if is_list && !is_value && !word.starts_with('-') {
            args.extend(["--filter".to_owned(), format!("reference={word}")]);
        } else {
            args.push(word.clone());
        }
        is_value = matches!(word.as_str(), "-f" | "--filter" | "--format");
    }
    args
}

/// Returns both outputs, line by line: equal lines with two spaces before them, others with `- ` and `+ `.
fn compare(docker: &[String], own: &[String]) -> Vec<String> {
    // The longest common subsequence, from the end.
    let mut common = vec![vec![0_usize; own.len() + 1]; docker.len() + 1];
    for left in (0..docker.len()).rev() {
        for right in (0..own.len()).rev() {
            common[left][right] = if docker[left] == own[right] {
                common[left + 1][right + 1] + 1
            } else {
                common[left + 1][right].max(common[left][right + 1])
            };
        }
    }
    let (mut left, mut right) = (0, 0);
    let mut lines = Vec::new();
    while left < docker.len() || right < own.len() {
        if left < docker.len() && right < own.len() && docker[left] == own[right] {
            lines.push(format!("  {}", docker[left]));
            left += 1;
            right += 1;
        } else if right == own.len()
            || (left < docker.len() && common[left + 1][right] >= common[left][right + 1])
        {
            lines.push(format!("- {}", docker[left]));
            left += 1;
        } else {
            lines.push(format!("+ {}", own[right]));
            right += 1;
        }
    }
    lines
}

#[test]
fn every_difference_from_docker_is_named() {
    let recorded = fs::read_to_string(package().join("testdata/docker/transcripts.txt"));
    let recorded = recorded.expect("the transcripts are there");
    let page = fs::read_to_string(package().join("docs/docker-differences.md"));
    let page = page.expect("the page is there");
    let (_, sessions) = recorded.split_once("\n\n").expect("a head");
    let mut text = String::new();
    let mut unexplained = String::new();
    let mut used = BTreeSet::new();
    let mut commands = 0;
    for session in sessions.split("== ").skip(1) {
        let (title, session) = session.split_once('\n').expect("a title");
        text += &format!("== {title}\n");
        let mut loaded = Vec::new();
        let mut tags = Vec::new();
        let mut input = String::new();
        let mut daemon = None;
        let mut lines = session.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(images) = line.strip_prefix("load ") {
                loaded = images.split(' ').collect();
            } else if let Some(names) = line.strip_prefix("tag ") {
                tags.push(names.split_once(' ').expect("two names"));
            } else if let Some(words) = line.strip_prefix("stdin ") {
                input = words.replace("\\n", "\n");
            } else if let Some(command) = line.strip_prefix("$ ") {
                commands += 1;
                let mut docker = Vec::new();
                while let Some(line) = lines.next_if(|line| line.starts_with(' ')) {
                    docker.push(line[1..].to_owned());
                }
                // A daemon is created when it is first used. Names that look like a digest are known by then.
                let daemon = daemon.get_or_insert_with(|| daemon_with(&loaded, &tags));
                let layout = daemon.layout.path().to_string_lossy().into_owned();
                let args = translate(&daemon.expand(command), &layout);
                let run = Cmd::new(["--now", NOW]).args(args).input(&input).run();
                input.clear();
                text += &format!("$ {command}\n");
                for line in compare(&docker, &daemon.lines(&run)) {
                    text += &line;
                    if !line.starts_with(' ') {
                        let mut all = DIFFERENCES.iter();
                        match all.find(|difference| (difference.explains)(command, &line)) {
                            Some(difference) => {
                                used.insert(difference.row);
                                text += &format!("    [{}]", difference.row);
                            }
                            None => unexplained += &format!("{title}\n$ {command}\n{line}\n"),
                        }
                    }
                    text += "\n";
                }
            }
        }
    }
    assert!(commands > 140, "only {commands} commands");
    matches("docker-transcripts", &text);
    assert!(unexplained.is_empty(), "no row explains:\n{unexplained}");
    for difference in DIFFERENCES {
        let row = difference.row;
        assert!(page.contains(&format!("\n| {row} |")), "no row: {row}");
        assert!(used.contains(row), "a difference that is gone: {row}");
    }
}

/// Creates a daemon; names in `tags` may be digits of an image.
fn daemon_with(loaded: &[&str], tags: &[(&str, &str)]) -> Daemon {
    let plain = Daemon::new(loaded, &[]);
    let tags: Vec<(String, String)> = tags
        .iter()
        .map(|(old, new)| (plain.expand(old), plain.expand(new)))
        .collect();
    let tags: Vec<(&str, &str)> = tags
        .iter()
        .map(|(old, new)| (old.as_str(), new.as_str()))
        .collect();
    Daemon::new(loaded, &tags)
}
