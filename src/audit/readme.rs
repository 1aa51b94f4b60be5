//! The page that opens a pack: what is in it, how it is checked, what it can be used for.

use sluice_schemas::Micros;

use super::{Span, Verdict};

/// Returns the page.
pub(super) fn text(span: &Span, now: Micros, verdict: &Verdict) -> String {
    let from = span.from.map_or_else(|| "the first record".to_owned(), |from| from.to_string());
    let to = span.to.map_or_else(|| "the last record".to_owned(), |to| to.to_string());
    let findings: Vec<String> = verdict.faults().map(|fault| format!("- {fault}\n")).collect();
    let verdict = if findings.is_empty() {
        "The audit trail held when this pack was written: no line is missing, changed, reordered or inserted, and the copy in the lake agrees.\n"
            .to_owned()
    } else {
        format!("**The audit trail did not hold when this pack was written:**\n\n{}", findings.concat())
    };
    format!(
        "# Evidence pack

Spend and enforcement of AI agents on Amazon Bedrock, from {from} to {to}, written {now} by sluice {}.

{verdict}
## Check it

    sha256sum -c SHA256SUMS

Every file must be `OK`. The sum of `SHA256SUMS` itself was printed when the pack was written; keep it apart from the pack.
`manifest.json` says the same for programs.

## What is in it

| file | holds |
|---|---|
| `actions.jsonl` | every decision and effect, one line each: when, on whom, by whom, what decided it, under which policy and prices, request ids at AWS |
| `breaches.jsonl` | every threshold that was crossed, with limit and spend |
| `agents.csv` | for each agent: calls, errors, cost, cost of a call that worked, error rate, 95th percentile of latency |
| `policy.json` | the budgets in force, and the policy versions that the rows name |
| `prices.json` | the price lists in force, and those that calls were priced by |
| `verify.json` | what the check of the audit trail found, over the whole trail and not this span alone |
| `manifest.json`, `SHA256SUMS` | the files and their SHA-256 |

Amounts are US dollars, exact, as decimal texts. Times are UTC. An empty cell is not known; it is not zero.

In `agents.csv`, `cost_per_successful_call_usd` is `cost_usd / (calls - errors)`, `error_rate` is `errors / calls`, both rounded once, half to
even; `p95_latency_ms` is the smallest latency that 95 of 100 calls with a known one do not exceed. `unpriced_calls` have no known price: their
cost is not in the sums.

## How a line is tied to the one before

Each line of `actions.jsonl` with a `hash` is part of a chain. The hash is the SHA-256 over these parts, each behind its length in bytes as eight
bytes, most significant first: the text `sluice-audit/1`, `prev`, `line`, the time `at` in microseconds since 1970, `fire_id`, `action`, `target`,
`state`, `actor`, `detail`, `inputs`, `policy_version`, `price_version`, the number of `requests`, and each of them; a field that is absent is the
empty text. `prev` is the hash of the line before, empty in the first.

## What it can be used for

ISO/IEC 42001 asks in clause 9.1 what of an AI management system is monitored and measured, how, and when results are analysed and evaluated.
This pack supports monitoring, measurement, analysis and evaluation: it holds measured spend, errors and latency for each agent, the limits they
were held against, what was decided and done when one was reached, and a trail that shows whether these records were altered. What has to be
measured, whether it suffices, and what follows from it is for the organisation to say.
",
        env!("CARGO_PKG_VERSION")
    )
}
