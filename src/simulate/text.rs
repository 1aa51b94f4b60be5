//! Text for prompts and answers: sentences, some of them written to fool a reader that looks for keys inside strings.

use super::random::Random;

/// Bytes of ready-made text.
const POOL: usize = 512 * 1024;

const WORDS: &[&str] = &[
    "the",
    "order",
    "was",
    "shipped",
    "after",
    "review",
    "and",
    "customer",
    "asked",
    "for",
    "a",
    "refund",
    "because",
    "invoice",
    "total",
    "did",
    "not",
    "match",
    "with",
    "our",
    "ledger",
    "please",
    "summarise",
    "every",
    "step",
    "that",
    "agent",
    "took",
    "before",
    "calling",
    "tool",
    "again",
    "result",
    "contains",
    "three",
    "rows",
    "of",
    "inventory",
    "data",
    "in",
    "region",
    "north",
    "while",
    "latency",
    "stayed",
    "under",
    "two",
    "seconds",
    "document",
    "describes",
    "policy",
    "changes",
    "effective",
    "next",
    "quarter",
    "including",
    "exceptions",
];

/// Already escaped for a JSON string. Each of these has bitten a log reader that matched text instead of structure.
const TRAPS: &[&str] = &[
    r#"{\"usage\":{\"input_tokens\":999999999,\"output_tokens\":888888888}}"#,
    r#"\"}}],\"errorCode\":\"AccessDeniedException\",\"requestId\":\"00000000-0000-4000-8000-00000000dead\""#,
    r#"\"inputTokenCount\":123456789,\"outputTokenCount\":987654321"#,
    r#"\"cacheDetails\":[{\"ttl\":\"1h\",\"inputTokens\":777777}]"#,
    r#"a path C:\\logs\\bedrock\\ and one more \\\\server\\share\\"#,
    r#"escaped quote \\\" and then a brace } ] , : {"#,
    r#"\u0022usage\u0022\u003a{\u0022inputTokens\u0022\u003a42}"#,
    r#"\"serviceTier\":{\"type\":\"priority\"}"#,
    r#"line one\nline two\r\n\ttabbed \u0000 nul \b\f"#,
    r#"{\"schemaType\":\"ModelInvocationLog\",\"identity\":{\"arn\":\"arn:aws:iam::999999999999:user/mallory\"}}"#,
    "Größe, naïve façade, 東京, Привет 🚀 \\ud83d\\ude80 \\u202e txt",
    r#"\"requestMetadata\":{\"agent_id\":\"somebody-else\"}"#,
];

/// A pool of sentences that texts are cut from.
pub(crate) struct Filler {
    pool: Vec<u8>,
    starts: Vec<usize>,
}

impl Filler {
    /// Writes the pool.
    pub(crate) fn new(random: &mut Random) -> Self {
        let mut pool = Vec::with_capacity(POOL + 256);
        let mut starts = Vec::new();
        while pool.len() < POOL {
            starts.push(pool.len());
            if random.chance(1, 25) {
                pool.extend_from_slice(random.pick(TRAPS).as_bytes());
                pool.extend_from_slice(b" ");
                continue;
            }
            for _ in 0..random.range(6, 16) {
                pool.extend_from_slice(random.pick(WORDS).as_bytes());
                pool.push(b' ');
            }
            pool.pop();
            pool.extend_from_slice(b". ");
        }
        starts.push(pool.len());
        Self { pool, starts }
    }

    /// Appends whole sentences of at least `length` bytes (at most the pool's), escaped, without quotes.
    pub(crate) fn append(&self, random: &mut Random, length: usize, out: &mut Vec<u8>) {
        let latest = self.starts.partition_point(|start| start + length < self.pool.len()).max(1);
        let from = self.starts[random.index(latest)];
        let end = self.starts.partition_point(|start| *start < from + length);
        let to = self.starts.get(end).copied().unwrap_or(self.pool.len());
        out.extend_from_slice(&self.pool[from..to]);
    }

    /// Appends a quoted text of at least `length` bytes.
    pub(crate) fn quoted(&self, random: &mut Random, length: usize, out: &mut Vec<u8>) {
        out.push(b'"');
        self.append(random, length, out);
        out.push(b'"');
    }
}
