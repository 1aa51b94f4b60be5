-- name: Corrections, last 30 days
-- description: Cost that moved to another agent because evidence came late, was rated again, or was taken out because the log brought its call.
SELECT
    kind,
    from_agent,
    to_agent,
    reason,
    count(*) AS calls,
    sum(cost_before_usd) AS cost_before_usd,
    sum(cost_after_usd) AS cost_after_usd,
    sum(cost_after_usd - cost_before_usd) AS change_usd,
    max("at") AS last_correction
FROM corrections
WHERE dt >= cast(current_date - interval '29' day AS varchar)
GROUP BY kind, from_agent, to_agent, reason
ORDER BY calls DESC, kind, from_agent, to_agent, reason
