//! Durations and points in time as typed: `24h`, `7d`, RFC 3339, a date, unix seconds.
//!
//! *Promises*: the grammar of durations is that of Go's `time.ParseDuration` with `d` and `w`; `until=` is parsed in the order of
//! `moby daemon/internal/timestamp`. *Failure*: one error that quotes the string; nothing is guessed, because the result decides
//! what is old enough to be deleted.
//!
//! The clock and the local zone are parameters. The parsers of `jiff` are not used. Those of civil times ignore an offset,
//! which moves `2024-05-01T00:00:00+09:00` silently by nine hours; they and that of `Timestamp` accept what Go refuses
//! (`20240501T000000`, a space for the `T`, the second 60, `+09`, `[UTC]`) and refuse what docker accepts (`T3:04`,
//! `2024-05-01+09:00`, ten digits of a fraction). A guard against both would be as long as this code.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::split_digits;

/// The largest magnitude of a Go duration in nanoseconds, which only a negative one reaches.
const GO_LIMIT: u64 = 1 << 63;

/// The longest fraction of unix seconds, as in moby; digits after the ninth are ignored.
const UNIX_FRACTION_DIGITS: usize = 20;

/// Why a string is not a duration. Each variant has the string last.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// The string does not follow the grammar.
    #[error("`{0}` is not a duration, write for example `90m`, `24h` or `7d`")]
    Syntax(String),
    /// A number has no unit.
    #[error("`{0}` lacks a unit, write for example `{0}s` or `{0}h`")]
    MissingUnit(String),
    /// This unit is unknown.
    #[error("`{0}` in `{1}` is not a unit of time")]
    UnknownUnit(String, String),
    /// The duration is longer than 292 years.
    #[error("`{0}` is too long for a duration")]
    TooLong(String),
    /// The duration is negative where a length is required.
    #[error("`{0}` is negative")]
    Negative(String),
}

/// Why a string is not a point in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimeError {
    /// The string is empty.
    #[error("the time is empty")]
    Empty,
    /// The string looks like a date and is not one.
    #[error(
        "`{0}` is not a date or time, write for example `2024-05-31`, `2024-05-31T18:00:00` or `2024-05-31T18:00:00+02:00`"
    )]
    Date(String),
    /// The string has no known form.
    #[error("`{0}` is neither a duration such as `24h` or `7d`, nor a date, nor unix seconds")]
    Syntax(String),
    /// The time cannot be represented.
    #[error("`{0}` is out of range")]
    Range(String),
}

/// Returns the nanoseconds of a unit: those of Go, `d` (24 hours) and `w` (7 days).
fn nanoseconds_of(unit: &str) -> Option<u64> {
    const SECOND: u64 = 1_000_000_000;
    match unit {
        "ns" => Some(1),
        // The micro sign and the Greek letter are different characters that look alike.
        "us" | "\u{b5}s" | "\u{3bc}s" => Some(1000),
        "ms" => Some(1_000_000),
        "s" => Some(SECOND),
        "m" => Some(60 * SECOND),
        "h" => Some(3600 * SECOND),
        "d" => Some(86_400 * SECOND),
        "w" => Some(7 * 86_400 * SECOND),
        _ => None,
    }
}

/// Parses a length of time: Go's grammar with days (`7d`, `1d12h`) and weeks (`2w`), or a bare `0`.
///
/// A day has 24 hours and a week seven days, whatever the local zone does.
///
/// # Errors
/// [`DurationError::Negative`] for a length below zero; other variants if the string is not a duration.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let duration = signed_duration(text)?;
    Duration::try_from(duration).map_err(|_| DurationError::Negative(text.to_owned()))
}

fn signed_duration(text: &str) -> Result<SignedDuration, DurationError> {
    let too_long = || DurationError::TooLong(text.to_owned());

    let (negative, unsigned) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if unsigned == "0" {
        return Ok(SignedDuration::ZERO);
    }
    if unsigned.is_empty() {
        return Err(DurationError::Syntax(text.to_owned()));
    }
    let mut total = 0_u64;
    let mut rest = unsigned;
    while !rest.is_empty() {
        let (nanoseconds, after) = duration_term(text, rest)?;
        total = total
            .checked_add(nanoseconds)
            .filter(|sum| *sum <= GO_LIMIT)
            .ok_or_else(too_long)?;
        rest = after;
    }
    let nanoseconds = if negative {
        0_i64.checked_sub_unsigned(total)
    } else {
        i64::try_from(total).ok()
    };
    nanoseconds
        .map(SignedDuration::from_nanos)
        .ok_or_else(too_long)
}

