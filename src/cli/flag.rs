//! `sluice flag`: whether an agent may call, told from the holds of this machine without AWS; and the table for agents elsewhere.

use std::process::ExitCode;

use anyhow::Context;
use sluice_enforce::hold::Hold;
use sluice_enforce::lever::flag::targets_of;
use sluice_schemas::visible::escape;
use sluice_schemas::{Clock, Micros, SystemClock};

use super::args::Place;
use super::args_flag::{FlagArgs, FlagVerb};
use crate::config::{Config, SharedPlace};
use crate::control::{self, Request};
use crate::output;

/// Exit code of a check that found a hold.
const EXIT_HELD: u8 = 3;

pub(super) fn run(args: &FlagArgs) -> anyhow::Result<ExitCode> {
    match &args.verb {
        FlagVerb::Check { agent, session, place } => {
            let holds = holds(place)?;
            let held = hold_of(&holds, agent, session.as_deref(), SystemClock.now());
            output::line(&held.map_or_else(|| "allowed".to_owned(), told));
            Ok(if held.is_some() { ExitCode::from(EXIT_HELD) } else { ExitCode::SUCCESS })
        }
        FlagVerb::CreateTable { place } => {
            let config = Config::load(&place.origin())?;
            let table = config.flags.context("no table: name one in [flags]")?;
            let made = table.create()?;
            output::line(&format!("{table}: {}", if made { "made" } else { "was there already" }));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Returns all holds, from the daemon if one runs. A store that is not there yet has none, and is not made by looking.
fn holds(place: &Place) -> anyhow::Result<Vec<Hold>> {
    let config = Config::load(&place.origin())?;
    if let Some(mut client) = control::connect(&config.socket)? {
        return serde_json::from_value(client.ask(&Request::Holds)?).context("holds of the daemon");
    }
    if matches!(&config.shared, SharedPlace::File(path) if !path.exists()) {
        return Ok(Vec::new());
    }
    Ok(config.shared.open()?.holds()?)
}

/// Returns a hold that stops an agent or its session now.
fn hold_of<'a>(holds: &'a [Hold], agent: &str, session: Option<&str>, now: Micros) -> Option<&'a Hold> {
    let targets = targets_of(agent, session);
    let stops = |hold: &&Hold| hold.is_in_force() && hold.until.is_none_or(|until| now < until) && targets.contains(&hold.target);
    holds.iter().find(stops)
}

fn told(hold: &Hold) -> String {
    let until = hold.until.map(|until| format!(" until {until}")).unwrap_or_default();
    let why = hold.budget().map_or_else(|| "by hand".to_owned(), |budget| format!("budget '{}'", escape(budget)));
    format!("held: {}{until} ({why}, hold {})", escape(&hold.target), hold.id)
}

#[cfg(test)]
mod tests {
    use sluice_enforce::Mode;
    use sluice_enforce::hold::{Cause, HoldState};

    use super::*;

    fn hold(target: &str, mode: Mode, state: HoldState, until: Option<Micros>) -> Hold {
        Hold {
            id: "h".to_owned(),
            target: target.to_owned(),
            cause: Cause::Manual { actor: "eve".to_owned(), note: String::new() },
            until,
            mode,
            state,
            created_at: Micros(0),
            approved_by: None,
            released: None,
            revision: 0,
            scope: sluice_enforce::guard::Scope::default(),
            burn: sluice_schemas::PicoUsd::ZERO,
            note: None,
            approve_by: None,
        }
    }

    #[test]
    fn only_a_hold_in_force_of_the_agent_or_session_stops() {
        let stops =
            |target: &str, mode, state, until, session| hold_of(&[hold(target, mode, state, until)], "a,b", session, Micros(10)).is_some();
        use HoldState::{Active, PendingApproval, Released};
        assert!(stops("agent_id=a%2Cb", Mode::Enforce, Active, None, None));
        assert!(stops("*", Mode::Enforce, Active, Some(Micros(11)), None));
        assert!(stops("session_id=s", Mode::Enforce, Active, None, Some("s")));
        assert!(stops("agent_id=a%2Cb,session_id=s", Mode::Enforce, Active, None, Some("s")));
        assert!(!stops("agent_id=a%2Cb,session_id=s", Mode::Enforce, Active, None, None));
        assert!(!stops("agent_id=a", Mode::Enforce, Active, None, None));
        assert!(!stops("agent_id=a%2Cb", Mode::Observe, Active, None, None));
        assert!(!stops("agent_id=a%2Cb", Mode::Enforce, Active, Some(Micros(10)), None));
        assert!(!stops("agent_id=a%2Cb", Mode::Enforce, PendingApproval, None, None));
        assert!(!stops("agent_id=a%2Cb", Mode::Enforce, Released, None, None));
    }
}
