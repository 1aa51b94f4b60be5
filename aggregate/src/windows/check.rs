//! What the SQL of a window may consist of, read off its logical plan.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Aggregate, Distinct, Expr, LogicalPlan, Volatility};

use super::error::Refusal;

/// Columns that are added to every window's table.
pub(super) const ADDED: [&str; 3] = ["version", "final", sluice_schemas::tables::PARTITION];
const AGGREGATES: [&str; 5] = ["sum", "count", "min", "max", "avg"];

/// Checks the plan of a window and returns its one aggregate.
pub(super) fn inspect(plan: &LogicalPlan) -> Result<&Aggregate, Refusal> {
    check_names(plan)?;
    let mut aggregate = None;
    let mut node = plan;
    loop {
        check_expressions(node)?;
        node = match node {
            LogicalPlan::Projection(projection) => &projection.input,
            LogicalPlan::SubqueryAlias(alias) => &alias.input,
            LogicalPlan::Filter(_) if aggregate.is_none() && has_aggregate(node) => return Err(Refusal::Having),
            LogicalPlan::Filter(filter) => &filter.input,
            LogicalPlan::Aggregate(_) if aggregate.is_some() => return Err(Refusal::SeveralAggregates),
            LogicalPlan::Aggregate(found) => {
                aggregate = Some(found);
                &found.input
            }
            LogicalPlan::TableScan(_) => break,
            other => return Err(refusal(other)),
        };
    }
    aggregate.ok_or(Refusal::NoAggregate)
}

fn refusal(node: &LogicalPlan) -> Refusal {
    match node {
        LogicalPlan::Limit(_) => Refusal::Limit,
        LogicalPlan::Sort(_) => Refusal::OrderBy,
        LogicalPlan::Distinct(Distinct::All(_) | Distinct::On(_)) => Refusal::Distinct,
        LogicalPlan::Join(_) => Refusal::Join,
        LogicalPlan::Union(_) => Refusal::SetOperation,
        LogicalPlan::Window(_) => Refusal::Over,
        LogicalPlan::Subquery(_) => Refusal::Subquery,
        LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => Refusal::NoAggregate,
        LogicalPlan::Unnest(_) => Refusal::Unsupported { what: "UNNEST".to_owned() },
        LogicalPlan::RecursiveQuery(_) => Refusal::Unsupported { what: "a recursive query".to_owned() },
        _ => Refusal::NotASelect,
    }
}

fn has_aggregate(node: &LogicalPlan) -> bool {
    node.inputs().into_iter().any(|input| matches!(input, LogicalPlan::Aggregate(_)) || has_aggregate(input))
}

fn check_names(plan: &LogicalPlan) -> Result<(), Refusal> {
    let mut seen: Vec<&str> = Vec::new();
    for (index, field) in plan.schema().fields().iter().enumerate() {
        let name = field.name().as_str();
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !plain || name.is_empty() || name.as_bytes()[0].is_ascii_digit() {
            return Err(Refusal::Name { position: index + 1, name: name.to_owned() });
        }
        if ADDED.contains(&name) || seen.contains(&name) {
            return Err(Refusal::Reserved { name: name.to_owned() });
        }
        seen.push(name);
    }
    Ok(())
}

fn check_expressions(node: &LogicalPlan) -> Result<(), Refusal> {
    let mut refused = None;
    let visited = node.apply_expressions(|root| {
        root.apply(|expr| {
            Ok(match check_expression(expr) {
                Ok(()) => TreeNodeRecursion::Continue,
                Err(reason) => {
                    refused = Some(reason);
                    TreeNodeRecursion::Stop
                }
            })
        })
    });
    match (refused, visited) {
        (Some(reason), _) => Err(reason),
        (None, Ok(_)) => Ok(()),
        (None, Err(error)) => Err(Refusal::Unsupported { what: error.to_string() }),
    }
}

fn check_expression(expr: &Expr) -> Result<(), Refusal> {
    match expr {
        Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => {
            Err(Refusal::NotImmutable { function: call.func.name().to_owned() })
        }
        Expr::AggregateFunction(call) => {
            let function = call.func.name().to_owned();
            if !AGGREGATES.contains(&function.as_str()) {
                Err(Refusal::Aggregate { function })
            } else if call.params.distinct {
                Err(Refusal::Distinct)
            } else if !call.params.order_by.is_empty() || call.params.null_treatment.is_some() {
                Err(Refusal::OrderedAggregate { function })
            } else {
                Ok(())
            }
        }
        Expr::WindowFunction(_) => Err(Refusal::Over),
        Expr::GroupingSet(_) => Err(Refusal::GroupingSets),
        Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_) | Expr::OuterReferenceColumn(..) => {
            Err(Refusal::Subquery)
        }
        Expr::ScalarVariable(..) | Expr::Placeholder(_) => Err(Refusal::Unsupported { what: "a variable".to_owned() }),
        Expr::Unnest(_) => Err(Refusal::Unsupported { what: "UNNEST".to_owned() }),
        _ => Ok(()),
    }
}
