//! Durations and points in time as they are typed: `24h`, `7d`, RFC 3339, a date, unix seconds.
//!
//! *Promises*: the duration grammar is exactly the one of Go's `time.ParseDuration`, with `d` and
//! `w` added where docker's users ask for them; `until=` is read in the order of `moby
//! daemon/internal/timestamp`. *Failure*: one error that quotes the text; nothing is guessed,
//! because what is read here decides what is old enough to be deleted.
//!
//! The clock and the local zone are parameters. The civil parsers of `jiff` are not used: they skip
//! an offset that stands in the text, which moves `2024-05-01T00:00:00+09:00` by nine hours without
//! a word.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// Largest magnitude of a Go duration in nanoseconds, reached by negative ones only.
const GO_LIMIT: u64 = 1 << 63;

/// Longest fraction of unix seconds, as in moby; digits after the ninth are dropped.
const UNIX_FRACTION_DIGITS: usize = 20;

/// Says why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// The text does not follow the grammar.
    #[error("`{text}` is not a duration, write for example `90m`, `24h` or `7d`")]
    Syntax {
        /// What was given.
        text: String,
    },
    /// A number has no unit.
    #[error("`{text}` lacks a unit, write for example `{text}s` or `{text}h`")]
    MissingUnit {
        /// What was given.
        text: String,
    },
    /// A unit is not known.
    #[error("`{unit}` in `{text}` is not a unit of time")]
    UnknownUnit {
        /// What was given.
        text: String,
        /// The unknown unit.
        unit: String,
    },
    /// The duration is longer than 292 years.
    #[error("`{text}` is too long for a duration")]
    TooLong {
        /// What was given.
        text: String,
    },
    /// A negative duration stands where only a length makes sense.
    #[error("`{text}` is negative")]
    Negative {
        /// What was given.
        text: String,
    },
}

/// Says why a text is not a point in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimeError {
    /// Nothing was given.
    #[error("the time is empty")]
    Empty,
    /// The text looks like a date and is none.
    #[error(
        "`{text}` is not a date or time, write for example `2024-05-31`, `2024-05-31T18:00:00` or `2024-05-31T18:00:00+02:00`"
    )]
    Date {
        /// What was given.
        text: String,
    },
    /// The text is nothing that is known.
    #[error("`{text}` is neither a duration such as `24h` or `7d`, nor a date, nor unix seconds")]
    Syntax {
        /// What was given.
        text: String,
    },
    /// The time cannot be represented.
    #[error("`{text}` is out of range")]
    Range {
        /// What was given.
        text: String,
    },
}

/// Which units a duration may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Units {
    /// Those of Go, `ns` to `h`.
    Go,
    /// Also `d` (24 hours) and `w` (7 days).
    Calendar,
}

impl Units {
    /// Returns the nanoseconds of one `unit`.
    fn nanoseconds(self, unit: &str) -> Option<u64> {
        const SECOND: u64 = 1_000_000_000;
        match unit {
            "ns" => Some(1),
            // The micro sign and the Greek letter are different characters that look alike.
            "us" | "\u{b5}s" | "\u{3bc}s" => Some(1000),
            "ms" => Some(1_000_000),
            "s" => Some(SECOND),
            "m" => Some(60 * SECOND),
            "h" => Some(3600 * SECOND),
            "d" if self == Self::Calendar => Some(86_400 * SECOND),
            "w" if self == Self::Calendar => Some(7 * 86_400 * SECOND),
            _ => None,
        }
    }
}

/// Returns the duration that `text` stands for in Go: `1h30m`, `-1.5h`, `0`.
///
/// # Errors
///
/// Whatever `time.ParseDuration` of Go refuses, days and bare numbers among it.
pub fn parse_go_duration(text: &str) -> Result<SignedDuration, DurationError> {
    signed_duration(text, Units::Go)
}

/// Returns the length of time that `text` names: Go's grammar with days (`7d`, `1d12h`) and weeks
/// (`2w`), or a bare `0`.
///
/// A day is 24 hours and a week seven of them, whatever the local zone does.
///
/// # Errors
///
/// [`DurationError::Negative`] for a length below zero; other variants for what is no duration.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let duration = signed_duration(text, Units::Calendar)?;
    Duration::try_from(duration).map_err(|_| DurationError::Negative {
        text: text.to_owned(),
    })
}

