//! An independent reading of one record: `serde_json` builds a tree, and plain code looks things up in it. Slow, and obvious.

use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use sluice_schemas::usage::MAX_TOKENS;
use sluice_schemas::{Micros, ServiceTier};

use super::support::ARRIVAL;

/// A JSON value that keeps keys which stand twice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool,
    Count(u64),
    OddNumber,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl<'de> serde::Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Build;
        impl<'de> Visitor<'de> for Build {
            type Value = Node;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
                Ok(Node::Bool)
            }
            fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
                Ok(Node::Count(value))
            }
            fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
                Ok(Node::OddNumber)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
                Ok(Node::OddNumber)
            }
            fn visit_str<E>(self, text: &str) -> Result<Node, E> {
                Ok(Node::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
                let mut list = Vec::new();
                while let Some(element) = access.next_element()? {
                    list.push(element);
                }
                Ok(Node::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
                let mut map = Vec::new();
                while let Some(entry) = access.next_entry()? {
                    map.push(entry);
                }
                Ok(Node::Map(map))
            }
        }
        deserializer.deserialize_any(Build)
    }
}

impl Node {
    /// The values of a key, however often it stands.
    fn all(&self, key: &str) -> Vec<&Node> {
        match self {
            Self::Map(map) => map.iter().filter(|(name, _)| name == key).map(|(_, value)| value).collect(),
            _ => Vec::new(),
        }
    }

    /// The value of a key, `Null` when absent; an error when it stands twice.
    fn one(&self, key: &str) -> Result<&Node, ()> {
        match self.all(key)[..] {
            [] => Ok(&Self::Null),
            [value] => Ok(value),
            _ => Err(()),
        }
    }

    /// The value of a key, the last where it stands more than once.
    fn last(&self, key: &str) -> &Node {
        self.all(key).last().copied().unwrap_or(&Self::Null)
    }

    fn elements(&self) -> &[Node] {
        if let Self::List(list) = self { list } else { &[] }
    }

    fn values(&self) -> Vec<&Node> {
        match self {
            Self::Map(map) => map.iter().map(|(_, value)| value).collect(),
            _ => Vec::new(),
        }
    }

    fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// A string field; empty when absent.
    fn field(&self, key: &str) -> Result<String, ()> {
        match self.one(key)? {
            Self::Null => Ok(String::new()),
            Self::Text(text) if text.len() <= 4096 => Ok(text.clone()),
            _ => Err(()),
        }
    }

    fn required(&self, key: &str) -> Result<String, ()> {
        self.field(key).and_then(|text| if text.is_empty() { Err(()) } else { Ok(text) })
    }

    /// An object, or `Null`.
    fn object(&self, key: &str) -> Result<&Node, ()> {
        match self.one(key)? {
            node @ (Self::Map(_) | Self::Null) => Ok(node),
            _ => Err(()),
        }
    }

    fn count(&self) -> Result<Option<u64>, ()> {
        match self {
            Self::Null => Ok(None),
            Self::Count(count) if *count <= MAX_TOKENS => Ok(Some(*count)),
            _ => Err(()),
        }
    }
}