/// Parses a number and its unit at the beginning of `rest`; returns its nanoseconds and the rest.
fn duration_term<'a>(text: &str, rest: &'a str) -> Result<(u64, &'a str), DurationError> {
    let too_long = || DurationError::TooLong(text.to_owned());

    let (whole, rest) = split_digits(rest);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), split_digits);
    if whole.is_empty() && fraction.is_empty() {
        return Err(DurationError::Syntax(text.to_owned()));
    }
    let (unit, rest) = rest.split_at(
        rest.find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(rest.len()),
    );
    if unit.is_empty() {
        return Err(DurationError::MissingUnit(text.to_owned()));
    }
    let unit_nanoseconds = nanoseconds_of(unit)
        .ok_or_else(|| DurationError::UnknownUnit(unit.to_owned(), text.to_owned()))?;

    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| too_long())?
    };
    let nanoseconds = whole
        .checked_mul(unit_nanoseconds)
        .and_then(|product| product.checked_add(fraction_of(fraction, unit_nanoseconds)))
        .filter(|sum| *sum <= GO_LIMIT)
        .ok_or_else(too_long)?;
    Ok((nanoseconds, rest))
}

/// Returns the nanoseconds of `0.<digits>` of a unit, rounded like Go.
///
/// Go multiplies in floating point and ignores digits after 63 bits are full. Exact arithmetic would differ by a nanosecond for
/// long fractions.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive and below one unit"
)]
fn fraction_of(digits: &str, unit_nanoseconds: u64) -> u64 {
    let mut numerator = 0_u64;
    let mut scale = 1.0_f64;
    for digit in digits.bytes() {
        if numerator > (GO_LIMIT - 1) / 10 {
            break;
        }
        let next = numerator * 10 + u64::from(digit - b'0');
        if next > GO_LIMIT {
            break;
        }
        numerator = next;
        scale *= 10.0;
    }
    (numerator as f64 * (unit_nanoseconds as f64 / scale)) as u64
}

/// Parses the value of an `until=` filter.
///
/// In the order of `moby daemon/internal/timestamp`: a duration before `now` (also in days and weeks, unlike docker; a negative one
/// is in the future), RFC 3339 or its beginning from the date on, unix seconds with an optional fraction. A time without offset is
/// local time in `zone` at that date. (moby uses the current offset, which is wrong by an hour across the change to summer
/// time.) A bare `0` is the unix epoch.
///
/// # Errors
/// [`TimeError::Date`] for a string that looks like a date, [`TimeError::Syntax`] for any other that is not a time.
pub fn parse_until(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, TimeError> {
    let range = |_| TimeError::Range(text.to_owned());

    if text.trim().is_empty() {
        return Err(TimeError::Empty);
    }
    if text != "0"
        && let Ok(duration) = signed_duration(text)
    {
        return now.checked_sub(duration).map_err(range);
    }
    if let Some((civil, offset)) = civil_time(text, TimeForm::of(text)) {
        return match offset {
            Some(offset) => offset.to_timestamp(civil),
            None => zone.to_timestamp(civil),
        }
        .map_err(range);
    }
    // Unix seconds never have a dash, so the string was meant as a date.
    if text.contains('-') {
        return Err(TimeError::Date(text.to_owned()));
    }
    let (seconds, nanoseconds) =
        unix_time(text).ok_or_else(|| TimeError::Syntax(text.to_owned()))?;
    Timestamp::new(seconds, nanoseconds).map_err(range)
}

/// The precision of a time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Clock {
    Midnight,
    Hour,
    Minute,
    Second,
}

/// The form of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TimeForm {
    clock: Clock,
    offset: bool,
}

impl TimeForm {
    /// Chooses the form by the punctuation, like moby. Choosing before parsing prevents a string from having two meanings.
    fn of(text: &str) -> Self {
        let count = |c: char| text.matches(c).count();
        let zulu = text.contains(['z', 'Z']);
        let offset = zulu || text.contains('+') || count('-') == 3;
        let clock = if text.contains('.') {
            Clock::Second
        } else if text.contains('T') {
            // The colon in `+02:00` does not belong to the time of day.
            let colons = if offset && !zulu {
                count(':').saturating_sub(1)
            } else {
                count(':')
            };
            match colons {
                0 => Clock::Hour,
                1 => Clock::Minute,
                _ => Clock::Second,
            }
        } else {
            Clock::Midnight
        };
        Self { clock, offset }
    }
}

