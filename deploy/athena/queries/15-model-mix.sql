-- name: Model mix, last 7 days
-- description: Which models are called, from which scope and tier, and what share of calls and cost they have.
WITH used AS (
    SELECT
        model,
        price_scope,
        service_tier,
        count(*) AS calls,
        count(DISTINCT agent_id) AS agents,
        sum(input_tokens) AS input_tokens,
        sum(output_tokens) AS output_tokens,
        sum(cost_usd) AS cost_usd
    FROM calls
    WHERE dt >= cast(current_date - interval '6' day AS varchar)
    GROUP BY model, price_scope, service_tier
)
SELECT
    model,
    price_scope,
    service_tier,
    calls,
    agents,
    input_tokens,
    output_tokens,
    cost_usd,
    round(100.0E0 * calls / sum(calls) OVER (), 2) AS calls_percent,
    round(100.0E0 * cast(cost_usd AS double) / nullif(sum(cast(cost_usd AS double)) OVER (), 0.0E0), 2) AS cost_percent
FROM used
ORDER BY cost_usd DESC, model, price_scope, service_tier
