//! One SQL aggregate, planned once and run on batches as partial → merged → final.
//!
//! The planner's work (milliseconds) is done once; a run only puts the batch below the operators (microseconds). Merged
//! partial rows are ordinary Arrow batches, so state can be kept, stored and merged again in any order and any split.
//! Sums that could wrap are noticed before they do: the engine itself wraps silently.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, RecordBatch};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Field, Float64Type, Int32Type, Int64Type, Schema, SchemaRef, UInt64Type};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::stream::EmptyRecordBatchStream;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr, collect, replace_children_if_necessary};
use datafusion::prelude::{SessionConfig, SessionContext};

/// Largest integer up to which every integer is a float of its own.
const EXACT_FLOAT: u128 = 1 << 53;
const MAX_DECIMAL38: u128 = 99_999_999_999_999_999_999_999_999_999_999_999_999;

/// What can go wrong while an aggregate runs.
#[derive(Debug)]
pub(super) enum RunError {
    /// The engine failed.
    Engine(DataFusionError),
    /// A sum could leave its type.
    Overflow { column: String },
    /// The batch lacks a column.
    MissingColumn { column: String },
}

impl From<DataFusionError> for RunError {
    fn from(error: DataFusionError) -> Self {
        Self::Engine(error)
    }
}

impl From<datafusion::arrow::error::ArrowError> for RunError {
    fn from(error: datafusion::arrow::error::ArrowError) -> Self {
        Self::Engine(error.into())
    }
}

/// A sum whose range is watched: its argument, and its column in partial rows.
#[derive(Debug)]
struct Guard {
    column: String,
    argument: Arc<dyn PhysicalExpr>,
    state: usize,
}

/// A planned aggregate.
#[derive(Debug)]
pub(super) struct Aggregation {
    /// Columns of the input that are read.
    leaf: SchemaRef,
    /// From the leaf to what is aggregated.
    before: Arc<dyn ExecutionPlan>,
    groups: Arc<PhysicalGroupBy>,
    functions: Vec<Arc<AggregateFunctionExpr>>,
    filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
    guards: Vec<Guard>,
    state: SchemaRef,
    /// From the aggregate, which it still holds, to the output.
    after: Arc<dyn ExecutionPlan>,
    task: Arc<TaskContext>,
}

/// A table that has a schema and no rows; without statistics, so that nothing is computed from its emptiness.
#[derive(Debug)]
struct NoRows(SchemaRef);

impl PartitionStream for NoRows {
    fn schema(&self) -> &SchemaRef {
        &self.0
    }
    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        Box::pin(EmptyRecordBatchStream::new(Arc::clone(&self.0)))
    }
}

/// Returns a session in which `table` exists and SQL is planned without rules that rearrange physical plans.
pub(super) fn session(table: &str, schema: SchemaRef) -> Result<SessionState> {
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .with_information_schema(false)
        .set_bool("datafusion.sql_parser.parse_float_as_decimal", true)
        // Partial rows of one batch are unique by group: the watch over sums counts on it.
        .set_usize("datafusion.execution.skip_partial_aggregation_probe_rows_threshold", usize::MAX);
    let state = SessionStateBuilder::new().with_default_features().with_config(config).with_physical_optimizer_rules(Vec::new()).build();
    let context = SessionContext::new_with_state(state);
    let rows = StreamingTable::try_new(Arc::clone(&schema), vec![Arc::new(NoRows(schema))])?;
    context.register_table(table, Arc::new(rows))?;
    Ok(context.state())
}

/// Plans SQL text without evaluating or checking it.
pub(super) fn logical_plan(state: &SessionState, sql: &str) -> Result<LogicalPlan> {
    futures::executor::block_on(state.create_logical_plan(sql))
}

