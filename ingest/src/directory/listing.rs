//! Lists what cannot be told from calls: what AgentCore and Bedrock run as a role in an account and region, and registry records.

use serde_json::{Value, json};
use sluice_schemas::Micros;
use sluice_schemas::directory::{Entry, EntryKind};

use super::Place;
use super::answers::{self, text};
use super::ask::{Ask, Asker, LookError};
use super::iam::escape;
use crate::signed::{Body, Question};

/// Most pages of a list: a service that hands out the same token for ever must end somewhere.
const MAX_PAGES: usize = 1_000;
const CONTROL: (&str, &str) = ("bedrock-agentcore-control", "bedrock-agentcore");
const AGENTS: (&str, &str) = ("bedrock-agent", "bedrock");

/// What is listed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// AgentCore runtimes.
    Runtimes,
    /// AgentCore harnesses.
    Harnesses,
    /// AgentCore gateways.
    Gateways,
    /// Bedrock agents.
    Agents,
    /// Bedrock flows.
    Flows,
    /// Bedrock knowledge bases.
    KnowledgeBases,
    /// Approved records of agents in the Agent Registry.
    Records,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::Runtimes, Self::Harnesses, Self::Gateways, Self::Agents, Self::Flows, Self::KnowledgeBases, Self::Records];

    /// Returns the kind of the entries, and what their ARNs hold.
    #[must_use]
    pub const fn entries(self) -> (EntryKind, &'static str) {
        match self {
            Self::Runtimes => (EntryKind::Runtime, ":runtime/"),
            Self::Harnesses => (EntryKind::Runtime, ":harness/"),
            Self::Gateways => (EntryKind::Runtime, ":gateway/"),
            Self::Agents => (EntryKind::Agent, ":agent/"),
            Self::Flows => (EntryKind::Agent, ":flow/"),
            Self::KnowledgeBases => (EntryKind::Agent, ":knowledge-base/"),
            Self::Records => (EntryKind::RegistryRecord, ":registry/"),
        }
    }
}

/// How things that run as a role are listed and looked at one by one.
struct Listing {
    at: (&'static str, &'static str),
    /// Action of the list, the request of a page by its token, the member that holds the list.
    list: &'static str,
    page: fn(&str) -> (String, Body),
    member: &'static str,
    /// Member of an id, action of a look, what stands before and after the id in its path.
    id: &'static str,
    get: &'static str,
    path: (&'static str, &'static str),
    read: fn(&Value, Micros) -> Entry,
    /// Action that gives the tags.
    tags: &'static str,
}

const RUNTIMES: Listing = Listing {
    at: CONTROL,
    list: "bedrock-agentcore:ListAgentRuntimes",
    page: |token| (format!("/runtimes/{}", query(token)), Body::Json("{}".to_owned())),
    member: "agentRuntimes",
    id: "agentRuntimeId",
    get: "bedrock-agentcore:GetAgentRuntime",
    path: ("/runtimes/", "/"),
    read: answers::runtime,
    tags: "bedrock-agentcore:ListTagsForResource",
};
const HARNESSES: Listing = Listing {
    list: "bedrock-agentcore:ListHarnesses",
    page: |token| (format!("/harnesses{}", query(token)), Body::None),
    member: "harnesses",
    id: "harnessId",
    get: "bedrock-agentcore:GetHarness",
    path: ("/harnesses/", ""),
    read: answers::harness,
    ..RUNTIMES
};
const GATEWAYS: Listing = Listing {
    list: "bedrock-agentcore:ListGateways",
    page: |token| (format!("/gateways/{}", query(token)), Body::None),
    member: "items",
    id: "gatewayId",
    get: "bedrock-agentcore:GetGateway",
    path: ("/gateways/", "/"),
    read: answers::gateway,
    ..RUNTIMES
};
const BEDROCK_AGENTS: Listing = Listing {
    at: AGENTS,
    list: "bedrock:ListAgents",
    page: |token| ("/agents/".to_owned(), page_asked_in_body(token)),
    member: "agentSummaries",
    id: "agentId",
    get: "bedrock:GetAgent",
    path: ("/agents/", "/"),
    read: answers::agent,
    tags: "bedrock:ListTagsForResource",
};
const FLOWS: Listing = Listing {
    list: "bedrock:ListFlows",
    page: |token| (format!("/flows/{}", query(token)), Body::None),
    member: "flowSummaries",
    id: "id",
    get: "bedrock:GetFlow",
    path: ("/flows/", "/"),
    read: answers::flow,
    ..BEDROCK_AGENTS
};
const KNOWLEDGE_BASES: Listing = Listing {
    list: "bedrock:ListKnowledgeBases",
    page: |token| ("/knowledgebases/".to_owned(), page_asked_in_body(token)),
    member: "knowledgeBaseSummaries",
    id: "knowledgeBaseId",
    get: "bedrock:GetKnowledgeBase",
    path: ("/knowledgebases/", ""),
    read: answers::knowledge_base,
    ..BEDROCK_AGENTS
};

