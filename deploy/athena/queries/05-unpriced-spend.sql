-- name: Unpriced calls, last 30 days
-- description: Calls whose price is not known: they count as 0 in cost_usd until a price arrives and sluice prices rerate rates them. Each line is a price that is missing.
SELECT
    model,
    region,
    price_scope,
    service_tier,
    count(*) AS calls,
    count(DISTINCT agent_id) AS agents,
    sum(input_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens) AS tokens_in,
    sum(output_tokens) AS tokens_out,
    max(event_time) AS last_call
FROM calls
WHERE dt >= cast(current_date - interval '29' day AS varchar) AND NOT priced
GROUP BY model, region, price_scope, service_tier
ORDER BY calls DESC, model, region, price_scope, service_tier
