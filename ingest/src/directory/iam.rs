//! Questions to IAM and its answers, which are XML.
//!
//! Source: AWS, "IAM API reference": `GetRole`, `ListRoleTags`, `ListUserTags`; a trust policy comes URL-encoded after RFC 3986.

use std::fmt::Write;

use aws_smithy_xml::decode::{Document, ScopedDecoder, XmlDecodeError, try_data};

/// Version of the query API.
const VERSION: &str = "2010-05-08";

/// A role as IAM tells it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Role {
    /// With its path.
    pub(super) arn: String,
    /// Name.
    pub(super) name: String,
    /// Description.
    pub(super) description: String,
    /// Trust policy, JSON.
    pub(super) trust: String,
}

/// One page of tags.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tags {
    pub(super) tags: Vec<(String, String)>,
    /// Where the next page begins; empty on the last.
    pub(super) marker: String,
}

/// Returns the form of a call with one parameter, and the marker of a page.
pub(super) fn form(action: &str, parameter: (&str, &str), marker: &str) -> String {
    let mut form = format!("Action={action}&Version={VERSION}&{}={}", parameter.0, escape(parameter.1));
    if !marker.is_empty() {
        form.push_str("&Marker=");
        form.push_str(&escape(marker));
    }
    form
}

/// Escapes everything but letters, digits and `-_.~`.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").unwrap_or_default();
        }
    }
    out
}

