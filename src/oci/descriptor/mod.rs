//! The references of a JSON document.
//!
//! One tolerant scan reads every document of a layout: image indexes, manifests of OCI and docker, artifact manifests, schema 1,
//! BuildKit caches, and JSON of unknown types.
//!
//! *Promise*: everything that any reader could take for a reference is found. Keys match in any case, as in Go's
//! `encoding/json`; a repeated key is followed each time, because readers differ in which one wins; an object with the shape of a
//! descriptor counts in any place. Reading too much keeps garbage, reading too little loses data.
//!
//! *Failure*: a syntax error, or an invalid digest where a descriptor must be, is reported and never guessed at.

mod annotations;
mod data;
mod digests;
mod keys;
mod lexer;
mod named_blob;
mod nesting;
mod report;
mod scan;

use std::io;

use super::digest::Digest;
use super::media_type::Kind;
use super::platform::Platform;
use lexer::Lexer;
use scan::{Scan, ValuePlace};

pub use annotations::Annotations;
pub use data::decode_data;
pub(crate) use keys::folds_to;
pub use lexer::ScanError;
pub(crate) use named_blob::is_subject_key;

/// The role of a blob in the document that references it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Listed in `manifests` of an index. Not always an image: BuildKit lists the layers of a cache there.
    Child,
    /// The `config` of a manifest.
    Config,
    /// Listed in `layers`, or in `fsLayers` of a schema 1 manifest.
    Layer,
    /// Listed in `blobs` of an artifact manifest.
    Blob,
    /// The `subject`: this document is a referrer of it.
    Subject,
    /// Named by the value of an annotation. It is kept if it is present; its absence means nothing.
    Annotation,
    /// A descriptor in any other place.
    Other,
}

/// The parts of a descriptor beside digest and size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// `mediaType`, as written.
    pub media_type: Box<str>,
    /// `platform`, as written.
    pub platform: Option<Platform>,
    /// `annotations`, without values that are not strings.
    pub annotations: Annotations,
    /// `artifactType`.
    pub artifact_type: Option<Box<str>>,
    /// `data`: the blob in base64, as written.
    pub data: Option<Box<str>>,
}

/// One reference from a document to a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The place of the reference.
    pub role: Role,
    /// The blob.
    pub digest: Digest,
    /// The kind that the media type declares. Of several media types the one that makes the blob a document wins.
    pub kind: Kind,
    /// The declared size in bytes, if it is a non-negative integer.
    pub size: Option<u64>,
    /// The blob is fetched from elsewhere and does not have to be in a layout: its descriptor has `urls`, or the media type
    /// of a nondistributable layer.
    pub is_foreign: bool,
    /// The details of a child of an index and of a descriptor with `data`; `None` for other links.
    pub details: Option<Box<Details>>,
}

/// A document and its references.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// The references, in the order of the document.
    pub links: Vec<Link>,
    /// `mediaType` at the top.
    pub media_type: Option<Box<str>>,
    /// `artifactType` at the top.
    pub artifact_type: Option<Box<str>>,
    /// `org.opencontainers.image.base.digest` among the document's own annotations.
    pub base_digest: Option<Digest>,
    /// The digests that the document's own annotations call its subject (`*.subject`), in their order.
    pub annotated_subjects: Vec<Digest>,
    /// The type of the document, by its content.
    pub shape: Shape,
    /// The first reason why a document of a known type is damaged, such as an invalid digest. Without meaning for another
    /// shape.
    pub damage: Option<Box<str>>,
}

/// The type of a document, by its content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Shape {
    /// According to its `mediaType`, or because it has descriptors in `manifests`.
    Index,
    /// According to its `mediaType`, or because it has descriptors in `config`, `layers`, `blobs` or `fsLayers`.
    Manifest,
    /// Neither.
    #[default]
    Other,
}

impl Link {
    /// Returns a reference that consists of a digest.
    pub(crate) const fn to(role: Role, digest: Digest) -> Self {
        Self {
            role,
            digest,
            kind: Kind::Unknown,
            size: None,
            is_foreign: false,
            details: None,
        }
    }
}

/// The maximum number of levels in a document of a known type, as in Go's `encoding/json`.
const MAX_DEPTH: usize = 10_000;

