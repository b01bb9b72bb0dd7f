//! Sizes and durations as docker prints them, and sizes as users type them.
//!
//! *Promises*: sizes are printed like docker's `go-units` prints them, because scripts compare them; a typed size is computed in
//! exact integer arithmetic and requires a unit, since a forgotten unit on `--max-size` would delete almost everything.

use std::time::Duration;

use super::split_digits;

/// Decimal units in steps of 1000; `u64::MAX` bytes are 18.45EB, so no larger unit is needed.
const DECIMAL: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

/// Prefix letters in the order of their power; the position plus one is the power.
const PREFIXES: [char; 6] = ['k', 'm', 'g', 't', 'p', 'e'];

/// The digits of a fraction that are used; more cannot change the number of whole bytes below 1EiB.
const FRACTION_DIGITS: usize = 19;

/// Why a string is not a size. Each variant has the string last.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SizeError {
    /// The string does not begin with a plain decimal number.
    #[error("`{0}` is not a size, write a number and a unit such as `5GB`")]
    Syntax(String),
    /// The number has no unit.
    #[error("`{0}` has no unit, write for example `{0}GB` or `{0}MiB`")]
    MissingUnit(String),
    /// The number is followed by this, which is not a unit.
    #[error(
        "`{0}` in `{1}` is not a unit of size, known are B, kB, MB, GB, TB, PB, EB and KiB, MiB, GiB, TiB, PiB, EiB"
    )]
    UnknownUnit(String, String),
    /// The size does not fit into 64 bits.
    #[error("`{0}` is too large")]
    TooLarge(String),
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
/// One output differs intentionally: where `%.3g` uses an exponent (999500 bytes are `1e+03kB` there), the next unit is used
/// (`1MB`).
#[must_use]
pub fn human_size3(bytes: u64) -> String {
    human(bytes, 3)
}

fn human(bytes: u64, digits: usize) -> String {
    // The repeated division in binary floating point is part of the format: a single division rounds some sizes differently.
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

/// Returns `value` as printed by `%.<digits>g`, or `None` if that needs an exponent.
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

/// Parses a number of bytes such as `5GB`, `1.5 GiB`, `10k` or `0B`.
///
/// A unit is required. Units are decimal (`k`, `kB`) unless they have an `i` (`Ki`, `KiB`); case is ignored. A fraction of a byte
/// is truncated.
///
/// # Errors
/// [`SizeError::MissingUnit`] for a number without a unit, which is ambiguous; other variants if the string is not a size.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    let syntax = || SizeError::Syntax(text.to_owned());
    let too_large = || SizeError::TooLarge(text.to_owned());

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
        return Err(SizeError::MissingUnit(text.trim_end().to_owned()));
    }
    let factor = unit_factor(unit)
        .ok_or_else(|| SizeError::UnknownUnit(unit.to_owned(), text.to_owned()))?;

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

/// A number of bytes, or a part of a whole, such as a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// This many bytes.
    Bytes(u64),
    /// This part of all bytes, in hundredths of a percent; at most 10,000.
    Part(u32),
}

impl Amount {
    /// Returns the bytes, of a whole that has `total`.
    #[must_use]
    pub fn of(self, total: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Part(part) => {
                let bytes = u128::from(total) * u128::from(part) / 10_000;
                u64::try_from(bytes).unwrap_or(u64::MAX)
            }
        }
    }
}

