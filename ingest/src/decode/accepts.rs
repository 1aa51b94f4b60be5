//! Which accounts and regions a source may hold records of.

use std::fmt;

use serde::Deserialize;
use sluice_schemas::RejectReason;

/// Accounts and regions a source takes records of; an empty list takes any. A record of another one is refused: it would be booked to
/// an account that somebody who may write to the source made up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Accepts {
    /// Account ids.
    pub accounts: Vec<String>,
    /// Region names.
    pub regions: Vec<String>,
}

impl Accepts {
    /// Tells whether it takes records of everywhere.
    #[must_use]
    pub const fn takes_all(&self) -> bool {
        self.accounts.is_empty() && self.regions.is_empty()
    }

    /// Returns what is wrong with it.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let wrong = |account: &&String| account.is_empty() || !account.bytes().all(|byte| byte.is_ascii_digit());
        let accounts = self.accounts.iter().filter(wrong).map(|account| format!("accounts: '{account}' is no account id, which is digits"));
        let regions = self.regions.iter().filter(|region| region.is_empty()).map(|_| "regions: one of them is empty".to_owned());
        accounts.chain(regions).collect()
    }

    /// Checks where a record is from; what it does not say is for others to miss.
    pub(super) fn check(&self, account: &[u8], region: &[u8]) -> Result<(), RejectReason> {
        let takes = |list: &[String], said: &[u8]| list.is_empty() || said.is_empty() || list.iter().any(|one| one.as_bytes() == said);
        if takes(&self.accounts, account) && takes(&self.regions, region) {
            return Ok(());
        }
        let what = format!("account {} in region {}", String::from_utf8_lossy(account), String::from_utf8_lossy(region));
        Err(RejectReason::ForeignRecord { what })
    }

    /// Checks whose log group an envelope is from. One that does not say is refused where accounts are named.
    pub(super) fn check_owner(&self, owner: Option<&[u8]>) -> bool {
        self.accounts.is_empty() || owner.is_some_and(|owner| self.accounts.iter().any(|account| account.as_bytes() == owner))
    }
}

impl fmt::Display for Accepts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |list: &[String]| if list.is_empty() { "any".to_owned() } else { list.join(", ") };
        write!(f, "accounts {}, regions {}", list(&self.accounts), list(&self.regions))
    }
}
