//! Fields that rules match on: what each is called, where its value comes from, and how far it can be trusted.

use sluice_schemas::Rank;

use crate::attribution::{Context, Pinned, PrincipalKind, Specificity};

/// A field of a rule's `match`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    Account,
    Region,
    Operation,
    Model,
    Role,
    User,
    SessionName,
    SourceIdentity,
    UserId,
    UserAgent,
    CredentialsIssuedTo,
    InvokedBy,
    RunResource,
    SpanAgent,
    /// `aws:PrincipalTag/<key>`, the key in lower case: a session tag, else a tag of the role or user.
    PrincipalTag(String),
    /// `aws:ResourceTag/<key>`: a tag of the application inference profile.
    ResourceTag(String),
    /// `bedrock-agentcore:InboundJwtClaim/<claim>`.
    JwtClaim(String),
    /// `metadata/<key>`: the caller's own word.
    Metadata(String),
}

/// Names of the fields without a key, as written.
const PLAIN: [(&str, Field); 16] = [
    ("account", Field::Account),
    ("region", Field::Region),
    ("operation", Field::Operation),
    ("model", Field::Model),
    ("role", Field::Role),
    ("user", Field::User),
    ("session_name", Field::SessionName),
    ("source_identity", Field::SourceIdentity),
    ("aws:SourceIdentity", Field::SourceIdentity),
    ("userid", Field::UserId),
    ("aws:userid", Field::UserId),
    ("user_agent", Field::UserAgent),
    ("credentials_issued_to", Field::CredentialsIssuedTo),
    ("invoked_by", Field::InvokedBy),
    ("run_resource", Field::RunResource),
    ("span_agent", Field::SpanAgent),
];

type WithKey = fn(String) -> Field;

/// How the names of fields with a key begin.
const KEYED: [(&str, WithKey); 4] = [
    ("aws:PrincipalTag/", |key| Field::PrincipalTag(key.to_ascii_lowercase())),
    ("aws:ResourceTag/", |key| Field::ResourceTag(key.to_ascii_lowercase())),
    ("bedrock-agentcore:InboundJwtClaim/", Field::JwtClaim),
    ("metadata/", Field::Metadata),
];

/// Operations as calls have them.
const OPERATIONS: [&str; 6] = [
    "Converse",
    "ConverseStream",
    "InvokeModel",
    "InvokeModelWithResponseStream",
    "InvokeModelWithBidirectionalStream",
    "StartAsyncInvoke",
];

/// Returns the operation that `name` is but a letter or two off: another that is not known may well be a new one.
pub(super) fn misspelt_operation(name: &str) -> Option<&'static str> {
    let near = OPERATIONS.into_iter().map(|known| (distance(known, name), known)).min();
    near.filter(|(distance, _)| (1..=2).contains(distance)).map(|(_, known)| known)
}

/// Value of a field of one call.
pub(super) type Value<'v> = (&'v str, Rank, Specificity);

impl Field {
    pub(super) fn parse(name: &str) -> Option<Self> {
        if let Some((_, field)) = PLAIN.iter().find(|(known, _)| *known == name) {
            return Some(field.clone());
        }
        KEYED.iter().find_map(|(start, field)| name.strip_prefix(start).filter(|key| !key.is_empty()).map(|key| field(key.to_owned())))
    }

    /// Tells whether a name is the beginning of those of fields with a key, and nothing more.
    pub(super) fn lacks_key(name: &str) -> bool {
        KEYED.iter().any(|(start, _)| *start == name)
    }

