-- name: Cost per successful call, error rate and latency, last 7 days
-- description: What a call that worked costs each agent, failed ones included in the cost, how many fail, the 95th percentile of latency where the log tells it.
SELECT
    agent_id,
    count(*) AS calls,
    sum(CASE WHEN error_code IS NULL THEN 0 ELSE 1 END) AS failed,
    round(100.0E0 * sum(CASE WHEN error_code IS NULL THEN 0 ELSE 1 END) / count(*), 2) AS failed_percent,
    sum(cost_usd) AS cost_usd,
    round(cast(sum(cost_usd) AS double) / nullif(sum(CASE WHEN error_code IS NULL THEN 1 ELSE 0 END), 0), 6) AS usd_a_successful_call,
    approx_percentile(latency_ms, 0.95) AS latency_p95_ms
FROM calls
WHERE dt >= cast(current_date - interval '6' day AS varchar)
GROUP BY agent_id
ORDER BY cost_usd DESC, agent_id
