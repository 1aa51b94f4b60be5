//! The reconciler against a service in memory: every row of its table, a crash and a fault at every step, people who edit between two
//! steps, storms.

mod crash;
mod people;
mod random;
mod rows;
mod storm;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use sluice_schemas::time::SECOND;
use sluice_schemas::{Clock, Micros};
use tempfile::TempDir;

use super::breaker::Change;
use super::event::{Event, Happened, Turn};
use super::intent::{Intent, Stage, id};
use super::want::{Grip, Pull};
use super::{Reconciler, Settings};
use crate::guard::Scope;
use crate::hold::{self, Hold};
use crate::iam::fake::FakeAws;
use crate::lever::boundary::Boundary;
use crate::lever::deny_policy::DenyPolicy;
use crate::lever::deny_session::{self, DenySession};
use crate::lever::detach::Detach;
use crate::lever::revoke_sessions::{self, RevokeSessions};
use crate::lever::{Lever, LeverKind, Subject};
use crate::store::records::{RecordKind, Records};
use crate::store::{FileStore, SharedStore, StoreError};

const ROLE: &str = "arn:aws:iam::111122223333:role/triage";
const OTHER_ROLE: &str = "arn:aws:iam::111122223333:role/payments";
const DENY: &str = "arn:aws:iam::111122223333:policy/sluice-deny-bedrock";
const LIMIT: &str = "arn:aws:iam::111122223333:policy/sluice-bedrock-boundary";
const GRANTS: [&str; 2] = ["arn:aws:iam::111122223333:policy/use-bedrock", "arn:aws:iam::111122223333:policy/use-agents"];
const FOREIGN: &str = "arn:aws:iam::111122223333:policy/logs";
const FOREIGN_LIMIT: &str = "arn:aws:iam::111122223333:policy/corporate-boundary";
const START: i64 = 1_790_000_000 * SECOND;

/// A clock that is set by hand.
struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Micros {
        Micros(self.0.load(Ordering::Relaxed))
    }
}

/// A store, an IAM, a clock, and whoever acts now.
struct Bench {
    _folder: TempDir,
    store: FileStore,
    aws: Arc<FakeAws>,
    clock: Arc<HandClock>,
    settings: Settings,
    reconciler: Reconciler,
    events: Vec<Event>,
    breaker: Vec<Change>,
}

fn allow(action: &str) -> String {
    format!(r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "Allow", "Action": "{action}", "Resource": "*"}}}}"#)
}

fn role(lever: LeverKind) -> Pull {
    Pull { lever, subject: Subject::Role { arn: ROLE.to_owned() } }
}

fn session(name: &str) -> Pull {
    let subject = Subject::RoleSession { role: ROLE.to_owned(), session: name.to_owned() };
    Pull { lever: LeverKind::DenySession, subject }
}

fn scope(chain: Vec<Pull>) -> Scope {
    Scope { grips: vec![Grip { chain }], ..Scope::default() }
}

fn levers() -> Vec<Box<dyn Lever>> {
    vec![
        Box::new(DenyPolicy::new(DENY)),
        Box::new(Detach::new(GRANTS)),
        Box::new(DenySession::new()),
        Box::new(Boundary::new(LIMIT)),
        Box::new(RevokeSessions::new()),
    ]
}

/// An account with two roles that use Bedrock.
fn account() -> FakeAws {
    let aws = FakeAws::new();
    aws.put_policy(DENY, include_str!("../../../deploy/iam/deny-bedrock.json"));
    aws.put_policy(LIMIT, include_str!("../../../deploy/iam/bedrock-boundary.json"));
    GRANTS.iter().for_each(|grant| aws.put_policy(grant, &allow("bedrock:*")));
    aws.put_policy(FOREIGN, &allow("logs:*"));
    aws.put_policy(FOREIGN_LIMIT, &allow("*"));
    for arn in [ROLE, OTHER_ROLE] {
        aws.create(arn);
        aws.attach(arn, FOREIGN);
        GRANTS.iter().for_each(|grant| aws.attach(arn, grant));
        aws.put_inline(arn, "files", &allow("s3:*"));
    }
    aws
}

/// A folder in memory where there is one: what survives a power cut is tested elsewhere.
fn folder() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).expect("a folder")
}

fn settings() -> Settings {
    Settings { writes_per_second: 1_000, reads_per_second: 1_000, ..Settings::default() }
}

impl Bench {
    fn new() -> Self {
        Self::with(settings(), levers())
    }