    /// Returns the known name that `name` looks most like.
    pub(super) fn nearest(name: &str) -> Option<&'static str> {
        let all = PLAIN.iter().map(|(known, _)| *known).chain(KEYED.iter().map(|(start, _)| *start));
        let near = all.map(|known| (distance(known, name), known)).min();
        near.filter(|&(distance, known)| distance * 2 < known.len().max(name.len())).map(|(_, known)| known)
    }

    /// Every name, for messages.
    pub(super) fn names() -> String {
        PLAIN
            .iter()
            .map(|(known, _)| (*known).to_owned())
            .chain(KEYED.iter().map(|(start, _)| format!("{start}…")))
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Tells whether its values are compared without case.
    pub(super) const fn ignores_case(&self) -> bool {
        matches!(self, Self::Role | Self::User)
    }

    /// Returns its value for a call whose metadata pairs these are; `None` if the call has none.
    pub(super) fn value<'v>(&self, call: &'v Context<'_>, metadata: &'v [(String, String)]) -> Option<Value<'v>> {
        let caller = call.evidence.caller.as_deref();
        let run = call.evidence.run.as_ref();
        let aws = |text: &'v str, specificity| Some((text, Rank::Aws, specificity));
        let of_kind = |kind| call.principal.filter(|principal| principal.kind == kind).map(|principal| principal.name);
        let found = match self {
            Self::Account => aws(call.account_id, Specificity::Principal),
            Self::Region => aws(call.region, Specificity::Principal),
            Self::Operation => aws(call.operation, Specificity::Principal),
            Self::Model => aws(call.model_id, if call.is_through_profile() { Specificity::Profile } else { Specificity::Principal }),
            Self::Role => aws(of_kind(PrincipalKind::Role)?, Specificity::Principal),
            Self::User => aws(of_kind(PrincipalKind::User)?, Specificity::Principal),
            Self::SessionName => Some((call.principal?.session, call.rank_of(Pinned::SessionName), Specificity::Session)),
            Self::SourceIdentity => Some((call.believable_source_identity(), call.rank_of(Pinned::SourceIdentity), Specificity::Session)),
            Self::UserId => Some((caller?.principal_id.as_str(), call.rank_of(Pinned::SessionName), Specificity::Session)),
            Self::UserAgent => Some((caller?.user_agent.as_str(), Rank::Inferred, Specificity::Hint)),
            Self::CredentialsIssuedTo => aws(&caller?.credentials_issued_to, Specificity::Resource),
            Self::InvokedBy => aws(&caller?.invoked_by, Specificity::Principal),
            Self::RunResource => Some((run?.0.resource_arn.as_str(), call.rank_of(Pinned::Run), Specificity::Run)),
            Self::SpanAgent => Some((run?.0.agent_name.as_str(), Rank::Claimed.min(call.rank_of(Pinned::Run)), Specificity::Run)),
            Self::PrincipalTag(key) => call.principal_tag(key),
            Self::ResourceTag(key) => aws(tag(&call.directory.profile(call.model_id)?.tags, key)?, Specificity::Profile),
            Self::JwtClaim(claim) => Some((tag(&run?.0.claims, claim)?, call.rank_of(Pinned::Token), Specificity::Run)),
            Self::Metadata(key) => {
                let value = metadata.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())?;
                Some((value, Rank::Claimed, Specificity::Call))
            }
        };
        found.filter(|(text, ..)| !text.is_empty())
    }
}

fn tag<'t>(tags: &'t [(String, String)], key: &str) -> Option<&'t str> {
    tags.iter().find(|(known, _)| known.eq_ignore_ascii_case(key)).map(|(_, value)| value.as_str())
}

/// Number of letters to change, add or leave out to make one text of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, c) in one.chars().enumerate() {
        let mut before = row[0];
        row[0] = at + 1;
        for (column, d) in other.iter().enumerate() {
            let change = before + usize::from(c != *d);
            before = row[column + 1];
            row[column + 1] = change.min(before + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_mistakes_are_guessed() {
        assert_eq!(Field::parse("aws:PrincipalTag/App"), Some(Field::PrincipalTag("app".to_owned())));
        assert_eq!(Field::parse("aws:SourceIdentity"), Field::parse("source_identity"));
        assert_eq!(Field::parse("aws:PrincipalTag/"), None);
        assert_eq!(Field::nearest("sesion_name"), Some("session_name"));
        assert_eq!(Field::nearest("rol"), Some("role"));
        assert_eq!(Field::nearest("zzzzzz"), None);
    }
}
