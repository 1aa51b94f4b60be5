//! Why a window declaration is refused, and what can go wrong while one runs.

use datafusion::error::DataFusionError;
use sluice_schemas::{ErrorClass, Micros};

/// Why the SQL of a window cannot be kept up to date call by call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not one SELECT: DDL, DML, EXPLAIN and the like.
    #[error("only a SELECT can be a window")]
    NotASelect,
    /// A row limit.
    #[error("LIMIT has no meaning for a window that keeps changing: filter when you read it")]
    Limit,
    /// An order.
    #[error("ORDER BY has no meaning for a table: order when you read it")]
    OrderBy,
    /// DISTINCT over rows or inside an aggregate.
    #[error("DISTINCT needs every value ever seen: group by the column and count when you read it")]
    Distinct,
    /// A join, given explicitly or as a list of tables.
    #[error("a join would be evaluated against half of the data: use columns of calls alone")]
    Join,
    /// Several row sources.
    #[error("UNION and set operations are not possible: declare several windows")]
    SetOperation,
    /// An OVER clause.
    #[error("window functions (OVER) need all rows at once")]
    Over,
    /// A filter on aggregates.
    #[error("HAVING would make rows appear and vanish: filter when you read it")]
    Having,
    /// More than one level of aggregation.
    #[error("exactly one GROUP BY is possible, not an aggregate of an aggregate")]
    SeveralAggregates,
    /// No aggregation.
    #[error("there is no aggregate: a window needs GROUP BY and sum, count, min, max or avg")]
    NoAggregate,
    /// GROUPING SETS, CUBE, ROLLUP.
    #[error("GROUPING SETS, CUBE and ROLLUP are not possible: declare several windows")]
    GroupingSets,
    /// A query inside an expression.
    #[error("a subquery inside an expression would see half of the data")]
    Subquery,
    /// A function whose value depends on when it runs.
    #[error("{function}() gives another value each time it is evaluated")]
    NotImmutable {
        /// The function.
        function: String,
    },
    /// An aggregate that cannot be merged exactly.
    #[error("{function}() cannot be merged exactly: sum, count, min, max and avg can")]
    Aggregate {
        /// The function.
        function: String,
    },
    /// ORDER BY or a null treatment inside an aggregate.
    #[error("an order or null treatment inside {function}() is not possible")]
    OrderedAggregate {
        /// The function.
        function: String,
    },
    /// A float where only exact numbers are allowed.
    #[error("'{column}' is a floating point number, whose sum changes with the order of the calls: use a decimal")]
    Float {
        /// The output column or the expression.
        column: String,
    },
    /// No usable window column.
    #[error("a column `window_start` is needed that is date_bin(interval, event_time) or date_trunc(unit, event_time)")]
    NoWindowStart,
    /// The width of the windows is not a constant.
    #[error("the width of the windows must be a positive constant interval")]
    Width,
    /// A group column that the output leaves out, so that its rows could not be told apart.
    #[error("GROUP BY column '{column}' must be in the output")]
    KeyNotInOutput {
        /// The expression.
        column: String,
    },
    /// An output name that a table cannot have.
    #[error("column {position} is called '{name}': name it with AS, in letters, digits and '_'")]
    Name {
        /// Place in the output, from 1.
        position: usize,
        /// The name.
        name: String,
    },
    /// An output name that is taken.
    #[error("the name '{name}' is taken: choose another with AS")]
    Reserved {
        /// The name.
        name: String,
    },
    /// A type that a table cannot hold.
    #[error("column '{column}' is of type {data_type}, which a table cannot hold: cast it")]
    Type {
        /// The column.
        column: String,
        /// Its type.
        data_type: String,
    },
    /// Anything else in the plan.
    #[error("{what} is not possible in a window")]
    Unsupported {
        /// What was found.
        what: String,
    },
}

/// A window that cannot be planned, kept or read.
#[derive(Debug, thiserror::Error)]
pub enum WindowError {
    /// The SQL asks for what cannot be kept exact.
    #[error("window '{window}' is refused: {reason}")]
    Refused {
        /// Name of the window.
        window: String,
        /// Why.
        reason: Refusal,
    },
    /// The SQL does not parse or names unknown things.
    #[error("window '{window}' cannot be planned")]
    Sql {
        /// Name of the window.
        window: String,
        /// What the planner said.
        #[source]
        source: Box<DataFusionError>,
    },
    /// An expression failed on the data, for example a division by zero.
    #[error("window '{window}' cannot be evaluated")]
    Evaluate {
        /// Name of the window.
        window: String,
        /// What the engine said.
        #[source]
        source: Box<DataFusionError>,
    },
    /// A sum could leave the range of its type.
    #[error("window '{window}': '{column}' could leave the range of its type")]
    Overflow {
        /// Name of the window.
        window: String,
        /// The aggregate.
        column: String,
    },
    /// A batch without a column that the window reads.
    #[error("window '{window}': the batch has no column '{column}'")]
    MissingColumn {
        /// Name of the window.
        window: String,
        /// The column.
        column: String,
    },
    /// A call without an event time belongs to no window.
    #[error("window '{window}': a row has no event time")]
    NoEventTime {
        /// Name of the window.
        window: String,
    },
    /// A window whose earlier rows are not in memory.
    #[error("window '{window}' starting {start} is not whole in memory: rebuild it from the lake first")]
    Incomplete {
        /// Name of the window.
        window: String,
        /// Start of the window.
        start: Micros,
    },
    /// Rows given to rebuild one window that belong to another.
    #[error("window '{window}': a row of the window starting {found} was given to rebuild the one starting {expected}")]
    WrongWindow {
        /// Name of the window.
        window: String,
        /// The window asked for.
        expected: Micros,
        /// The window of the row.
        found: Micros,
    },
    /// Stored state of another declaration or another version of the engine: rebuild it from the lake.
    #[error("window '{window}': stored state is of declaration {found}, not {expected}")]
    Fingerprint {
        /// Name of the window.
        window: String,
        /// Fingerprint of this declaration.
        expected: String,
        /// Fingerprint of the stored state.
        found: String,
    },
    /// Stored state that does not decode.
    #[error("window '{window}': stored state is corrupt: {detail}")]
    Corrupt {
        /// Name of the window.
        window: String,
        /// What is wrong.
        detail: String,
    },
}

impl WindowError {
    /// Returns what the failure asks of the caller.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Refused { .. } | Self::Sql { .. } | Self::Evaluate { .. } | Self::Overflow { .. } => ErrorClass::Misconfigured,
            Self::MissingColumn { .. } | Self::NoEventTime { .. } | Self::Incomplete { .. } | Self::WrongWindow { .. } => ErrorClass::Bug,
            Self::Fingerprint { .. } => ErrorClass::Transient,
            Self::Corrupt { .. } => ErrorClass::Corrupt,
        }
    }
}
