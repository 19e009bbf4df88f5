//! Times as checkpoints and runs write them: UTC, sortable as text.

use std::time::{SystemTime, UNIX_EPOCH};

/// A moment as `2025-11-22T09:58:03Z`.
pub fn utc(time: SystemTime) -> String {
    let [year, month, day, hour, minute, second] = civil(time);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A moment as a directory's name, `20251122_095803`.
pub fn stamp(time: SystemTime) -> String {
    let [year, month, day, hour, minute, second] = civil(time);
    format!("{year:04}{month:02}{day:02}_{hour:02}{minute:02}{second:02}")
}

/// Seconds since 1970 of a text that [`utc`] wrote.
pub fn parse_utc(text: &str) -> Option<u64> {
    let digits = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
    let seconds = digits(11..13)? * 3600 + digits(14..16)? * 60 + digits(17..19)?;
    if text.len() != 20 || !(1970..=9999).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    Some((days_before(year, month) + day.checked_sub(1)?) * 86_400 + seconds)
}

/// Year, month, day, hour, minute and second of a moment. Moments before 1970 count as 1970.
fn civil(time: SystemTime) -> [u64; 6] {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let days = seconds / 86_400;
    let mut year = 1970 + days / 366;
    while days_before(year + 1, 1) <= days {
        year += 1;
    }
    let month = (1..=12)
        .rev()
        .find(|m| days_before(year, *m) <= days)
        .unwrap_or(1);
    let day = days - days_before(year, month) + 1;
    [
        year,
        month,
        day,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    ]
}

/// Days from 1970-01-01 to the first of a month, in the Gregorian calendar.
fn days_before(year: u64, month: u64) -> u64 {
    const LENGTHS: [u64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let past = year - 1;
    let leap_days = |y: u64| y / 4 - y / 100 + y / 400;
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let months: u64 = LENGTHS.iter().take(month as usize - 1).sum();
    (year - 1970) * 365 + leap_days(past) - leap_days(1969) + months + u64::from(leap && month > 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn agrees_with_date() {
        // date -u -d @SECONDS +%FT%TZ
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_763_805_483, "2025-11-22T09:58:03Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(utc(time), text);
            assert_eq!(parse_utc(text), Some(seconds));
        }
        assert_eq!(
            stamp(UNIX_EPOCH + Duration::from_secs(1_763_805_483)),
            "20251122_095803"
        );
        for text in [
            "",
            "2025-13-22T09:58:03Z",
            "2025-11-22T09:58:03Z ",
            "2025-1é-22T09:58:03Z",
        ] {
            assert_eq!(parse_utc(text), None, "{text}");
        }
    }
}