impl Aggregation {
    /// Takes the operators of a plan that consists of one aggregate over one table.
    pub(super) fn plan(state: &SessionState, plan: &LogicalPlan) -> Result<Self> {
        let root = futures::executor::block_on(state.create_physical_plan(plan))?;
        let unexpected = || DataFusionError::Plan("not one aggregate over one table".to_owned());
        let last = find_aggregate(&root).ok_or_else(unexpected)?;
        let first = last.children().first().and_then(|child| child.downcast_ref::<AggregateExec>()).ok_or_else(unexpected)?;
        if !matches!((last.mode(), first.mode()), (AggregateMode::Final, AggregateMode::Partial)) || !first.group_expr().is_single() {
            return Err(unexpected());
        }
        let groups = first.group_expr().expr().iter();
        let groups = groups.map(|(expr, name)| Ok((checked(expr)?, name.clone()))).collect::<Result<Vec<_>>>()?;
        let functions = first.aggr_expr().iter().map(checked_function).collect::<Result<Vec<_>>>()?;
        let guards = guards(&functions, groups.len())?;
        Ok(Self {
            leaf: leaf_schema(first.input()),
            before: checked_plan(first.input())?,
            groups: Arc::new(PhysicalGroupBy::new_single(groups)),
            functions,
            filters: first.filter_expr().to_vec(),
            guards,
            state: first.schema(),
            after: checked_plan(&root)?,
            task: state.task_ctx(),
        })
    }

    /// Returns the columns of the input that are read.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.leaf.fields().iter().map(|field| field.name().as_str())
    }

    /// Returns the schema of partial rows: group columns first.
    pub(super) fn state_schema(&self) -> &SchemaRef {
        &self.state
    }

    /// Returns the schema of final rows.
    pub(super) fn output_schema(&self) -> SchemaRef {
        self.after.schema()
    }

    /// Returns the number of group columns.
    pub(super) fn group_count(&self) -> usize {
        self.groups.num_group_exprs()
    }

    /// Returns the name of a group column in the plan.
    pub(super) fn group_name(&self, group: usize) -> &str {
        self.groups.expr().get(group).map_or("", |(_, name)| name)
    }

    /// Returns the aggregate functions.
    pub(super) fn functions(&self) -> &[Arc<AggregateFunctionExpr>] {
        &self.functions
    }

    /// Returns the schema the arguments of the aggregate functions refer to.
    pub(super) fn argument_schema(&self) -> SchemaRef {
        self.before.schema()
    }

    /// Returns a text that two plans share only if their state is interchangeable.
    pub(super) fn describe(&self) -> String {
        let functions: Vec<String> = self.functions.iter().map(|function| format!("{function:?}")).collect();
        let shown = datafusion::physical_plan::displayable(self.before.as_ref()).indent(false).to_string();
        format!("{:?}|{shown}|{:?}|{functions:?}|{:?}|{:?}", self.leaf, self.groups, self.filters, self.state)
    }

    /// Returns which group column an output column shows unchanged.
    pub(super) fn group_of_output(&self, output: usize) -> Option<usize> {
        let mut node = &self.after;
        let mut at = output;
        loop {
            if node.is::<AggregateExec>() {
                return (at < self.group_count()).then_some(at);
            }
            let projection = node.downcast_ref::<ProjectionExec>()?;
            at = projection.expr().get(at)?.expr.downcast_ref::<Column>()?.index();
            node = projection.input();
        }
    }

    /// Aggregates raw rows to partial rows.
    pub(super) fn partial(&self, batch: &RecordBatch) -> std::result::Result<Vec<RecordBatch>, RunError> {
        Ok(self.run(self.over_rows(AggregateMode::Partial, batch)?)?)
    }

    /// Aggregates raw rows that are all there are of their groups to final rows, in one step.
    pub(super) fn once(&self, batch: &RecordBatch) -> std::result::Result<Vec<RecordBatch>, RunError> {
        let whole: Arc<dyn ExecutionPlan> = self.over_rows(AggregateMode::Single, batch)?;
        Ok(self.run(graft(&self.after, &whole, &|node| node.is::<AggregateExec>())?)?)
    }

    /// Merges partial rows: afterwards each group has one.
    pub(super) fn merge(&self, state: Vec<RecordBatch>) -> std::result::Result<Vec<RecordBatch>, RunError> {
        self.watch_state(&state)?;
        Ok(self.run(self.over_state(AggregateMode::PartialReduce, state)?)?)
    }

    /// Returns the final rows of all partial rows of a set of groups.
    pub(super) fn finish(&self, state: Vec<RecordBatch>) -> std::result::Result<Vec<RecordBatch>, RunError> {
        self.watch_state(&state)?;
        let last: Arc<dyn ExecutionPlan> = self.over_state(AggregateMode::Final, state)?;
        Ok(self.run(graft(&self.after, &last, &|node| node.is::<AggregateExec>())?)?)
    }

    fn over_rows(&self, mode: AggregateMode, batch: &RecordBatch) -> std::result::Result<Arc<AggregateExec>, RunError> {
        let rows = self.select(batch)?;
        let rows = if self.before.children().is_empty() {
            vec![rows]
        } else {
            self.run(graft(&self.before, &source(vec![rows], &self.leaf)?, &|node| node.children().is_empty())?)?
        };
        let schema = self.before.schema();
        for rows in &rows {
            self.watch_arguments(rows)?;
        }
        let (groups, functions, filters) = (Arc::clone(&self.groups), self.functions.clone(), self.filters.clone());
        Ok(Arc::new(AggregateExec::try_new(mode, groups, functions, filters, source(rows, &schema)?, schema)?))
    }

    fn over_state(&self, mode: AggregateMode, state: Vec<RecordBatch>) -> Result<Arc<AggregateExec>> {
        let (groups, functions) = (Arc::new(self.groups.as_final()), self.functions.clone());
        let (filters, rows) = (vec![None; functions.len()], source(state, &self.state)?);
        Ok(Arc::new(AggregateExec::try_new(mode, groups, functions, filters, rows, self.before.schema())?))
    }

    fn run(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Vec<RecordBatch>> {
        futures::executor::block_on(collect(plan, Arc::clone(&self.task)))
    }

    /// Takes the columns that are read, by name, in the types they were planned with.
    fn select(&self, batch: &RecordBatch) -> std::result::Result<RecordBatch, RunError> {
        let columns = self.leaf.fields().iter().map(|field| {
            let column = batch.column_by_name(field.name());
            let column = column.ok_or_else(|| RunError::MissingColumn { column: field.name().clone() })?;
            if column.data_type() == field.data_type() {
                return Ok(Arc::clone(column));
            }
            Ok(cast_with_options(column, field.data_type(), &CastOptions { safe: false, ..CastOptions::default() })?)
        });
        let columns = columns.collect::<std::result::Result<Vec<ArrayRef>, RunError>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&self.leaf), columns)?)
    }

    /// Refuses rows whose sum over this batch could leave the type of the sum.
    fn watch_arguments(&self, rows: &RecordBatch) -> std::result::Result<(), RunError> {
        for guard in &self.guards {
            let values = guard.argument.evaluate(rows)?.into_array(rows.num_rows())?;
            if let Some((largest, limit)) = largest(&values)
                && largest.saturating_mul(rows.num_rows() as u128) > limit
            {
                return Err(RunError::Overflow { column: guard.column.clone() });
            }
        }
        Ok(())
    }

    /// Refuses partial rows whose merged sums could leave the type: a group has at most one row in each batch set.
    fn watch_state(&self, state: &[RecordBatch]) -> std::result::Result<(), RunError> {
        for guard in &self.guards {
            let mut bound: u128 = 0;
            for batch in state {
                if let Some((largest, limit)) = largest(batch.column(guard.state)) {
                    bound = bound.saturating_add(largest);
                    if bound > limit {
                        return Err(RunError::Overflow { column: guard.column.clone() });
                    }
                }
            }
        }
        Ok(())
    }
}