/// Turns `%XX` into the bytes they stand for; `None` for an escape that is none.
fn unescape(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_first_chunk::<2>()?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push(u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// Reads the answer to `GetRole`.
pub(super) fn role(xml: &str) -> Result<Role, XmlDecodeError> {
    let mut role = Role::default();
    within(xml, "GetRoleResult", |result| {
        while let Some(mut outer) = result.next_tag() {
            if !outer.start_el().matches("Role") {
                continue;
            }
            while let Some(mut tag) = outer.next_tag() {
                let name = tag.start_el().local().to_owned();
                match name.as_str() {
                    "Arn" => role.arn = try_data(&mut tag)?.into_owned(),
                    "RoleName" => role.name = try_data(&mut tag)?.into_owned(),
                    "Description" => role.description = try_data(&mut tag)?.into_owned(),
                    "AssumeRolePolicyDocument" => role.trust = unescape(&try_data(&mut tag)?).unwrap_or_default(),
                    _ => {}
                }
            }
        }
        Ok(())
    })?;
    if role.arn.is_empty() { Err(XmlDecodeError::custom("a role without an ARN")) } else { Ok(role) }
}

/// Reads the answer to `ListRoleTags` or `ListUserTags`.
pub(super) fn tags(xml: &str, result: &str) -> Result<Tags, XmlDecodeError> {
    let (mut page, mut is_truncated) = (Tags::default(), false);
    within(xml, result, |result| {
        while let Some(mut tag) = result.next_tag() {
            let name = tag.start_el().local().to_owned();
            match name.as_str() {
                "Tags" => {
                    while let Some(mut member) = tag.next_tag() {
                        page.tags.push(pair(&mut member)?);
                    }
                }
                "IsTruncated" => is_truncated = try_data(&mut tag)? == "true",
                "Marker" => page.marker = try_data(&mut tag)?.into_owned(),
                _ => {}
            }
        }
        Ok(())
    })?;
    if !is_truncated {
        page.marker.clear();
    }
    Ok(page)
}

/// Reads the account that `GetCallerIdentity` tells.
pub(super) fn account(xml: &str) -> Result<String, XmlDecodeError> {
    let mut account = String::new();
    within(xml, "GetCallerIdentityResult", |result| {
        while let Some(mut tag) = result.next_tag() {
            if tag.start_el().matches("Account") {
                account = try_data(&mut tag)?.into_owned();
            }
        }
        Ok(())
    })?;
    if account.is_empty() { Err(XmlDecodeError::custom("an identity without an account")) } else { Ok(account) }
}

fn pair(member: &mut ScopedDecoder<'_, '_>) -> Result<(String, String), XmlDecodeError> {
    let (mut key, mut value) = (String::new(), String::new());
    while let Some(mut tag) = member.next_tag() {
        if tag.start_el().matches("Key") {
            key = try_data(&mut tag)?.into_owned();
        } else if tag.start_el().matches("Value") {
            value = try_data(&mut tag)?.into_owned();
        }
    }
    Ok((key, value))
}

/// Reads the element below the root that holds the result.
fn within(
    xml: &str,
    result: &str,
    mut read: impl FnMut(&mut ScopedDecoder<'_, '_>) -> Result<(), XmlDecodeError>,
) -> Result<(), XmlDecodeError> {
    let mut document = Document::new(xml);
    let mut root = document.root_element()?;
    while let Some(mut tag) = root.next_tag() {
        if tag.start_el().matches(result) {
            return read(&mut tag);
        }
    }
    Err(XmlDecodeError::custom(format!("an answer without {result}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = r#"<GetRoleResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><GetRoleResult><Role><Path>/agents/</Path><AssumeRolePolicyDocument>%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%5D%7D</AssumeRolePolicyDocument><MaxSessionDuration>3600</MaxSessionDuration><RoleId>AROAEXAMPLE</RoleId><RoleLastUsed><Region>us-east-1</Region></RoleLastUsed><RoleName>triage</RoleName><Arn>arn:aws:iam::111122223333:role/agents/triage</Arn><Description>a &amp; b</Description></Role></GetRoleResult><ResponseMetadata><RequestId>x</RequestId></ResponseMetadata></GetRoleResponse>"#;

    #[test]
    fn a_role_and_its_trust_policy() {
        let read = role(ROLE).expect("a role");
        assert_eq!((read.arn.as_str(), read.name.as_str()), ("arn:aws:iam::111122223333:role/agents/triage", "triage"));
        assert_eq!((read.description.as_str(), read.trust.as_str()), ("a & b", r#"{"Version":"2012-10-17","Statement":[]}"#));
        assert!(role("<GetRoleResponse/>").is_err());
        assert!(role("<GetRoleResponse><GetRoleResult><Role></Role></GetRoleResult></GetRoleResponse>").is_err());
        assert!(role("no xml").is_err() && role("").is_err());
    }

    #[test]
    fn pages_of_tags() {
        let page = |more: &str| {
            format!(
                "<ListRoleTagsResponse><ListRoleTagsResult><Tags><member><Key>team</Key><Value>search</Value></member><member><Key>empty</Key><Value/></member></Tags>{more}</ListRoleTagsResult></ListRoleTagsResponse>"
            )
        };
        let first = tags(&page("<IsTruncated>true</IsTruncated><Marker>m=1</Marker>"), "ListRoleTagsResult").expect("tags");
        assert_eq!(first.tags, [("team".to_owned(), "search".to_owned()), ("empty".to_owned(), String::new())]);
        assert_eq!(first.marker, "m=1");
        assert_eq!(tags(&page("<IsTruncated>false</IsTruncated><Marker>x</Marker>"), "ListRoleTagsResult").expect("tags").marker, "");
        assert!(tags(&page(""), "ListUserTagsResult").is_err());
        assert_eq!(form("ListRoleTags", ("RoleName", "a+b"), "m=1"), "Action=ListRoleTags&Version=2010-05-08&RoleName=a%2Bb&Marker=m%3D1");
    }

    #[test]
    fn identities_and_escapes() {
        let xml = "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>a</Arn><Account>111122223333</Account></GetCallerIdentityResult></GetCallerIdentityResponse>";
        assert_eq!(account(xml).expect("an account"), "111122223333");
        assert!(account("<GetCallerIdentityResponse><GetCallerIdentityResult/></GetCallerIdentityResponse>").is_err());
        assert_eq!(unescape("a%20b%C3%A9").as_deref(), Some("a bé"));
        assert_eq!([unescape("%"), unescape("%4"), unescape("%zz"), unescape("%ff")], [None, None, None, None]);
    }
}
