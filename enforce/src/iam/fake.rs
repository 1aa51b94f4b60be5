//! An IAM in memory, at the level of the wire: forms in, XML out.
//!
//! For tests of this crate and of others. Reads may lag behind writes, calls may be throttled, refused or lost before or after their
//! effect, people may edit what they like between two calls, and [`FakeAws::may`] says what AWS would let a principal do. With
//! [`FakeAws::allow_only`] its caller has the permissions of a policy and no others. Roles and users are of any account; what a service
//! other than IAM is asked is refused. Errors and quotas are those of AWS, "IAM API reference" and "IAM and AWS STS quotas".

mod answer;
mod world;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::evaluate::{Context, Layers, Policy, Request, Verdict, evaluate};
use super::principal::{Principal, PrincipalKind};
use super::wire;
use crate::aws::{Aws, Body, Call, CallError, Reply};
use world::World;

/// What befalls a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is refused: too many calls.
    Throttle,
    /// It is refused with a status and an error code.
    Refuse(u16, &'static str),
    /// It never arrives.
    LostRequest,
    /// It takes effect, and the answer is lost.
    LostAnswer,
    /// It takes effect, and the answer is cut short.
    CutAnswer,
}

type Plan = Box<dyn FnMut(&Call) -> Option<Fault> + Send>;

/// The service.
#[derive(Default)]
pub struct FakeAws {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    world: World,
    /// The world before each of the last calls, oldest first.
    past: VecDeque<World>,
    /// How many calls a read is behind.
    lag: usize,
    /// Members of a page; none for the service's own size.
    page: Option<usize>,
    due: Vec<(String, Fault)>,
    plan: Option<Plan>,
    grants: Option<Vec<Policy>>,
    calls: Vec<Call>,
    requests: u64,
}

impl fmt::Debug for FakeAws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeAws").field("world", &self.state().world).finish_non_exhaustive()
    }
}

impl FakeAws {
    /// Returns an empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets reads be so many calls behind.
    pub fn set_lag(&self, calls: usize) {
        self.state().lag = calls;
    }

    /// Lets reads see everything that was written so far.
    pub fn settle(&self) {
        self.state().past.clear();
    }

    /// Sets the number of members of a page.
    pub fn set_page(&self, members: usize) {
        self.state().page = Some(members.max(1));
    }

    /// Lets a fault befall the next call of an action, `*` for any; several wait in turn.
    pub fn fail_next(&self, action: &str, fault: Fault) {
        self.state().due.push((action.to_owned(), fault));
    }

    /// Asks before each call what befalls it.
    pub fn plan(&self, plan: impl FnMut(&Call) -> Option<Fault> + Send + 'static) {
        self.state().plan = Some(Box::new(plan));
    }

    /// Lets nothing befall calls from here on.
    pub fn calm(&self) {
        let mut state = self.state();
        (state.plan, state.lag) = (None, 0);
        state.due.clear();
        state.past.clear();
    }

    /// Gives the caller the permissions of a policy document and no others.
    pub fn allow_only(&self, document: &str) {
        self.state().grants = Some(vec![Policy::read("the caller's policy", document)]);
    }

    /// Returns all calls made, whatever befell them.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// Returns the IAM actions of all calls made.
    #[must_use]
    pub fn actions(&self) -> BTreeSet<&'static str> {
        self.state().calls.iter().map(|call| call.action).collect()
    }

    /// Forgets the calls made.
    pub fn forget_calls(&self) {
        self.state().calls.clear();
    }

    /// Edits the world as a person would, at the console: no call, no fault; reads see it as late as any write.
    fn edit<T>(&self, edit: impl FnOnce(&mut World) -> T) -> T {
        edit(&mut self.state().world)
    }

    /// Makes a role or user, anew if there is one, and returns its id.
    ///
    /// # Panics
    /// The ARN is none of a role or user.
    pub fn create(&self, arn: &str) -> String {
        self.edit(|world| world.create(&principal(arn)))
    }

    /// Deletes a role or user.
    pub fn delete(&self, arn: &str) {
        self.edit(|world| world.delete(&principal(arn)));
    }

    /// Makes a managed policy, or a new default version of it.
    pub fn put_policy(&self, arn: &str, document: &str) {
        self.edit(|world| world.policies.insert(arn.to_owned(), document.to_owned()));
    }

    /// Deletes a managed policy wherever it is attached.
    pub fn delete_policy(&self, arn: &str) {
        self.edit(|world| world.delete_policy(arn));
    }

    /// Attaches a managed policy by hand.
    pub fn attach(&self, principal_arn: &str, policy: &str) {
        self.edit(|world| world.holder(&principal(principal_arn)).attached.push(policy.to_owned()));
    }

    /// Detaches a managed policy by hand.
    pub fn detach(&self, principal_arn: &str, policy: &str) {
        self.edit(|world| world.holder(&principal(principal_arn)).attached.retain(|attached| attached != policy));
    }

    /// Writes an inline policy by hand.
    pub fn put_inline(&self, principal_arn: &str, name: &str, document: &str) {
        self.edit(|world| world.holder(&principal(principal_arn)).inline.insert(name.to_owned(), document.to_owned()));
    }

    /// Deletes an inline policy by hand.
    pub fn delete_inline(&self, principal_arn: &str, name: &str) {
        self.edit(|world| world.holder(&principal(principal_arn)).inline.remove(name));
    }

    /// Sets or takes away the permissions boundary by hand.
    pub fn set_boundary(&self, principal_arn: &str, policy: Option<&str>) {
        self.edit(|world| world.holder(&principal(principal_arn)).boundary = policy.map(str::to_owned));
    }

    /// Puts a user into a group with one managed and one inline policy, made if need be.
    pub fn join_group(&self, user: &str, group: &str, managed: Option<&str>, inline: Option<&str>) {
        self.edit(|world| world.join_group(&principal(user), group, managed, inline));
    }

    /// Sets the service control policies by level.
    pub fn set_service_control(&self, levels: &[&[&str]]) {
        let level = |documents: &&[&str]| documents.iter().map(|document| Policy::read("service control policy", document)).collect();
        self.edit(|world| world.organization = levels.iter().map(level).collect());
    }

    /// Returns the managed policies attached.
    #[must_use]
    pub fn attached(&self, principal_arn: &str) -> Vec<String> {
        self.edit(|world| world.holder(&principal(principal_arn)).attached.clone())
    }

    /// Returns an inline policy.
    #[must_use]
    pub fn inline(&self, principal_arn: &str, name: &str) -> Option<String> {
        self.edit(|world| world.holder(&principal(principal_arn)).inline.get(name).cloned())
    }

    /// Returns the ARN of the permissions boundary.
    #[must_use]
    pub fn boundary(&self, principal_arn: &str) -> Option<String> {
        self.edit(|world| world.holder(&principal(principal_arn)).boundary.clone())
    }

    /// Returns all that is attached to, written into or set on a role or user, to compare before and after.
    #[must_use]
    pub fn snapshot(&self, principal_arn: &str) -> String {
        self.edit(|world| format!("{:?}", world.holder(&principal(principal_arn))))
    }

    /// Says what AWS would answer a principal now, once everything written has spread. `principal` is the ARN of a role or user or of
    /// a session (`arn:aws:sts::…:assumed-role/ROLE/SESSION`); the keys that follow from it are added to those given.
    #[must_use]
    pub fn may(&self, principal: &str, action: &str, resource: &str, context: &[(&str, &str)]) -> Verdict {
        self.edit(|world| world.may(principal, action, resource, context))
    }
}

