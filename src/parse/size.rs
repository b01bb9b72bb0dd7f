//! Sizes and durations as docker prints them, and sizes as people type them.
//!
//! *Promises*: the printed text is the one of docker's `go-units`, because scripts compare it; a
//! typed size is exact integer arithmetic and always names its unit, since a forgotten unit on
//! `--max-size` would delete almost everything.

use std::time::Duration;

/// Decimal units in steps of 1000; `u64::MAX` bytes are 18.45EB, so nothing above is needed.
const DECIMAL: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

/// Prefix letters in the order of their power; the position plus one is the power.
const PREFIXES: [char; 6] = ['k', 'm', 'g', 't', 'p', 'e'];

/// Digits of a fraction that are read; more cannot change the number of whole bytes below 1EiB.
const FRACTION_DIGITS: usize = 19;

/// Says why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SizeError {
    /// The text does not begin with a plain decimal number.
    #[error("`{text}` is not a size, write a number and a unit such as `5GB`")]
    Syntax {
        /// What was given.
        text: String,
    },
    /// A number stands alone.
    #[error("`{text}` has no unit, write for example `{text}GB` or `{text}MiB`")]
    MissingUnit {
        /// What was given.
        text: String,
    },
    /// The number is followed by something that is no unit.
    #[error(
        "`{unit}` in `{text}` is not a unit of size, known are B, kB, MB, GB, TB, PB, EB and KiB, MiB, GiB, TiB, PiB, EiB"
    )]
    UnknownUnit {
        /// What was given.
        text: String,
        /// The part after the number.
        unit: String,
    },
    /// The size does not fit into 64 bits.
    #[error("`{text}` is too large")]
    TooLarge {
        /// What was given.
        text: String,
    },
}

/// Returns `bytes` with four significant digits and a decimal unit, as docker's `rm`, `prune` and
/// `system df` do.
///
/// The rule is `HumanSize` of go-units: `%.4g`, so 999951 bytes are `1000kB`.
#[must_use]
pub fn human_size(bytes: u64) -> String {
    human(bytes, 4)
}

/// Returns `bytes` with three significant digits and a decimal unit, as `docker image ls` does.
///
/// One text differs on purpose: where `%.3g` falls into an exponent (999500 bytes are `1e+03kB`
/// there), the next unit is used (`1MB`).
#[must_use]
pub fn human_size3(bytes: u64) -> String {
    human(bytes, 3)
}

fn human(bytes: u64, digits: usize) -> String {
    // The repeated division in binary floating point is part of the format: dividing once rounds
    // some sizes differently.
    let mut value = bytes as f64;
    for unit in DECIMAL {
        if value < 1000.0
            && let Some(number) = significant(value, digits)
        {
            return number + unit;
        }
        value /= 1000.0;
    }
    // Not reached: 64 bits end at 18.45EB.
    format!("{bytes}B")
}

/// Returns `value` as `%.<digits>g` prints it, or `None` where that needs an exponent.
fn significant(value: f64, digits: usize) -> Option<String> {
    let scientific = format!("{value:.*e}", digits.saturating_sub(1));
    let (mantissa, exponent) = scientific.split_once('e')?;
    let exponent: usize = exponent.parse().ok()?;
    if exponent >= digits {
        return None;
    }
    let mut text = String::with_capacity(digits + 1);
    for (at, digit) in mantissa.chars().filter(|c| *c != '.').enumerate() {
        if at == exponent + 1 {
            text.push('.');
        }
        text.push(digit);
    }
    if text.contains('.') {
        let kept = text.trim_end_matches('0').trim_end_matches('.').len();
        text.truncate(kept);
    }
    Some(text)
}

