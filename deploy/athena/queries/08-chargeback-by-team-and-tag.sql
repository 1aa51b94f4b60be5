-- name: Chargeback by team and cost tag, this month
-- description: Exact cost of the month so far by team and the tag "env" of its calls. Put your own tag in place of env, for example cost-center.
SELECT
    coalesce(team, '(no team)') AS team_name,
    coalesce(element_at(tags, 'env'), '(no tag)') AS tag_value,
    account_id,
    count(*) AS calls,
    sum(cost_usd) AS cost_usd,
    sum(cost_max_usd) AS cost_max_usd
FROM calls
WHERE dt >= cast(date_trunc('month', current_date) AS varchar)
GROUP BY coalesce(team, '(no team)'), coalesce(element_at(tags, 'env'), '(no tag)'), account_id
ORDER BY cost_usd DESC, team_name, tag_value, account_id
