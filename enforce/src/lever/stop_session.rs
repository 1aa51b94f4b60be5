//! `stop-session`: stops one session of an AgentCore runtime. It interrupts and holds nothing: the caller may begin another session, so it
//! goes together with a lever that denies.
//!
//! Source: AgentCore data plane API reference, `StopRuntimeSession`.

use serde_json::{Value, json};

use super::json::{code, parts, rest, send, unfit};
use super::{About, Done, Lever, LeverError, LeverKind, Order, Sight, Subject, Undo};
use crate::aws::{Aws, Body, Call, Method};
use crate::budget::digest;
use crate::query::escape;

const KIND: LeverKind = LeverKind::StopSession;
const SERVICE: (&str, &str) = ("bedrock-agentcore", "bedrock-agentcore");
const SESSION_HEADER: &str = "x-amzn-bedrock-agentcore-runtime-session-id";

const ABOUT: About = About {
    summary: "stops one session of an AgentCore runtime",
    grants: &["bedrock-agentcore:StopRuntimeSession"],
    policy: r#"[{"Effect":"Allow","Action":"bedrock-agentcore:StopRuntimeSession","Resource":["arn:${Partition}:bedrock-agentcore:*:${Account}:runtime/*","arn:${Partition}:bedrock-agentcore:*:${Account}:runtime/*/runtime-endpoint/*"]}]"#,
    cannot: "keeps nobody from beginning another session: pair it with a lever that denies; needs the runtimeSessionId, which is not in the \
             invocation log (CloudTrail data events and spans have it); AWS does not say whether a session runs; what the session had not saved \
             is lost",
    undo: Undo::Nothing,
};

/// The lever.
#[derive(Clone, Copy, Debug, Default)]
pub struct StopSession;

impl StopSession {
    fn call(order: &Order<'_>) -> Result<Call, LeverError> {
        let subject = order.subject;
        let Subject::RuntimeSession { runtime, qualifier, session } = subject else {
            return Err(unfit(KIND, subject, "it is no session of an AgentCore runtime"));
        };
        let (region, account, name) =
            parts(runtime, "bedrock-agentcore").ok_or_else(|| unfit(KIND, subject, "the runtime's ARN is none"))?;
        if !name.starts_with("runtime/") {
            return Err(unfit(KIND, subject, "the ARN is not one of a runtime"));
        }
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !(33..=256).contains(&session.len()) || !plain(session) {
            return Err(unfit(KIND, subject, "a runtimeSessionId has 33 to 256 characters; the name of an IAM session is not one"));
        }
        let query = if qualifier.is_empty() { String::new() } else { format!("?qualifier={}", escape(qualifier)) };
        // The same in every repetition, so that a lost answer stops no session that was begun since.
        let token = format!("sluice-{}", digest(&["stop/1", runtime, qualifier, session, &order.since.0.to_string()]));
        let body = Body::Json(json!({ "clientToken": token }).to_string());
        let path = format!("/runtimes/{}/stopruntimesession{query}", escape(runtime));
        let call = rest(SERVICE, (region, account), Method::Post, path, body).writing("bedrock-agentcore:StopRuntimeSession");
        Ok(Call { headers: vec![("content-type", "application/json".to_owned()), (SESSION_HEADER, session.clone())], ..call })
    }
}

impl Lever for StopSession {
    fn kind(&self) -> LeverKind {
        KIND
    }

    fn about(&self) -> About {
        ABOUT
    }

    fn fits(&self, subject: &Subject) -> Result<(), LeverError> {
        let (since, now) = (sluice_schemas::Micros(0), sluice_schemas::Micros(0));
        Self::call(&Order { subject, holds: &[], reason: "", since, until: None, now }).map(|_| ())
    }

    /// There is no way to ask; nothing stands, since nothing lasts.
    fn look(&self, _aws: &dyn Aws, order: &Order<'_>) -> Result<Sight, LeverError> {
        self.fits(order.subject)?;
        let ineffective = Some("another session can be begun: a stopped session holds nobody without a lever that denies".to_owned());
        Ok(Sight { stands: false, ineffective, image: Value::Null })
    }

    fn pull(&self, aws: &dyn Aws, order: &Order<'_>) -> Result<Done, LeverError> {
        match send(aws, &Self::call(order)?) {
            Ok(reply) => Ok(Done { requests: vec![reply.request_id], detail: "stopped the session".to_owned() }),
            Err(error) if code(&error) == "ResourceNotFound" => {
                Ok(Done { requests: Vec::new(), detail: "the session was over".to_owned() })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn lift(&self, _aws: &dyn Aws, _order: &Order<'_>, _image: &Value) -> Result<Done, LeverError> {
        Ok(Done { requests: Vec::new(), detail: "there is nothing to put back".to_owned() })
    }
}

#[cfg(test)]
mod tests;
