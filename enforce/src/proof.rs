//! Who gave an order in the shared table, shown and not said: a request for `sts:GetCallerIdentity` that the giver signed for this order.
//!
//! Owns: what is signed, what of a proof is believed, what STS's answer means. Does not own: signing and sending.
//!
//! A proof is three headers of one fixed request: the signature, its time, the session token. Everything else of the request, the
//! address before all, is made here anew, and the header that names the order is computed from the order itself: so nobody can have
//! another request sent, to another place, or show a proof that was given for another order. STS alone can tell whether the signature is
//! right, and answers with the ARN that it belongs to.
//!
//! Source: AWS, "AWS Signature Version 4 for API requests" and the reference of `GetCallerIdentity`.

use serde::{Deserialize, Serialize};
use sluice_schemas::Micros;
use sluice_schemas::time::{MINUTE, SECOND};

use crate::audit::sha256;
use crate::aws::{Body, Call, CallError, Method, Reply};
use crate::iam::arn_of;
use crate::store::Command;

/// Header that binds a proof to its order; it is signed.
pub const ORDER_HEADER: &str = "x-sluice-order";
/// Argument of a [`Command`] that holds its proof.
pub const PROOF: &str = "proof";
/// Argument of a [`Command`] that holds the order itself.
pub const REQUEST: &str = "request";
/// Body of the request.
pub const BODY: &str = "Action=GetCallerIdentity&Version=2011-06-15";
/// Type of the body, as it is signed.
pub const BODY_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";
/// How long a proof is good for: as long as AWS takes a signature.
pub const LASTS: i64 = 15 * MINUTE;
/// How far the giver's clock may be ahead.
const AHEAD: i64 = 5 * MINUTE;
/// Longest header: session tokens have no stated bound, and are a few kilobytes.
const LONGEST: usize = 16 << 10;

/// What the giver signed, and nothing that could be made here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Header `authorization`.
    pub authorization: String,
    /// Header `x-amz-date`.
    pub date: String,
    /// Header `x-amz-security-token`, of credentials that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// What is known of an order's giver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// STS says who, as it is: of a role's session the session.
    Proven(String),
    /// Nobody, and nothing will change that.
    Refused(String),
    /// Nothing can be said now.
    Waits(String),
}

/// Why a proof is not worth showing to STS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// There is none.
    #[error("the order carries no proof of its giver: give it with sluice of this version, or set [control] prove_actor = false")]
    Missing,
    /// It is not of the form.
    #[error("the proof of its giver is not one: {what}")]
    Garbled {
        /// What is wrong.
        what: &'static str,
    },
    /// It was signed for the STS of another region than the one that is asked.
    #[error("the proof of its giver was signed for STS in {signed}, and this ledger asks in {asked}: set [enforce] region alike")]
    Region {
        /// Region of the proof.
        signed: String,
        /// Region that is asked.
        asked: String,
    },
    /// It is too old.
    #[error("the proof of its giver is {minutes} minutes old and good for {}: give the order again", LASTS / MINUTE)]
    Expired {
        /// How old.
        minutes: i64,
    },
    /// Its time has not come.
    #[error("the proof of its giver is dated {minutes} minutes ahead of this machine's clock: one of the two clocks is wrong")]
    Ahead {
        /// How far.
        minutes: i64,
    },
}

impl Command {
    /// Returns what a proof is bound to: the table as both configurations name it, and everything that the order says but its outcome and
    /// the proof. Any difference makes another digest.
    #[must_use]
    pub fn binding(&self, table: &str) -> String {
        let request = self.arguments.get(REQUEST).map_or("", String::as_str);
        let parts = ["sluice.order/1", table, &self.id, &self.actor, &self.at.to_string(), &self.verb, request];
        // Lengths first, so that no text can pass for two.
        let whole: String = parts.iter().map(|part| format!("{}:{part}\n", part.len())).collect();
        sha256(whole.as_bytes())
    }

    /// Returns the proof that came with the order, if it is worth showing to STS in `region`.
    ///
    /// # Errors
    /// It is not; [`ProofError::Ahead`] alone may be, later.
    pub fn proof(&self, region: &str, now: Micros) -> Result<Proof, ProofError> {
        let text = self.arguments.get(PROOF).ok_or(ProofError::Missing)?;
        let proof: Proof = serde_json::from_str(text).map_err(|_| ProofError::Garbled { what: "it cannot be read" })?;
        proof.check(region, now)?;
        Ok(proof)
    }
}