/// Returns the number of bytes that `text` names, such as `5GB`, `1.5 GiB`, `10k` or `0B`.
///
/// A unit is required. Units are decimal (`k`, `kB`) unless they say `i` (`Ki`, `KiB`); case does
/// not matter. A part of a byte is cut off.
///
/// # Errors
///
/// [`SizeError::MissingUnit`] for a bare number, which could mean anything; other variants for what
/// is not a size.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    let syntax = || SizeError::Syntax {
        text: text.to_owned(),
    };
    let too_large = || SizeError::TooLarge {
        text: text.to_owned(),
    };

    let (whole, rest) = split_digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => {
            let (fraction, rest) = split_digits(rest);
            if fraction.is_empty() {
                return Err(syntax());
            }
            (fraction, rest)
        }
        None => ("", rest),
    };
    if whole.is_empty() {
        return Err(syntax());
    }
    let unit = rest.trim_start_matches(' ');
    if unit.is_empty() {
        return Err(SizeError::MissingUnit {
            text: text.trim_end().to_owned(),
        });
    }
    let factor = unit_factor(unit).ok_or_else(|| SizeError::UnknownUnit {
        text: text.to_owned(),
        unit: unit.to_owned(),
    })?;

    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let mut numerator = 0_u128;
    let mut denominator = 1_u128;
    for digit in fraction.bytes().take(FRACTION_DIGITS) {
        numerator = numerator * 10 + u128::from(digit - b'0');
        denominator *= 10;
    }
    // Below 2^64 × 2^60 plus 10^19 × 2^60: neither product can overflow.
    let total =
        u128::from(whole) * u128::from(factor) + numerator * u128::from(factor) / denominator;
    u64::try_from(total).map_err(|_| too_large())
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}

fn unit_factor(unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_lowercase();
    if unit == "b" {
        return Some(1);
    }
    let mut chars = unit.chars();
    let prefix = chars.next()?;
    let power = u32::try_from(PREFIXES.iter().position(|p| *p == prefix)?).ok()? + 1;
    match chars.as_str() {
        "" | "b" => 1000_u64.checked_pow(power),
        "i" | "ib" => 1024_u64.checked_pow(power),
        _ => None,
    }
}

