-- name: Top sessions, last 7 days
-- description: The sessions that cost most, with their first and last call of these days.
SELECT
    agent_id,
    session_id,
    min(first_event) AS first_event,
    max(last_event) AS last_event,
    sum(calls) AS calls,
    sum(input_tokens) AS input_tokens,
    sum(output_tokens) AS output_tokens,
    sum(cost_usd) AS cost_usd
FROM spend_session
WHERE dt >= cast(current_date - interval '6' day AS varchar)
GROUP BY agent_id, session_id
HAVING sum(calls) > 0
ORDER BY cost_usd DESC, agent_id, session_id
LIMIT 25
