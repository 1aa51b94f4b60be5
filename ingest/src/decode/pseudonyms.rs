//! Pseudonyms in place of people's names, before anything is made of a record: who has the key can tell whose they are, nobody else.
//!
//! One name gets one pseudonym wherever it comes from, so calls and events are joined, attributed and budgeted as they would be by name;
//! rules and the agents file meet the pseudonym. Names are the e-mail addresses in what AWS records of a caller, and the session and
//! user names that patterns tell of. A pseudonym is `p-` and 64 bits of HMAC-SHA256 (RFC 2104) in hexadecimal.

use std::fmt::Write as _;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use sluice_schemas::trail::TrailEvent;
use sluice_schemas::{Batch, Rejected};

/// Shortest key: 128 bits, if it is random.
const KEY_BYTES: usize = 16;
/// Bytes of a code that a pseudonym shows.
const SHOWN: usize = 8;

/// Why names cannot be replaced as configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PseudonymFault {
    /// Whoever guesses the key learns the names.
    #[error("a key of {0} bytes can be guessed: give at least {KEY_BYTES} random ones, as from 'openssl rand -hex 32'")]
    ShortKey(usize),
    /// It would be taken off nothing, or off everything.
    #[error("'{0}' is no prefix: give the letters before the address, as 'ccwb-'")]
    Prefix(String),
}

/// Replaces names.
#[derive(Clone, PartialEq, Eq)]
pub struct Pseudonyms {
    key: Arc<[u8]>,
    /// What stands before an address and stays.
    prefixes: Vec<String>,
    /// Session and user names that are replaced though they are no addresses; `*` is any run of characters.
    names: Vec<String>,
}

impl std::fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pseudonyms").field("prefixes", &self.prefixes).field("names", &self.names).finish_non_exhaustive()
    }
}

impl Pseudonyms {
    /// Takes the text of a key, without the white space around it.
    ///
    /// # Errors
    /// See [`PseudonymFault`].
    pub fn new(key: &str, prefixes: Vec<String>, names: Vec<String>) -> Result<Self, PseudonymFault> {
        let key = key.trim().as_bytes();
        if key.len() < KEY_BYTES {
            return Err(PseudonymFault::ShortKey(key.len()));
        }
        if let Some(bad) = prefixes.iter().find(|prefix| prefix.is_empty() || !prefix.chars().all(is_local)) {
            return Err(PseudonymFault::Prefix(bad.clone()));
        }
        Ok(Self { key: key.into(), prefixes, names })
    }

