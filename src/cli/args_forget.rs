//! Grammar of `forget`.

use clap::Args;

use super::args::{Format, Place};

#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    /// ARN of a user or of a role session, or a name as AWS records it, such as an e-mail address
    pub(crate) principal: String,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Do it; without this only what has the name is told
    #[arg(long, requires = "reason")]
    pub(crate) yes: bool,
    /// Why; stands in the audit trail, so leave the name out
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Who says so
    #[arg(long, env = "USER", default_value = "unknown")]
    pub(crate) actor: String,
    /// What stands in the name's place (default: a random word); to go on where an earlier run was cut off
    #[arg(long = "as", value_name = "ALIAS")]
    pub(crate) alias: Option<String>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}