/// Returns the largest magnitude in a column and the one its type can hold exactly; `None` for types that cannot wrap.
fn largest(values: &ArrayRef) -> Option<(u128, u128)> {
    let found = match values.data_type() {
        DataType::Int32 => (max_of::<Int32Type>(values, |value| value.unsigned_abs().into()), i64::MAX as u128),
        DataType::Int64 => (max_of::<Int64Type>(values, |value| value.unsigned_abs().into()), i64::MAX as u128),
        DataType::UInt64 => (max_of::<UInt64Type>(values, u128::from), u64::MAX.into()),
        DataType::Decimal128(..) => (max_of::<Decimal128Type>(values, i128::unsigned_abs), MAX_DECIMAL38),
        DataType::Float64 => (max_of::<Float64Type>(values, |value| value.abs().ceil() as u128), EXACT_FLOAT),
        _ => return None,
    };
    Some(found)
}

fn max_of<T: ArrowPrimitiveType>(values: &ArrayRef, magnitude: impl Fn(T::Native) -> u128) -> u128 {
    let values = values.as_primitive::<T>();
    if values.null_count() == 0 {
        return values.values().iter().map(|value| magnitude(*value)).max().unwrap_or(0);
    }
    values.iter().flatten().map(magnitude).max().unwrap_or(0)
}

