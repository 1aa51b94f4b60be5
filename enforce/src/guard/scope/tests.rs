//! Who is stopped and who is spared.

use proptest::prelude::*;

use super::*;
use crate::guard::protected::Protected;
use crate::test_support::{Feed, Spend};

const DAYS: i64 = 1_440;
/// A minute of day 100 of the calendar.
const TODAY: i64 = 100 * DAYS;

fn session(role: &str, name: &str) -> String {
    format!("arn:aws:sts::111122223333:assumed-role/{role}/{name}")
}

fn arn(role: &str) -> String {
    format!("arn:aws:iam::111122223333:role/{role}")
}

/// A thousand calls for a dollar.
fn spend(agent: &str, role: &str, name: &str) -> Spend {
    Spend::new(agent, TODAY, 1_000_000).calls(1_000).by(&session(role, name))
}

fn usage(spends: &[Spend]) -> Usage {
    let mut usage = Usage::default();
    usage.add(Feed::of(spends).view(), 1);
    usage
}

fn policy(levers: &[LeverKind]) -> ScopePolicy {
    ScopePolicy { levers: levers.to_vec(), ..ScopePolicy::default() }
}

fn scope_with(target: &str, usage: &Usage, levers: &[LeverKind]) -> Scope {
    resolve(target, Micros(0), usage, &policy(levers), &Protected::default())
}

/// With the deny policy and the flag.
fn scope(target: &str, usage: &Usage) -> Scope {
    scope_with(target, usage, &[LeverKind::DenyPolicy, LeverKind::Flag])
}

fn subjects(scope: &Scope) -> Vec<String> {
    scope.grips.iter().map(|grip| format!("{} {}", grip.chain[0].lever, grip.chain[0].subject)).collect()
}

fn reason(scope: &Scope) -> &str {
    scope.obstacle.as_ref().map_or("", |obstacle| &obstacle.reason)
}

fn is_approvable(scope: &Scope) -> Option<bool> {
    scope.obstacle.as_ref().map(|obstacle| obstacle.approvable)
}

#[test]
fn the_fewest_principals_that_stand_for_the_spend() {
    let cents = |role: &str, cents: i64| Spend::new("a", TODAY, cents * 10_000).by(&session(role, "i"));
    let usage = usage(&[cents("Big", 9_800), cents("Middle", 100), cents("Small", 99), cents("Tiny", 1)]);
    let found = scope("agent_id=a", &usage);
    assert_eq!(subjects(&found), [format!("deny-policy {}", arn("Big")), format!("deny-policy {}", arn("Middle"))]);
    assert_eq!((found.obstacle.clone(), found.preview[0].of_spend), (None, 98_000));
    assert!(found.grips.iter().all(|grip| grip.chain.last().is_some_and(|pull| pull.lever == LeverKind::Flag)));
    // More principals than one hold may stop.
    let many: Vec<Spend> = (0..6).map(|number| spend("a", &format!("R{number}"), "i")).collect();
    assert_eq!(is_approvable(&scope("agent_id=a", &self::usage(&many))), Some(true));
    assert_eq!(scope("agent_id=a", &self::usage(&many[..5])).obstacle, None);
}

#[test]
fn calls_without_a_price_are_not_for_nothing() {
    let unpriced = Spend { micro_usd: 0, unpriced: 1_000_000, ..spend("a", "Unpriced", "i").calls(1_000_000) };
    let found = scope("agent_id=a", &usage(&[spend("a", "Priced", "i"), unpriced]));
    assert_eq!(subjects(&found), [format!("deny-policy {}", arn("Unpriced"))]);
}

