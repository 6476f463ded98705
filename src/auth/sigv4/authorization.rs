//! The `Authorization` header.

use super::{ALGORITHM, AuthError, SignedRequest, unhex};

/// Who signed, and for what.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scope<'a> {
    pub(super) access_key_id: &'a str,
    /// `YYYYMMDD`.
    pub(super) date: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

/// `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`.
#[derive(Debug)]
pub(super) struct Authorization<'a> {
    pub(super) scope: Scope<'a>,
    /// Lower-case names, in the order given.
    pub(super) signed_headers: Vec<&'a str>,
    pub(super) signature: Vec<u8>,
}

/// Headers that mean something to us: whoever could change them unseen could change the request.
const MUST_BE_SIGNED: [&str; 5] =
    ["x-amz-date", "x-amz-target", "x-amz-content-sha256", "x-amz-security-token", "date"];
/// As many headers as the server takes at all.
const SIGNED_HEADERS_LIMIT: usize = 100;

impl<'a> Authorization<'a> {
    /// Parses the header of `request` and checks that what must be signed is.
    pub(super) fn of(request: &SignedRequest<'a>) -> Result<Self, AuthError> {
        let mut headers = request.headers.get_all("authorization").iter();
        let Some(header) = headers.next() else {
            if request.query.contains("X-Amz-Signature=")
                || request.query.contains("X-Amz-Algorithm=")
            {
                return Err(incomplete(
                    "Presigned requests are not accepted; sign the Authorization header.",
                ));
            }
            return Err(AuthError::MissingAuthenticationToken);
        };
        if headers.next().is_some() {
            return Err(incomplete("More than one Authorization header."));
        }
        let header =
            header.to_str().map_err(|_| incomplete("The Authorization header is not ASCII."))?;
        let parsed = Self::parse(header)?;
        if !parsed.signed_headers.contains(&"host") {
            return Err(incomplete("'Host' must be a 'SignedHeader' in the AWS Authorization."));
        }
        for name in MUST_BE_SIGNED {
            // `Date` counts only when nothing better tells the time.
            let ignored = name == "date" && request.headers.contains_key("x-amz-date");
            if request.headers.contains_key(name)
                && !ignored
                && !parsed.signed_headers.contains(&name)
            {
                return Err(incomplete(&format!(
                    "'{name}' must be a 'SignedHeader' in the AWS Authorization."
                )));
            }
        }
        Ok(parsed)
    }

    fn parse(header: &'a str) -> Result<Self, AuthError> {
        let (algorithm, parameters) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if algorithm != ALGORITHM {
            return Err(incomplete(&format!(
                "Unsupported AWS 'algorithm': '{}', expected '{ALGORITHM}'.",
                shorten(algorithm)
            )));
        }
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for parameter in parameters.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (name, value) = parameter.split_once('=').ok_or_else(|| {
                incomplete(&format!(
                    "'{}' is not a key=value pair in the Authorization header.",
                    shorten(parameter)
                ))
            })?;
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(incomplete(&format!("Authorization header has '{name}' twice.")));
            }
        }
        let missing =
            |name: &str| incomplete(&format!("Authorization header requires '{name}' parameter."));
        let credential = credential.ok_or_else(|| missing("Credential"))?;
        let signed_headers = signed_headers.ok_or_else(|| missing("SignedHeaders"))?;
        let signature = signature.ok_or_else(|| missing("Signature"))?;

        let signed_headers: Vec<&str> = signed_headers.split(';').collect();
        let plain = |name: &&str| !name.is_empty() && !name.bytes().any(|b| b.is_ascii_uppercase());
        if signed_headers.len() > SIGNED_HEADERS_LIMIT || !signed_headers.iter().all(plain) {
            return Err(incomplete("SignedHeaders is not a list of lower-case header names."));
        }
        Ok(Self {
            scope: Scope::parse(credential)?,
            signed_headers,
            signature: unhex(signature)
                .ok_or_else(|| incomplete("Signature is not a hexadecimal number."))?,
        })
    }
}

impl<'a> Scope<'a> {
    /// `KEY/DATE/REGION/SERVICE/aws4_request`.
    fn parse(credential: &'a str) -> Result<Self, AuthError> {
        let parts: Vec<&str> = credential.split('/').collect();
        let [access_key_id, date, region, service, "aws4_request"] = parts[..] else {
            return Err(incomplete(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/aws4_request.",
            ));
        };
        if date.len() != 8 || !date.bytes().all(|b| b.is_ascii_digit()) {
            return Err(incomplete("The date in Credential is not of the form YYYYMMDD."));
        }
        Ok(Self { access_key_id, date, region, service })
    }
}

fn incomplete(message: &str) -> AuthError {
    AuthError::IncompleteSignature(message.to_owned())
}

/// What is quoted back is bounded.
fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}
