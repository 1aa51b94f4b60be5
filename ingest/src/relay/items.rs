//! CloudTrail events as two tables: one row an event, and one row for each of its lists' items.

use sluice_schemas::Micros;
use sluice_schemas::trail::{AssumedSession, Invoked, TrailEvent};

use super::RelayError;
use super::table::{Column, Kind, Table, write};

/// Text fields of an event, in order.
const TEXTS: usize = 17;
/// Text fields of the session an event opens.
const ASSUMED: usize = 6;

const EVENTS: [Kind; 4 + TEXTS + ASSUMED] = {
    let mut kinds = [Kind::Text; 4 + TEXTS + ASSUMED];
    kinds[0] = Kind::I64;
    kinds[1] = Kind::MaybeU64;
    kinds[2] = Kind::MaybeU64;
    kinds[3] = Kind::U8;
    kinds
};
const ITEMS: [Kind; 4] = [Kind::U32, Kind::U8, Kind::Text, Kind::Text];

/// Flags of an event: it opens a session, it came with an API key.
const ASSUMES: u8 = 1;
const BEARER: u8 = 2;

const RESOURCE: u8 = 0;
const TAG: u8 = 1;
const TRANSITIVE: u8 = 2;

fn texts(event: &TrailEvent) -> [&str; TEXTS] {
    [
        &event.event_id,
        &event.event_source,
        &event.event_name,
        &event.account_id,
        &event.region,
        &event.request_id,
        &event.error_code,
        &event.identity_type,
        &event.principal_arn,
        &event.principal_id,
        &event.access_key_id,
        &event.issuer_arn,
        &event.source_identity,
        &event.credentials_issued_to,
        &event.model_id,
        &event.invoked_by,
        &event.user_agent,
    ]
}

fn assumed(session: Option<&AssumedSession>) -> [&str; ASSUMED] {
    session.map_or([""; ASSUMED], |session| {
        [
            &session.role_arn,
            &session.session_name,
            &session.source_identity,
            &session.access_key_id,
            &session.assumed_role_id,
            &session.assumed_role_arn,
        ]
    })
}

/// Writes events; `inference_region` rides with the items, for it is mostly empty.
pub(super) fn write_events(events: &[TrailEvent]) -> Result<(Vec<u8>, Vec<u8>), RelayError> {
    let mut columns = vec![
        Column::I64(events.iter().map(|event| event.event_time.0).collect()),
        Column::MaybeU64(events.iter().map(|event| event.input_tokens).collect()),
        Column::MaybeU64(events.iter().map(|event| event.output_tokens).collect()),
        Column::U8(
            events.iter().map(|event| (u8::from(event.assumed.is_some()) * ASSUMES) | (u8::from(event.bearer_token) * BEARER)).collect(),
        ),
    ];
    for at in 0..TEXTS {
        columns.push(Column::Text(events.iter().map(|event| texts(event)[at]).collect()));
    }
    for at in 0..ASSUMED {
        columns.push(Column::Text(events.iter().map(|event| assumed(event.assumed.as_deref())[at]).collect()));
    }
    let mut items: Vec<(u32, u8, &str, &str)> = Vec::new();
    let invoked = events.iter().map(|event| event.invoked.as_deref().map(to_json).transpose()).collect::<Result<Vec<_>, _>>()?;
    let expiries: Vec<_> =
        events.iter().map(|event| event.assumed.as_ref().and_then(|session| session.expires).map(|at| at.0.to_string())).collect();
    for (event, at) in events.iter().zip(0_u32..) {
        items.extend(invoked[at as usize].as_deref().map(|json| (at, INVOKED, json, "")));
        items.extend(expiries[at as usize].as_deref().map(|expires| (at, EXPIRES, expires, "")));
        items.extend(event.resources.iter().map(|resource| (at, RESOURCE, resource.as_str(), "")));
        if !event.inference_region.is_empty() {
            items.push((at, INFERENCE_REGION, &event.inference_region, ""));
        }
        let Some(session) = &event.assumed else { continue };
        items.extend(session.tags.iter().map(|(key, value)| (at, TAG, key.as_str(), value.as_str())));
        items.extend(session.transitive_keys.iter().map(|key| (at, TRANSITIVE, key.as_str(), "")));
        items.extend(session.inherited.iter().map(|key| (at, INHERITED, key.as_str(), "")));
    }
    let items = vec![
        Column::U32(items.iter().map(|item| item.0).collect()),
        Column::U8(items.iter().map(|item| item.1).collect()),
        Column::Text(items.iter().map(|item| item.2).collect()),
        Column::Text(items.iter().map(|item| item.3).collect()),
    ];
    Ok((write(columns)?, write(items)?))
}