/// What one record says, in the form of [`super::support::show`] up to the units that are not tokens.
pub(crate) fn read(record: &Node, metadata: Option<&str>) -> Result<String, ()> {
    let time: Micros = record.required("timestamp")?.parse().map_err(|_| ())?;
    if time.0 < 0 || time.0 > ARRIVAL.0 + 300_000_000 {
        return Err(());
    }
    let id = record.required("requestId")?;
    let uuid = id.len() == 36
        && id
            .chars()
            .enumerate()
            .all(|(at, c)| if [8, 13, 18, 23].contains(&at) { c == '-' } else { c.is_ascii_hexdigit() && !c.is_ascii_uppercase() });
    if id.len() > 256 {
        return Err(());
    }
    let id = if uuid { format!("uuid:{}", id.replace('-', "")) } else { format!("text:{id:?}") };
    let arn = match record.one("identity")? {
        Node::Null => String::new(),
        map @ Node::Map(_) => map.field("arn")?,
        Node::List(list) => list.iter().find(|node| matches!(node, Node::Map(_))).map_or(Ok(String::new()), |map| map.field("arn"))?,
        _ => return Err(()),
    };
    let metadata = match record.one("requestMetadata")? {
        Node::Null => "",
        Node::Map(pairs) => {
            let twice = pairs.iter().enumerate().any(|(at, (key, _))| pairs[..at].iter().any(|(earlier, _)| earlier == key));
            let scalars = pairs.iter().all(|(_, value)| matches!(value, Node::Text(_) | Node::Bool | Node::Count(_) | Node::OddNumber));
            if twice || !scalars || pairs.len() > 32 {
                return Err(());
            }
            if pairs.is_empty() { "" } else { metadata.unwrap() }
        }
        _ => return Err(()),
    };
    let operation = record.field("operation")?;
    let (input, output) = (record.object("input")?, record.object("output")?);
    let (request, response) = (input.one("inputBodyJson")?, output.one("outputBodyJson")?);
    let body = Body::read(response)?;
    let (tokens, mut basis) = body.tokens(input, output)?;
    // How many images an image model made stands in the request alone.
    let made = record.field("errorCode")?.is_empty()
        && !matches!(output.one("outputTokenCount")?, Node::Count(1..))
        && !(input.values().is_empty() && output.values().is_empty());
    if made && record.field("modelId")?.contains("nova-canvas") && input.all("inputBodyJson").is_empty() {
        basis = "envelope";
    }
    let mut out = format!("{time} {id}");
    for (name, text) in [
        ("account", record.required("accountId")?),
        ("region", record.required("region")?),
        ("ran_in", record.field("inferenceRegion")?),
        ("operation", operation.clone()),
        ("model", record.required("modelId")?),
        ("principal", arn),
        ("error", record.field("errorCode")?),
        ("metadata", metadata.to_owned()),
    ] {
        if !text.is_empty() {
            out += &format!(" {name}={text:?}");
        }
    }
    let word = |node: &Node| node.last("serviceTier").last("type").text().and_then(ServiceTier::parse);
    let tier = if operation.starts_with("Converse") { word(response).or(word(request)).unwrap_or_default() } else { ServiceTier::Standard };
    Ok(format!("{out} tier={} tokens={tokens} basis={basis} latency={:?}", tier.as_str(), body.latency))
}

#[derive(Default)]
struct Body {
    usage: Found,
    metrics: Found,
    latency: Option<u32>,
}

#[derive(Clone, Copy, Default)]
struct Found {
    input: Option<u64>,
    output: Option<u64>,
    read: Option<u64>,
    write: Option<u64>,
    prompt: Option<u64>,
    cached: Option<u64>,
    split: Option<(u64, u64)>,
}

impl Found {
    fn over(self, earlier: Self) -> Self {
        Self {
            input: self.input.or(earlier.input),
            output: self.output.or(earlier.output),
            read: self.read.or(earlier.read),
            write: self.write.or(earlier.write),
            prompt: self.prompt.or(earlier.prompt),
            cached: self.cached.or(earlier.cached),
            split: self.split.or(earlier.split),
        }
    }

    fn read(usage: &Node) -> Result<Self, ()> {
        if !matches!(usage, Node::Map(_) | Node::Null) {
            return Err(());
        }
        let mut found = Self::default();
        for (slot, keys) in [
            (&mut found.input, &["input_tokens", "inputTokens"][..]),
            (&mut found.output, &["output_tokens", "outputTokens", "completion_tokens"]),
            (&mut found.read, &["cache_read_input_tokens", "cacheReadInputTokens", "cacheReadInputTokenCount"]),
            (&mut found.write, &["cache_creation_input_tokens", "cacheWriteInputTokens", "cacheWriteInputTokenCount"]),
            (&mut found.prompt, &["prompt_tokens"]),
        ] {
            for key in keys {
                *slot = usage.one(key)?.count()?.or(*slot);
            }
        }
        let creation = usage.object("cache_creation")?;
        let five = creation.last("ephemeral_5m_input_tokens").count()?;
        let hour = creation.last("ephemeral_1h_input_tokens").count()?;
        let details = usage.one("cacheDetails")?;
        if !matches!(details, Node::List(_) | Node::Null) {
            return Err(());
        }
        let (mut sums, mut known) = ((0, 0), !details.elements().is_empty());
        for detail in details.elements() {
            if !matches!(detail, Node::Map(_) | Node::Null) {
                return Err(());
            }
            let tokens = detail.last("inputTokens").count()?.unwrap_or(0);
            match detail.last("ttl").text() {
                Some("5m") => sums.0 += tokens,
                Some("1h") => sums.1 += tokens,
                _ => known = false,
            }
        }
        if five.is_some() || hour.is_some() {
            found.split = Some((five.unwrap_or(0), hour.unwrap_or(0)));
        } else if known {
            found.split = Some(sums);
        } else {
            found.split = usage.one("cacheWriteInputTokenCount")?.count()?.map(|tokens| (tokens, 0));
        }
        for key in ["prompt_tokens_details", "input_tokens_details"] {
            found.cached = usage.object(key)?.last("cached_tokens").count()?.or(found.cached);
        }
        if !usage.all("input_tokens_details").is_empty() && found.prompt.is_none() {
            found.prompt = found.input.take();
        }
        Ok(found)
    }
}

