//! Which profile of a batch its calls get when more is known of their callers.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use sluice_enrich::evidence::CallEvidence;
use sluice_enrich::informed::Informed;

/// What is known of the first call of a decoded profile.
#[derive(Clone, Copy, Debug)]
enum First {
    /// There was none yet.
    None,
    Nothing,
    /// Where it is among [`Profiles::informed`].
    Evidence(usize),
}

/// Which profile of a batch the calls of each decoded one get. Most have calls of one caller and stay as they are: a million profiles of
/// one call each do not become two million.
#[derive(Debug)]
pub(super) struct Profiles {
    /// By decoded profile.
    first: Vec<First>,
    /// Profiles of other calls, by decoded profile and evidence.
    others: HashMap<(u32, [usize; 3]), u32, FixedState>,
    /// Those about which something is known.
    pub(super) informed: Vec<Informed>,
}

impl Profiles {
    pub(super) fn new(decoded: usize) -> Self {
        Self { first: vec![First::None; decoded], others: HashMap::default(), informed: Vec::new() }
    }

    /// Returns what is known of the first call of a decoded profile.
    pub(super) fn first(&self, profile: u32) -> Option<&CallEvidence> {
        match self.first.get(profile as usize)? {
            First::Evidence(at) => self.informed.get(*at).map(|(_, evidence)| evidence),
            First::None | First::Nothing => None,
        }
    }

    /// Returns the number of the profile of a call, and whether it is one that is yet to be put behind the others.
    pub(super) fn of(&mut self, profile: u32, evidence: CallEvidence) -> (u32, bool) {
        let addresses = evidence.addresses();
        let known = self.first(profile).map(CallEvidence::addresses).unwrap_or_default();
        let next = (self.first.len() + self.others.len()) as u32;
        match self.first.get_mut(profile as usize) {
            Some(first) if matches!(first, First::None) => {
                *first = if evidence.is_empty() { First::Nothing } else { First::Evidence(self.informed.len()) };
                if !evidence.is_empty() {
                    self.informed.push((profile, evidence));
                }
                (profile, false)
            }
            Some(_) if known == addresses => (profile, false),
            _ => {
                let number = *self.others.entry((profile, addresses)).or_insert(next);
                if number == next {
                    self.informed.push((next, evidence));
                }
                (number, number == next)
            }
        }
    }
}