fn signed_duration(text: &str, units: Units) -> Result<SignedDuration, DurationError> {
    let too_long = || DurationError::TooLong {
        text: text.to_owned(),
    };

    let (negative, unsigned) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if unsigned == "0" {
        return Ok(SignedDuration::ZERO);
    }
    if unsigned.is_empty() {
        return Err(DurationError::Syntax {
            text: text.to_owned(),
        });
    }
    let mut total = 0_u64;
    let mut rest = unsigned;
    while !rest.is_empty() {
        let (nanoseconds, after) = duration_term(text, rest, units)?;
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

/// Reads one number with its unit from the front of `rest`; returns its nanoseconds and what
/// follows.
fn duration_term<'a>(
    text: &str,
    rest: &'a str,
    units: Units,
) -> Result<(u64, &'a str), DurationError> {
    let too_long = || DurationError::TooLong {
        text: text.to_owned(),
    };

    let (whole, rest) = split_digits(rest);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), split_digits);
    if whole.is_empty() && fraction.is_empty() {
        return Err(DurationError::Syntax {
            text: text.to_owned(),
        });
    }
    let (unit, rest) = rest.split_at(
        rest.find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(rest.len()),
    );
    if unit.is_empty() {
        return Err(DurationError::MissingUnit {
            text: text.to_owned(),
        });
    }
    let unit_nanoseconds = units
        .nanoseconds(unit)
        .ok_or_else(|| DurationError::UnknownUnit {
            text: text.to_owned(),
            unit: unit.to_owned(),
        })?;

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

/// Returns the nanoseconds of `0.<digits>` of a unit, rounded the way Go rounds them.
///
/// Go multiplies in floating point and ignores digits once 63 bits are full. Exact arithmetic would
/// differ by a nanosecond for long fractions.
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

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}

/// Returns the point in time that the value of an `until=` filter names.
///
/// In the order of `moby daemon/internal/timestamp`: a duration before `now` (also in days and
/// weeks, which docker lacks; a negative one lies in the future), RFC 3339 or a part of it from the
/// date on, unix seconds with an optional fraction. A text without offset is local time in `zone`
/// at that date. (moby takes the offset that is valid today, which is off by an hour across the
/// change to summer time.) A bare `0` is the unix epoch.
///
/// # Errors
///
/// [`TimeError::Date`] for what looks like a date, [`TimeError::Syntax`] for anything else that is
/// no time.
pub fn parse_until(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, TimeError> {
    let range = || TimeError::Range {
        text: text.to_owned(),
    };

    if text.trim().is_empty() {
        return Err(TimeError::Empty);
    }
    if text != "0"
        && let Ok(duration) = signed_duration(text, Units::Calendar)
    {
        return now.checked_sub(duration).map_err(|_| range());
    }
    if let Some((civil, offset)) = civil_time(text, Layout::of(text)) {
        return match offset {
            Some(offset) => offset.to_timestamp(civil),
            None => zone.to_timestamp(civil),
        }
        .map_err(|_| range());
    }
    // A dash never occurs in unix seconds, so the text was meant as a date.
    if text.contains('-') {
        return Err(TimeError::Date {
            text: text.to_owned(),
        });
    }
    let (seconds, nanoseconds) = unix_time(text).ok_or_else(|| TimeError::Syntax {
        text: text.to_owned(),
    })?;
    Timestamp::new(seconds, nanoseconds).map_err(|_| range())
}

/// How far a text gives the time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Clock {
    Midnight,
    Hour,
    Minute,
    Second,
}

/// The one form that a text is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    clock: Clock,
    offset: bool,
}

