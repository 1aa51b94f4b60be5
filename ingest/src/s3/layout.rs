//! Reads what the key of an object says: whose logs, of which service and region, of which time.
//!
//! Sources of the layouts: AWS, "Monitor model invocation using Amazon CloudWatch Logs and Amazon S3" and "Finding your
//! CloudTrail log files". A key of another layout says nothing and is read.

use sluice_schemas::Micros;
use sluice_schemas::time::{DAY, HOUR, days_from_civil};

/// Folder below which AWS services write their logs.
const ROOT: &str = "AWSLogs";
/// Time by which a log may lie in a later folder than its event: Bedrock and CloudTrail deliver within minutes.
const DELIVERY: i64 = HOUR;

/// The service that wrote an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// Bedrock model-invocation logs.
    Bedrock,
    /// CloudTrail events.
    CloudTrail,
    /// Any other: CloudTrail digests, Config, flow logs.
    Other,
}

/// What a key or a folder says of itself; borrowed from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place<'a> {
    /// Organisation of an organisation trail.
    pub(super) organization: Option<&'a str>,
    /// Account.
    pub(super) account: Option<&'a str>,
    /// Service.
    pub(super) service: Option<Service>,
    /// Time its folder covers, as far as the folder tells.
    pub(super) span: Option<Span>,
    /// No finer date folder follows.
    pub(super) is_finest: bool,
    /// A folder of offloaded bodies.
    pub(super) is_data: bool,
    /// The path up to the account.
    pub(super) owner: &'a str,
}

/// A stretch of time, the end exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// First moment.
    pub(super) start: Micros,
    /// Moment after the last.
    pub(super) end: Micros,
}

/// Reads the folders of `path`: of a key all but its last part, of a prefix all that end in a slash.
pub(super) fn place(path: &str) -> Place<'_> {
    let folders = path.rfind('/').map_or("", |end| &path[..end]);
    let mut parts = folders.split('/').scan(0, |at, part| {
        *at += part.len() + 1;
        Some((part, *at - 1))
    });
    let mut place = Place::default();
    if !parts.any(|(part, _)| part == ROOT) {
        return place;
    }
    let mut next = parts.next();
    if let Some((part, _)) = next.filter(|(part, _)| is_organization(part)) {
        place.organization = Some(part);
        next = parts.next();
    }
    let Some((account, end)) = next else { return place };
    (place.account, place.owner) = (Some(account), &path[..end]);
    let Some((service, _)) = parts.next() else { return place };
    let service = match service {
        "BedrockModelInvocationLogs" => Service::Bedrock,
        "CloudTrail" => Service::CloudTrail,
        _ => Service::Other,
    };
    place.service = Some(service);
    let mut parts = parts.map(|(part, _)| part).skip(1);
    let mut date = Vec::with_capacity(4);
    let finest = if service == Service::Bedrock { 4 } else { 3 };
    date.extend(parts.by_ref().take(finest).map_while(number));
    place.span = span(&date);
    place.is_finest = place.span.is_some() && date.len() == finest;
    place.is_data = service == Service::Bedrock && place.is_finest && parts.next() == Some("data");
    place
}

