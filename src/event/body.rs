//! A body as text, read as JSON.

use serde::de::DeserializeOwned;

use super::{BODY_MAX_BYTES, Malformed};
use crate::api::bounded;

/// The longest text that is taken over from another parser's error, in bytes: it may quote the body.
const QUOTE_MAX_BYTES: usize = 256;

/// The body, if it is not too long to be looked at.
pub(super) fn sized(body: &str) -> Result<&str, Malformed> {
    match body.len() {
        0..=BODY_MAX_BYTES => Ok(body),
        length => Err(Malformed::TooLarge(length)),
    }
}

/// Reads what is asked for and skips the rest without keeping it, so that a body costs no more than its own length.
pub(super) fn read<T: DeserializeOwned>(body: &str) -> Result<T, Malformed> {
    serde_json::from_str(body).map_err(|error| malformed(&error))
}

/// What the parser's error means, without what it quotes at length.
pub(super) fn malformed(error: &serde_json::Error) -> Malformed {
    let text = bounded(error.to_string(), QUOTE_MAX_BYTES);
    if error.is_data() {
        Malformed::Shape(text)
    } else {
        Malformed::NotJson(text)
    }
}
