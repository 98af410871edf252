//! Ages and times as kubectl's users are used to them.

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// A length of time as kubectl writes ages: two units while it is short in the greater one, else one
/// (`HumanDuration` of k8s.io/apimachinery). One that is negative is none.
#[must_use]
pub fn age(length: SignedDuration) -> String {
    let seconds = length.as_secs().max(0);
    let two = |greater: i64, unit: &str, lesser: i64, rest: &str| {
        let (whole, left) = (seconds / greater, seconds % greater / lesser);
        if left == 0 {
            format!("{whole}{unit}")
        } else {
            format!("{whole}{unit}{left}{rest}")
        }
    };
    match seconds {
        ..120 => format!("{seconds}s"),
        120..600 => two(MINUTE, "m", 1, "s"),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(HOUR, "h", MINUTE, "m"),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(DAY, "d", HOUR, "h"),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        63_072_000..252_288_000 => two(YEAR, "y", DAY, "d"),
        _ => format!("{}y", seconds / YEAR),
    }
}

/// How long ago that was.
#[must_use]
pub fn since(then: Timestamp, now: Timestamp) -> String {
    age(now.duration_since(then))
}

/// A point of time in whole seconds, and how far it is: `2026-11-21T10:44:23Z (in 83s)`.
#[must_use]
pub fn at(then: Timestamp, now: Timestamp) -> String {
    let ahead = then.duration_since(now);
    if ahead.is_negative() {
        format!("{then:.0} ({} ago)", age(-ahead))
    } else {
        format!("{then:.0} (in {})", age(ahead))
    }
}

/// Reads a length of time: `90s`, `10m`, `1h30m`, `7d`.
///
/// # Errors
/// It is no such text, or negative. The message is for people.
pub fn parse(text: &str) -> Result<SignedDuration, String> {
    let wanted = || format!("`{text}` is not a length of time such as 90s, 10m, 1h30m or 7d");
    let span: Span = text.parse().map_err(|_| wanted())?;
    let length = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| wanted())?;
    if length.is_negative() {
        return Err(wanted());
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_written_as_kubectl_writes_them() {
        for (seconds, written) in [
            (-3, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (599, "9m59s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (28_799, "7h59m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (176_400, "2d1h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (252_288_000, "8y"),
        ] {
            assert_eq!(age(SignedDuration::from_secs(seconds)), written);
        }
    }

    #[test]
    fn a_time_is_told_with_how_far_it_is() {
        let now: Timestamp = "2026-11-21T10:43:00Z".parse().unwrap();
        let then = "2026-11-21T10:44:23Z".parse().unwrap();
        assert_eq!(at(then, now), "2026-11-21T10:44:23Z (in 83s)");
        assert_eq!(at(now, then), "2026-11-21T10:43:00Z (83s ago)");
    }

    #[test]
    fn lengths_of_time_are_read_as_people_write_them_and_nothing_else_is() {
        for (text, seconds) in [("90s", 90), ("1h30m", 5400), ("7d", 604_800), ("0s", 0)] {
            assert_eq!(parse(text), Ok(SignedDuration::from_secs(seconds)));
        }
        for text in ["", "5", "-1h", "soon", "1 parsec"] {
            let said = parse(text).unwrap_err();
            assert!(said.ends_with("such as 90s, 10m, 1h30m or 7d"), "{said}");
        }
    }
}
