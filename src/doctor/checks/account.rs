//! Who asks, whether the clock is right, which region it is.

use sluice_schemas::Micros;
use sluice_schemas::time::{MINUTE, SECOND};

use crate::doctor::ask::{Desk, quoted};
use crate::doctor::finding::Finding;
use crate::doctor::reach::Reach;
use crate::doctor::{Context, Identity};

/// Says that AWS cannot be asked at all.
pub(crate) fn unreachable(problem: &str) -> Finding {
    let why = "without a region and credentials nothing in AWS can be read or stopped";
    Finding::fail("account.region", "", problem, why)
        .fix("export AWS_REGION=us-east-1   # the region of your logging configuration, or --region")
}

/// Finds out who asks, and whether AWS takes what is signed here.
pub(crate) fn check(context: &Context, reach: &dyn Reach) -> (Option<Identity>, Vec<Finding>) {
    let mut found = Vec::new();
    match reach.clocks() {
        Ok((there, here)) => found.push(clock(there, here)),
        Err(problem) => found.push(Finding::skipped("account.clock", "", problem)),
    }
    let asked = context.base().and_then(|aws| {
        let desk = Desk { aws: &*aws, region: &context.home };
        desk.query("sts", ("GetCallerIdentity", "2011-06-15"), "sts:GetCallerIdentity", &[]).map_err(|error| error.to_string())
    });
    let me = match asked {
        Ok(answer) => Identity { arn: answer.text_at(&["Arn"]).to_owned(), account: answer.text_at(&["Account"]).to_owned() },
        Err(problem) => {
            let why = "without credentials nothing in AWS can be read or stopped";
            let fix = match &context.subject.way.profile {
                Some(profile) => format!("aws sso login --profile {}", quoted(profile)),
                None => "aws sts get-caller-identity   # must work in this shell: aws configure, aws sso login, or run where the role is"
                    .to_owned(),
            };
            found.insert(0, Finding::fail("account.identity", "", problem, why).fix(fix));
            return (None, found);
        }
    };
    found.insert(0, identity(&me, &context.home));
    (Some(me), found)
}

fn identity(me: &Identity, region: &str) -> Finding {
    let seen = format!("account {}, region {region}", me.account);
    if me.arn.ends_with(":root") {
        let why = "the root user can do anything and leaves no role to look at: give sluice a role of its own";
        return Finding::warn("account.identity", &me.arn, seen, why);
    }
    Finding::ok("account.identity", &me.arn, seen)
}

fn clock(there: Micros, here: Micros) -> Finding {
    let off = (there.0 - here.0).abs();
    let seen = format!("{} s from the clock of AWS", off / SECOND);
    let fix = "timedatectl set-ntp true   # or: chronyc makestep";
    if off > 5 * MINUTE {
        let why = "AWS refuses requests whose signature is more than five minutes off: nothing can be read or stopped";
        return Finding::fail("account.clock", "", seen, why).fix(fix);
    }
    if off > MINUTE {
        let why = "at five minutes AWS refuses every request; records from the future are refused at five minutes too";
        return Finding::warn("account.clock", "", seen, why).fix(fix);
    }
    Finding::ok("account.clock", "", seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    #[test]
    fn how_far_a_clock_may_be_off() {
        let level = |seconds: i64| clock(Micros(0), Micros(seconds * SECOND)).level;
        assert_eq!([level(0), level(-60), level(61), level(-301)], [Level::Ok, Level::Ok, Level::Warn, Level::Fail]);
    }

    #[test]
    fn the_root_user_is_none_to_work_with() {
        let me = |arn: &str| Identity { arn: arn.to_owned(), account: "111122223333".to_owned() };
        assert_eq!(identity(&me("arn:aws:iam::111122223333:root"), "x").level, Level::Warn);
        assert_eq!(identity(&me("arn:aws:iam::111122223333:user/ops"), "x").level, Level::Ok);
    }
}
