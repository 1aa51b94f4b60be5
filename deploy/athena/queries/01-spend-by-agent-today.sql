-- name: Spend by agent, today
-- description: What each agent cost since midnight UTC. cost_max_usd is the upper bound where the log did not tell everything.
SELECT
    agent_id,
    sum(calls) AS calls,
    sum(errors) AS errors,
    sum(unpriced_calls) AS unpriced_calls,
    sum(cost_usd) AS cost_usd,
    sum(cost_max_usd) AS cost_max_usd
FROM spend_day
WHERE dt = cast(current_date AS varchar)
GROUP BY agent_id
ORDER BY cost_usd DESC, agent_id