#[test]
fn a_shared_role_waits_for_a_person_and_says_who_shares_it() {
    let shared = |others: u64| usage(&[spend("a", "Shared", "i").calls(99_000), spend("b", "Shared", "i").calls(others)]);
    let found = scope("agent_id=a", &shared(1_001));
    assert_eq!((is_approvable(&found), found.preview[0].innocent), (Some(true), 1_001));
    assert_eq!(found.preview[0].others, [("b".to_owned(), 1_001)]);
    assert!(reason(&found).contains("b (1001 calls)"), "{}", reason(&found));
    assert!(found.obstacle.is_some_and(|obstacle| obstacle.advice.contains("role of its own")));
    assert_eq!(scope("agent_id=a", &shared(1_000)).obstacle, None, "one percent");
    // One among a million is not none.
    let strict = ScopePolicy { most_innocent: 0, ..policy(&[LeverKind::DenyPolicy]) };
    let one = usage(&[spend("a", "Shared", "i").calls(1_000_000), spend("b", "Shared", "i").calls(1)]);
    let found = resolve("agent_id=a", Micros(0), &one, &strict, &Protected::default());
    assert_eq!((found.preview[0].innocent, is_approvable(&found)), (1, Some(true)));
}

#[test]
fn others_count_for_thirty_days() {
    let ago = |days: i64| Spend { minute: TODAY - days * DAYS, ..spend("b", "Shared", "i") };
    let at = |days: i64| {
        let mut usage = usage(&[ago(days), spend("a", "Shared", "i")]);
        usage.forget(Micros(TODAY * 60_000_000));
        scope("agent_id=a", &usage)
    };
    assert_eq!(is_approvable(&at(29)), Some(true));
    assert_eq!(is_approvable(&at(31)), None);
    // A correction of what is forgotten takes nothing from what is known.
    let mut usage = usage(&[spend("a", "Shared", "i"), spend("b", "Shared", "i")]);
    usage.add(Feed::of(&[ago(31).calls(1_000)]).view(), -1);
    assert_eq!(is_approvable(&scope("agent_id=a", &usage)), Some(true));
}

#[test]
fn a_correction_moves_calls() {
    let mut usage = usage(&[spend("a", "Mine", "i"), spend("b", "Mine", "i")]);
    assert_eq!(is_approvable(&scope("agent_id=a", &usage)), Some(true));
    usage.add(Feed::of(&[spend("b", "Mine", "i")]).view(), -1);
    usage.add(Feed::of(&[spend("a", "Mine", "i")]).view(), 1);
    let found = scope("agent_id=a", &usage);
    assert_eq!((found.obstacle, found.preview[0].innocent), (None, 0));
    assert!(reason(&scope("agent_id=b", &usage)).contains("no principal is known"));
}

#[test]
fn sessions_of_a_shared_role() {
    use LeverKind::{DenyPolicy, DenySession, Flag};
    let levers = [DenySession, DenyPolicy, Flag];
    let own = usage(&[spend("a", "Shared", "run-a1"), spend("a", "Shared", "run-a2"), spend("b", "Shared", "run-b")]);
    let found = scope_with("agent_id=a", &own, &levers);
    let expected: Vec<String> = ["run-a1", "run-a2"].iter().map(|name| format!("deny-session {} session {name}", arn("Shared"))).collect();
    assert_eq!((subjects(&found), found.obstacle.clone()), (expected, None));
    assert!(found.grips.iter().flat_map(|grip| &grip.chain).all(|pull| pull.lever != DenyPolicy), "the role is shared");
    // A name that is shared stops both.
    let shared = usage(&[spend("a", "Shared", "app"), spend("b", "Shared", "app")]);
    assert_eq!(is_approvable(&scope_with("agent_id=a", &shared, &levers)), Some(true));
    // What is known of sessions is not all.
    let mut partial = usage(&[spend("a", "Shared", "run-a"), spend("b", "Shared", "run-b")]);
    partial.sessions_are_partial = true;
    for target in ["agent_id=a", "role_session_name=run-a"] {
        let found = scope_with(target, &partial, &levers);
        assert_eq!(is_approvable(&found), Some(true), "{target}");
        assert!(subjects(&found).iter().all(|subject| !subject.starts_with("deny-session")));
    }
    // A session that shares its role with days long past.
    let before = Spend { minute: TODAY - 10 * DAYS, ..spend("b", "Shared", "run-b") };
    let one = usage(&[before, spend("a", "Shared", "run-a").in_session("s")]);
    let found = scope_with("session_id=s", &one, &[DenyPolicy, Flag]);
    assert_eq!((is_approvable(&found), found.preview[0].innocent), (Some(true), 50_000));
    let by_arn = scope_with(&format!("principal_arn={}", session("Shared", "run-a")), &one, &[DenySession, Flag]);
    assert_eq!((by_arn.grips.len(), subjects(&by_arn)[0].starts_with("deny-session")), (1, true), "{by_arn:?}");
}