/// Parses a number of bytes as [`parse_size`] does, or a percentage from 0 to 100 such as `10%` or `12.5%`.
///
/// # Errors
/// Those of [`parse_size`].
pub fn parse_amount(text: &str) -> Result<Amount, SizeError> {
    let Some(number) = text.strip_suffix('%') else {
        return parse_size(text).map(Amount::Bytes);
    };
    let syntax = || SizeError::Syntax(text.to_owned());
    let (whole, rest) = split_digits(number);
    let fraction = match rest.strip_prefix('.') {
        None if rest.is_empty() => "",
        Some(rest) if !rest.is_empty() && rest.len() <= 2 => rest,
        _ => return Err(syntax()),
    };
    // `5` stands for `50` hundredths.
    let hundredths: u32 = format!("{fraction:0<2}").parse().map_err(|_| syntax())?;
    let whole: u32 = whole.parse().map_err(|_| syntax())?;
    let part = whole
        .checked_mul(100)
        .and_then(|part| part.checked_add(hundredths));
    match part {
        Some(part) if part <= 10_000 && fraction.bytes().all(|digit| digit.is_ascii_digit()) => {
            Ok(Amount::Part(part))
        }
        _ => Err(syntax()),
    }
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

/// Returns an approximate duration in docker's words: `3 minutes`, `About an hour`, `17 months`.
///
/// The rule is `HumanDuration` of go-units: hours are rounded to the nearest one, months have 30 days and years 365, and a unit is
/// used up to two of the next one (`13 days`, then `2 weeks`).
#[must_use]
pub fn human_duration(duration: Duration) -> String {
    const DAY: u64 = 24;
    const WEEK: u64 = 7 * DAY;
    const MONTH: u64 = 30 * DAY;
    const YEAR: u64 = 365 * DAY;

    let seconds = duration.as_secs();
    let minutes = seconds / 60;
    // Half an hour counts as a whole one, except for years, where go-units truncates.
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
    fn amounts_are_sizes_or_percentages() {
        for (text, total, want) in [
            ("20GB", 7, 20_000_000_000),
            ("10%", 1000, 100),
            ("12.5%", 1000, 125),
            ("0.01%", 1_000_000, 100),
            ("100%", u64::MAX, u64::MAX),
            ("0%", 1000, 0),
        ] {
            let amount = parse_amount(text).expect(text);
            assert_eq!(amount.of(total), want, "{text}");
        }
        for text in [
            "",
            "%",
            "101%",
            "100.01%",
            "-1%",
            "+1%",
            "1.%",
            "1.234%",
            "1.+5%",
            "x%",
            "1 %",
            "10",
            "4294967296%",
        ] {
            parse_amount(text).expect_err(text);
        }
    }

    #[test]
    fn sizes_and_durations_are_printed_like_go_units() {
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
                            // Where Go uses an exponent, the next unit is used.
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
    fn the_largest_values_are_printed() {
        assert_eq!(human_size(u64::MAX), "18.45EB");
        assert_eq!(human_size3(u64::MAX), "18.4EB");
        assert_eq!(human_duration(Duration::MAX), "584942417355 years");
    }

    #[test]
    fn sizes_with_units_are_parsed() {
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
    fn other_strings_are_refused() {
        let syntax = [
            "", " ", "GB", "-5GB", "+5GB", ".5GB", "5.GB", ".", "٣GB", "½GB", " 5GB", "∞B",
            "\u{0}1B", "nanB",
        ];
        let missing = ["0", "5", "1.5", "99999999999999999999999", "5 "];
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
        let large = [
            "16EiB",
            "18446744073709551616B",
            "99999999999999999999999TB",
            "18.447EB",
        ];
        for text in syntax {
            let error = SizeError::Syntax(text.to_owned());
            assert_eq!(parse_size(text), Err(error), "{text:?}");
        }
        for text in missing {
            let result = parse_size(text);
            let is_missing = matches!(result, Err(SizeError::MissingUnit(_)));
            assert!(is_missing, "{text:?}: {result:?}");
        }
        for text in units {
            let result = parse_size(text);
            let is_unknown = matches!(result, Err(SizeError::UnknownUnit(..)));
            assert!(is_unknown, "{text:?}: {result:?}");
        }
        for text in large {
            let error = SizeError::TooLarge(text.to_owned());
            assert_eq!(parse_size(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_number_without_unit_names_the_missing_unit() {
        let message = parse_size("5").expect_err("no unit").to_string();
        assert_eq!(
            message,
            "`5` has no unit, write for example `5GB` or `5MiB`"
        );
    }
}
