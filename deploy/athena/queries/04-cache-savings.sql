-- name: Cache savings, last 30 days
-- description: Tokens written to and read from prompt caches by model. For Claude, whose token classes cost 1 : 5 (output) : 0.1 (cache read) : 1.25 and 2 (cache writes), also about what caching saved (negative: it cost more than it saved). Other models: cost and tokens alone.
WITH used AS (
    SELECT
        model,
        count(*) AS calls,
        sum(input_tokens) AS input_tokens,
        sum(output_tokens) AS output_tokens,
        sum(cache_read_tokens) AS cache_read_tokens,
        sum(cache_write_5m_tokens) AS cache_write_5m_tokens,
        sum(cache_write_1h_tokens) AS cache_write_1h_tokens,
        sum(cost_usd) AS cost_usd
    FROM calls
    WHERE dt >= cast(current_date - interval '29' day AS varchar) AND priced
    GROUP BY model
)
SELECT
    model,
    calls,
    input_tokens,
    cache_read_tokens,
    cache_write_5m_tokens,
    cache_write_1h_tokens,
    cost_usd,
    round(
        100.0E0 * cache_read_tokens
        / nullif(input_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens, 0), 1
    ) AS read_from_cache_percent,
    CASE WHEN model LIKE 'anthropic.claude-%' THEN
        round(
            cast(cost_usd AS double)
            * (0.9E0 * cache_read_tokens - 0.25E0 * cache_write_5m_tokens - 1.0E0 * cache_write_1h_tokens)
            / nullif(
                input_tokens + 5.0E0 * output_tokens + 0.1E0 * cache_read_tokens
                + 1.25E0 * cache_write_5m_tokens + 2.0E0 * cache_write_1h_tokens, 0.0E0
            ), 2
        )
    END AS saved_usd_about
FROM used
WHERE cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens > 0
ORDER BY cost_usd DESC, model