#[expect(clippy::panic, reason = "a test that names no role or user is wrong")]
fn principal(arn: &str) -> Principal {
    Principal::parse(arn).unwrap_or_else(|| panic!("{arn} is no role or user"))
}

impl State {
    fn fault(&mut self, call: &Call) -> Option<Fault> {
        let due = self.due.iter().position(|(action, _)| action == "*" || action == call.action);
        match due {
            Some(at) => Some(self.due.remove(at).1),
            None => self.plan.as_mut().and_then(|plan| plan(call)),
        }
    }

    /// Says whether the caller's policy allows a call.
    fn is_granted(&self, call: &Call, fields: &[(String, String)]) -> bool {
        let Some(grants) = &self.grants else { return true };
        let (resource, context) = self.world.asked_of(&call.account, fields);
        let layers = Layers { identity: grants.clone(), ..Layers::default() };
        let request = Request { action: call.action, resource: &resource, context: &context };
        matches!(evaluate(&layers, &request), Verdict::Allowed { .. })
    }
}

impl Aws for FakeAws {
    fn call(&self, call: &Call) -> Result<Reply, CallError> {
        let mut state = self.state();
        state.calls.push(call.clone());
        state.requests += 1;
        let request_id = format!("request-{}", state.requests);
        let refused = |status: u16, code: &str, message: &str| CallError::Refused {
            action: call.action,
            status,
            code: code.to_owned(),
            message: message.to_owned(),
            request_id: request_id.clone(),
        };
        let lost = |detail: &str| CallError::Network { action: call.action, host: "fake".to_owned(), detail: detail.to_owned() };
        let now = state.world.clone();
        let keep = state.lag + 1;
        state.past.push_back(now);
        while state.past.len() > keep {
            state.past.pop_front();
        }
        let fault = state.fault(call);
        match fault {
            Some(Fault::Throttle) => return Err(refused(400, "Throttling", "Rate exceeded")),
            Some(Fault::Refuse(status, code)) => return Err(refused(status, code, "as planned")),
            Some(Fault::LostRequest) => return Err(lost("the request is lost")),
            Some(Fault::LostAnswer | Fault::CutAnswer) | None => {}
        }
        let (Body::Form(form), "iam") = (&call.body, call.host) else { return Err(refused(400, "UnknownOperationException", "IAM only")) };
        let fields = wire::fields(form);
        if !state.is_granted(call, &fields) {
            return Err(refused(403, "AccessDenied", &format!("is not authorized to perform: {}", call.action)));
        }
        let page = state.page;
        let asked = answer::Asked { account: &call.account, fields: &fields, page };
        let found = if call.writes {
            answer::write(&mut state.world, &asked)
        } else {
            answer::read(state.past.front().unwrap_or(&state.world), &asked)
        };
        let body = found.map_err(|(status, code, message)| refused(status, code, &message))?;
        match fault {
            Some(Fault::LostAnswer) => Err(lost("the answer is lost")),
            Some(Fault::CutAnswer) => Ok(Reply { body: body.as_bytes()[..body.len() / 2].to_vec(), request_id }),
            _ => Ok(Reply { body: body.into_bytes(), request_id }),
        }
    }
}
