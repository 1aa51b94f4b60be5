-- name: Spend by rank of evidence, last 7 days
-- description: What the attribution of spend rests on: 4 set by AWS, 3 pinned by a policy, 2 chosen by whoever took on the role, 1 the caller's own word, 0 inferred or nobody known.
SELECT
    agent_rank,
    agent_evidence,
    agent_status,
    count(*) AS calls,
    count(DISTINCT agent_id) AS agents,
    sum(cost_usd) AS cost_usd
FROM calls
WHERE dt >= cast(current_date - interval '6' day AS varchar)
GROUP BY agent_rank, agent_evidence, agent_status
ORDER BY agent_rank DESC, cost_usd DESC, agent_evidence, agent_status
