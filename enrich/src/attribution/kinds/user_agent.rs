//! User agent: written by the caller's SDK and by frameworks on top of it. A hint, which names no agent unless a rule says so.
//!
//! Sources: Strands Agents appends `strands-agents`, LangChain `x-client-framework:langchain-aws`, as their public source shows.

use super::Context;
use crate::attribution::saying::Said;

/// Marks of frameworks in user agents, and their names.
const FRAMEWORKS: [(&str, &str); 5] = [
    ("strands-agents", "strands-agents"),
    ("langchain-aws", "langchain-aws"),
    ("langchain", "langchain"),
    ("claude-cli", "claude-code"),
    ("litellm", "litellm"),
];

pub(super) fn say<'a>(context: &Context<'a>, said: &mut Said<'a>) {
    let Some(caller) = context.evidence.caller.as_deref() else {
        return;
    };
    if let Some(framework) = framework(&caller.user_agent) {
        said.tag("aws:UserAgent", framework);
    }
    if caller.bearer_token {
        said.tag("bedrock:CallWithBearerToken", "true");
    }
}

/// Returns the framework that a user agent tells of.
pub(crate) fn framework(user_agent: &str) -> Option<&'static str> {
    FRAMEWORKS.iter().find(|(mark, _)| user_agent.contains(mark)).map(|&(_, name)| name)
}