/// Scans one descriptor after another for their references, with the same buffers: an index may have a million of them.
#[derive(Debug)]
pub(super) struct DescriptorScanner {
    scan: Scan,
    buffer: Vec<u8>,
}

impl DescriptorScanner {
    pub(super) fn new() -> Self {
        Self {
            scan: Scan::lean(),
            buffer: Vec::new(),
        }
    }

    /// Returns what [`Document::scan_descriptor`] finds: the references, for the caller to take, and the damage. They have no
    /// [`Details`], unless these hold `data`.
    ///
    /// # Errors
    /// Those of [`Document::scan_descriptor`].
    pub(super) fn scan(
        &mut self,
        bytes: &[u8],
    ) -> Result<(&mut Vec<Link>, Option<Box<str>>), ScanError> {
        self.scan.restart();
        let mut lexer = Lexer::whole_with(bytes, std::mem::take(&mut self.buffer));
        let scanned = self
            .scan
            .value(&mut lexer, ValuePlace::Item(Role::Child), MAX_DEPTH)
            .and_then(|()| lexer.end());
        self.buffer = lexer.into_buffer();
        scanned?;
        Ok(self.scan.references())
    }
}

impl Document {
    /// Scans one document of a known type.
    ///
    /// # Errors
    /// If `bytes` are not one JSON value, or nested deeper than 10,000 levels.
    pub fn scan(bytes: &[u8]) -> Result<Self, ScanError> {
        Self::scan_at(bytes, ValuePlace::Top, MAX_DEPTH)
    }

    /// Scans one document of any depth.
    ///
    /// # Errors
    /// If `bytes` are not one JSON value.
    pub fn scan_deep(bytes: &[u8]) -> Result<Self, ScanError> {
        Self::scan_at(bytes, ValuePlace::Top, usize::MAX)
    }

    /// Scans one descriptor, such as an element of `manifests` in `index.json`. The first link is the descriptor itself, with
    /// its [`Details`].
    ///
    /// # Errors
    /// If `bytes` are not one JSON value.
    pub fn scan_descriptor(bytes: &[u8]) -> Result<Self, ScanError> {
        Self::scan_at(bytes, ValuePlace::Item(Role::Child), MAX_DEPTH)
    }

    fn scan_at(bytes: &[u8], place: ValuePlace, limit: usize) -> Result<Self, ScanError> {
        let mut scan = Scan::default();
        let mut lexer = Lexer::whole(bytes);
        scan.value(&mut lexer, place, limit)?;
        lexer.end()?;
        Ok(scan.finish())
    }

    /// Scans a stream of JSON values (one document, or JSON lines) in bounded memory: for blobs of unknown types, which can be of
    /// any size and depth.
    ///
    /// Returns what was found even if a later part is not JSON, because some readers stop after the first value. The error is the
    /// reason why the scan ended early.
    pub fn scan_stream(reader: impl io::Read) -> (Self, Result<(), ScanError>) {
        Self::scan_values(io::BufReader::with_capacity(1 << 16, reader))
    }

    /// Like [`Self::scan_stream`], for a buffered stream.
    pub(crate) fn scan_values(reader: impl io::BufRead) -> (Self, Result<(), ScanError>) {
        let mut scan = Scan::default();
        let mut lexer = Lexer::stream(reader);
        let result = loop {
            match lexer.next() {
                Ok(None) => break Ok(()),
                Ok(Some(_)) => {}
                Err(error) => break Err(error),
            }
            if let Err(error) = scan.value(&mut lexer, ValuePlace::Top, usize::MAX) {
                break Err(error);
            }
        };
        (scan.finish(), result)
    }

