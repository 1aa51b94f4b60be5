//! Holds that wait for a person: everyone who is told gets the question once, with the commands that answer it, and learns how it ended.
//!
//! The question follows from how the holds stand and from nothing else, so no process has to remember that it asked: each hands in what
//! it finds, and the thread that tells passes on what was not told yet.

use std::collections::HashSet;

use sluice_enforce::hold::Hold;
use sluice_enforce::notice::{HoldNotice, News, Word};
use sluice_schemas::Micros;
use sluice_schemas::time::DAY;

use super::Pipeline;
use crate::config::{Location, Origin};

/// Questions and ends of questions that the thread that tells has been handed.
pub(super) type Asked = HashSet<(String, Word)>;

impl Pipeline {
    /// Hands in every question about these holds, and every end of one within the last day.
    pub(super) fn tell_waiting(&mut self, holds: &[Hold], now: Micros) {
        let Some(teller) = &self.teller else { return };
        let is_news = |word: &Word| !matches!(word, Word::Refused(at) if now.0 - at.0 >= DAY);
        let words = holds.iter().filter_map(|hold| Some((hold, Word::of(hold).filter(is_news)?)));
        let mut asked = Asked::with_capacity(self.asked.len());
        for (hold, word) in words {
            let key = (hold.id.clone(), word);
            if !self.asked.contains(&key) {
                let commands = commands(&hold.id, &self.settings.config.origin);
                let notice = HoldNotice::of_word(hold, word, commands, now);
                let until = match word {
                    Word::Awaited(by) => by.unwrap_or(now).max(now).plus(DAY),
                    Word::Refused(at) => at.plus(2 * DAY),
                };
                if !teller.tell_once(News::Hold(Box::new(notice)), until) {
                    continue;
                }
            }
            asked.insert(key);
        }
        self.asked = asked;
    }
}

/// Returns the commands that approve and reject a hold, as a person types them where the configuration can be read.
fn commands(id: &str, origin: &Origin) -> [String; 2] {
    let place = place(origin);
    [format!("sluice approve {id}{place}"), format!("sluice hold release {id}{place}")]
}

/// Returns the flags that name an installation on the command line.
pub(super) fn place(origin: &Origin) -> String {
    let whole = |path: &std::path::Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
    let config = origin.file.as_ref().map(|file| match file {
        Location::File(path) => format!(" --config {}", quoted(&whole(path))),
        remote => format!(" --config {}", quoted(&remote.to_string())),
    });
    let lake = origin.lake.as_ref().map(|lake| format!(" --lake {}", quoted(&lake.display().to_string())));
    [config, lake].into_iter().flatten().collect()
}

/// Returns a word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = word.chars().all(|char| char.is_alphanumeric() || "/._-:@+=,".contains(char));
    if is_plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_pasted() {
        let origin = |file: &str| Origin { file: Some(file.parse().unwrap()), lake: None };
        let [approve, reject] = commands("0a1b", &origin("/etc/sluice/sluice.toml"));
        assert_eq!(approve, "sluice approve 0a1b --config /etc/sluice/sluice.toml");
        assert_eq!(reject, "sluice hold release 0a1b --config /etc/sluice/sluice.toml");
        assert_eq!(place(&origin("ssm:/sluice/config")), " --config ssm:/sluice/config");
        assert_eq!(place(&origin("/a b/it's.toml")), r" --config '/a b/it'\''s.toml'");
        assert_eq!(place(&Origin { file: None, lake: Some("s3://lake/a".into()) }), " --lake s3://lake/a");
    }
}