/// Date, region and names of the signed headers of an `authorization` of version 4 for STS; none if it is another thing.
fn scope(authorization: &str) -> Option<(&str, &str, &str)> {
    let rest = authorization.strip_prefix("AWS4-HMAC-SHA256 Credential=")?;
    let (credential, rest) = rest.split_once(", SignedHeaders=")?;
    let (headers, signature) = rest.split_once(", Signature=")?;
    let parts: Vec<&str> = credential.split('/').collect();
    let [key, date, region, "sts", "aws4_request"] = parts[..] else { return None };
    let made_of = |text: &str, most: usize, is_one: fn(u8) -> bool| !text.is_empty() && text.len() <= most && text.bytes().all(is_one);
    let is_form = made_of(key, 128, |byte| byte.is_ascii_alphanumeric())
        && made_of(date, 8, |byte| byte.is_ascii_digit())
        && made_of(region, 32, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && signature.len() == 64
        && made_of(signature, 64, |byte| byte.is_ascii_hexdigit());
    is_form.then_some((date, region, headers))
}

impl Proof {
    /// Checks form, region and time; the signature is for STS to check.
    fn check(&self, region: &str, now: Micros) -> Result<(), ProofError> {
        let garbled = |what| ProofError::Garbled { what };
        let token = self.token.as_deref().unwrap_or_default();
        if self.authorization.len() > LONGEST || token.len() > LONGEST {
            return Err(garbled("it is too long"));
        }
        if self.token.as_ref().is_some_and(String::is_empty) || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(garbled("its session token is none"));
        }
        let (date, signed_in, headers) = scope(&self.authorization).ok_or_else(|| garbled("its signature is none of version 4 for STS"))?;
        // Exactly these: a header that is not signed can be put in by anyone.
        let signed = match self.token {
            Some(_) => "content-type;host;x-amz-date;x-amz-security-token;x-sluice-order",
            None => "content-type;host;x-amz-date;x-sluice-order",
        };
        if headers != signed {
            return Err(garbled("other headers are signed than those of this request"));
        }
        let at = time(&self.date).ok_or_else(|| garbled("its time is none"))?;
        if !self.date.starts_with(date) || date.len() != 8 {
            return Err(garbled("its time is not that of its signature"));
        }
        if signed_in != region {
            return Err(ProofError::Region { signed: signed_in.to_owned(), asked: region.to_owned() });
        }
        match now.0.saturating_sub(at.0) {
            age if age > LASTS => Err(ProofError::Expired { minutes: age / MINUTE }),
            age if age < -AHEAD => Err(ProofError::Ahead { minutes: -age / MINUTE }),
            _ => Ok(()),
        }
    }

    /// Returns the headers of the request for an order, all but those that the address makes.
    #[must_use]
    pub fn headers(&self, binding: &str) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("content-type", BODY_TYPE.to_owned()),
            ("x-amz-date", self.date.clone()),
            (ORDER_HEADER, binding.to_owned()),
            ("authorization", self.authorization.clone()),
        ];
        headers.extend(self.token.clone().map(|token| ("x-amz-security-token", token)));
        headers
    }

    /// Takes the proof out of the headers of a signed request; none if one is missing.
    #[must_use]
    pub fn of_headers(headers: &[(String, String)]) -> Option<Self> {
        let header = |name: &str| headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
        Some(Self { authorization: header("authorization")?, date: header("x-amz-date")?, token: header("x-amz-security-token") })
    }
}

/// Returns the request for an order, as its giver signs it (with the header that names the order alone) and as it is sent (with all).
#[must_use]
pub fn question(region: &str, headers: Vec<(&'static str, String)>) -> Call {
    Call {
        account: String::new(),
        host: "sts",
        service: "sts",
        region: region.to_owned(),
        global: false,
        method: Method::Post,
        path: "/".to_owned(),
        headers,
        body: Body::Form(BODY.to_owned()),
        action: "sts:GetCallerIdentity",
        writes: false,
    }
}

/// Returns the headers that a giver signs beside those of the signature itself.
#[must_use]
pub fn to_sign(binding: &str) -> Vec<(&'static str, String)> {
    vec![("content-type", BODY_TYPE.to_owned()), (ORDER_HEADER, binding.to_owned())]
}

/// Reads `20260930T150000Z`.
fn time(text: &str) -> Option<Micros> {
    let digits = |range: std::ops::Range<usize>| text.get(range).filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    if text.len() != 16 || text.get(8..9)? != "T" || text.get(15..)? != "Z" {
        return None;
    }
    let (year, month, day) = (digits(0..4)?, digits(4..6)?, digits(6..8)?);
    let (hour, minute, second) = (digits(9..11)?, digits(11..13)?, digits(13..15)?);
    format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z").parse().ok()
}

/// Returns what STS's answer says of the giver. What is no answer of STS leaves the order waiting, what STS refuses is refused.
#[must_use]
pub fn verdict(answer: Result<Reply, CallError>) -> Verdict {
    let waits = |why: &dyn std::fmt::Display| Verdict::Waits(format!("STS cannot tell who gave it: {why}"));
    match answer.and_then(|reply| arn_of(&reply)) {
        Ok(arn) if arn.starts_with("arn:") => Verdict::Proven(arn),
        Ok(arn) => waits(&format!("'{}' is no ARN", arn.escape_debug())),
        Err(error @ CallError::Refused { .. }) => of_refusal(&error).unwrap_or_else(|| waits(&error)),
        Err(error) => waits(&error),
    }
}

/// Returns the verdict where STS itself says that the proof is false. Anything else of a status may be of something between.
fn of_refusal(error: &CallError) -> Option<Verdict> {
    let CallError::Refused { code, message, .. } = error else { return None };
    // The giver's clock, or this network's: time tells.
    if message.contains("not yet current") {
        return None;
    }
    let says_no = [
        "SignatureDoesNotMatch",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "IncompleteSignature",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
    ];
    let shown = |text: &str| text.chars().take(200).collect::<String>();
    says_no.contains(&code.as_str()).then(|| Verdict::Refused(format!("the proof of its giver is false: {code}: {}", shown(message))))
}

/// How long to wait before the next try, by how often it was tried: seconds, then half a minute.
#[must_use]
pub fn pause(tries: u32) -> i64 {
    (SECOND << tries.min(5)).min(30 * SECOND)
}

#[cfg(test)]
mod tests;
