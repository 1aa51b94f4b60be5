//! What holds for every agents file and every stream of calls.

mod attribution_support;

use std::fmt::Write as _;

use attribution_support::{Caller, attribute, batch, enricher, owners};
use proptest::prelude::*;
use sluice_enrich::{AgentsFile, EnrichCache};

const ROLES: [&str; 3] = ["Alpha", "Alphabet", "Beta"];
const IDS: [&str; 4] = ["a", "b", "c", "d"];
const SESSIONS: [&str; 4] = ["a", "run-1", "run-2", "BedrockAgentCore-0f8fad5b-d9cb-469f-a165-70867728950e"];

fn profile(id: &str) -> String {
    format!("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/{id}")
}

/// An agent of a generated agents file.
#[derive(Clone, Debug)]
struct Entry {
    id: &'static str,
    principals: Vec<&'static str>,
    profiles: Vec<&'static str>,
    sessions: Vec<&'static str>,
    pinned: bool,
    team: bool,
}

impl Entry {
    fn write(&self, text: &mut String) {
        let list = |values: Vec<String>| values.iter().map(|value| format!("'{value}'")).collect::<Vec<_>>().join(",");
        let principals = list(self.principals.iter().map(|name| format!("arn:aws:iam::123456789012:{name}")).collect());
        let profiles = list(self.profiles.iter().map(|id| profile(id)).collect());
        let sessions =
            if self.principals.is_empty() { String::new() } else { list(self.sessions.iter().map(|&name| name.to_owned()).collect()) };
        let pinned = self.pinned && !sessions.is_empty();
        let written = writeln!(
            text,
            "[[agent]]\nid='{}'\nprincipals=[{principals}]\ninference_profiles=[{profiles}]\nsession_names=[{sessions}]\npinned={pinned}",
            self.id
        );
        written.expect("a string takes all text");
        if self.team {
            text.push_str("team='of-file'\ntags={x='of-file'}\n");
        }
    }
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let names = prop::sample::subsequence(vec!["role/Alpha", "role/p/Alphabet", "role/Alpha*", "role/Beta", "user/Alpha"], 0..3);
    let profiles = prop::sample::subsequence(vec!["p1", "p2"], 0..=2);
    let sessions = prop::sample::subsequence(vec!["run-*", "run-1", "a", "Bedrock*"], 0..3);
    let entry = (names, profiles, sessions, any::<bool>(), any::<bool>());
    prop::collection::vec(entry, 0..=IDS.len()).prop_map(|agents| {
        let with_ids = IDS.into_iter().zip(agents);
        with_ids
            .map(|(id, (principals, profiles, sessions, pinned, team))| Entry { id, principals, profiles, sessions, pinned, team })
            .collect()
    })
}

fn file(entries: &[Entry]) -> String {
    let mut text = String::new();
    entries.iter().for_each(|entry| entry.write(&mut text));
    text
}

fn callers() -> impl Strategy<Value = Vec<Caller>> {
    let arn = prop_oneof![
        5 => (prop::sample::select(&ROLES[..]), prop::sample::select(&SESSIONS[..])).prop_map(|(role, session)| format!("arn:aws:sts::123456789012:assumed-role/{role}/{session}")),
        1 => prop::sample::select(vec!["arn:aws:iam::123456789012:user/x/Alpha", "arn:aws:iam::123456789012:root", "arn:aws:sts::1:assumed-role/Alpha/a", "junk", ""]).prop_map(str::to_owned),
    ];
    let model = prop::sample::select(vec!["amazon.nova-lite-v1:0".to_owned(), profile("p1"), profile("p2"), profile("p3")]);
    let key = prop::sample::select(vec!["agent_id", "agent", "session", "team", "x", "claimed_agent"]);
    let value = prop::sample::select(vec!["a", "b", "d", "new", "unattributed", "spoofed:Alpha", "", "run-1", "\\u0007", "of-file"]);
    let metadata = prop::collection::btree_map(key, value, 0..4).prop_map(|pairs| {
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("\"{key}\":\"{value}\"")).collect();
        if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
    });
    prop::collection::vec((arn, model, metadata).prop_map(|(arn, model, metadata)| Caller { arn, model, metadata }), 1..24)
}