impl Asker {
    /// Lists everything of a kind in a place; `known` finds the last entry of an ARN.
    ///
    /// # Errors
    /// See [`LookError`]; then nothing is known of what is gone.
    pub fn list(&mut self, kind: Kind, place: &Place, known: &dyn Fn(&str) -> Option<Entry>) -> Result<Vec<Entry>, LookError> {
        let listing = match kind {
            Kind::Runtimes => &RUNTIMES,
            Kind::Harnesses => &HARNESSES,
            Kind::Gateways => &GATEWAYS,
            Kind::Agents => &BEDROCK_AGENTS,
            Kind::Flows => &FLOWS,
            Kind::KnowledgeBases => &KNOWLEDGE_BASES,
            Kind::Records => return self.records(place),
        };
        let listed = self.pages(listing.list, place, listing.at, listing.member, &listing.page)?;
        let mut entries = Vec::new();
        for id in ids(&listed, listing.id) {
            let (before, after) = listing.path;
            let asked = self.one(listing.get, place, listing.at, format!("{before}{}{after}", escape(&id)))?;
            entries.extend(asked.map(|answer| (listing.read)(&answer, self.now())));
        }
        self.tagged(listing.tags, place, listing.at, entries, known)
    }

    /// Records that were approved and describe an agent: `CUSTOM` and `A2A` ones, not tools and skills.
    fn records(&mut self, place: &Place) -> Result<Vec<Entry>, LookError> {
        let list = |token: &str| (format!("/registries{}", query(token)), Body::None);
        let registries = self.pages("bedrock-agentcore:ListRegistries", place, CONTROL, "registries", &list)?;
        let mut entries = Vec::new();
        for registry in ids(&registries, "registryId") {
            let base = format!("/registries/{}/records", escape(&registry));
            let list = |token: &str| (format!("{base}{}", query(token)), Body::None);
            let listed = self.pages("bedrock-agentcore:ListRegistryRecords", place, CONTROL, "registryRecords", &list)?;
            let of_agents =
                |record: &Value| matches!(record["descriptorType"].as_str(), Some("CUSTOM" | "A2A")) && record["status"] == "APPROVED";
            let wanted: Vec<Value> = listed.into_iter().filter(of_agents).collect();
            for id in ids(&wanted, "recordId") {
                let asked = self.one("bedrock-agentcore:GetRegistryRecord", place, CONTROL, format!("{base}/{}", escape(&id)))?;
                entries.extend(asked.map(|answer| answers::record(&answer, self.now())));
            }
        }
        entries.retain(|entry| !entry.arn.is_empty());
        Ok(entries)
    }

    /// Reads a list page by page.
    fn pages(
        &mut self,
        action: &'static str,
        place: &Place,
        (host, service): (&'static str, &'static str),
        member: &str,
        page: &dyn Fn(&str) -> (String, Body),
    ) -> Result<Vec<Value>, LookError> {
        let (mut found, mut token) = (Vec::new(), String::new());
        for _ in 0..MAX_PAGES {
            let (path, body) = page(&token);
            let question = Question { host, service, region: place.region.clone(), global: false, path, body };
            let mut answer = self.json(Ask { action, account: &place.account, question })?;
            if let Value::Array(items) = answer[member].take() {
                found.extend(items);
            }
            let next = text(&answer["nextToken"]);
            if next.is_empty() || next == token {
                return Ok(found);
            }
            token = next;
        }
        Err(LookError::Answer { action, account: place.account.clone(), detail: format!("a list of more than {MAX_PAGES} pages") })
    }

    /// Asks for one thing; `None` when it has gone since it was listed.
    fn one(
        &mut self,
        action: &'static str,
        place: &Place,
        (host, service): (&'static str, &'static str),
        path: String,
    ) -> Result<Option<Value>, LookError> {
        let question = Question { host, service, region: place.region.clone(), global: false, path, body: Body::None };
        match self.json(Ask { action, account: &place.account, question }) {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.is_gone() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds the tags of entries.
    fn tagged(
        &mut self,
        action: &'static str,
        place: &Place,
        (host, service): (&'static str, &'static str),
        mut entries: Vec<Entry>,
        known: &dyn Fn(&str) -> Option<Entry>,
    ) -> Result<Vec<Entry>, LookError> {
        entries.retain(|entry| !entry.arn.is_empty());
        for entry in &mut entries {
            let tags = self.tags_of(action, (&place.account, host, service), &place.region, &entry.arn);
            match tags {
                Err(error) if error.is_gone() => {}
                tags => entry.tags = self.tags_or_known(tags, known(&entry.arn).as_ref())?,
            }
        }
        Ok(entries)
    }
}

/// The query of a page.
fn query(token: &str) -> String {
    if token.is_empty() { "?maxResults=100".to_owned() } else { format!("?maxResults=100&nextToken={}", escape(token)) }
}

fn page_asked_in_body(token: &str) -> Body {
    let body = if token.is_empty() { json!({"maxResults": 100}) } else { json!({"maxResults": 100, "nextToken": token}) };
    Body::Json(body.to_string())
}

fn ids(listed: &[Value], member: &str) -> Vec<String> {
    listed.iter().map(|item| text(&item[member])).filter(|id| !id.is_empty()).collect()
}
