//! Lists what cannot be told from calls: the runtimes and harnesses, agents and registry records of an account and region.

use serde_json::{Value, json};
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
    /// Bedrock agents.
    Agents,
    /// Approved records of agents in the Agent Registry.
    Records,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Runtimes, Self::Harnesses, Self::Agents, Self::Records];

    /// Returns the kind of the entries, and what their ARNs hold.
    #[must_use]
    pub const fn entries(self) -> (EntryKind, &'static str) {
        match self {
            Self::Runtimes => (EntryKind::Runtime, ":runtime/"),
            Self::Harnesses => (EntryKind::Runtime, ":harness/"),
            Self::Agents => (EntryKind::Agent, ":agent/"),
            Self::Records => (EntryKind::RegistryRecord, ":registry/"),
        }
    }
}

impl Asker {
    /// Lists everything of a kind in a place; `known` finds the last entry of an ARN.
    ///
    /// # Errors
    /// See [`LookError`]; then nothing is known of what is gone.
    pub fn list(&mut self, kind: Kind, place: &Place, known: &dyn Fn(&str) -> Option<Entry>) -> Result<Vec<Entry>, LookError> {
        match kind {
            Kind::Runtimes => self.runtimes(place, known),
            Kind::Harnesses => self.harnesses(place, known),
            Kind::Agents => self.agents(place, known),
            Kind::Records => self.records(place),
        }
    }

    fn runtimes(&mut self, place: &Place, known: &dyn Fn(&str) -> Option<Entry>) -> Result<Vec<Entry>, LookError> {
        let list = |token: &str| (format!("/runtimes/{}", query(token)), Body::Json("{}".to_owned()));
        let listed = self.pages("bedrock-agentcore:ListAgentRuntimes", place, CONTROL, "agentRuntimes", &list)?;
        let mut entries = Vec::new();
        for id in ids(&listed, "agentRuntimeId") {
            let asked = self.one("bedrock-agentcore:GetAgentRuntime", place, CONTROL, format!("/runtimes/{}/", escape(&id)))?;
            entries.extend(asked.map(|answer| answers::runtime(&answer, self.now())));
        }
        self.tagged("bedrock-agentcore:ListTagsForResource", place, CONTROL, entries, known)
    }

    fn harnesses(&mut self, place: &Place, known: &dyn Fn(&str) -> Option<Entry>) -> Result<Vec<Entry>, LookError> {
        let list = |token: &str| (format!("/harnesses{}", query(token)), Body::None);
        let listed = self.pages("bedrock-agentcore:ListHarnesses", place, CONTROL, "harnesses", &list)?;
        let mut entries = Vec::new();
        for id in ids(&listed, "harnessId") {
            let asked = self.one("bedrock-agentcore:GetHarness", place, CONTROL, format!("/harnesses/{}", escape(&id)))?;
            entries.extend(asked.map(|answer| answers::harness(&answer, self.now())));
        }
        self.tagged("bedrock-agentcore:ListTagsForResource", place, CONTROL, entries, known)
    }

    fn agents(&mut self, place: &Place, known: &dyn Fn(&str) -> Option<Entry>) -> Result<Vec<Entry>, LookError> {
        let list = |token: &str| {
            let body = if token.is_empty() { json!({"maxResults": 100}) } else { json!({"maxResults": 100, "nextToken": token}) };
            ("/agents/".to_owned(), Body::Json(body.to_string()))
        };
        let listed = self.pages("bedrock:ListAgents", place, AGENTS, "agentSummaries", &list)?;
        let mut entries = Vec::new();
        for id in ids(&listed, "agentId") {
            let asked = self.one("bedrock:GetAgent", place, AGENTS, format!("/agents/{}/", escape(&id)))?;
            entries.extend(asked.map(|answer| answers::agent(&answer, self.now())));
        }
        self.tagged("bedrock:ListTagsForResource", place, AGENTS, entries, known)
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

fn ids(listed: &[Value], member: &str) -> Vec<String> {
    listed.iter().map(|item| text(&item[member])).filter(|id| !id.is_empty()).collect()
}
