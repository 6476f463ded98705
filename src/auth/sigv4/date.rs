//! The time a request was signed at.

use super::AuthError;
use crate::model::Timestamp;
use hyper::HeaderMap;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// ISO 8601, basic format.
const BASIC: &str = "%Y%m%dT%H%M%SZ";

/// `X-Amz-Date`, or else `Date`, as the basic ISO 8601 text that is signed and as a time.
pub(super) fn of(headers: &HeaderMap) -> Result<(String, Timestamp), AuthError> {
    if let Some(value) = headers.get("x-amz-date") {
        let text = value.to_str().ok().filter(|t| t.len() == 16);
        let at = text.and_then(parse_basic);
        return match (text, at) {
            (Some(text), Some(at)) => Ok((text.to_owned(), at)),
            _ => Err(AuthError::IncompleteSignature(
                "Date must be in ISO-8601 'basic format', e.g. 20261121T083000Z, in the header 'X-Amz-Date'.".to_owned(),
            )),
        };
    }
    let Some(value) = headers.get("date") else {
        return Err(AuthError::IncompleteSignature(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
                .to_owned(),
        ));
    };
    let text = value.to_str().unwrap_or_default();
    let at = match jiff::fmt::rfc2822::parse(text) {
        Ok(zoned) => Timestamp(zoned.timestamp().as_millisecond()),
        Err(_) => parse_basic(text).ok_or_else(|| {
            AuthError::IncompleteSignature("The header 'Date' is not a date of HTTP.".to_owned())
        })?,
    };
    Ok((basic(at), at))
}

fn parse_basic(text: &str) -> Option<Timestamp> {
    let civil = DateTime::strptime(BASIC, text).ok()?;
    let zoned = civil.to_zoned(TimeZone::UTC).ok()?;
    Some(Timestamp(zoned.timestamp().as_millisecond()))
}

/// `at` in the basic format of ISO 8601.
pub(super) fn basic(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0)
        .map_or_else(|_| at.0.to_string(), |t| t.strftime(BASIC).to_string())
}