fn is_organization(part: &str) -> bool {
    part.strip_prefix("o-").is_some_and(|id| (10..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

fn number(part: &str) -> Option<i64> {
    let digits = (2..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    if digits { part.parse().ok() } else { None }
}

/// The time a year, month, day or hour folder covers; `None` for what is no date.
fn span(date: &[i64]) -> Option<Span> {
    let day = |year, month, day| Micros(days_from_civil(year, month, day).saturating_mul(DAY));
    let valid = |month: i64, day: i64| (1..=12).contains(&month) && (1..=31).contains(&day);
    let (start, end) = match *date {
        [year] => (day(year, 1, 1), day(year + 1, 1, 1)),
        [year, 12] => (day(year, 12, 1), day(year + 1, 1, 1)),
        [year, month] if valid(month, 1) => (day(year, month, 1), day(year, month + 1, 1)),
        [year, month, on] if valid(month, on) => (day(year, month, on), day(year, month, on).plus(DAY)),
        [year, month, on, hour] if valid(month, on) && hour < 24 => {
            let start = day(year, month, on).plus(hour * HOUR);
            (start, start.plus(HOUR))
        }
        _ => return None,
    };
    Some(Span { start, end })
}

/// Which events are wanted: those from `since` on and before `until`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// First moment wanted.
    pub(super) since: Option<Micros>,
    /// First moment not wanted any more.
    pub(super) until: Option<Micros>,
}

impl Bounds {
    /// Tells whether events of a folder may be wanted. An event lies in the folder of its time or, delivered late, in the next.
    pub(super) fn touch(self, span: Span) -> bool {
        self.since.is_none_or(|since| span.end > since) && self.until.is_none_or(|until| span.start < until.plus(DELIVERY))
    }

    /// Tells whether nothing within the folder needs to be left out.
    fn hold(self, span: Span) -> bool {
        self.since.is_none_or(|since| span.start >= since) && self.until.is_none_or(|until| span.end <= until.plus(DELIVERY))
    }

    /// Tells whether everything is wanted.
    pub(super) fn is_open(self) -> bool {
        self == Self::default()
    }
}

/// Who may be read; an empty list allows everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Allowed {
    /// Accounts.
    pub(super) accounts: Vec<String>,
    /// Organisations, where the key names one.
    pub(super) organizations: Vec<String>,
}

impl Allowed {
    /// Tells whether a place may be read.
    fn allow(&self, place: &Place<'_>) -> bool {
        let on = |list: &[String], name: Option<&str>| list.is_empty() || name.is_none_or(|name| list.iter().any(|other| other == name));
        on(&self.accounts, place.account) && on(&self.organizations, place.organization)
    }
}

/// What to do with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyDecision {
    /// Read it.
    Read,
    /// It holds no log by its place: an offloaded body, a digest, the check of permissions, the marker of a folder.
    NoLog,
    /// Outside the wanted time.
    OutOfTime,
    /// Of an account or organisation that is not on the list.
    Foreign,
}

/// Decides about an object by its key, and by the time it was last written where the key tells none.
pub(super) fn decide_key(key: &str, modified: Option<Micros>, bounds: Bounds, allowed: &Allowed) -> KeyDecision {
    let place = place(key);
    let name = key.rsplit('/').next().unwrap_or(key);
    if name.is_empty() || place.is_data || place.service == Some(Service::Other) || name.ends_with("permission-check") {
        return KeyDecision::NoLog;
    }
    if !allowed.allow(&place) {
        return KeyDecision::Foreign;
    }
    let wanted = match (place.span, modified) {
        (Some(span), _) => bounds.touch(span),
        // What was last written before the first wanted moment holds nothing of later.
        (None, Some(modified)) => bounds.since.is_none_or(|since| modified >= since),
        (None, None) => true,
    };
    if wanted { KeyDecision::Read } else { KeyDecision::OutOfTime }
}

/// What to do with a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FolderDecision {
    /// List everything below it in one go.
    Flat,
    /// Look at each folder in it.
    Walk,
    /// Nothing in it is wanted.
    Skip,
    /// It belongs to an account or organisation that is not on the list.
    Foreign,
}