#[test]
fn an_agent_with_a_profile_of_its_own() {
    use LeverKind::{DenyPolicy, Flag, Profile};
    let profile = |name: &str| format!("arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/{name}");
    let spends = [spend("a", "Shared", "i").through(&profile("pa")), spend("b", "Shared", "i").through(&profile("pb"))];
    let found = scope_with("agent_id=a", &usage(&spends), &[DenyPolicy, Profile, Flag]);
    assert_eq!((subjects(&found), found.obstacle), (vec![format!("profile {}", profile("pa"))], None));
    let advised = scope("agent_id=a", &usage(&spends));
    assert!(advised.obstacle.is_some_and(|obstacle| obstacle.advice.contains("add profile to enforce.levers")));
    // One call around the profile, and the profile does not stop it.
    let around = [spends.as_slice(), &[spend("a", "Shared", "i")]].concat();
    assert_eq!(is_approvable(&scope_with("agent_id=a", &usage(&around), &[DenyPolicy, Profile, Flag])), Some(true));
}

#[test]
fn whoever_is_protected_is_not_stopped_and_nobody_else_in_their_place() {
    let path = "arn:aws:iam::111122223333:role/finance/Payments".to_owned();
    let protected = Protected { own: vec![session("sluice", "i-1")], patterns: vec![path, "ci-*".to_owned()] };
    let resolved = |usage: &Usage| resolve("agent_id=a", Micros(0), usage, &policy(&[LeverKind::DenyPolicy, LeverKind::Flag]), &protected);
    for role in ["sluice", "Payments", "ci-deploy", "AWSServiceRoleForBedrock", "AWSReservedSSO_Admin_0123", "break-glass"] {
        let found = resolved(&usage(&[spend("a", role, "i")]));
        assert_eq!(is_approvable(&found), Some(false), "{role}");
        assert_eq!(subjects(&found), ["flag agent_id=a"], "{role}");
    }
    // Beside a protected one stands one that others share: a person has to say so.
    let both = usage(&[spend("a", "ci-deploy", "i"), spend("a", "Shared", "i"), spend("b", "Shared", "i")]);
    let found = resolved(&both);
    assert_eq!(is_approvable(&found), Some(true), "{}", reason(&found));
    assert!(reason(&found).contains("never stopped") && reason(&found).contains("b (1000 calls)"), "{}", reason(&found));
}

#[test]
fn targets_that_no_principal_stands_for() {
    let known = usage(&[spend("a", "Mine", "i")]);
    for target in ["region=us-east-1", "agent_id=a,model=m", "tag:cost=x", "agent_id=a,tag:cost=x"] {
        let found = scope(target, &known);
        assert_eq!((subjects(&found), is_approvable(&found)), (vec![format!("flag {target}")], Some(false)));
    }
    let found = scope("agent_id=nobody", &known);
    assert_eq!((subjects(&found).len(), is_approvable(&found)), (1, Some(false)));
    assert!(scope_with("agent_id=nobody", &known, &[LeverKind::DenyPolicy]).grips.is_empty());
    // Everything: nobody is an innocent.
    assert_eq!(scope("*", &usage(&[spend("a", "X", "i"), spend("b", "Y", "i")])).obstacle, None);
    // The flag alone needs no principal.
    assert_eq!(scope_with("region=us-east-1", &known, &[LeverKind::Flag]).obstacle, None);
}