    /// Returns the digest of each `subject`.
    pub fn subjects(&self) -> impl Iterator<Item = &Digest> {
        self.links
            .iter()
            .filter(|link| link.role == Role::Subject)
            .map(|link| &link.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const C: &str = "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc";

    fn fill(text: &str) -> String {
        text.replace("$A", A).replace("$B", B).replace("$C", C)
    }

    /// Scans as a whole and as a stream, and returns the role and the first digit of each link.
    fn links(text: &str) -> Vec<(Role, char)> {
        let text = fill(text);
        let document = Document::scan(text.as_bytes()).expect("the case is valid JSON");
        let (streamed, result) = Document::scan_stream(text.as_bytes());
        result.expect("the case is valid JSON");
        assert_eq!(document, streamed, "{text}");
        document
            .links
            .iter()
            .map(|link| (link.role, char::from(link.digest.encoded().as_bytes()[0])))
            .collect()
    }

    #[test]
    fn references_in_any_spelling_are_found() {
        use Role::{Blob, Child, Config, Layer, Other, Subject};
        let cases: &[(&str, &[(Role, char)])] = &[
            (
                r#"{"manifests":[{"digest":"$A"},{"digest":"$B"}]}"#,
                &[(Child, 'a'), (Child, 'b')],
            ),
            (
                r#"{"Manifests":[{"Digest":"$A"}],"MANIFESTS":[{"DIGEST":"$B"}]}"#,
                &[(Child, 'a'), (Child, 'b')],
            ),
            (
                r#"{"layers":[{"digest":"$A"}],"layers":[{"digest":"$B"}]}"#,
                &[(Layer, 'a'), (Layer, 'b')],
            ),
            (
                r#"{"layers":[{"digest":"$A","digest":"$B"}]}"#,
                &[(Layer, 'a'), (Layer, 'b')],
            ),
            ("{\"layer\u{17f}\":[{\"digest\":\"$A\"}]}", &[(Layer, 'a')]),
            (r#"{"\u006cayers":[{"digest":"$A"}]}"#, &[(Layer, 'a')]),
            (
                r#"{"config":{"digest":"$A"},"layers":null,"subject":{"digest":"$B"}}"#,
                &[(Config, 'a'), (Subject, 'b')],
            ),
            (r#"{"blobs":[{"digest":"$A"}]}"#, &[(Blob, 'a')]),
            (
                r#"{"fsLayers":[{"blobSum":"$A"},{"blobSum":"$B"}]}"#,
                &[(Layer, 'a'), (Layer, 'b')],
            ),
            (r#"{"x":{"y":[{"digest":"$A","size":1}]}}"#, &[(Other, 'a')]),
            (r#"{"x":{"digest":"$A","mediaType":"t"}}"#, &[(Other, 'a')]),
            (r#"{"x":{"digest":"$A"}}"#, &[]),
            (r#"[{"digest":"$A","size":1}]"#, &[(Other, 'a')]),
            (r#"{"digest":"$A","size":1}"#, &[(Other, 'a')]),
            (
                r#"{"layers":[{"digest":"$A","x":{"digest":"$B","size":1}}]}"#,
                &[(Other, 'b'), (Layer, 'a')],
            ),
            (
                r#"{"subject":[{"name":"x","digest":{"sha256":"00"}}]}"#,
                &[],
            ),
            (
                r#"{"config":{"Labels":{"a":"b"}},"rootfs":{"diff_ids":["$A"]}}"#,
                &[],
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(links(text), *expected, "{text}");
        }
    }

    #[test]
    fn a_document_type_wins_over_a_layer_type_in_a_repeated_media_type() {
        let index = "application/vnd.oci.image.index.v1+json";
        let layer = "application/vnd.oci.image.layer.v1.tar";
        for (first, second) in [(index, layer), (layer, index)] {
            let text = format!(
                r#"{{"layers":[{{"mediaType":"{first}","digest":"{A}","mediaType":"{second}"}}]}}"#
            );
            let document = Document::scan(text.as_bytes()).expect("valid");
            assert_eq!(document.links[0].kind, Kind::Index, "{text}");
        }
    }

    #[test]
    fn damage_of_a_manifest_is_described() {
        let cases = [
            (
                r#"{"layers":[{"digest":"sha256:../../x"}]}"#,
                "an invalid digest in `layers`",
            ),
            (
                r#"{"config":{},"layers":[]}"#,
                "a descriptor without digest in `config`",
            ),
            (
                r#"{"manifests":["$A"]}"#,
                "a string where a descriptor must be",
            ),
            (r#"{"manifests":[null]}"#, "null where a descriptor must be"),
            (
                r#"{"manifests":{"digest":"$A"}}"#,
                "`manifests` is an object",
            ),
            (r#"{"config":[{"digest":"$A"}]}"#, "`config` is an array"),
            (r#"{"layers":"x"}"#, "`layers` is a string"),
            (r#"{"layers":[{"digest":7}]}"#, "not a string"),
            ("[]", "an array, not an object"),
            ("3", "a number, not an object"),
        ];
        for (text, expected) in cases {
            let document = Document::scan(fill(text).as_bytes()).expect("valid JSON");
            let damage = document.damage.unwrap_or_default();
            assert!(damage.contains(expected), "{text}: {damage}");
        }
        for text in [
            r#"{"manifests":null}"#,
            r#"{"layers":null,"config":{"digest":"$A"}}"#,
        ] {
            let document = Document::scan(fill(text).as_bytes()).expect("valid JSON");
            assert_eq!(document.damage, None, "{text}");
        }
    }

    #[test]
    fn anything_but_one_json_value_is_an_error() {
        for text in [
            "",
            " ",
            "{",
            "{} {}",
            "nul",
            "\u{feff}{}",
            "{\"a\":}",
            "{\"a\" 1}",
            "{\"a\":1,}",
            "{,}",
            "{x}",
            "{}x",
            "[1,]",
            "[1 2]",
            "[}",
            "{\"a\":1]",
            "]",
            "01",
            "NaN",
        ] {
            assert!(Document::scan(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn json_that_go_accepts_is_accepted() {
        for head in [
            &b"{\"x\":1e400,"[..],
            b"{\"x\":99999999999999999999999999,",
            b"{\"x\":\"\\ud800\",",
            b"{\"x\":\"\\ud800y\",",
            b"{\"x\":\"\xff\",",
            b"{\"\xff\":1,",
        ] {
            let tail = fill(r#""layers":[{"digest":"$A"}]}"#);
            let text = [head, tail.as_bytes()].concat();
            let document = Document::scan(&text).expect("JSON for Go");
            assert_eq!(document.links.len(), 1, "{head:?}");
            let (streamed, result) = Document::scan_stream(text.as_slice());
            result.expect("JSON for Go");
            assert_eq!(streamed, document, "{head:?}");
        }
    }

    #[test]
    fn unknown_types_may_be_nested_to_any_depth_and_known_types_as_in_go() {
        let at = |depth: usize, open: &str, close: &str| {
            let inside = fill(r#"{"digest":"$A","size":1,"annotations":{"key":"$B"}}"#);
            open.repeat(depth) + &inside + &close.repeat(depth)
        };
        for (open, close) in [
            ("[", "]"),
            ("{\"a\":", "}"),
            ("[{\"size\":", "}]"),
            ("{\"annotations\":", "}"),
            ("{\"digest\":", "}"),
        ] {
            for depth in [1, 129, 9_000, 70_000] {
                let text = at(depth, open, close);
                let levels = depth * open.matches(['[', '{']).count() + 2;
                let document = Document::scan_deep(text.as_bytes()).expect("JSON");
                let found: Vec<_> = document.links.iter().map(|link| &link.digest).collect();
                // The annotations of an annotation are not followed.
                let wanted = if open.contains("annotations") { 1 } else { 2 };
                assert!(found.len() >= wanted, "{depth} of {open}");
                let (streamed, result) = Document::scan_stream(text.as_bytes());
                result.expect("JSON");
                assert_eq!(streamed, document, "{depth} of {open}");
                let known = Document::scan(text.as_bytes());
                assert_eq!(known.is_ok(), levels <= 10_000, "{depth} of {open}");
                if let Err(error) = known {
                    assert_eq!(error.to_string(), "nested deeper than 10000 levels");
                }
            }
        }
    }

    #[test]
    fn annotations_reference_blobs() {
        use Role::{Annotation, Child, Config, Layer, Other, Subject};
        let cases: &[(&str, &[(Role, char)])] = &[
            (r#"{"annotations":{"x":"$A"}}"#, &[(Annotation, 'a')]),
            (
                r#"{"layers":[{"digest":"$A","annotations":{"x":"$B"}}]}"#,
                &[(Layer, 'a'), (Annotation, 'b')],
            ),
            (
                r#"{"layers":[{"annotations":{"x":"$B","y":"$C"},"digest":"$A"}]}"#,
                &[(Layer, 'a'), (Annotation, 'b'), (Annotation, 'c')],
            ),
            (
                r#"{"manifests":[{"digest":"$A","annotations":{"x":"$B","x":"$C"}}]}"#,
                &[(Child, 'a'), (Annotation, 'b'), (Annotation, 'c')],
            ),
            (
                r#"{"manifests":[{"digest":"$A","Annotations":{"x":"$A"}}]}"#,
                &[(Child, 'a')],
            ),
            (
                r#"{"config":{"digest":"$A","annotations":{"x":"$B"}},"subject":{"digest":"$C"}}"#,
                &[(Config, 'a'), (Annotation, 'b'), (Subject, 'c')],
            ),
            (
                r#"{"x":{"size":1,"annotations":{"x":"$B"},"digest":"$A"}}"#,
                &[(Other, 'a'), (Annotation, 'b')],
            ),
            (r#"{"x":{"annotations":{"x":"$B"}}}"#, &[]),
            (r#"{"x":{"size":1,"annotations":{"x":"$B"}}}"#, &[]),
            (
                r#"{"annotations":{"org.opencontainers.image.base.digest":"$A","x":"app@$B","y":["$C"],"z":7}}"#,
                &[],
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(links(text), *expected, "{text}");
        }
    }

    #[test]
    fn reports_reference_no_blobs() {
        let inside = r#""x":[{"digest":"$A","size":1,"mediaType":"m"}]"#;
        let reports = [
            r#"{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"p","subject":[{"name":"x","digest":{"sha256":"0"}}],INSIDE}"#,
            r#"{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT",INSIDE}"#,
            r#"{"@context":"https://spdx.org/rdf/3.0.1/spdx-context.jsonld","@graph":[],INSIDE}"#,
            r#"{INSIDE,"bomFormat":"CycloneDX","specVersion":"1.6"}"#,
            r#"{"artifacts":[],"source":{"id":"x"},"schema":{"version":"16","url":"https://raw.githubusercontent.com/anchore/syft/main/schema/json/schema-16.json"},INSIDE}"#,
            r#"{"SchemaVersion":2,"ArtifactName":"app:1","Results":[],INSIDE}"#,
            r#"{"SchemaVersion":2,"ArtifactName":"app:1","Metadata":{"Layers":[{"Digest":"$B","Size":1}]},INSIDE}"#,
        ];
        for report in reports {
            let text = report.replace("INSIDE", inside);
            assert_eq!(links(&text), [], "{text}");
            // With a key of an image, or beside another value, it is followed.
            let manifest = text.replacen('{', r#"{"layers":[{"digest":"$C"}],"#, 1);
            assert!(links(&manifest).len() > 1, "{manifest}");
            let (document, _) = Document::scan_stream(fill(&format!("{text}\n{{}}")).as_bytes());
            assert!(!document.links.is_empty(), "{text}");
        }
        for doubtful in [
            r#"{"_type":"https://in-toto.io/Statement/v0.1",INSIDE}"#,
            r#"{"_type":"Statement","predicateType":"p",INSIDE}"#,
            r#"{"spdxVersion":"SPDX-2.3",INSIDE}"#,
            r#"{"bomFormat":"other","specVersion":"1.6",INSIDE}"#,
            r#"{"artifacts":[],"source":{},"schema":{"url":"https://example.com"},INSIDE}"#,
            r#"{"artifacts":[],"source":{},INSIDE}"#,
            r#"{"SchemaVersion":"2","ArtifactName":"app:1","Results":[],INSIDE}"#,
            r#"{"SchemaVersion":2,"Results":[],INSIDE}"#,
            r#"{"x":{"bomFormat":"CycloneDX","specVersion":"1.6"},INSIDE}"#,
            r#"{"SCHEMAVERSION":2,"ArtifactName":"app:1","Results":[],INSIDE}"#,
        ] {
            let text = doubtful.replace("INSIDE", inside);
            assert_eq!(links(&text), [(Role::Other, 'a')], "{text}");
        }
    }

    #[test]
    fn json_lines_and_strings_of_any_length_are_streamed() {
        let long = "x".repeat(100_000);
        let escapes = "\\n\\\\".repeat(20_000);
        let wide = "\u{20ac}".repeat(20_000);
        let pairs = "\\ud83d\\ude00".repeat(2_000) + &long;
        let text = format!(
            "{{\"a\":\"{long}\",\"b\":\"{escapes}\",\"c\":\"{wide}\",\"d\":\"{pairs}\",\"e\":{{\"digest\":\"{A}\",\"size\":1}}}}\n{{\"digest\":\"{B}\",\"size\":2}}\n"
        );
        let (document, result) = Document::scan_stream(text.as_bytes());
        result.expect("JSON lines");
        assert_eq!(document.links.len(), 2);
        let text = format!("{{\"digest\":\"{A}\",\"size\":1}} x");
        let (document, result) = Document::scan_stream(text.as_bytes());
        assert!(result.is_err());
        assert_eq!(document.links.len(), 1, "the links before the error count");
    }

    #[test]
    fn the_shape_of_a_document_follows_its_content() {
        let cases = [
            (r#"{"manifests":[]}"#, Shape::Other),
            (
                r#"{"manifests":[{"name":"x","files":["a.yaml"]}]}"#,
                Shape::Other,
            ),
            (r#"{"manifests":[{"digest":"$A"}]}"#, Shape::Index),
            (r#"{"config":{"digest":"$A"},"layers":[]}"#, Shape::Manifest),
            (
                r#"{"layers":[{"blob":"$A","parent":-1}],"records":[]}"#,
                Shape::Other,
            ),
            (r#"{"config":{"Cmd":["sh"]},"rootfs":{}}"#, Shape::Other),
            (
                r#"{"mediaType":"application/vnd.oci.image.index.v1+json"}"#,
                Shape::Index,
            ),
            ("{}", Shape::Other),
        ];
        for (text, shape) in cases {
            let document = Document::scan(fill(text).as_bytes()).expect("valid");
            assert_eq!(document.shape, shape, "{text}");
        }
    }

    #[test]
    fn foreign_layers_are_recognised() {
        let cases = [
            ("", false),
            (r#","urls":["https://example.com"]"#, true),
            (r#","URLs":["https://example.com"]"#, true),
            (r#","urls":[""]"#, false),
            (r#","urls":[]"#, false),
            (r#","urls":null"#, false),
            (r#","urls":"https://example.com""#, false),
            (
                r#","mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip""#,
                true,
            ),
            (
                r#","mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar""#,
                true,
            ),
            (
                r#","mediaType":"application/vnd.oci.image.layer.v1.tar""#,
                false,
            ),
        ];
        for (more, want) in cases {
            let text = fill(r#"{"layers":[{"digest":"$A"MORE},{"digest":"$B"}]}"#);
            let text = text.replace("MORE", more);
            let document = Document::scan(text.as_bytes()).expect("the case is valid JSON");
            let (streamed, _) = Document::scan_stream(text.as_bytes());
            assert_eq!(document, streamed, "{text}");
            let found: Vec<bool> = document.links.iter().map(|link| link.is_foreign).collect();
            assert_eq!(found, [want, false], "{text}");
        }
        // An object with the shape of a descriptor counts in any place.
        let text = fill(r#"{"layers":[{"digest":"$A","urls":[{"digest":"$B","size":1}]}]}"#);
        let document = Document::scan(text.as_bytes()).expect("it is valid JSON");
        assert_eq!(document.links.len(), 2, "{document:?}");
    }

    #[test]
    fn details_of_children_are_kept() {
        let text = fill(
            r#"{"manifests":[{"mediaType":"m","digest":"$A","size":7,"platform":{"os":"linux","architecture":"arm","variant":"v7","os.version":"1","os.features":["f",1]},"annotations":{"k":"v","n":1,"o":{}},"artifactType":"t"}]}"#,
        );
        let document = Document::scan(text.as_bytes()).expect("valid");
        let link = &document.links[0];
        let details = link.details.as_ref().expect("children have details");
        assert_eq!(link.size, Some(7));
        assert_eq!(&*details.media_type, "m");
        assert_eq!(details.artifact_type.as_deref(), Some("t"));
        assert_eq!(details.annotations.len(), 1);
        let platform = details.platform.as_ref().expect("it has one");
        assert_eq!(platform.os, "linux");
        assert_eq!(platform.variant.as_deref(), Some("v7"));
        assert_eq!(platform.os_version.as_deref(), Some("1"));
        assert_eq!(platform.os_features.len(), 1);
    }
}
