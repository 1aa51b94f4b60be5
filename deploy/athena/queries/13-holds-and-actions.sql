-- name: Holds and actions, last 7 days
-- description: What was done about breaches and what people ordered, newest first, with the budget and the spend that led to it.
WITH crossed AS (
    SELECT fire_id, max(budget) AS budget, max(limit_usd) AS limit_usd, max(spent_usd) AS spent_usd
    FROM breaches
    WHERE dt >= cast(current_date - interval '36' day AS varchar)
    GROUP BY fire_id
)
SELECT
    actions."at" AS happened_at,
    actions.action,
    actions.target,
    actions.state,
    actions.actor,
    actions.detail,
    crossed.budget,
    crossed.limit_usd,
    crossed.spent_usd,
    actions.line
FROM actions
LEFT JOIN crossed ON crossed.fire_id = actions.fire_id
WHERE actions.dt >= cast(current_date - interval '6' day AS varchar)
ORDER BY happened_at DESC, actions.line DESC
LIMIT 500