#[test]
fn users_are_no_roles() {
    let user = "arn:aws:iam::111122223333:user/bots/Triage";
    let usage = usage(&[Spend::new("u", TODAY, 9_000_000).calls(9).by(user), spend("r", "Triage", "i")]);
    assert_eq!(subjects(&scope("role=Triage", &usage)), [format!("deny-policy {}", arn("Triage"))]);
    assert_eq!(subjects(&scope("agent_id=u", &usage)), [format!("deny-policy {user}")]);
    assert!(matches!(scope("agent_id=u", &usage).grips[0].chain[0].subject, Subject::User { .. }));
    assert_eq!(subjects(&scope(&format!("principal_arn={user}"), &usage)), [format!("deny-policy {user}")]);
    let sessions = scope_with("agent_id=u", &usage, &[LeverKind::DenySession, LeverKind::RevokeSessions, LeverKind::Flag]);
    assert_eq!((subjects(&sessions), is_approvable(&sessions)), (vec!["flag agent_id=u".to_owned()], Some(false)));
    for nobody in ["arn:aws:iam::111122223333:root", "arn:aws:sts::111122223333:federated-user/x", ""] {
        let usage = self::usage(&[Spend::new("x", TODAY, 1).by(nobody)]);
        assert_eq!(is_approvable(&scope("agent_id=x", &usage)), Some(false));
    }
}

#[test]
fn sessions_that_were_forgotten_are_known_again_after_two_days() {
    let many: Vec<Spend> = (0..50_001).map(|number| spend("a", "Busy", &format!("s{number}"))).collect();
    let mut usage = usage(&many);
    assert!(usage.sessions_are_partial);
    usage.forget(Micros((TODAY + 2 * DAYS) * 60_000_000));
    assert!(usage.sessions_are_partial);
    usage.forget(Micros((TODAY + 3 * DAYS) * 60_000_000));
    assert!(!usage.sessions_are_partial);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever was called by whom: what may be pulled without a word hits at most the share of others that is allowed, counted anew here.
    #[test]
    fn nobody_gets_another_one_stopped(
        cells in proptest::collection::vec((0_usize..4, 0_usize..4, 0_usize..3, 1_u64..2_000, 0_i64..900_000, 0_i64..40), 1..25),
        target in 0_usize..4, most_innocent in prop_oneof![Just(0_u32), Just(1_000), Just(20_000)],
    ) {
        let agents = ["a", "b", "c", "d"];
        let spends: Vec<Spend> = cells.iter().map(|&(agent, role, name, calls, cost, days)| Spend {
            micro_usd: cost, minute: TODAY - days * DAYS, ..spend(agents[agent], &format!("R{role}"), &format!("n{name}")).calls(calls)
        }).collect();
        let mut usage = usage(&spends);
        usage.forget(Micros(TODAY * 60_000_000));
        let levers = vec![LeverKind::DenySession, LeverKind::DenyPolicy, LeverKind::Flag];
        let policy = ScopePolicy { levers, most_innocent, ..ScopePolicy::default() };
        let found = resolve(&format!("agent_id={}", agents[target]), Micros(0), &usage, &policy, &Protected::default());
        let recent = |days: i64, spend: &&Spend| spend.minute >= TODAY - days * DAYS;
        for pull in found.grips.iter().flat_map(|grip| &grip.chain).filter(|_| found.obstacle.is_none()) {
            let hit: Vec<&Spend> = match &pull.subject {
                Subject::Role { arn } => {
                    let role = arn.rsplit('/').next().unwrap_or_default();
                    spends.iter().filter(|spend| recent(30, spend) && spend.principal.contains(&format!("/{role}/"))).collect()
                }
                // Of sessions the last two days are known.
                Subject::RoleSession { role, session: name } => {
                    let wanted = session(role.rsplit('/').next().unwrap_or_default(), name);
                    spends.iter().filter(|spend| recent(1, spend) && spend.principal == wanted).collect()
                }
                _ => continue,
            };
            let all: u64 = hit.iter().map(|spend| spend.calls).sum();
            let others: u64 = hit.iter().filter(|spend| spend.agent != agents[target]).map(|spend| spend.calls).sum();
            prop_assert!(others * 100_000 <= all * u64::from(most_innocent), "{pull:?}: {others} of {all}");
        }
    }
}
