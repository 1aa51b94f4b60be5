-- name: Dark spend, last 7 days
-- description: Calls that no invocation log brought. "lower bound": CloudTrail told of the call and it is metered from the event. "not metered": an event of a call that is in no row of calls, younger than the wait for its log or with metering off. sluice coverage compares with CloudWatch too.
WITH known AS (
    SELECT DISTINCT account_id, region, request_id
    FROM calls
    WHERE dt >= cast(current_date - interval '6' day AS varchar)
),
events AS (
    SELECT account_id, region, request_id, min(model_id) AS model, max(event_time) AS event_time
    FROM evidence
    WHERE dt >= cast(current_date - interval '6' day AS varchar)
        AND event_name IN ('InvokeModel', 'InvokeModelWithResponseStream', 'Converse', 'ConverseStream')
        AND error_code IS NULL
        AND request_id IS NOT NULL
    GROUP BY account_id, region, request_id
)
SELECT
    'lower bound' AS known_as,
    account_id,
    region,
    model,
    count(*) AS calls,
    sum(cost_usd) AS cost_usd,
    max(event_time) AS last_call
FROM calls
WHERE dt >= cast(current_date - interval '6' day AS varchar) AND cost_basis = 'lower_bound'
GROUP BY account_id, region, model
UNION ALL
SELECT
    'not metered' AS known_as,
    events.account_id,
    events.region,
    events.model,
    count(*) AS calls,
    cast(NULL AS decimal(38, 12)) AS cost_usd,
    max(events.event_time) AS last_call
FROM events
LEFT JOIN known
    ON known.account_id = events.account_id AND known.region = events.region AND known.request_id = events.request_id
WHERE known.request_id IS NULL
GROUP BY events.account_id, events.region, events.model
ORDER BY known_as, calls DESC, account_id, region, model