/// Returns roughly how long `duration` is, in the words of docker: `3 minutes`, `About an hour`,
/// `17 months`.
///
/// The rule is `HumanDuration` of go-units: hours are rounded to the nearest one, months have 30
/// days and years 365, and a unit is used until two of the next one are full (`13 days`, then `2
/// weeks`).
#[must_use]
pub fn human_duration(duration: Duration) -> String {
    const DAY: u64 = 24;
    const WEEK: u64 = 7 * DAY;
    const MONTH: u64 = 30 * DAY;
    const YEAR: u64 = 365 * DAY;

    let seconds = duration.as_secs();
    let minutes = seconds / 60;
    // Half an hour counts as a whole one, except in years, where go-units cuts off.
    let hours = seconds.saturating_add(1800) / 3600;
    match (seconds, minutes, hours) {
        (0, _, _) => "Less than a second".to_owned(),
        (1, _, _) => "1 second".to_owned(),
        (2..60, _, _) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, 2..60, _) => format!("{minutes} minutes"),
        (_, _, 1) => "About an hour".to_owned(),
        (_, _, hours) if hours < 2 * DAY => format!("{hours} hours"),
        (_, _, hours) if hours < 2 * WEEK => format!("{} days", hours / DAY),
        (_, _, hours) if hours < 2 * MONTH => format!("{} weeks", hours / WEEK),
        (_, _, hours) if hours < 2 * YEAR => format!("{} months", hours / MONTH),
        _ => format!("{} years", seconds / 3600 / YEAR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::{cell, rows};

    #[test]
    fn prints_sizes_and_durations_as_go_units() {
        for file in ["go-units.tsv", "go-units-docker.tsv"] {
            for row in rows(file) {
                let number: u64 = cell(&row, 1).parse().expect("a number");
                match cell(&row, 0) {
                    "size" => {
                        assert_eq!(
                            human_size(number),
                            cell(&row, 2),
                            "{file}: {number} bytes, four digits"
                        );
                        let three = cell(&row, 3);
                        if let Some(unit) = three.strip_prefix("1e+03") {
                            // Where Go falls into an exponent we go to the next unit.
                            let mut above = DECIMAL.iter().skip_while(|u| **u != unit).skip(1);
                            let next = above.next().expect("a larger unit");
                            assert_eq!(
                                human_size3(number),
                                format!("1{next}"),
                                "{file}: {number} bytes"
                            );
                        } else {
                            assert_eq!(
                                human_size3(number),
                                three,
                                "{file}: {number} bytes, three digits"
                            );
                        }
                    }
                    "duration" => {
                        let duration = Duration::from_nanos(number);
                        assert_eq!(
                            human_duration(duration),
                            cell(&row, 2),
                            "{file}: {duration:?}"
                        );
                    }
                    other => panic!("{file}: unknown kind {other}"),
                }
            }
        }
    }

    #[test]
    fn prints_the_largest_values() {
        assert_eq!(human_size(u64::MAX), "18.45EB");
        assert_eq!(human_size3(u64::MAX), "18.4EB");
        assert_eq!(human_duration(Duration::MAX), "584942417355 years");
    }

    #[test]
    fn reads_sizes_with_units() {
        let cases: &[(&str, u64)] = &[
            ("0B", 0),
            ("0GB", 0),
            ("100B", 100),
            ("100b", 100),
            ("10k", 10_000),
            ("10K", 10_000),
            ("10kB", 10_000),
            ("10KB", 10_000),
            ("10KiB", 10_240),
            ("10kib", 10_240),
            ("10Ki", 10_240),
            ("500MB", 500_000_000),
            ("500M", 500_000_000),
            ("5GB", 5_000_000_000),
            ("5 GB", 5_000_000_000),
            ("1.5 GiB", 1_610_612_736),
            ("1.5GiB", 1_610_612_736),
            ("0.5k", 500),
            ("1.9B", 1),
            ("1.0001kB", 1000),
            ("2T", 2_000_000_000_000),
            ("1TiB", 1 << 40),
            ("1PB", 1_000_000_000_000_000),
            ("1EiB", 1 << 60),
            ("15.999999999999999999999999999EiB", u64::MAX),
            ("18446744073709551615B", u64::MAX),
            ("00000000000000000000000000000001MB", 1_000_000),
            ("0.00000000000000000000000000000001MB", 0),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text), Ok(*bytes), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_size() {
        let syntax = [
            "", " ", "GB", "-5GB", "+5GB", ".5GB", "5.GB", ".", "٣GB", "½GB", " 5GB", "∞B",
            "\u{0}1B", "nanB",
        ];
        for text in syntax {
            assert_eq!(
                parse_size(text),
                Err(SizeError::Syntax {
                    text: text.to_owned()
                }),
                "{text:?}"
            );
        }
        for text in ["0", "5", "1.5", "99999999999999999999999", "5 "] {
            assert!(
                matches!(parse_size(text), Err(SizeError::MissingUnit { .. })),
                "{text:?}"
            );
        }
        let units = [
            "5X",
            "5GBB",
            "5BB",
            "5Bi",
            "5iB",
            "5ZB",
            "5gigabytes",
            "5GB ",
            "5\tGB",
            "1.5.5GB",
            "1,5GB",
            "5GB5",
            "1e3B",
            "0x5B",
            "5G\u{200b}B",
            "5ＧB",
            "5\u{212a}B",
            "5K\u{0}",
        ];
        for text in units {
            let result = parse_size(text);
            assert!(
                matches!(result, Err(SizeError::UnknownUnit { .. })),
                "{text:?}: {result:?}"
            );
        }
        for text in [
            "16EiB",
            "18446744073709551616B",
            "99999999999999999999999TB",
            "18.447EB",
        ] {
            assert_eq!(
                parse_size(text),
                Err(SizeError::TooLarge {
                    text: text.to_owned()
                }),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_bare_number_asks_for_its_unit() {
        let message = parse_size("5").expect_err("no unit").to_string();
        assert_eq!(
            message,
            "`5` has no unit, write for example `5GB` or `5MiB`"
        );
    }
}