fn guards(functions: &[Arc<AggregateFunctionExpr>], groups: usize) -> Result<Vec<Guard>> {
    let mut guards = Vec::new();
    let mut state = groups;
    for function in functions {
        let fields = function.state_fields()?;
        if matches!(function.fun().name(), "sum" | "avg")
            && let Some(argument) = function.expressions().into_iter().next()
        {
            // The sum is the last state column of both; before it avg keeps its count.
            let state = state + fields.len() - 1;
            guards.push(Guard { column: function.name().to_owned(), argument, state });
        }
        state += fields.len();
    }
    Ok(guards)
}

fn source(batches: Vec<RecordBatch>, schema: &SchemaRef) -> Result<Arc<dyn ExecutionPlan>> {
    Ok(MemorySourceConfig::try_new_exec(&[batches], Arc::clone(schema), None)?)
}

fn find_aggregate(plan: &Arc<dyn ExecutionPlan>) -> Option<&AggregateExec> {
    match plan.downcast_ref::<AggregateExec>() {
        Some(found) => Some(found),
        None => plan.children().first().and_then(|child| find_aggregate(child)),
    }
}

fn leaf_schema(plan: &Arc<dyn ExecutionPlan>) -> SchemaRef {
    match plan.children().first() {
        Some(child) => leaf_schema(child),
        None => {
            let schema = plan.schema();
            let fields: Vec<Field> = schema.fields().iter().map(|field| field.as_ref().clone()).collect();
            Arc::new(Schema::new(fields))
        }
    }
}

/// Replaces the nodes at which `cut` holds by `with`.
fn graft(
    plan: &Arc<dyn ExecutionPlan>,
    with: &Arc<dyn ExecutionPlan>,
    cut: &dyn Fn(&Arc<dyn ExecutionPlan>) -> bool,
) -> Result<Arc<dyn ExecutionPlan>> {
    if cut(plan) {
        return Ok(Arc::clone(with));
    }
    let children = plan.children().into_iter().map(|child| graft(child, with, cut)).collect::<Result<Vec<_>>>()?;
    replace_children_if_necessary(Arc::clone(plan), children)
}

/// Makes arithmetic of an expression fail where it would wrap.
fn checked(expr: &Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
    let transformed = Arc::clone(expr).transform_up(|node| {
        let Some(binary) = node.downcast_ref::<BinaryExpr>() else {
            return Ok(Transformed::no(node));
        };
        Ok(Transformed::yes(Arc::new(binary.clone().with_fail_on_overflow(true)) as Arc<dyn PhysicalExpr>))
    });
    transformed.data()
}

fn checked_function(function: &Arc<AggregateFunctionExpr>) -> Result<Arc<AggregateFunctionExpr>> {
    let arguments = function.expressions().iter().map(checked).collect::<Result<Vec<_>>>()?;
    let rebuilt = function.with_new_expressions(arguments, Vec::new());
    rebuilt.map(Arc::new).ok_or_else(|| DataFusionError::Plan(format!("{} cannot be rebuilt", function.name())))
}

/// Makes the arithmetic of filters and projections above the leaf fail where it would wrap; the aggregates stay as they are.
fn checked_plan(plan: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    if plan.is::<AggregateExec>() || plan.children().is_empty() {
        return Ok(Arc::clone(plan));
    }
    let children = plan.children().into_iter().map(checked_plan).collect::<Result<Vec<_>>>()?;
    let plan = replace_children_if_necessary(Arc::clone(plan), children)?;
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let exprs = projection.expr().iter();
        let exprs = exprs.map(|named| Ok(ProjectionExpr { expr: checked(&named.expr)?, alias: named.alias.clone() }));
        return Ok(Arc::new(ProjectionExec::try_new(exprs.collect::<Result<Vec<_>>>()?, Arc::clone(projection.input()))?));
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        return Ok(Arc::new(FilterExecBuilder::from(filter).with_predicate(checked(filter.predicate())?).build()?));
    }
    Err(DataFusionError::Plan(format!("unexpected operator {}", plan.name())))
}