/// Decides about a folder, given with its closing slash, or about the prefix one starts from.
pub(super) fn decide_folder(prefix: &str, bounds: Bounds, allowed: &Allowed) -> FolderDecision {
    let place = place(prefix);
    if place.is_data || place.service == Some(Service::Other) {
        return FolderDecision::Skip;
    }
    if !allowed.allow(&place) {
        return FolderDecision::Foreign;
    }
    match place.span {
        Some(span) if !bounds.touch(span) => FolderDecision::Skip,
        Some(span) if bounds.hold(span) || place.is_finest => FolderDecision::Flat,
        None if bounds.is_open() => FolderDecision::Flat,
        Some(_) | None => FolderDecision::Walk,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEDROCK: &str = "logs/AWSLogs/111122223333/BedrockModelInvocationLogs/eu-central-1/2026/10/01/13/";
    const TRAIL: &str = "AWSLogs/o-abc123def456/111122223333/CloudTrail/eu-central-1/2026/10/01/";

    fn at(text: &str) -> Micros {
        Micros::parse_utc(text.as_bytes()).expect("a time")
    }

    fn bounds(since: &str, until: &str) -> Bounds {
        Bounds { since: Some(at(since)), until: Some(at(until)) }
    }

    fn only(account: &str) -> Allowed {
        Allowed { accounts: vec![account.to_owned()], organizations: Vec::new() }
    }

    #[test]
    fn a_key_tells_owner_service_and_time() {
        let key = format!("{BEDROCK}part.json.gz");
        let of = place(&key);
        assert_eq!((of.account, of.organization, of.service), (Some("111122223333"), None, Some(Service::Bedrock)));
        assert_eq!(of.span, Some(Span { start: at("2026-10-01T13:00:00Z"), end: at("2026-10-01T14:00:00Z") }));
        assert_eq!((of.is_finest, of.is_data, of.owner), (true, false, "logs/AWSLogs/111122223333"));
        let of = place(TRAIL);
        assert_eq!((of.organization, of.service), (Some("o-abc123def456"), Some(Service::CloudTrail)));
        assert_eq!(of.span, Some(Span { start: at("2026-10-01T00:00:00Z"), end: at("2026-10-02T00:00:00Z") }));
        let year = &TRAIL[..TRAIL.len() - "10/01/".len()];
        assert_eq!(place(year).span.map(|span| span.end), Some(at("2027-01-01T00:00:00Z")));
        assert_eq!(place("any/thing.json"), Place::default());
    }

    #[test]
    fn what_holds_no_log_is_left() {
        let decide = |key: &str| decide_key(key, None, Bounds::default(), &Allowed::default());
        assert_eq!(decide(&format!("{BEDROCK}part.json.gz")), KeyDecision::Read);
        assert_eq!(decide(&format!("{BEDROCK}data/11111111_output.json.gz")), KeyDecision::NoLog);
        assert_eq!(decide(&TRAIL.replace("CloudTrail/", "CloudTrail-Digest/")), KeyDecision::NoLog);
        assert_eq!(decide(&format!("{}d.json.gz", TRAIL.replace("CloudTrail/", "CloudTrail-Digest/"))), KeyDecision::NoLog);
        let check = "AWSLogs/111122223333/BedrockModelInvocationLogs/amazon-bedrock-logs-permission-check";
        assert_eq!(decide(check), KeyDecision::NoLog);
        assert_eq!(decide("folder/"), KeyDecision::NoLog);
        assert_eq!(decide("export/records.jsonl"), KeyDecision::Read);
        // A folder named data elsewhere is nothing special.
        assert_eq!(decide("data/records.jsonl"), KeyDecision::Read);
    }

    #[test]
    fn other_accounts_and_organisations_are_foreign() {
        let key = format!("{BEDROCK}part.json.gz");
        assert_eq!(decide_key(&key, None, Bounds::default(), &only("111122223333")), KeyDecision::Read);
        assert_eq!(decide_key(&key, None, Bounds::default(), &only("999999999999")), KeyDecision::Foreign);
        let others = Allowed { accounts: Vec::new(), organizations: vec!["o-zzzzzzzzzz".to_owned()] };
        assert_eq!(decide_key(&format!("{TRAIL}t.json.gz"), None, Bounds::default(), &others), KeyDecision::Foreign);
        assert_eq!(decide_key(&key, None, Bounds::default(), &others), KeyDecision::Read);
        assert_eq!(decide_folder(BEDROCK, Bounds::default(), &only("999999999999")), FolderDecision::Foreign);
        assert_eq!(decide_folder("AWSLogs/", Bounds::default(), &only("999999999999")), FolderDecision::Flat);
    }

    #[test]
    fn folders_are_walked_only_where_the_bounds_cut_them() {
        let cut = bounds("2026-09-30T12:30:00Z", "2026-10-02T00:00:00Z");
        let decide = |prefix: &str| decide_folder(&format!("AWSLogs/1/BedrockModelInvocationLogs/r/{prefix}"), cut, &Allowed::default());
        for (prefix, expected) in [
            ("", FolderDecision::Walk),
            ("2025/", FolderDecision::Skip),
            ("2026/", FolderDecision::Walk),
            ("2026/08/", FolderDecision::Skip),
            ("2026/09/", FolderDecision::Walk),
            ("2026/09/30/", FolderDecision::Walk),
            ("2026/09/30/11/", FolderDecision::Skip),
            ("2026/09/30/12/", FolderDecision::Flat),
            ("2026/10/01/", FolderDecision::Flat),
            // Events of the last minutes may be delivered into the first folder behind the end.
            ("2026/10/02/", FolderDecision::Walk),
            ("2026/10/02/00/", FolderDecision::Flat),
            ("2026/10/02/01/", FolderDecision::Skip),
            ("2026/11/", FolderDecision::Skip),
        ] {
            assert_eq!(decide(prefix), expected, "{prefix}");
        }
        assert_eq!(decide_folder("unknown/", cut, &Allowed::default()), FolderDecision::Walk);
        assert_eq!(decide_folder("unknown/", Bounds::default(), &Allowed::default()), FolderDecision::Flat);
    }

    #[test]
    fn without_a_date_in_the_key_the_last_write_tells() {
        let since = Bounds { since: Some(at("2026-10-01T00:00:00Z")), until: None };
        let decide = |modified| decide_key("export/a.jsonl", modified, since, &Allowed::default());
        assert_eq!(decide(Some(at("2026-09-30T23:59:59Z"))), KeyDecision::OutOfTime);
        assert_eq!(decide(Some(at("2026-10-01T00:00:00Z"))), KeyDecision::Read);
        assert_eq!(decide(None), KeyDecision::Read);
    }
}
