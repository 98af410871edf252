//! Single values of an event, held to what the `NodeTermination` schema takes: a value that is refused here is a
//! malformed message now, not a 422 of the API server later.

use jiff::fmt::rfc2822;
use jiff::{RoundMode, Timestamp, TimestampRound, Unit};

use super::Malformed;

/// The instance ID, if it is one: `i-` and 8 (the old form) to 17 hexadecimal digits.
pub(super) fn instance_id(text: String) -> Result<String, Malformed> {
    if is_id(&text, "i-") {
        Ok(text)
    } else {
        Err(Malformed::InstanceId)
    }
}

/// The instance that a text names: by its ID, or by an ARN that ends in it. `None` for whatever else it names.
pub(super) fn named_instance(text: &str) -> Option<String> {
    named(text, "instance/", "i-")
}

/// The capacity reservation that a text names, as [`named_instance`].
pub(super) fn named_reservation(text: &str) -> Option<String> {
    named(text, "capacity-reservation/", "cr-")
}

fn named(text: &str, sort: &str, prefix: &str) -> Option<String> {
    let of_arn = text.starts_with("arn:").then(|| text.rsplit_once(sort));
    let id = of_arn.flatten().map_or(text, |(_, id)| id);
    is_id(id, prefix).then(|| id.to_owned())
}

fn is_id(text: &str, prefix: &str) -> bool {
    let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    text.strip_prefix(prefix)
        .is_some_and(|digits| (8..=17).contains(&digits.len()) && digits.bytes().all(hex))
}

/// The instant, in whole seconds: an object holds no fractions, and a signal must read back as it was written.
pub(super) fn seconds(time: Timestamp) -> Timestamp {
    let whole = TimestampRound::new()
        .smallest(Unit::Second)
        .mode(RoundMode::Trunc);
    // Cutting a fraction off can not leave the range of instants.
    time.round(whole).unwrap_or(time)
}

/// The instant that an RFC 3339 time names, if an object can hold it.
pub(super) fn time(text: &str) -> Result<Timestamp, Malformed> {
    text.parse().map_err(|_| Malformed::Time).and_then(held)
}

/// The instant that a date of RFC 2822 names, with or without its weekday, as windows are mostly written:
/// `21 Mar 2026 09:00:43 GMT`, `Sat, 21 Mar 2026 15:10:09 GMT`. One of RFC 3339 is as good.
pub(super) fn date(text: &str) -> Result<Timestamp, Malformed> {
    // A wrong weekday is no reason to lose a notice.
    const DATES: rfc2822::DateTimeParser = rfc2822::DateTimeParser::new().relaxed_weekday(true);
    let date = DATES.parse_timestamp(text.trim());
    date.map_err(|_| Malformed::Time)
        .and_then(held)
        .or_else(|_| time(text))
}

fn held(time: Timestamp) -> Result<Timestamp, Malformed> {
    let time = Some(seconds(time)).filter(|time| *time >= Timestamp::UNIX_EPOCH);
    time.ok_or(Malformed::Time)
}

/// What will be done with the instance. A notice without it is still a notice: the pods must leave whatever becomes
/// of the machine.
pub(super) fn instance_action(action: Option<String>) -> Result<Option<String>, Malformed> {
    let action = action.filter(|action| !action.is_empty());
    let action = action.map(|action| text("instance-action", action, 32));
    action.transpose()
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

/// The region of what an ARN names (AWS General Reference, "Amazon Resource Names").
pub(super) fn region_of_arn(arn: &str) -> Option<String> {
    let named = arn.strip_prefix("arn:")?.split(':').nth(2)?;
    region(named.to_owned()).ok()
}

/// The text, if it has 1 to `max` characters. The schema counts characters, not bytes.
pub(super) fn text(field: &'static str, text: String, max: usize) -> Result<String, Malformed> {
    if text.is_empty() || text.chars().nth(max).is_some() {
        return Err(Malformed::Length { field, max });
    }
    Ok(text)
}