impl Body {
    fn read(response: &Node) -> Result<Self, ()> {
        let mut body = Self::default();
        let latency = |node: &Node| if let Node::Count(millis) = node { u32::try_from(*millis).ok() } else { None };
        if matches!(response, Node::Map(_)) {
            body.usage = Found::read(response.one("usage")?)?;
            body.latency = latency(response.last("metrics").last("latencyMs"));
        }
        let chunks = if matches!(response, Node::Map(_)) { std::slice::from_ref(response) } else { response.elements() };
        for chunk in chunks {
            if !matches!(response, Node::Map(_)) {
                let kind = chunk.last("type").text().unwrap_or_default();
                body.usage = Found::read(chunk.one("usage")?)?.over(body.usage);
                body.usage = Found::read(chunk.last("metadata").one("usage")?)?.over(body.usage);
                // Read, and so refused when wrong, whether they count or not.
                let (message, whole) =
                    (Found::read(chunk.last("message").one("usage")?)?, Found::read(chunk.last("response").one("usage")?)?);
                if kind == "message_start" {
                    body.usage = message.over(body.usage);
                }
                if kind.starts_with("response.") {
                    body.usage = whole.over(body.usage);
                }
            }
            let metrics = chunk.last("amazon-bedrock-invocationMetrics");
            if !matches!(metrics, Node::Map(_) | Node::Null) {
                return Err(());
            }
            let found = Found {
                input: metrics.last("inputTokenCount").count()?,
                output: metrics.last("outputTokenCount").count()?,
                read: metrics.last("cacheReadInputTokenCount").count()?,
                write: metrics.last("cacheWriteInputTokenCount").count()?,
                ..Found::default()
            };
            body.metrics = found.over(body.metrics);
            body.latency = latency(metrics.last("invocationLatency")).or(body.latency);
        }
        Ok(body)
    }

    fn tokens(&self, input: &Node, output: &Node) -> Result<(String, &'static str), ()> {
        let envelope = Found {
            input: input.one("inputTokenCount")?.count()?,
            output: output.one("outputTokenCount")?.count()?,
            read: input.one("cacheReadInputTokenCount")?.count()?,
            write: input.one("cacheWriteInputTokenCount")?.count()?,
            ..Found::default()
        };
        let counted = envelope.over(self.metrics);
        let body = self.usage;
        let write = counted.write.or(body.write).or(body.split.map(|(five, hour)| five + hour)).unwrap_or(0);
        let hour = body.split.map_or(0, |(_, hour)| hour.min(write));
        let mut read = counted.read.or(body.read);
        let mut prompt = counted.input.or(body.input).or(body.prompt).unwrap_or(0);
        if let (None, Some(whole), Some(cached)) = (read, body.prompt, body.cached) {
            read = Some(cached);
            prompt = match counted.input {
                Some(input) if input != whole => input,
                _ => whole.checked_sub(cached).ok_or(())?,
            };
        }
        if write > MAX_TOKENS {
            return Err(());
        }
        let output = counted.output.or(body.output).unwrap_or(0);
        let basis = if write > 0 && body.split.is_none() { "envelope" } else { "exact" };
        Ok((format!("{prompt}/{output}/{}/{}/{hour}", read.unwrap_or(0), write - hour), basis))
    }
}

impl Node {
    /// All guardrail units of a response, by name.
    pub(crate) fn guardrail_units(&self, unit: &str) -> Result<u64, ()> {
        let bodies = if matches!(self, Node::List(_)) { self.elements() } else { std::slice::from_ref(self) };
        let mut sum = 0;
        for body in bodies {
            let mut roots = vec![(body.all("amazon-bedrock-trace"), ["input", "outputs"])];
            if !matches!(self, Node::List(_)) {
                roots.push((body.all("trace"), ["inputAssessment", "outputAssessments"]));
            }
            for (traces, keys) in roots {
                let guardrails = traces.into_iter().flat_map(|trace| trace.all("guardrail"));
                let sides = guardrails.flat_map(|guardrail| keys.iter().flat_map(|key| guardrail.all(key)));
                let maps = sides.flat_map(|side| if matches!(side, Node::List(_)) { side.elements().iter().collect() } else { vec![side] });
                let named = maps.flat_map(Node::values);
                let each = named.flat_map(|one| if matches!(one, Node::List(_)) { one.elements().iter().collect() } else { vec![one] });
                for usage in each.flat_map(|one| one.all("invocationMetrics")).flat_map(|metrics| metrics.all("usage")) {
                    for units in usage.all(unit) {
                        sum += units.count()?.unwrap_or(0);
                    }
                }
            }
        }
        Ok(sum)
    }
}
