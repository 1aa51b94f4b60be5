-- name: Hourly burn by agent, last 24 hours
-- description: Spend of each agent in each of the last 24 full hours and the current one (UTC).
SELECT
    "hour",
    agent_id,
    sum(calls) AS calls,
    sum(cost_usd) AS cost_usd
FROM spend_hour
WHERE dt >= cast(current_date - interval '1' day AS varchar)
    AND "hour" >= date_trunc('hour', current_timestamp) - interval '24' hour
GROUP BY "hour", agent_id
ORDER BY "hour" DESC, cost_usd DESC, agent_id
