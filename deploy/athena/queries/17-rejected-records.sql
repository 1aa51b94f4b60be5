-- name: Rejected records, last 7 days
-- description: Records that could not be read, by reason, none is lost. The bytes of one: SELECT raw FROM rejected WHERE sha256 = '…'.
SELECT
    reason,
    min(detail) AS for_example,
    count(*) AS records,
    count(DISTINCT source) AS sources,
    sum(bytes) AS bytes,
    min(ingest_time) AS first_seen,
    max(ingest_time) AS last_seen
FROM rejected
WHERE dt >= cast(current_date - interval '6' day AS varchar)
GROUP BY reason
ORDER BY records DESC, reason
