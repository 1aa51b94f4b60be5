//! The decoder against the independent reading, over generated records and over the same records damaged.

use std::fmt::Write;

use super::oracle::{Node, read};
use super::support::{counts, lines, show};

/// A small generator of choices; one seed makes one record.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }

    fn pick<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[self.roll(texts.len())]
    }

    /// Members in any order, with or without white space.
    fn object(&mut self, mut members: Vec<(&str, String)>) -> String {
        for at in (1..members.len()).rev() {
            members.swap(at, self.roll(at + 1));
        }
        let space = if self.one_in(3) { " " } else { "" };
        let mut out = String::from("{");
        for (at, (key, value)) in members.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(out, "{comma}{space}{}:{space}{value}", self.key(key)).unwrap();
        }
        out + space + "}"
    }

    /// A key, now and then spelt with an escape.
    fn key(&mut self, key: &str) -> String {
        if self.one_in(60) { format!("\"\\u{:04x}{}\"", u32::from(key.as_bytes()[0]), &key[1..]) } else { format!("\"{key}\"") }
    }

    fn text(&mut self) -> String {
        let text = self.pick(&[
            "x",
            "us-east-1",
            "123456789012",
            "Converse",
            "InvokeModel",
            "anthropic.claude-haiku-4-5",
            "arn:aws:iam::1:user/ä€😀",
            r"a\/b",
            r"\u00e9\ud83d\ude00",
            r#"quo\"te\\"#,
            r"tab\t",
            "",
            "a sentence of words that is longer than a block of sixty-four bytes, for the masks to cross",
        ]);
        format!("\"{text}\"")
    }

    fn number(&mut self) -> String {
        match self.roll(24) {
            0 => "null".to_owned(),
            1 => self
                .pick(&["-1", "1.0", "1e3", "\"7\"", "true", "{}", "[]", "1099511627776", "1099511627777", "18446744073709551616", "-0"])
                .to_owned(),
            _ => self.roll(3000).to_string(),
        }
    }

    /// Some of the named numbers.
    fn numbers<'t>(&mut self, keys: &[&'t str]) -> Vec<(&'t str, String)> {
        let mut members = Vec::new();
        for key in keys {
            if !self.one_in(3) {
                members.push((*key, self.number()));
            }
        }
        members
    }

    fn usage(&mut self) -> String {
        let mut members = match self.roll(4) {
            0 => self.numbers(&["input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"]),
            1 => self.numbers(&["inputTokens", "outputTokens", "totalTokens", "cacheReadInputTokens", "cacheWriteInputTokens"]),
            2 => self.numbers(&["inputTokens", "outputTokens", "cacheReadInputTokenCount", "cacheWriteInputTokenCount"]),
            _ => self.numbers(&["prompt_tokens", "completion_tokens", "total_tokens"]),
        };
        match self.roll(8) {
            0 => members.push(("cache_creation", self.numbers_object(&["ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"]))),
            1 => {
                let details: Vec<String> = (0..self.roll(3)).map(|_| self.detail()).collect();
                members.push(("cacheDetails", format!("[{}]", details.join(","))));
            }
            2 => members.push(("prompt_tokens_details", self.numbers_object(&["cached_tokens", "audio_tokens"]))),
            3 => members.push(("input_tokens_details", self.numbers_object(&["cached_tokens"]))),
            4 => members.push(("server_tool_use", self.noise(2))),
            _ => {}
        }
        self.object(members)
    }

    fn numbers_object(&mut self, keys: &[&str]) -> String {
        let members = self.numbers(keys);
        self.object(members)
    }

    fn detail(&mut self) -> String {
        let ttl = self.pick(&["\"5m\"", "\"1h\"", "\"5m\"", "\"1h\"", "\"7d\"", "5"]).to_owned();
        let tokens = self.number();
        self.object(vec![("ttl", ttl), ("inputTokens", tokens)])
    }

    /// JSON of no interest that bears the names of what is of interest.
    fn noise(&mut self, depth: usize) -> String {
        match self.roll(if depth == 0 { 4 } else { 7 }) {
            0 => self.text(),
            1 => self.number(),
            2 => "null".to_owned(),
            3 => r#""}]\",\"usage\":{\"input_tokens\":9}""#.to_owned(),
            4 => {
                let elements: Vec<String> = (0..self.roll(4)).map(|_| self.noise(depth - 1)).collect();
                format!("[{}]", elements.join(", "))
            }
            5 => {
                let usage = self.usage();
                self.object(vec![("usage", usage)])
            }
            _ => {
                let names = ["usage", "identity", "requestId", "content", "text", "metrics", "type", "schemaType", "message"];
                let members = (0..self.roll(4)).map(|_| (names[self.roll(names.len())], self.noise(depth - 1))).collect();
                self.object(members)
            }
        }
    }

    fn guardrail(&mut self) -> String {
        let usage = self.numbers_object(&["topicPolicyUnits", "contentPolicyUnits", "wordPolicyUnits"]);
        let metrics = self.object(vec![("usage", usage), ("guardrailProcessingLatency", "3".to_owned())]);
        let noise = self.noise(2);
        let assessment = self.object(vec![("invocationMetrics", metrics), ("topicPolicy", noise)]);
        let assessment = if self.one_in(3) { format!("[{assessment}]") } else { assessment };
        let named = self.object(vec![("g1", assessment)]);
        if self.one_in(2) { format!("[{named}]") } else { named }
    }

    fn trace(&mut self, keys: [&str; 2]) -> String {
        let sides = keys.iter().map(|key| (*key, self.guardrail())).collect();
        let guardrail = self.object(sides);
        self.object(vec![("guardrail", guardrail)])
    }

    fn metrics(&mut self) -> String {
        self.numbers_object(&[
            "inputTokenCount",
            "outputTokenCount",
            "cacheReadInputTokenCount",
            "cacheWriteInputTokenCount",
            "invocationLatency",
        ])
    }

    fn response(&mut self) -> String {
        if self.one_in(8) {
            return self.noise(3);
        }
        if self.one_in(3) {
            let chunks: Vec<String> = (0..self.roll(5)).map(|_| self.chunk()).collect();
            return format!("[{}]", chunks.join(","));
        }
        let mut members = vec![("output", self.noise(3)), ("content", self.noise(3))];
        members.push(("usage", self.usage()));
        match self.roll(5) {
            0 => members.push(("trace", self.trace(["inputAssessment", "outputAssessments"]))),
            1 => members.push(("amazon-bedrock-trace", self.trace(["input", "outputs"]))),
            2 => members.push(("serviceTier", self.pick(&[r#"{"type":"flex"}"#, r#"{"type":"x"}"#, "7", "{}"]).to_owned())),
            3 => members.push((
                "metrics",
                self.pick(&[r#"{"latencyMs":7}"#, r#"{"latencyMs":-7}"#, r#"{"latencyMs":99999999999}"#, "[]"]).to_owned(),
            )),
            _ => members.push(("amazon-bedrock-invocationMetrics", self.metrics())),
        }
        self.object(members)
    }

    fn chunk(&mut self) -> String {
        let usage = self.usage();
        match self.roll(7) {
            0 => "\"[DONE]\"".to_owned(),
            1 => {
                let kind = self.pick(&["\"message_start\"", "\"message_start\"", "\"other\"", "7"]).to_owned();
                let message = self.object(vec![("usage", usage), ("content", "[]".to_owned())]);
                self.object(vec![("type", kind), ("message", message)])
            }
            2 => self.object(vec![("type", "\"message_delta\"".to_owned()), ("usage", usage)]),
            3 => {
                let metadata = self.object(vec![("usage", usage)]);
                self.object(vec![("metadata", metadata)])
            }
            4 => {
                let response = self.object(vec![("usage", usage)]);
                self.object(vec![("type", "\"response.completed\"".to_owned()), ("response", response)])
            }
            5 => {
                let (metrics, trace) = (self.metrics(), self.trace(["input", "outputs"]));
                self.object(vec![("amazon-bedrock-invocationMetrics", metrics), ("amazon-bedrock-trace", trace)])
            }
            _ => {
                let delta = self.noise(2);
                self.object(vec![("type", "\"content_block_delta\"".to_owned()), ("delta", delta)])
            }
        }
    }

    fn record(&mut self) -> String {
        let time = self.pick(&[
            "2026-10-01T00:00:00Z",
            "2026-10-01T00:00:00Z",
            "2026-10-01T00:00:00.5Z",
            "1960-01-01T00:00:00Z",
            "now",
            r"2026-10-01T00\u003a00:00Z",
        ]);
        let id = self.pick(&["0123abcd-4567-89ab-cdef-fedcba987654", "0123ABCD-4567-89ab-cdef-fedcba987654", "some-id", r"i\u0064"]);
        let mut input = self.numbers(&["inputTokenCount", "cacheReadInputTokenCount", "cacheWriteInputTokenCount"]);
        let mut output = self.numbers(&["outputTokenCount"]);
        input.push(("inputContentType", "\"application/json\"".to_owned()));
        if self.one_in(2) {
            input.push(("inputBodyJson", self.noise(4)));
        }
        if !self.one_in(4) {
            output.push(("outputBodyJson", self.response()));
        }
        if self.one_in(30) {
            output.push(("outputTokenCount", self.number()));
        }
        let mut members = vec![
            ("timestamp", format!("\"{time}\"")),
            ("requestId", format!("\"{id}\"")),
            ("accountId", self.text()),
            ("region", self.text()),
            ("modelId", self.text()),
            ("operation", self.text()),
            ("input", self.object(input)),
            ("output", self.object(output)),
            (
                "schemaType",
                self.pick(&[
                    "\"ModelInvocationLog\"",
                    "\"ModelInvocationLog\"",
                    "\"ModelInvocationLog\"",
                    r#""Model\u0049nvocationLog""#,
                    "null",
                ])
                .to_owned(),
            ),
        ];
        for (key, odds) in [("inferenceRegion", 2), ("errorCode", 6), ("schemaVersion", 2), ("status", 9)] {
            if self.one_in(odds) {
                members.push((key, self.text()));
            }
        }
        if self.one_in(9) {
            members.push(("future", self.noise(3)));
        }
        if self.one_in(40) {
            members.push(("requestId", self.text()));
        }
        let arn = self.text();
        members.push((
            "identity",
            match self.roll(9) {
                0 => "null".to_owned(),
                1 => format!("[{{\"arn\":{arn}}},{{\"arn\":\"other\"}}]"),
                _ => self.object(vec![("arn", arn), ("type", "\"x\"".to_owned())]),
            },
        ));
        if self.one_in(2) {
            let names = ["agent_id", "session", "team", "agent_id"];
            let pairs =
                (0..self.roll(4)).map(|_| (names[self.roll(4)], if self.one_in(8) { self.number() } else { self.text() })).collect();
            members.push(("requestMetadata", self.object(pairs)));
        }
        self.object(members)
    }

    /// Damages a text in one to three places.
    fn damage(&mut self, text: &str) -> String {
        let mut text: Vec<char> = text.chars().collect();
        for _ in 0..=self.roll(3) {
            let at = self.roll(text.len());
            let odd = ['"', '\\', '{', '}', '[', ']', ',', ':', '0', '9', '-', '.', 'e', ' ', '\u{1}', 'u', 'é'];
            let odd = odd[self.roll(odd.len())];
            match self.roll(6) {
                0 => drop(text.remove(at)),
                1 => text.insert(at, odd),
                2 => text[at] = odd,
                3 => text.insert(at, text[at]),
                4 => {
                    let piece: Vec<char> = text[at..].iter().take(self.roll(40)).copied().collect();
                    let to = self.roll(text.len());
                    text.splice(to..to, piece);
                }
                _ => drop(text.splice(at..(at + self.roll(9)).min(text.len()), [])),
            }
            if text.is_empty() {
                text.push('{');
            }
        }
        text.into_iter().collect()
    }
}

/// The raw text of the member `key` of the outermost object, as a first reading would find it.
fn raw_member<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let mut found = None;
    walk(text, |depth, path, value| {
        if depth == 1 && path[1] == key && found.is_none() {
            found = Some(value);
        }
        false
    })?;
    found.map(|start| &text[start..end_of(text, start).unwrap_or(text.len())])
}

/// The members of a record that are read.
const READ: [&str; 13] = [
    "schemaType",
    "timestamp",
    "accountId",
    "region",
    "requestId",
    "operation",
    "modelId",
    "inferenceRegion",
    "errorCode",
    "input",
    "output",
    "identity",
    "requestMetadata",
];

/// Replaces by `null` all that is only asked for its balance: bodies, and containers nobody reads.
fn blank(text: &str) -> Option<String> {
    let mut spans: Vec<(usize, usize)> = Vec::new();
    let mut broken = false;
    walk(text, |depth, path, start| {
        let outer = path[1].as_str();
        let container = matches!(text.as_bytes()[start], b'{' | b'[');
        let body = depth == 2 && matches!((outer, path[2].as_str()), ("input", "inputBodyJson") | ("output", "outputBodyJson"));
        let counted = path[2].ends_with("TokenCount") || matches!(path[2].as_str(), "outputVideoDurationSeconds" | "arn");
        let unread = container
            && (depth == 2 && matches!(outer, "input" | "output" | "identity") && !counted || depth == 1 && !READ.contains(&outer));
        if !body && !unread {
            return false;
        }
        match end_of(text, start) {
            Some(end) => spans.push((start, end)),
            None => broken = true,
        }
        true
    })?;
    if broken {
        return None;
    }
    let (mut out, mut at) = (String::new(), 0);
    for (start, end) in spans {
        out += &text[at..start];
        out += "null";
        at = end;
    }
    Some(out + &text[at..])
}

/// Calls `visit(depth, keys, start)` for each member's value down to depth two; `true` steps over it.
fn walk(text: &str, mut visit: impl FnMut(usize, &[String; 4], usize) -> bool) -> Option<()> {
    let (bytes, mut path, mut depth, mut at, mut last) = (text.as_bytes(), <[String; 4]>::default(), 0_usize, 0, String::new());
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                let end = end_of(text, at)?;
                last = serde_json::from_str(&text[at..end]).unwrap_or_default();
                at = end;
                continue;
            }
            b'\\' => at += usize::from(matches!(bytes.get(at + 1), Some(b'"' | b'\\'))),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b':' if (1..=2).contains(&depth) => {
                path[depth] = std::mem::take(&mut last);
                while bytes.get(at + 1).is_some_and(|byte| b" \t\r\n".contains(byte)) {
                    at += 1;
                }
                if at + 1 < bytes.len() && visit(depth, &path, at + 1) {
                    at = end_of(text, at + 1)?;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    Some(())
}

/// The end of the value that starts at `start`, by balance alone.
fn end_of(text: &str, start: usize) -> Option<usize> {
    let (bytes, mut depth, mut inside, mut at) = (text.as_bytes(), 0, false, start);
    if !matches!(bytes[start], b'"' | b'{' | b'[') {
        let length = bytes[start..].iter().position(|byte| b",}]{[:\" \t\r\n".contains(byte))?;
        return (length > 0).then_some(start + length);
    }
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += usize::from(matches!(bytes.get(at + 1), Some(b'"' | b'\\'))),
            b'"' => inside = !inside,
            b'{' | b'[' if !inside => depth += 1,
            b'}' | b']' if !inside => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 && !inside {
            return Some(at);
        }
    }
    None
}

enum Verdict {
    Call(String),
    Refused,
    /// More or fewer than one record: the damage made several values of it.
    Other,
}

fn ours(text: &str) -> (Verdict, String) {
    let batch = lines(text);
    match counts(&batch) {
        (1, 0, 0, 0) => {
            let units = batch.invocations[0].extras.map_or((0, 0, 0), |at| {
                let units = batch.extras[at as usize].guardrail;
                (units.topic, units.content, units.word)
            });
            let shown = show(&batch, &batch.invocations[0]);
            (Verdict::Call(shown.split(" Extras").next().unwrap().to_owned()), format!("{units:?}"))
        }
        (0, 0, 1, 0) => (Verdict::Refused, batch.rejected[0].reason.to_string()),
        _ => (Verdict::Other, String::new()),
    }
}

/// What the oracle makes of a text that `serde_json` accepts, and the guardrail units.
fn theirs(node: &Node, text: &str) -> Result<(String, String), ()> {
    let Node::Map(members) = node else { return Err(()) };
    let says = members.iter().filter(|(key, _)| key == "schemaType").map(|(_, value)| value).collect::<Vec<_>>();
    let names_a_model = members.iter().any(|(key, _)| key == "modelId");
    match says[..] {
        [Node::Text(kind)] if kind == "ModelInvocationLog" => {}
        [] | [Node::Null] if names_a_model => {}
        [Node::Text(kind)] if kind.is_empty() && names_a_model => {}
        _ => return Err(()),
    }
    let shown = read(node, raw_member(text, "requestMetadata"))?;
    let output = members.iter().find(|(key, _)| key == "output").map_or(&Node::Null, |(_, value)| value);
    let Node::Map(output) = output else { return Ok((shown, "(0, 0, 0)".to_owned())) };
    let body = output.iter().find(|(key, _)| key == "outputBodyJson").map_or(&Node::Null, |(_, value)| value);
    let names = [
        "topicPolicyUnits",
        "contentPolicyUnits",
        "wordPolicyUnits",
        "sensitiveInformationPolicyUnits",
        "sensitiveInformationPolicyFreeUnits",
        "contextualGroundingPolicyUnits",
        "contentPolicyImageUnits",
        "automatedReasoningPolicyUnits",
    ];
    let units = names.map(|name| body.guardrail_units(name));
    if units.iter().any(Result::is_err) {
        return Err(());
    }
    let units = (units[0]?, units[1]?, units[2]?);
    Ok((shown, format!("{units:?}")))
}

/// Compares the two on one text; returns whether it was a call.
fn compare(text: &str) -> bool {
    let (verdict, detail) = ours(text);
    if let Ok(node) = serde_json::from_str::<Node>(text) {
        return match (verdict, theirs(&node, text)) {
            (Verdict::Call(call), Ok((expected, units))) => {
                assert_eq!((call, detail), (expected, units), "{text}");
                true
            }
            (Verdict::Refused, Err(())) => false,
            (Verdict::Call(call), Err(())) => panic!("only we accept\n{text}\n{call}"),
            (Verdict::Refused, Ok((call, _))) => panic!("only we refuse ({detail})\n{text}\n{call}"),
            (Verdict::Other, _) => panic!("one value, not one record\n{text}"),
        };
    }
    // Not JSON in full: then nothing but the balance of what is stepped over may have saved it.
    let envelope = blank(text).and_then(|blanked| Some((serde_json::from_str::<Node>(&blanked).ok()?, blanked)));
    let expected = envelope.and_then(|(node, blanked)| theirs(&node, &blanked).ok());
    let head = |shown: &str| shown.split(" tier=").next().unwrap().to_owned();
    match (verdict, expected) {
        (Verdict::Call(call), Some((expected, _))) => {
            assert_eq!(head(&call), head(&expected), "{text}");
            true
        }
        // Of a list of identities only the first is read.
        (Verdict::Call(_), None) if raw_member(text, "identity").is_some_and(|raw| raw.starts_with('[')) => true,
        (Verdict::Call(call), None) => panic!("only we accept\n{text}\n{call}"),
        (Verdict::Refused, Some((call, _))) => {
            assert!(detail.contains("outputBodyJson") || detail.contains("guardrail"), "only we refuse ({detail})\n{text}\n{call}");
            false
        }
        (Verdict::Refused, None) | (Verdict::Other, _) => false,
    }
}

#[test]
fn generated_records() {
    let calls = (0..6_000).filter(|&seed| compare(&Dice(seed).record())).count();
    assert!((1_200..5_400).contains(&calls), "{calls} of 6000 are calls: the generator is lopsided");
}

#[test]
fn damaged_records() {
    let calls = (0..12_000_u64)
        .filter(|&seed| {
            let mut dice = Dice(seed << 32);
            let record = dice.record();
            compare(&dice.damage(&record))
        })
        .count();
    assert!((600..10_800).contains(&calls), "{calls} of 12000 are calls: the damage is lopsided");
}

#[test]
fn damaged_samples() {
    for sample in ["observed-integrations.jsonl", "observed.jsonl", "constructed.jsonl"] {
        let text = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(sample)).unwrap();
        for (at, line) in text.lines().enumerate() {
            assert!(compare(line));
            for seed in 0..300 {
                compare(&Dice(seed ^ (at as u64) << 20).damage(line));
            }
        }
    }
}