/// Parses the whole of `text` in the given form; the offset is `None` if the form has none.
///
/// As in Go's `time.Parse`, the hour may have one digit, and the fraction may follow a comma.
fn civil_time(text: &str, layout: TimeForm) -> Option<(DateTime, Option<Offset>)> {
    let mut scan = Unparsed { rest: text };
    let year = scan.number(4, 4)?;
    scan.literal('-')?;
    let month = scan.number(2, 2)?;
    scan.literal('-')?;
    let day = scan.number(2, 2)?;
    let (mut hour, mut minute, mut second, mut nanosecond) = (0, 0, 0, 0);
    if layout.clock >= Clock::Hour {
        scan.literal('T')?;
        hour = scan.number(1, 2)?;
    }
    if layout.clock >= Clock::Minute {
        scan.literal(':')?;
        minute = scan.number(2, 2)?;
    }
    if layout.clock >= Clock::Second {
        scan.literal(':')?;
        second = scan.number(2, 2)?;
        nanosecond = scan.fraction()?;
    }
    let offset = if layout.offset {
        Some(scan.offset()?)
    } else {
        None
    };
    if !scan.rest.is_empty() {
        return None;
    }
    let small = |number: i32| i8::try_from(number).ok();
    let civil = DateTime::new(
        i16::try_from(year).ok()?,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second)?,
        nanosecond,
    )
    .ok()?;
    Some((civil, offset))
}

/// The part of a string that is not parsed yet.
struct Unparsed<'a> {
    rest: &'a str,
}

impl Unparsed<'_> {
    fn literal(&mut self, expected: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(expected)?;
        Some(())
    }

    /// Parses a number of `least` to `most` digits.
    fn number(&mut self, least: usize, most: usize) -> Option<i32> {
        let bytes = self.rest.bytes().take(most);
        let digits = bytes.take_while(u8::is_ascii_digit).count();
        if digits < least {
            return None;
        }
        let (number, rest) = self.rest.split_at(digits);
        self.rest = rest;
        number.parse().ok()
    }

    /// Parses an optional fraction of a second; returns nanoseconds.
    fn fraction(&mut self) -> Option<i32> {
        let Some(rest) = self.rest.strip_prefix(['.', ',']) else {
            return Some(0);
        };
        let (digits, rest) = split_digits(rest);
        if !digits.is_empty() {
            self.rest = rest;
        }
        nanoseconds(digits)
    }

    /// Parses `Z` or `±hh:mm`.
    fn offset(&mut self) -> Option<Offset> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Some(Offset::UTC);
        }
        let sign = if self.rest.starts_with('-') { -1 } else { 1 };
        self.rest = self.rest.strip_prefix(['+', '-'])?;
        let hours = self.number(2, 2)?;
        self.literal(':')?;
        let minutes = self.number(2, 2)?;
        // Go accepts 24 hours and 60 minutes because users write them.
        if hours > 24 || minutes > 60 {
            return None;
        }
        Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
    }
}

/// Returns the nanoseconds of `0.<digits>`, truncated after the ninth digit.
fn nanoseconds(digits: &str) -> Option<i32> {
    format!("{digits:0<9}").get(..9)?.parse().ok()
}

