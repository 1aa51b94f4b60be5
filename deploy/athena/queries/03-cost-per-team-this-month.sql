-- name: Cost per team, this month
-- description: Spend of each team since the first of the month (UTC), and how many agents it runs. Calls without a team stand apart.
SELECT
    coalesce(team, '(no team)') AS team_name,
    count(DISTINCT agent_id) AS agents,
    sum(calls) AS calls,
    sum(unpriced_calls) AS unpriced_calls,
    sum(cost_usd) AS cost_usd
FROM spend_day
WHERE dt >= cast(date_trunc('month', current_date) AS varchar)
GROUP BY coalesce(team, '(no team)')
ORDER BY cost_usd DESC, team_name