const INFERENCE_REGION: u8 = 3;
const INVOKED: u8 = 4;
const EXPIRES: u8 = 5;
const INHERITED: u8 = 6;

fn to_json(invoked: &Invoked) -> Result<String, RelayError> {
    serde_json::to_string(invoked).map_err(|_| RelayError::Damaged { detail: "a run that is no text" })
}

/// Reads events.
pub(super) fn read_events(events: &[u8], items: &[u8]) -> Result<Vec<TrailEvent>, RelayError> {
    let (table, items) = (Table::read(events, &EVENTS)?, Table::read(items, &ITEMS)?);
    let mut events: Vec<TrailEvent> = (0..table.rows()).map(|row| event(&table, row)).collect();
    let wrong = || RelayError::Damaged { detail: "relay message with an item of no event" };
    for row in 0..items.rows() {
        let event = events.get_mut(items.u32(0)[row] as usize).ok_or_else(wrong)?;
        let (key, value) = (items.text(2, row).to_owned(), items.text(3, row).to_owned());
        match (items.u8(1)[row], &mut event.assumed) {
            (RESOURCE, _) => event.resources.push(key),
            (INFERENCE_REGION, _) => event.inference_region = key,
            (TAG, Some(session)) => session.tags.push((key, value)),
            (TRANSITIVE, Some(session)) => session.transitive_keys.push(key),
            (INHERITED, Some(session)) => session.inherited.push(key),
            (EXPIRES, Some(session)) => session.expires = Some(Micros(key.parse().map_err(|_| wrong())?)),
            (INVOKED, _) => event.invoked = Some(serde_json::from_str(&key).map_err(|_| wrong())?),
            _ => return Err(wrong()),
        }
    }
    Ok(events)
}

fn event(table: &Table, row: usize) -> TrailEvent {
    let text = |at: usize| table.text(4 + at, row).to_owned();
    let session = |at: usize| text(TEXTS + at);
    TrailEvent {
        event_time: Micros(table.i64(0)[row]),
        event_id: text(0),
        event_source: text(1),
        event_name: text(2),
        account_id: text(3),
        region: text(4),
        request_id: text(5),
        error_code: text(6),
        identity_type: text(7),
        principal_arn: text(8),
        principal_id: text(9),
        access_key_id: text(10),
        issuer_arn: text(11),
        source_identity: text(12),
        credentials_issued_to: text(13),
        model_id: text(14),
        invoked_by: text(15),
        user_agent: text(16),
        bearer_token: table.u8(3)[row] & BEARER != 0,
        inference_region: String::new(),
        input_tokens: table.maybe_u64(1, row),
        output_tokens: table.maybe_u64(2, row),
        resources: Vec::new(),
        assumed: (table.u8(3)[row] & ASSUMES != 0).then(|| {
            Box::new(AssumedSession {
                role_arn: session(0),
                session_name: session(1),
                source_identity: session(2),
                access_key_id: session(3),
                assumed_role_id: session(4),
                assumed_role_arn: session(5),
                expires: None,
                tags: Vec::new(),
                transitive_keys: Vec::new(),
                inherited: Vec::new(),
            })
        }),
        invoked: None,
    }
}
