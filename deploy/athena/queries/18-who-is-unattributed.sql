-- name: Who is behind unattributed spend, last 7 days
-- description: Principals whose calls name no agent, by cost: register them in the agents file, or have them say who they are.
SELECT
    account_id,
    coalesce(role, principal_arn, '(unknown)') AS principal,
    count(DISTINCT session_id) AS sessions,
    count(*) AS calls,
    sum(cost_usd) AS cost_usd,
    max(event_time) AS last_call
FROM calls
WHERE dt >= cast(current_date - interval '6' day AS varchar) AND agent_id = 'unattributed'
GROUP BY account_id, coalesce(role, principal_arn, '(unknown)')
ORDER BY cost_usd DESC, account_id, principal