    /// Returns what stands for a name.
    #[must_use]
    pub fn of(&self, name: &str) -> String {
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return "p-".to_owned() };
        mac.update(name.as_bytes());
        mac.finalize().into_bytes().iter().take(SHOWN).fold("p-".to_owned(), |mut text, byte| {
            // Writing to a text cannot fail.
            write!(text, "{byte:02x}").unwrap_or_default();
            text
        })
    }

    /// Replaces the names in all that is kept of some records.
    pub(crate) fn hide(&self, batch: &mut Batch) {
        for profile in &mut batch.profiles {
            if let Some(arn) = self.arn(batch.strings.get(profile.principal_arn)) {
                profile.principal_arn = batch.strings.intern(&arn);
            }
            if let Some(metadata) = self.addresses(batch.strings.get(profile.metadata)) {
                profile.metadata = batch.strings.intern(&metadata);
            }
        }
        batch.trail.iter_mut().for_each(|event| self.event(event));
        batch.rejected.iter_mut().for_each(|rejected| self.rejected(rejected));
    }

    fn event(&self, event: &mut TrailEvent) {
        put(&mut event.principal_arn, |arn| self.arn(arn));
        put(&mut event.principal_id, |id| self.last(id, ':'));
        put(&mut event.source_identity, |name| self.name(name));
        put(&mut event.credentials_issued_to, |arn| self.arn(arn));
        put(&mut event.user_agent, |text| self.addresses(text));
        event.resources.iter_mut().for_each(|arn| put(arn, |arn| self.addresses(arn)));
        if let Some(assumed) = &mut event.assumed {
            put(&mut assumed.session_name, |name| self.name(name));
            put(&mut assumed.source_identity, |name| self.name(name));
            put(&mut assumed.assumed_role_id, |id| self.last(id, ':'));
            put(&mut assumed.assumed_role_arn, |arn| self.arn(arn));
            assumed.tags.iter_mut().for_each(|(_, value)| put(value, |text| self.addresses(text)));
        }
        if let Some(invoked) = &mut event.invoked {
            put(&mut invoked.session_id, |text| self.addresses(text));
            put(&mut invoked.user_id, |name| self.name(name));
            invoked.claims.iter_mut().for_each(|(_, value)| put(value, |text| self.addresses(text)));
        }
    }

    /// A record that could not be read is kept as far as it is text; where names cannot be seen none can be taken out.
    fn rejected(&self, rejected: &mut Rejected) {
        match std::str::from_utf8(&rejected.raw) {
            Ok(text) => {
                if let Some(hidden) = self.addresses(text) {
                    rejected.raw = hidden.into_bytes();
                }
            }
            Err(_) => rejected.raw.clear(),
        }
    }

    /// The ARN of a role session or a user.
    fn arn(&self, arn: &str) -> Option<String> {
        let is_of_person = arn.contains(":assumed-role/") || arn.contains(":user/") || arn.contains(":federated-user/");
        if is_of_person { self.last(arn, '/') } else { self.addresses(arn) }
    }

    /// The part behind the last separator is a name.
    fn last(&self, text: &str, separator: char) -> Option<String> {
        let (before, name) = text.rsplit_once(separator)?;
        self.name(name).map(|name| format!("{before}{separator}{name}"))
    }

    fn name(&self, name: &str) -> Option<String> {
        self.addresses(name).or_else(|| self.names.iter().any(|pattern| matches(pattern, name)).then(|| self.of(name)))
    }

    /// Replaces e-mail addresses; `None` where there is none.
    fn addresses(&self, text: &str) -> Option<String> {
        let (mut out, mut from) = (String::new(), 0);
        for (at, _) in text.match_indices('@') {
            let start =
                text[from..at].char_indices().rev().take_while(|(_, char)| is_local(*char)).last().map_or(at, |(place, _)| from + place);
            let host = text[at + 1..].find(|char| !is_host(char)).map_or(text.len(), |end| at + 1 + end);
            let host = &text[at + 1..host];
            let host = host.trim_end_matches(['.', '-']);
            let is_address = start < at && host.split('.').all(|part| !part.is_empty()) && host.contains('.');
            if !is_address {
                continue;
            }
            let prefix = self.prefixes.iter().filter(|prefix| text[start..at].starts_with(prefix.as_str())).map(String::len).max();
            let start = start + prefix.unwrap_or(0);
            let end = at + 1 + host.len();
            out.push_str(&text[from..start]);
            out.push_str(&self.of(&text[start..end]));
            from = end;
        }
        (from > 0).then(|| out + &text[from..])
    }
}

fn put(text: &mut String, hidden: impl FnOnce(&str) -> Option<String>) {
    if let Some(hidden) = hidden(text) {
        *text = hidden;
    }
}

/// Characters before the `@` of an address.
const fn is_local(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '%' | '+' | '-')
}

/// Characters behind it.
const fn is_host(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '.' | '-')
}