fn unix_time(text: &str) -> Option<(i64, i32)> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds = seconds.parse().ok()?;
    if fraction.len() > UNIX_FRACTION_DIGITS || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((seconds, nanoseconds(fraction)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::{cell, rows};

    fn now() -> Timestamp {
        "2024-07-01T12:00:00Z".parse().expect("a timestamp")
    }

    #[test]
    fn durations_are_parsed_like_go() {
        for row in rows("duration.tsv") {
            let text = cell(&row, 0);
            let wanted = cell(&row, 1).parse::<i128>().ok();
            // Go refuses days and weeks.
            if wanted.is_some() || !text.contains(['d', 'w']) {
                let found = signed_duration(text).ok().map(|d| d.as_nanos());
                assert_eq!(found, wanted, "{text:?}");
            }
        }
    }

    #[test]
    fn durations_are_positive_lengths() {
        for row in rows("duration.tsv") {
            let text = cell(&row, 0);
            if let Ok(wanted) = cell(&row, 1).parse::<i128>() {
                let ours = parse_duration(text).map(|d| d.as_nanos());
                assert_eq!(ours.ok(), u128::try_from(wanted).ok(), "{text:?}");
            }
        }
    }

    #[test]
    fn days_and_weeks_are_parsed() {
        let hours = |n: u64| Duration::from_secs(n * 3600);
        let cases = [
            ("7d", hours(168)),
            ("1d12h", hours(36)),
            ("1.5d", hours(36)),
            ("2w", hours(336)),
            ("1w1d1h", hours(193)),
            ("0", Duration::ZERO),
            ("-0", Duration::ZERO),
            ("+7d", hours(168)),
            ("0d", Duration::ZERO),
            ("15250w", hours(15250 * 168)),
        ];
        for (text, wanted) in cases {
            assert_eq!(parse_duration(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn other_durations_are_refused_with_a_reason() {
        type Case<'a> = (&'a str, fn(String) -> DurationError);
        let cases: [Case<'_>; 8] = [
            ("", DurationError::Syntax),
            ("d", DurationError::Syntax),
            ("7", DurationError::MissingUnit),
            ("1d12", DurationError::MissingUnit),
            ("15251w", DurationError::TooLong),
            ("99999999999999999999d", DurationError::TooLong),
            ("-7d", DurationError::Negative),
            ("-1ns", DurationError::Negative),
        ];
        for (text, error) in cases {
            assert_eq!(parse_duration(text), Err(error(text.to_owned())));
        }
        let units = [
            ("7days", "days"),
            ("1M", "M"),
            ("1y", "y"),
            ("7 d", " d"),
            ("7d\u{200b}", "d\u{200b}"),
        ];
        for (text, unit) in units {
            let error = DurationError::UnknownUnit(unit.to_owned(), text.to_owned());
            assert_eq!(parse_duration(text), Err(error));
        }
    }

    /// Rows that were recorded with an older package than docker's current one, or that docker refuses.
    const NEWER: &[(&str, &str)] = &[
        // moby since 2025 pads a missing fraction; Go since 1.20 truncates a fraction after nine digits.
        ("1136073600.", "1136073600.000000000"),
        ("2006-01-02T15:04:05.9999999999999Z", "1136214245.999999999"),
        // docker has no days.
        ("1d", "1719748800.000000000"),
    ];

    #[test]
    fn until_is_parsed_like_docker() {
        for row in rows("timestamp.tsv") {
            let text = cell(&row, 0);
            let offset: i32 = cell(&row, 1).parse().expect("an offset");
            let zone = TimeZone::fixed(Offset::from_seconds(offset).expect("an offset"));
            let long_fraction = text.len() > 100 && text.contains('T');
            let wanted = match NEWER.iter().find(|(newer, _)| *newer == text) {
                Some((_, wanted)) => wanted,
                None if long_fraction => "1136214245.111111111",
                None => cell(&row, 2),
            };
            let ours = parse_until(text, now(), &zone).map_or_else(
                |_| "!".to_owned(),
                |time| {
                    let nanoseconds = time.as_nanosecond();
                    format!(
                        "{}.{:09}",
                        nanoseconds.div_euclid(1_000_000_000),
                        nanoseconds.rem_euclid(1_000_000_000)
                    )
                },
            );
            assert_eq!(ours, wanted, "{text:?} at offset {offset}");
        }
    }

    #[test]
    fn an_offset_is_never_ignored() {
        let zone = TimeZone::fixed(jiff::tz::offset(-5));
        let time = |text: &str| parse_until(text, now(), &zone).map(|t| t.to_string());
        assert_eq!(
            time("2024-05-01T00:00:00+09:00"),
            Ok("2024-04-30T15:00:00Z".to_owned())
        );
        assert_eq!(
            time("2024-05-01+09:00"),
            Ok("2024-04-30T15:00:00Z".to_owned())
        );
        assert_eq!(
            time("2024-05-01T00:00:00"),
            Ok("2024-05-01T05:00:00Z".to_owned())
        );
    }

    #[test]
    fn local_times_follow_the_rules_of_the_zone_at_that_date() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone");
        let cases = [
            ("2024-01-15", "2024-01-14T23:00:00Z"),
            ("2024-07-15", "2024-07-14T22:00:00Z"),
            // Skipped and repeated hours use the offset before the change.
            ("2024-03-31T02:30", "2024-03-31T01:30:00Z"),
            ("2024-10-27T02:30", "2024-10-27T00:30:00Z"),
        ];
        for (text, wanted) in cases {
            let ours = parse_until(text, now(), &zone).map(|t| t.to_string());
            assert_eq!(ours, Ok(wanted.to_owned()), "{text}");
        }
    }

    #[test]
    fn other_times_are_refused_with_a_reason() {
        type Case<'a> = (&'a str, fn(String) -> TimeError);
        let cases: [Case<'_>; 10] = [
            (" ", |_| TimeError::Empty),
            ("2024-13-01", TimeError::Date),
            ("2024-02-30", TimeError::Date),
            ("yesterday", TimeError::Syntax),
            ("1136073600.x", TimeError::Syntax),
            ("1136073600.123456789012345678901", TimeError::Syntax),
            ("2024-05-01T00:00:00+25:00", TimeError::Date),
            ("2.+5", TimeError::Syntax),
            ("9223372036854775807", TimeError::Range),
            ("9999-12-31T23:59:59-23:00", TimeError::Range),
        ];
        for (text, error) in cases {
            let found = parse_until(text, now(), &TimeZone::UTC);
            assert_eq!(found, Err(error(text.to_owned())), "{text:?}");
        }
    }

    #[test]
    fn a_duration_that_leaves_the_calendar_is_an_error() {
        let cases = [(Timestamp::MIN, "1ns"), (Timestamp::MAX, "-1ns")];
        for (now, text) in cases {
            assert!(
                matches!(
                    parse_until(text, now, &TimeZone::UTC),
                    Err(TimeError::Range(_))
                ),
                "{text}"
            );
        }
    }
}
