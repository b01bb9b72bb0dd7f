//! Signed docker schema 1 manifests (`application/vnd.docker.distribution.manifest.v1+prettyjws`).
//!
//! The digest of such a file is that of its payload: the manifest before the signatures were inserted (distribution
//! `manifest/schema1`, libtrust `ParsePrettySignature`). The header of each signature describes the payload: the first
//! `formatLength` bytes of the file, then `formatTail`.
//!
//! The media type is not considered. Registries and copies label these documents in several ways, or not at all; only a
//! payload with the right digest proves one.

use serde::Deserialize;

use super::descriptor::decode_data;
use super::digest::Digest;

/// The longest manifest, in bytes: no registry accepts a longer one, signed or not.
pub(crate) const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// The relation of a digest to some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identity {
    /// The digest is that of the bytes, or its algorithm is unknown.
    Whole,
    /// The bytes are a signed manifest, and the digest is that of its payload, which has this length in bytes.
    Payload(u64),
    /// The digest is that of something else.
    Other,
}

/// Compares bytes, or their payload if they are a signed manifest, with a digest.
pub(crate) fn identify(digest: &Digest, bytes: &[u8]) -> Identity {
    if digest.matches(bytes) != Some(false) {
        return Identity::Whole;
    }
    match payload(bytes) {
        Some(payload) if digest.matches(&payload) == Some(true) => {
            Identity::Payload(payload.len() as u64)
        }
        _ => Identity::Other,
    }
}

/// Returns the length of the payload of a signed manifest in bytes, whatever its digest.
pub(crate) fn payload_len(bytes: &[u8]) -> Option<u64> {
    Some(payload(bytes)?.len() as u64)
}

#[derive(Deserialize)]
struct Signed {
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    protected: String,
}

/// The part of a protected header that describes the payload.
#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct PayloadFormat {
    format_length: u64,
    format_tail: String,
}

/// Returns the payload of a signed manifest; `None` if the bytes are not one, or its signatures disagree.
fn payload(bytes: &[u8]) -> Option<Vec<u8>> {
    // Most damaged blobs do not have to be parsed as JSON.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return None;
    }
    let signed: Signed = serde_json::from_slice(bytes).ok()?;
    let mut formats = signed
        .signatures
        .iter()
        .map(|signature| format_of(&signature.protected));
    let first = formats.next()??;
    for format in formats {
        if format? != first {
            return None;
        }
    }
    let length = usize::try_from(first.format_length).ok()?;
    let mut payload = bytes.get(..length)?.to_vec();
    payload.extend(decode_url(&first.format_tail)?);
    Some(payload)
}

fn format_of(protected: &str) -> Option<PayloadFormat> {
    serde_json::from_slice(&decode_url(protected)?).ok()
}

/// Decodes base64 with the alphabet for URLs, with padding or without; libtrust ignores line ends and spaces in it.
fn decode_url(text: &str) -> Option<Vec<u8>> {
    let mut standard: String = text
        .chars()
        .filter(|letter| !matches!(letter, '\n' | '\r' | ' '))
        .map(|letter| match letter {
            '-' => '+',
            '_' => '/',
            // Not in this alphabet: the decoder must refuse it.
            '+' | '/' => '!',
            other => other,
        })
        .collect();
    while !standard.len().is_multiple_of(4) {
        standard.push('=');
    }
    decode_data(&standard)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    const PAYLOAD: &str = "{\n   \"schemaVersion\": 1,\n   \"fsLayers\": []\n}";

    fn encode(bytes: &[u8]) -> String {
        const LETTERS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut text = String::new();
        for group in bytes.chunks(3) {
            let mut bits = [0, 0, 0, 0];
            bits[1..=group.len()].copy_from_slice(group);
            let bits = u32::from_be_bytes(bits);
            for place in 0..=group.len() {
                let letter = (bits >> (18 - 6 * place)) & 63;
                text.push(char::from(LETTERS[letter as usize]));
            }
        }
        text
    }

    fn header(length: &str, tail: &str) -> String {
        encode(
            format!(r#"{{"formatLength":{length},"formatTail":"{tail}","time":"x"}}"#).as_bytes(),
        )
    }

    /// Returns the signed manifest with these headers.
    fn signed(headers: &[String]) -> String {
        let blocks: Vec<String> = headers
            .iter()
            .map(|header| {
                format!(r#"{{"header":{{"alg":"ES256"}},"signature":"s","protected":"{header}"}}"#)
            })
            .collect();
        let head = PAYLOAD.strip_suffix("\n}").expect("it ends so");
        format!("{head},\n   \"signatures\": [{}]\n}}", blocks.join(","))
    }

    fn right() -> String {
        header(&(PAYLOAD.len() - 2).to_string(), &encode(b"\n}"))
    }

    fn identity(text: &str) -> Identity {
        let digest = Digest::of(Algorithm::Sha256, PAYLOAD.as_bytes());
        identify(&digest, text.as_bytes())
    }

    #[test]
    fn a_signed_manifest_has_the_digest_of_its_payload() {
        let length = PAYLOAD.len() as u64;
        assert_eq!(identity(PAYLOAD), Identity::Whole);
        assert_eq!(identity(&signed(&[right()])), Identity::Payload(length));
        assert_eq!(
            identity(&signed(&[right(), right()])),
            Identity::Payload(length)
        );
        let padded = header(&(PAYLOAD.len() - 2).to_string(), "Cn0=");
        assert_eq!(identity(&signed(&[padded])), Identity::Payload(length));
        for algorithm in Algorithm::ALL {
            let digest = Digest::of(algorithm, PAYLOAD.as_bytes());
            let found = identify(&digest, signed(&[right()]).as_bytes());
            assert_eq!(found, Identity::Payload(length), "{digest}");
        }
    }

    #[test]
    fn false_headers_prove_nothing() {
        let tail = encode(b"\n}");
        let length = (PAYLOAD.len() - 2).to_string();
        let cases = [
            vec![],
            vec![header("0", &tail)],
            vec![header("-1", &tail)],
            vec![header("1e3", &tail)],
            vec![header("18446744073709551615", &tail)],
            vec![header("99999999999999999999999", &tail)],
            vec![header("null", &tail)],
            vec![header(&length, "")],
            vec![header(&length, "!!!!")],
            vec![header(&length, "Cn0+")],
            vec!["no base64".to_owned()],
            vec!["é".to_owned()],
            vec![encode(b"{}")],
            vec![right(), header("1", &tail)],
            vec![right(), header(&length, &encode(b"}"))],
            vec![right(), "?".to_owned()],
        ];
        for headers in cases {
            assert_eq!(identity(&signed(&headers)), Identity::Other, "{headers:?}");
        }
        let texts = [
            "",
            "{",
            "[]",
            "{\"signatures\":null}",
            "{\"signatures\":[{}]}",
            "{\"signatures\":[{\"protected\":7}]}",
        ];
        for text in texts {
            assert_eq!(identity(text), Identity::Other, "{text}");
        }
        let changed = signed(&[right()]).replace("fsLayers", "fsLayerz");
        assert_eq!(identity(&changed), Identity::Other);
    }
}