/// Tells whether a name is as a pattern says.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(first) else { return false };
    (0..=name.len()).filter(|at| name.is_char_boundary(*at)).any(|at| matches(rest, &name[at..]) || (rest.is_empty() && at == name.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Decoder, Intake};
    use sluice_schemas::Micros;

    const KEY: &str = "0123456789abcdef0123456789abcdef\n";

    fn pseudonyms(names: &[&str]) -> Pseudonyms {
        Pseudonyms::new(KEY, vec!["ccwb-".to_owned()], names.iter().map(|name| (*name).to_owned()).collect()).unwrap()
    }

    #[test]
    fn an_address_has_one_pseudonym_wherever_it_stands() {
        let hider = pseudonyms(&[]);
        let jane = hider.of("jane@example.com");
        assert_eq!(jane.len(), 18);
        for (text, hidden) in [
            ("jane@example.com", jane.clone()),
            ("ccwb-jane@example.com", format!("ccwb-{jane}")),
            (r#"{"user":"jane@example.com","n":1}"#, format!(r#"{{"user":"{jane}","n":1}}"#)),
            ("from jane@example.com. And jane@example.com", format!("from {jane}. And {jane}")),
        ] {
            assert_eq!(hider.addresses(text), Some(hidden));
        }
        assert_ne!(hider.of("jane@example.org"), jane);
        let other = Pseudonyms::new("another key of enough bytes", Vec::new(), Vec::new()).unwrap();
        assert_ne!(other.of("jane@example.com"), jane);
        for text in ["", "worker", "@example.com", "jane@", "jane@host", "npm/@scope.pkg", "a@b..c", "é@"] {
            assert_eq!(hider.addresses(text), None, "{text}");
        }
        // Once more changes nothing.
        assert_eq!(hider.addresses(&jane), None);
        assert!(!format!("{hider:?}").contains("0123456789abcdef"), "the key is told to nobody");
    }

    #[test]
    fn names_are_told_by_patterns() {
        let hider = pseudonyms(&["jane.*", "*-dev"]);
        let arn = |name: &str| format!("arn:aws:sts::111122223333:assumed-role/R/{name}");
        assert_eq!(hider.arn(&arn("jane.doe")), Some(arn(&hider.of("jane.doe"))));
        assert_eq!(
            hider.arn("arn:aws:iam::111122223333:user/team/bob-dev"),
            Some(format!("arn:aws:iam::111122223333:user/team/{}", hider.of("bob-dev")))
        );
        assert_eq!(hider.arn(&arn("worker")), None);
        assert_eq!(hider.arn("arn:aws:iam::111122223333:role/jane.doe"), None, "a role is nobody");
        assert!(
            matches("*", "anything") && matches("a*c", "abc") && matches("a*c", "ac") && !matches("a*c", "abd") && matches("*b*", "abc")
        );
    }

    #[test]
    fn a_key_that_can_be_guessed_is_refused() {
        assert_eq!(Pseudonyms::new(" short ", Vec::new(), Vec::new()), Err(PseudonymFault::ShortKey(5)));
        assert!(matches!(Pseudonyms::new(KEY, vec![String::new()], Vec::new()), Err(PseudonymFault::Prefix(_))));
    }

    #[test]
    fn nothing_that_is_kept_of_a_record_has_the_name() {
        let jane = "jane@example.com";
        let call = format!(
            r#"{{"schemaType":"ModelInvocationLog","schemaVersion":"1.0","timestamp":"2026-10-20T09:00:00Z","accountId":"111122223333","identity":{{"arn":"arn:aws:sts::111122223333:assumed-role/R/{jane}"}},"region":"us-east-1","requestId":"00000001-0000-4000-8000-000000000000","operation":"Converse","modelId":"acme.known","requestMetadata":{{"user":"{jane}"}},"input":{{"inputTokenCount":3}},"output":{{"outputTokenCount":0}}}}"#
        );
        let opened = format!(
            r#"{{"eventVersion":"1.08","userIdentity":{{"type":"AssumedRole","principalId":"AROAX:{jane}","arn":"arn:aws:sts::111122223333:assumed-role/B/{jane}","accountId":"111122223333","accessKeyId":"ASIAB","sessionContext":{{"sourceIdentity":"{jane}"}}}},"eventTime":"2026-10-20T09:00:00Z","eventSource":"sts.amazonaws.com","eventName":"AssumeRole","awsRegion":"us-east-1","requestParameters":{{"roleArn":"arn:aws:iam::111122223333:role/R","roleSessionName":"{jane}","sourceIdentity":"{jane}","tags":[{{"key":"user","value":"{jane}"}}]}},"responseElements":{{"credentials":{{"accessKeyId":"ASIAR","expiration":"Oct 20, 2026, 10:00:00 AM"}},"assumedRoleUser":{{"assumedRoleId":"AROAR:{jane}","arn":"arn:aws:sts::111122223333:assumed-role/R/{jane}"}}}},"requestID":"r","eventID":"e","eventType":"AwsApiCall","recipientAccountId":"111122223333"}}"#
        );
        let lines = format!("{call}\n{opened}\n{{\"broken\": \"{jane}\"\n");
        let mut decoder = Decoder::taking(Arc::new(Intake { pseudonyms: Some(pseudonyms(&[])), ..Intake::default() }));
        let mut batch = Batch::default();
        decoder.decode_lines(lines.as_bytes(), 0, Micros(1_792_497_600_000_000), &mut batch);
        assert_eq!((batch.profiles.len(), batch.trail.len(), batch.rejected.len()), (1, 1, 1));
        decoder.hide_names(&mut batch);
        let profile = batch.profiles[0];
        let kept = format!(
            "{} {} {:?} {}",
            batch.strings.get(profile.principal_arn),
            batch.strings.get(profile.metadata),
            batch.trail,
            String::from_utf8_lossy(&batch.rejected[0].raw)
        );
        assert!(!kept.contains("jane"), "{kept}");
        assert_eq!(kept.matches(&pseudonyms(&[]).of(jane)).count(), 11, "{kept}");
    }
}
