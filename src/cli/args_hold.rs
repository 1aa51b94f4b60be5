//! Grammar of what people say about holds, levers and exceptions.

use clap::{Args, Subcommand};

use super::args::{BudgetListArgs, Format, Place, Reason};

#[derive(Debug, Args)]
pub(crate) struct HoldArgs {
    #[command(subcommand)]
    pub(crate) verb: HoldVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HoldVerb {
    /// Every hold, its reason and its state
    List(BudgetListArgs),
    /// One hold: what it pulls, who else shares that, what stands now
    Show {
        /// Id of the hold, as listed
        id: String,
        #[command(flatten)]
        place: Place,
        /// Form of the result
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// What each hold let through past its threshold, by part: log lag, pipeline, decision, IAM, calls in flight
    Overshoot(BudgetListArgs),
    /// Lift a hold by hand
    Release {
        /// Id of the hold, as listed
        id: String,
        #[command(flatten)]
        reason: Reason,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// The agent, or a target such as team=search
    pub(crate) agent: String,
    /// For how long, for example 2h (default: until resume)
    #[arg(long = "for", value_name = "DURATION")]
    pub(crate) lasts: Option<String>,
    #[command(flatten)]
    pub(crate) reason: Reason,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The agent, or a target such as team=search
    pub(crate) agent: String,
    #[command(flatten)]
    pub(crate) reason: Reason,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// Id of the hold, or name of the budget
    pub(crate) id: String,
    /// For how long a hold then lasts, for example 2h (default: until its own end)
    #[arg(long = "for", value_name = "DURATION")]
    pub(crate) lasts: Option<String>,
    #[command(flatten)]
    pub(crate) reason: Reason,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct LeverArgs {
    #[command(subcommand)]
    pub(crate) verb: LeverVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LeverVerb {
    /// What every lever does or did, on whom, and for which holds
    List(BudgetListArgs),
    /// The kill switch: nothing is pulled any more, breaches are only told; what stands is lifted when its hold ends
    Stop {
        #[command(flatten)]
        reason: Reason,
        #[command(flatten)]
        place: Place,
    },
    /// Undo stop
    Start {
        #[command(flatten)]
        reason: Reason,
        #[command(flatten)]
        place: Place,
    },
    /// Let levers be pulled again after the circuit breaker has tripped
    CloseBreaker {
        #[command(flatten)]
        reason: Reason,
        #[command(flatten)]
        place: Place,
    },
    /// Show what a hold would pull on a target, who shares that, and which calls it would make; nothing is changed
    Rehearse {
        /// Target of a budget, for example agent_id=checkout-bot, or id of a hold
        target: String,
        #[command(flatten)]
        place: Place,
    },
    /// Ask AWS what this program may do, and say whether it reaches itself or someone who is protected
    Check {
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum OverrideVerb {
    /// Every exception that is not over
    List(BudgetListArgs),
    /// No holds of a budget for a while, or with --extra thresholds that lie that much higher
    Add {
        /// Name of the budget
        budget: String,
        /// Target of the budget, for example agent_id=checkout-bot (default: all)
        #[arg(long)]
        target: Option<String>,
        /// How much more may be spent before a hold, for example "50 USD"
        #[arg(long, value_name = "AMOUNT")]
        extra: Option<String>,
        /// For how long, for example 4h
        #[arg(long = "for", value_name = "DURATION")]
        lasts: String,
        #[command(flatten)]
        reason: Reason,
        #[command(flatten)]
        place: Place,
    },
    /// End an exception before its time
    Revoke {
        /// Its id, as listed
        id: String,
        #[command(flatten)]
        reason: Reason,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
pub(crate) struct TeardownArgs {
    #[command(flatten)]
    pub(crate) reason: Reason,
    #[command(flatten)]
    pub(crate) place: Place,
    /// How long to wait until nothing is left, for example 10m
    #[arg(long, default_value = "10m", value_name = "DURATION")]
    pub(crate) wait: String,
}