impl Layout {
    /// Chooses the form by the punctuation of `text`, as moby does.
    ///
    /// Choosing first and reading then keeps one text from having two meanings.
    fn of(text: &str) -> Self {
        let count = |c: char| text.matches(c).count();
        let zulu = text.contains(['z', 'Z']);
        let offset = zulu || text.contains('+') || count('-') == 3;
        let clock = if text.contains('.') {
            Clock::Second
        } else if text.contains('T') {
            // The colon inside `+02:00` is not one of the time of day.
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

/// Reads the whole of `text` in the given form; the offset is `None` exactly when the form has
/// none.
///
/// What is tolerated is what Go's `time.Parse` tolerates: one digit for the hour, a comma before
/// the fraction.
fn civil_time(text: &str, layout: Layout) -> Option<(DateTime, Option<Offset>)> {
    let mut scan = Scan { rest: text };
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

/// The part of a text that is still to be read.
struct Scan<'a> {
    rest: &'a str,
}

impl Scan<'_> {
    fn literal(&mut self, expected: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(expected)?;
        Some(())
    }

    /// Reads a number of `least` to `most` digits.
    fn number(&mut self, least: usize, most: usize) -> Option<i32> {
        let digits = self
            .rest
            .bytes()
            .take(most)
            .take_while(u8::is_ascii_digit)
            .count();
        if digits < least {
            return None;
        }
        let (number, rest) = self.rest.split_at(digits);
        self.rest = rest;
        number.parse().ok()
    }

    /// Reads a fraction of a second if one stands here; returns nanoseconds.
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

    /// Reads `Z` or `±hh:mm`.
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
        // Go lets 24 hours and 60 minutes pass because people write them.
        if hours > 24 || minutes > 60 {
            return None;
        }
        Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
    }
}

/// Returns the nanoseconds of `0.<digits>`, cut off after the ninth digit.
fn nanoseconds(digits: &str) -> Option<i32> {
    let nine: String = digits
        .chars()
        .chain(std::iter::repeat('0'))
        .take(9)
        .collect();
    nine.parse().ok()
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
    fn reads_durations_as_go_does() {
        for row in rows("duration.tsv") {
            let text = cell(&row, 0);
            let wanted = cell(&row, 1).parse::<i128>().ok();
            assert_eq!(
                parse_go_duration(text).ok().map(|d| d.as_nanos()),
                wanted,
                "{text:?}"
            );
        }
    }

    #[test]
    fn durations_with_days_agree_with_go_where_go_knows_them() {
        for row in rows("duration.tsv") {
            let text = cell(&row, 0);
            if let Ok(wanted) = cell(&row, 1).parse::<i128>() {
                let ours = parse_duration(text).map(|d| d.as_nanos());
                assert_eq!(ours.ok(), u128::try_from(wanted).ok(), "{text:?}");
            }
        }
    }

    #[test]
    fn reads_days_and_weeks() {
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
    fn refuses_other_durations_with_a_reason() {
        let text = |t: &str| t.to_owned();
        let cases = [
            ("", DurationError::Syntax { text: text("") }),
            ("d", DurationError::Syntax { text: text("d") }),
            ("7", DurationError::MissingUnit { text: text("7") }),
            ("1d12", DurationError::MissingUnit { text: text("1d12") }),
            (
                "7days",
                DurationError::UnknownUnit {
                    text: text("7days"),
                    unit: text("days"),
                },
            ),
            (
                "1M",
                DurationError::UnknownUnit {
                    text: text("1M"),
                    unit: text("M"),
                },
            ),
            (
                "1y",
                DurationError::UnknownUnit {
                    text: text("1y"),
                    unit: text("y"),
                },
            ),
            (
                "7 d",
                DurationError::UnknownUnit {
                    text: text("7 d"),
                    unit: text(" d"),
                },
            ),
            (
                "7d\u{200b}",
                DurationError::UnknownUnit {
                    text: text("7d\u{200b}"),
                    unit: text("d\u{200b}"),
                },
            ),
            (
                "15251w",
                DurationError::TooLong {
                    text: text("15251w"),
                },
            ),
            (
                "99999999999999999999d",
                DurationError::TooLong {
                    text: text("99999999999999999999d"),
                },
            ),
            ("-7d", DurationError::Negative { text: text("-7d") }),
            ("-1ns", DurationError::Negative { text: text("-1ns") }),
        ];
        for (input, wanted) in cases {
            assert_eq!(parse_duration(input), Err(wanted), "{input:?}");
        }
    }

    /// Rows in which the package that made the table is older than what docker does today, or we
    /// know more than docker.
    const NEWER: &[(&str, &str)] = &[
        // moby since 2025 pads a missing fraction; Go since 1.20 cuts a fraction after nine digits.
        ("1136073600.", "1136073600.000000000"),
        ("2006-01-02T15:04:05.9999999999999Z", "1136214245.999999999"),
        // Days are ours.
        ("1d", "1719748800.000000000"),
    ];

    #[test]
    fn reads_until_as_docker_does() {
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
    fn an_offset_is_never_dropped() {
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
            // Skipped and repeated hours are taken as the offset before the change.
            ("2024-03-31T02:30", "2024-03-31T01:30:00Z"),
            ("2024-10-27T02:30", "2024-10-27T00:30:00Z"),
        ];
        for (text, wanted) in cases {
            let ours = parse_until(text, now(), &zone).map(|t| t.to_string());
            assert_eq!(ours, Ok(wanted.to_owned()), "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_time() {
        let text = |t: &str| t.to_owned();
        let cases = [
            (" ", TimeError::Empty),
            (
                "2024-13-01",
                TimeError::Date {
                    text: text("2024-13-01"),
                },
            ),
            (
                "2024-02-30",
                TimeError::Date {
                    text: text("2024-02-30"),
                },
            ),
            (
                "yesterday",
                TimeError::Syntax {
                    text: text("yesterday"),
                },
            ),
            (
                "1136073600.x",
                TimeError::Syntax {
                    text: text("1136073600.x"),
                },
            ),
            (
                "1136073600.123456789012345678901",
                TimeError::Syntax {
                    text: text("1136073600.123456789012345678901"),
                },
            ),
            (
                "2024-05-01T00:00:00+25:00",
                TimeError::Date {
                    text: text("2024-05-01T00:00:00+25:00"),
                },
            ),
            ("2.+5", TimeError::Syntax { text: text("2.+5") }),
            (
                "9223372036854775807",
                TimeError::Range {
                    text: text("9223372036854775807"),
                },
            ),
            (
                "9999-12-31T23:59:59-23:00",
                TimeError::Range {
                    text: text("9999-12-31T23:59:59-23:00"),
                },
            ),
        ];
        for (input, wanted) in cases {
            assert_eq!(
                parse_until(input, now(), &TimeZone::UTC),
                Err(wanted),
                "{input:?}"
            );
        }
    }

    #[test]
    fn a_duration_that_leaves_the_calendar_is_an_error() {
        let cases = [(Timestamp::MIN, "1ns"), (Timestamp::MAX, "-1ns")];
        for (now, text) in cases {
            assert!(
                matches!(
                    parse_until(text, now, &TimeZone::UTC),
                    Err(TimeError::Range { .. })
                ),
                "{text}"
            );
        }
    }
}