    fn with(settings: Settings, levers: Vec<Box<dyn Lever>>) -> Self {
        let folder = folder();
        let store = FileStore::open(&folder.path().join("s.redb")).expect("a store");
        let (aws, clock) = (Arc::new(account()), Arc::new(HandClock(AtomicI64::new(START))));
        let own = store.share();
        let fence = own.take_fence("first", Micros(START)).expect("a fence");
        let reconciler = Reconciler::new(Arc::new(own), aws.clone(), levers, clock.clone(), fence, settings.clone());
        Self { _folder: folder, store, aws, clock, settings, reconciler, events: Vec::new(), breaker: Vec::new() }
    }

    /// A new process takes over, through `wrap` around its store.
    fn other(&self, wrap: impl FnOnce(FileStore) -> Arc<dyn SharedStore>) -> Reconciler {
        let own = self.store.share();
        let fence = own.take_fence("next", self.clock.now()).expect("a fence");
        Reconciler::new(wrap(own), self.aws.clone(), levers(), self.clock.clone(), fence, self.settings.clone())
    }

    fn restart(&mut self) {
        self.reconciler = self.other(|own| Arc::new(own));
    }

    fn now(&self) -> Micros {
        self.clock.now()
    }

    fn pass(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds * SECOND, Ordering::Relaxed);
    }

    fn try_turn(&mut self) -> Result<Turn, StoreError> {
        let turn = self.reconciler.turn(&|| true)?;
        self.events.extend(turn.events.iter().cloned());
        self.breaker.extend(turn.breaker.iter().cloned());
        Ok(turn)
    }

    fn turn(&mut self) -> Turn {
        self.try_turn().expect("a turn")
    }

    /// Lets time pass with turns.
    fn run(&mut self, seconds: i64, step: i64) {
        for _ in 0..seconds / step {
            self.pass(step);
            self.turn();
        }
    }

    fn settle(&mut self) {
        self.aws.settle();
        self.run(192, 8);
    }

    fn hold(&self, target: &str, chain: Vec<Pull>) -> Hold {
        self.hold_until(target, chain, None)
    }

    fn hold_until(&self, target: &str, chain: Vec<Pull>, until: Option<Micros>) -> Hold {
        hold::pause(&self.store, target, "ann", "", until, scope(chain), self.now()).expect("paused")
    }

    fn release(&self, hold: &Hold) {
        hold::release(&self.store, &hold.id, "ann", "", self.now()).expect("released");
    }

    fn intents(&self) -> Vec<Intent> {
        let records = self.store.records(RecordKind::Intent).expect("intents");
        records.into_iter().map(|record| serde_json::from_value(record.body).expect("an intent")).collect()
    }

    fn intent(&self, pull: &Pull) -> Option<Intent> {
        self.intents().into_iter().find(|intent| intent.id() == id(pull.lever, &pull.subject))
    }

    fn stage(&self, pull: &Pull) -> Option<Stage> {
        self.intent(pull).map(|intent| intent.stage)
    }

    fn told(&self, what: Happened) -> usize {
        self.events.iter().filter(|event| event.what == what).count()
    }

    fn writes(&self) -> usize {
        self.aws.calls().iter().filter(|call| call.writes).count()
    }

    fn has_deny(&self) -> bool {
        self.aws.attached(ROLE).iter().any(|policy| policy == DENY)
    }

    /// Tells whether a lever's stop is in place, whoever put it.
    fn is_there(&self, pull: &Pull) -> bool {
        let attached = self.aws.attached(ROLE);
        match pull.lever {
            LeverKind::DenyPolicy => self.has_deny(),
            LeverKind::Detach => !GRANTS.iter().any(|grant| attached.iter().any(|policy| policy == grant)),
            LeverKind::Boundary => self.aws.boundary(ROLE).as_deref() == Some(LIMIT),
            LeverKind::DenySession => self.aws.inline(ROLE, deny_session::POLICY_NAME).is_some(),
            LeverKind::RevokeSessions => self.aws.inline(ROLE, revoke_sessions::POLICY_NAME).is_some(),
            other => panic!("{other}"),
        }
    }

    /// All that stands on the role; the order of attachment says nothing.
    fn shape(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let inline = ["files", deny_session::POLICY_NAME, revoke_sessions::POLICY_NAME].map(|name| self.aws.inline(ROLE, name));
        let attached = self.aws.attached(ROLE);
        (attached.len(), attached.into_iter().collect::<BTreeSet<_>>(), inline, self.aws.boundary(ROLE))
    }

    /// The chain of the audit trail holds.
    fn check_trail(&self) {
        crate::store::conformance::lines(&self.store);
    }
}

/// The levers of the tests, each on its own subject.
fn pulls() -> Vec<Pull> {
    let roles = [LeverKind::DenyPolicy, LeverKind::Detach, LeverKind::Boundary, LeverKind::RevokeSessions];
    roles.into_iter().map(role).chain([session("run-1")]).collect()
}
