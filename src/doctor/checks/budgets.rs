//! Budgets: that there are any, that they count somebody, that nobody is left out, that what they ask for happens.

use sluice_enforce::{ActionKind, Budget, Mode};

use crate::doctor::Context;
use crate::doctor::facts::{DAYS, Facts};
use crate::doctor::finding::Finding;
use crate::output::counted;

pub(super) fn check(context: &Context) -> Vec<Finding> {
    let budgets: Vec<&Budget> = context.config.budgets.iter().map(AsRef::as_ref).collect();
    let mut found = judge(&budgets, &context.facts, &context.flag());
    if let Err(error) = crate::pipeline::check(&context.config) {
        let why = "a daemon refuses to start with it, and a running one keeps the old one";
        found.push(Finding::fail("budgets.config", "", format!("{error:#}"), why).fix(format!("sluice config check{}", context.flag())));
    }
    let holds = budgets.iter().filter(|budget| stops(budget)).map(|budget| budget.name.as_str()).collect::<Vec<_>>();
    if !holds.is_empty() && context.config.enforce.levers.is_empty() {
        let why = "the hold is recorded and told, and nothing is pulled";
        let fix = "# in the configuration: [enforce] levers = [\"deny-policy\"], deny_policy_arn = …; docs/enforcement.md";
        found.push(
            Finding::fail("budgets.levers", holds.join(", "), "these budgets are to stop somebody, and no lever is configured", why)
                .fix(fix),
        );
    }
    if !budgets.is_empty() && !context.subject.tells {
        let why = "a breach stands in a file and the log, where nobody may look";
        let fix = "# in the configuration: [[notify]] kind = \"sns\", topic_arn = …; docs/notifications.md";
        found.push(Finding::warn("budgets.told", "", "nobody is told of breaches", why).fix(fix));
    }
    found
}

fn stops(budget: &Budget) -> bool {
    budget.mode != Mode::Observe && budget.thresholds.iter().any(|threshold| threshold.actions.contains(&ActionKind::Hold))
}

fn judge(budgets: &[&Budget], facts: &Facts, flag: &str) -> Vec<Finding> {
    if budgets.is_empty() {
        let why = "spend is counted, and nothing follows from it";
        let fix = "# in the configuration: [[budget]] name = \"each agent, daily\", each = [\"agent_id\"], limit = \"25.00 USD\", window = \"day\"";
        return vec![Finding::warn("budgets.any", "", "no budget is configured", why).fix(fix)];
    }
    let stopping = budgets.iter().filter(|budget| stops(budget)).count();
    let mut found =
        vec![Finding::ok("budgets.any", "", format!("{}, {stopping} of them may stop somebody", counted(budgets.len(), "budget")))];
    if facts.problem.is_some() || facts.calls == 0 {
        found.push(Finding::skipped("budgets.matched", "", format!("the lake has no call of the last {DAYS} days to compare with")));
        return found;
    }
    for (name, count) in &facts.budgets {
        match count {
            Some(0) => {
                let why = "its predicate is wrong, or what it watches does not exist";
                let fix = format!("sluice query{flag} \"SELECT DISTINCT agent_id, team, role FROM calls\"   # what calls really carry");
                found.push(Finding::warn("budgets.matched", name, format!("it counted no call of the last {DAYS} days"), why).fix(fix));
            }
            Some(count) => found.push(Finding::ok("budgets.matched", name, format!("{count} calls in {DAYS} days"))),
            None => found.push(Finding::skipped(
                "budgets.matched",
                name,
                "its predicate cannot be asked of the lake; sluice budget list shows what it counts",
            )),
        }
    }
    if !facts.unbudgeted.is_empty() {
        let some =
            facts.unbudgeted.iter().take(6).map(|agent| if agent.is_empty() { "(nobody)" } else { agent }).collect::<Vec<_>>().join(", ");
        let why = "nothing stops them, whatever they spend";
        let fix = "# in the configuration, without a 'where': [[budget]] name = \"every agent\", each = [\"agent_id\"], limit = …, window = \"day\"";
        found.push(
            Finding::warn("budgets.left_out", "", format!("{} agents are in no budget: {some}", facts.unbudgeted.len()), why).fix(fix),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use sluice_enforce::Budgets;

    use super::*;
    use crate::doctor::finding::Level;

    fn budgets(text: &str) -> Budgets {
        Budgets::parse(text).unwrap()
    }

    fn levels(budgets: &Budgets, facts: &Facts) -> Vec<(&'static str, Level)> {
        let all: Vec<&Budget> = budgets.iter().map(AsRef::as_ref).collect();
        judge(&all, facts, "").into_iter().map(|finding| (finding.check, finding.level)).collect()
    }

    #[test]
    fn budgets_count_somebody_and_leave_nobody_out() {
        let one = budgets("[[budget]]\nname = 'a'\nlimit = '1 USD'\nwindow = 'day'\nwhere = \"team = 'x'\"");
        let facts = |count: Option<u64>, left: &[&str]| Facts {
            calls: 5,
            budgets: vec![("a".to_owned(), count)],
            unbudgeted: left.iter().map(|agent| (*agent).to_owned()).collect(),
            ..Facts::default()
        };
        assert_eq!(levels(&budgets(""), &Facts::default()), [("budgets.any", Level::Warn)]);
        assert_eq!(levels(&one, &facts(Some(5), &[]))[1..], [("budgets.matched", Level::Ok)]);
        assert_eq!(levels(&one, &facts(Some(0), &[]))[1..], [("budgets.matched", Level::Warn)]);
        assert_eq!(levels(&one, &facts(None, &["b"]))[1..], [("budgets.matched", Level::Skipped), ("budgets.left_out", Level::Warn)]);
        assert_eq!(levels(&one, &Facts::default())[1..], [("budgets.matched", Level::Skipped)]);
    }
}
