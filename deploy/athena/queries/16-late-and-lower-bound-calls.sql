-- name: Late and lower-bound calls, last 7 days
-- description: Calls that arrived more than 15 minutes after they were made, and calls whose cost is not exact: from the envelope of the log, or a lower bound from CloudTrail.
SELECT
    account_id,
    region,
    cost_basis,
    CASE WHEN ingest_time > event_time + interval '15' minute THEN 'late' ELSE 'in time' END AS arrival,
    count(*) AS calls,
    sum(cost_usd) AS cost_usd,
    sum(cost_max_usd) AS cost_max_usd,
    sum(cost_max_usd - cost_usd) AS uncertain_usd,
    max(ingest_time) AS last_arrival
FROM calls
WHERE dt >= cast(current_date - interval '6' day AS varchar)
    AND (cost_basis <> 'exact' OR ingest_time > event_time + interval '15' minute)
GROUP BY
    account_id,
    region,
    cost_basis,
    CASE WHEN ingest_time > event_time + interval '15' minute THEN 'late' ELSE 'in time' END
ORDER BY calls DESC, account_id, region, cost_basis, arrival
