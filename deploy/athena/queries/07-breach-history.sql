-- name: Breaches, last 30 days
-- description: Each threshold crossed: whose, by how much, and how many seconds after the call that crossed it it was noticed.
SELECT
    event_time,
    budget,
    target,
    period,
    threshold,
    mode,
    limit_usd,
    spent_usd,
    spent_usd - limit_usd AS over_limit_usd,
    unpriced_calls,
    actions,
    date_diff('second', event_time, detected_at) AS noticed_after_seconds,
    explanation,
    fire_id
FROM breaches
WHERE dt >= cast(current_date - interval '29' day AS varchar)
ORDER BY event_time DESC, fire_id
