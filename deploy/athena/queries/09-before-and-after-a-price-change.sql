-- name: Before and after a price change
-- description: The seven days before a price change and those since, by model: calls, cost, and cost of a million tokens. The change is put at midnight UTC at the start of yesterday. For another one write its date, DATE '2026-10-01', in the first line, and the day a week before it after WHERE.
WITH change AS (SELECT current_date - interval '1' day AS day),
used AS (
    SELECT
        model,
        dt >= cast((SELECT day FROM change) AS varchar) AS is_after,
        price_version,
        cost_usd,
        input_tokens + output_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens AS tokens
    FROM calls
    WHERE dt >= cast(current_date - interval '8' day AS varchar) AND priced
)
SELECT
    model,
    sum(CASE WHEN is_after THEN 0 ELSE 1 END) AS calls_before,
    sum(CASE WHEN is_after THEN 1 ELSE 0 END) AS calls_after,
    sum(CASE WHEN is_after THEN 0 ELSE cost_usd END) AS cost_before_usd,
    sum(CASE WHEN is_after THEN cost_usd ELSE 0 END) AS cost_after_usd,
    round(
        1000000.0E0 * cast(sum(CASE WHEN is_after THEN 0 ELSE cost_usd END) AS double)
        / nullif(sum(CASE WHEN is_after THEN 0 ELSE tokens END), 0), 6
    ) AS usd_a_million_before,
    round(
        1000000.0E0 * cast(sum(CASE WHEN is_after THEN cost_usd ELSE 0 END) AS double)
        / nullif(sum(CASE WHEN is_after THEN tokens ELSE 0 END), 0), 6
    ) AS usd_a_million_after,
    count(DISTINCT price_version) AS price_versions
FROM used
GROUP BY model
ORDER BY cost_after_usd DESC, model
