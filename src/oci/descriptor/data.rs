//! `data` of a descriptor: the blob itself, in base64.

/// Decodes the `data` of a descriptor: standard base64 of RFC 4648 with padding, as `descriptor.md`
/// requires. Returns `None` for anything else.
#[must_use]
pub fn decode_data(text: &str) -> Option<Vec<u8>> {
    let body = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - body.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(body.len() / 4 * 3 + 2);
    for group in body.as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for &letter in group {
            bits = (bits << 6) | sextet(letter)?;
        }
        let missing = 4 - group.len();
        bits <<= 6 * missing;
        let [_, high, middle, low] = bits.to_be_bytes();
        bytes.extend([high, middle, low].iter().take(3 - missing));
    }
    Some(bytes)
}

fn sextet(letter: u8) -> Option<u32> {
    let value = match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_base64_as_rfc_4648_does() {
        let cases = [
            ("", Some("")),
            ("Zg==", Some("f")),
            ("Zm8=", Some("fo")),
            ("Zm9v", Some("foo")),
            ("Zm9vYg==", Some("foob")),
            ("Zm9vYmE=", Some("fooba")),
            ("Zm9vYmFy", Some("foobar")),
            ("e30=", Some("{}")),
            ("Zg=", None),
            ("Zg", None),
            ("Z===", None),
            ("Zm9v Zg==", None),
            ("Zm9-", None),
        ];
        for (text, expected) in cases {
            let decoded =
                decode_data(text).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            assert_eq!(decoded.as_deref(), expected, "{text}");
        }
    }
}
