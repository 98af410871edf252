//! Single values of an event, held to what the `NodeTermination` schema takes: a value that is refused here is a
//! malformed message now, not a 422 of the API server later.

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};

use super::Malformed;

/// The instance ID, if it is one: `i-` and 8 (the old form) to 17 hexadecimal digits.
pub(super) fn instance_id(text: String) -> Result<String, Malformed> {
    let digits = text.strip_prefix("i-").ok_or(Malformed::InstanceId)?;
    let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if (8..=17).contains(&digits.len()) && digits.bytes().all(hex) {
        Ok(text)
    } else {
        Err(Malformed::InstanceId)
    }
}

/// The instant, in whole seconds: an object holds no fractions, and a signal must read back as it was written.
pub(super) fn time(text: &str) -> Result<Timestamp, Malformed> {
    let seconds = TimestampRound::new()
        .smallest(Unit::Second)
        .mode(RoundMode::Trunc);
    text.parse::<Timestamp>()
        .and_then(|t| t.round(seconds))
        .ok()
        .filter(|t| *t >= Timestamp::UNIX_EPOCH)
        .ok_or(Malformed::Time)
}

/// The region. It becomes part of a host name, so it is held to the characters of one.
pub(super) fn region(text: String) -> Result<String, Malformed> {
    let part = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
    if (1..=32).contains(&text.len()) && text.bytes().all(part) {
        Ok(text)
    } else {
        Err(Malformed::Region)
    }
}

/// The text, if it has 1 to `max` characters. The schema counts characters, not bytes.
pub(super) fn text(field: &'static str, text: String, max: usize) -> Result<String, Malformed> {
    if text.is_empty() || text.chars().nth(max).is_some() {
        return Err(Malformed::Length { field, max });
    }
    Ok(text)
}
