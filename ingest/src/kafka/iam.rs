//! The token by which Amazon MSK knows an AWS identity: a presigned request, signed with Signature Version 4.
//!
//! Source of the form: AWS, "Configure clients to use IAM access control" (Amazon MSK) and "Create a signed AWS API request"
//! (IAM). Pure: the time and the credentials are arguments.

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use sluice_schemas::Micros;
use sluice_schemas::time::{SECOND, civil_from_days};

#[cfg(test)]
mod tests;

/// Seconds a token is good for, as AWS's own signers choose.
const LIFETIME: i64 = 900;
const SERVICE: &str = "kafka-cluster";
const USER_AGENT: &str = concat!("sluice/", env!("CARGO_PKG_VERSION"));

/// An AWS identity.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Access key id.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: String,
    /// Session token of temporary credentials.
    pub session_token: Option<String>,
    /// When they end, as far as known.
    pub expires: Option<Micros>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
    ///
    /// # Errors
    /// The variable that is missing.
    pub fn from_env(env: &dyn Fn(&str) -> Option<String>) -> Result<Self, CredentialsError> {
        let need = |name: &'static str| {
            env(name).filter(|value| !value.is_empty()).ok_or_else(|| CredentialsError { problem: format!("{name} is not set") })
        };
        Ok(Self {
            access_key: need("AWS_ACCESS_KEY_ID")?,
            secret_key: need("AWS_SECRET_ACCESS_KEY")?,
            session_token: env("AWS_SESSION_TOKEN").filter(|value| !value.is_empty()),
            expires: None,
        })
    }
}

/// No credentials are to be had.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("no AWS credentials: {problem}")]
pub struct CredentialsError {
    /// What the provider said.
    pub problem: String,
}

/// A token and when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What goes to the broker.
    pub text: String,
    /// When it ends.
    pub expires: Micros,
}

/// Makes the token of an identity for the clusters of a region.
#[must_use]
pub fn token(region: &str, credentials: &Credentials, now: Micros) -> Token {
    token_of(region, credentials, now, USER_AGENT)
}

fn token_of(region: &str, credentials: &Credentials, now: Micros, agent: &str) -> Token {
    let host = format!("kafka.{region}.{}", domain(region));
    let (stamp, date) = stamps(now);
    let scope = format!("{date}/{region}/{SERVICE}/aws4_request");
    let mut query = format!(
        "Action=kafka-cluster%3AConnect&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}&X-Amz-Date={stamp}&X-Amz-Expires={LIFETIME}",
        escaped(&format!("{}/{scope}", credentials.access_key)),
    );
    // The names of the query stand in order.
    if let Some(session) = &credentials.session_token {
        query.push_str("&X-Amz-Security-Token=");
        query.push_str(&escaped(session));
    }
    query.push_str("&X-Amz-SignedHeaders=host");
    let request = format!("GET\n/\n{query}\nhost:{host}\n\nhost\n{}", hex(&Sha256::digest(b"")));
    let to_sign = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", hex(&Sha256::digest(request.as_bytes())));
    let key = [date.as_str(), region, SERVICE, "aws4_request"]
        .iter()
        .fold(format!("AWS4{}", credentials.secret_key).into_bytes(), |key, part| keyed(&key, part.as_bytes()));
    let signature = hex(&keyed(&key, to_sign.as_bytes()));
    let url = format!("https://{host}/?{query}&X-Amz-Signature={signature}&User-Agent={}", escaped(agent));
    let expires = now.plus(LIFETIME * SECOND);
    Token { text: base64_url(url.as_bytes()), expires: credentials.expires.map_or(expires, |end| end.min(expires)) }
}

fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

/// Returns `20261001T000000Z` and `20261001`.
fn stamps(now: Micros) -> (String, String) {
    let (year, month, day) = civil_from_days(i64::from(now.day()));
    let date = format!("{year:04}{month:02}{day:02}");
    let of_day = now.0.div_euclid(SECOND).rem_euclid(86_400);
    (format!("{date}T{:02}{:02}{:02}Z", of_day / 3_600, of_day / 60 % 60, of_day % 60), date)
}

fn keyed(key: &[u8], data: &[u8]) -> Vec<u8> {
    // HMAC takes a key of any length.
    Hmac::<Sha256>::new_from_slice(key).map_or_else(|_| Vec::new(), |mac| mac.chain_update(data).finalize().into_bytes().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        if write!(text, "{byte:02x}").is_err() {
            debug_assert!(false, "a String takes every write");
        }
        text
    })
}

/// Percent-encodes everything but the unreserved characters of RFC 3986.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&hex(&[byte]).to_ascii_uppercase());
        }
    }
    out
}

/// Base64 with the alphabet for URLs, without padding.
fn base64_url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            out.push(char::from(ALPHABET[(word >> (18 - 6 * place)) as usize & 63]));
        }
    }
    out
}
