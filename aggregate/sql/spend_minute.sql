SELECT minute,
       min(hour) AS hour,
       owner,
       sum(calls) AS calls,
       sum(errors) AS errors,
       sum(unpriced_calls) AS unpriced_calls,
       sum(input_tokens) AS input_tokens,
       sum(output_tokens) AS output_tokens,
       sum(cache_read_tokens) AS cache_read_tokens,
       sum(cache_write_5m_tokens) AS cache_write_5m_tokens,
       sum(cache_write_1h_tokens) AS cache_write_1h_tokens,
       sum(cost_usd) AS cost_usd,
       sum(cost_max_usd) AS cost_max_usd
FROM deltas
GROUP BY minute, owner
