//! Posts messages to a Slack-compatible incoming webhook; many at once become one post that lists the gravest and counts the rest.
//!
//! Sources: Slack API documentation, "Sending messages using incoming webhooks", "Formatting text for app surfaces", "Rate limits".

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::http::{Answer, Post};
use super::pace::{Pacer, TRIES};
use super::{ActionError, WebhookUrlError, done};
use crate::notice::{Notice, Receiver, Severity};
use crate::store::Receipt;

/// Messages that one post stands for: what people can take in is a list and a count.
const MOST_AT_ONCE: usize = 1000;
/// Messages that a post lists.
const MOST_LISTED: usize = 15;
/// Longest text of a section.
const LONGEST_SECTION: usize = 3000;
/// Longest line of a list.
const LONGEST_LINE: usize = 180;

/// A channel.
pub struct Slack {
    post: Post,
    pacer: Pacer,
    name: String,
}

impl Slack {
    /// Returns a receiver that posts to the webhook `url`, one post a second, as Slack allows.
    ///
    /// # Errors
    /// The URL is none.
    pub fn new(url: &str, timeout: Duration) -> Result<Self, WebhookUrlError> {
        let post = Post::new(url, timeout, 1)?;
        let name = post.name("slack", &[]);
        Ok(Self { post, pacer: Pacer::new(1), name })
    }

    fn send(&self, body: &[u8], key: &str) -> Result<Receipt, ActionError> {
        for attempt in 0..TRIES {
            self.pacer.wait(1);
            match self.post.send(body, &[])? {
                Answer::Taken(status) => return Ok(done(format!("status {status}"))),
                Answer::TooMany(asked) => {
                    std::thread::sleep(asked);
                    self.pacer.back_off(attempt, key);
                }
            }
        }
        Err(self.post.status(429))
    }
}

impl Receiver for Slack {
    fn name(&self) -> &str {
        &self.name
    }

    fn tell(&self, notice: &Notice<'_>) -> Result<Receipt, ActionError> {
        let (head, rest) = match notice.text().split_once('\n') {
            Some((head, rest)) => (head.to_owned(), rest.to_owned()),
            None => (notice.text(), String::new()),
        };
        let section = cut(format!("{} *{}*\n{}", mark(notice.severity()), escape(&head), escape(&rest)), LONGEST_SECTION);
        self.send(&body(&head, &[section])?, notice.id())
    }

    fn tell_all(&self, notices: &[Notice<'_>]) -> Vec<Result<Receipt, ActionError>> {
        if let [only] = notices {
            return vec![self.tell(only)];
        }
        let (head, sections) = summary(notices);
        let sent = body(&head, &sections).and_then(|body| self.send(&body, notices.first().map_or("", Notice::id)));
        let detail = format!("one post for {} messages", notices.len());
        notices.iter().map(|_| sent.as_ref().map(|_| done(detail.clone())).map_err(ActionError::repeated)).collect()
    }

    fn most_at_once(&self) -> usize {
        MOST_AT_ONCE
    }
}

fn body(head: &str, sections: &[String]) -> Result<Vec<u8>, ActionError> {
    let blocks: Vec<serde_json::Value> =
        sections.iter().map(|text| json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } })).collect();
    // The text is what notifications and screen readers show.
    Ok(serde_json::to_vec(&json!({ "text": cut(escape(head), LONGEST_SECTION), "blocks": blocks }))?)
}

/// Returns headline and sections for many messages.
fn summary(notices: &[Notice<'_>]) -> (String, Vec<String>) {
    let mut gravest: Vec<&Notice<'_>> = notices.iter().collect();
    gravest.sort_by_key(|notice| std::cmp::Reverse(notice.severity()));
    let mut counts: BTreeMap<(std::cmp::Reverse<Severity>, &str, &str), usize> = BTreeMap::new();
    for notice in notices {
        *counts.entry((std::cmp::Reverse(notice.severity()), notice.kind(), notice.group())).or_default() += 1;
    }
    let head = format!("{} messages of sluice", notices.len());
    let lines = gravest
        .iter()
        .take(MOST_LISTED)
        .map(|notice| format!("{} {}", mark(notice.severity()), cut(escape(&notice.title()), LONGEST_LINE)));
    let listed: Vec<String> = lines.collect();
    let counted = counts.iter().take(MOST_LISTED).map(|((severity, kind, budget), count)| {
        format!("• {count} × {} {kind}, {}", severity.0.as_str(), cut(escape(budget), LONGEST_LINE))
    });
    let mut counted: Vec<String> = counted.collect();
    if counts.len() > MOST_LISTED {
        counted.push(format!("• and {} kinds more", counts.len() - MOST_LISTED));
    }
    let rest = notices.len().saturating_sub(MOST_LISTED);
    let more = if rest > 0 { format!("\n… and {rest} more; sluice hold list and the table breaches have all") } else { String::new() };
    let first = cut(format!("*{head}*\n{}", counted.join("\n")), LONGEST_SECTION);
    (head, vec![first, cut(listed.join("\n") + &more, LONGEST_SECTION)])
}

const fn mark(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => ":information_source:",
        Severity::Warning => ":warning:",
        Severity::Critical => ":rotating_light:",
    }
}

/// Escapes the three characters that begin Slack's own marks, and breaks those of its formatting by a space of no width.
fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, char| {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '*' | '_' | '~' | '`' => out.extend([char, '\u{200b}']),
            other => out.push(other),
        }
        out
    })
}

/// Cuts a text, not within an escaped character.
fn cut(mut text: String, most: usize) -> String {
    if text.len() <= most {
        return text;
    }
    text.truncate(text.floor_char_boundary(most - '…'.len_utf8()));
    if let Some(at) = text.rfind('&').filter(|at| !text[*at..].contains(';')) {
        text.truncate(at);
    }
    text.push('…');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_foreign_becomes_a_mark_and_no_escape_is_cut(text in any::<String>(), most in 20_usize..200) {
            let shown = cut(escape(&text), most);
            prop_assert!(shown.len() <= most);
            prop_assert!(!shown.contains(['<', '>']));
            for (at, _) in shown.match_indices('&') {
                prop_assert!(["&amp;", "&lt;", "&gt;"].iter().any(|entity| shown[at..].starts_with(entity)), "{shown}");
            }
        }
    }
}