proptest! {
    /// The heart of it: nobody spends in the name of an agent that the file binds to something else.
    #[test]
    fn an_agent_is_booked_only_what_is_its_own(entries in entries(), callers in callers()) {
        let text = file(&entries);
        let agents = AgentsFile::parse(&text).expect("valid");
        for (caller, shown) in callers.iter().zip(attribute(&enricher(&text), &callers)) {
            let id = shown.agent.split(' ').next().unwrap_or("");
            let status = shown.agent.rsplit(' ').next().unwrap_or("");
            let here: Vec<_> = agents.registered_on(&caller.arn).iter().map(|agent| agent.id.clone()).collect();
            prop_assert_eq!(id.starts_with("spoofed:"), status == "spoofed", "{:?} {:?}", caller, shown);
            prop_assert_eq!(id == "unattributed", status == "unattributed", "{:?} {:?}", caller, shown);
            if !here.is_empty() && matches!(status, "verified" | "unverified") {
                prop_assert!(here.iter().any(|other| other == id), "{:?} {:?} {:?}", caller, shown, here);
                // Only among several may the caller's own word be all there is.
                let own_word = here.len() > 1 && shown.agent.contains(" metadata:");
                prop_assert!(status == "verified" || own_word, "{:?} {:?} {:?}", caller, shown, here);
            }
            let Some(agent) = agents.agent(id) else {
                prop_assert!(status != "verified", "{:?} {:?}", caller, shown);
                continue;
            };
            if !agent.principals.is_empty() {
                prop_assert!(here.iter().any(|other| other == id), "{:?} {:?} {:?}", caller, shown, here);
            } else if !agent.inference_profiles.is_empty() {
                prop_assert!(here.is_empty() && agent.inference_profiles.contains(&caller.model), "{:?} {:?}", caller, shown);
            } else {
                prop_assert_eq!(status, "unverified");
            }
        }
    }

    /// A refused call brings no session and no team of its own claim.
    #[test]
    fn a_refused_call_keeps_nothing_it_claimed(entries in entries(), callers in callers()) {
        for (caller, shown) in callers.iter().zip(attribute(&enricher(&file(&entries)), &callers)) {
            if shown.agent.ends_with(" spoofed") {
                prop_assert!(!shown.session.contains("metadata:") && shown.team.is_empty(), "{:?} {:?}", caller, shown);
                prop_assert!(shown.tags.contains("claimed_agent=") || caller.model.contains("profile"), "{:?} {:?}", caller, shown);
            }
        }
    }

    #[test]
    fn owners_do_not_depend_on_order_or_company(entries in entries(), callers in callers(), seed in any::<prop::sample::Index>()) {
        let enricher = enricher(&file(&entries));
        let whole = attribute(&enricher, &callers);
        let mut cache = EnrichCache::default();
        let (left, right) = callers.split_at(seed.index(callers.len()));
        let halves = [left, right].map(|half| owners(&enricher.enrich(batch(half), &mut cache)));
        prop_assert_eq!(&halves.concat(), &whole);
        let mut turned: Vec<_> = callers.clone();
        turned.rotate_left(left.len());
        turned.reverse();
        let mut back = owners(&enricher.enrich(batch(&turned), &mut cache));
        back.reverse();
        back.rotate_right(left.len());
        prop_assert_eq!(back, whole);
    }

    #[test]
    fn owners_do_not_depend_on_the_order_of_the_agents_file((entries, shuffled) in entries().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())), callers in callers()) {
        prop_assert_eq!(attribute(&enricher(&file(&entries)), &callers), attribute(&enricher(&file(&shuffled)), &callers));
    }

    #[test]
    fn no_text_panics(arn in any::<String>(), model in any::<String>(), metadata in any::<String>()) {
        let shown = attribute(&enricher("[[agent]]\nid='a'\nprincipals=['arn:aws:iam::1:role/*']"), &[Caller { arn, model, metadata }]);
        prop_assert_eq!(shown.len(), 1);
    }
}
