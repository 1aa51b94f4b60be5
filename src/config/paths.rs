//! Which keys name places, so that relative ones can be settled where no folder is beside them.

use std::path::Path;

use toml::{Table, Value};

use super::Location;

/// What a key may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A file or a folder of this machine, or what begins like a URL.
    Path,
    /// A text of the configuration.
    Text,
}

/// Keys with a place or a list of places, by section.
const KEYS: [(&str, &str, Kind); 13] = [
    ("lake", "path", Kind::Path),
    ("lake", "state", Kind::Path),
    ("lake", "shared", Kind::Path),
    ("files", "paths", Kind::Path),
    ("enrich", "agents_file", Kind::Text),
    ("enrich", "rules_file", Kind::Text),
    ("enrich", "prices_file", Kind::Text),
    ("enforce", "breaches_file", Kind::Path),
    ("control", "socket", Kind::Path),
    ("operate", "emf", Kind::Path),
    ("directory", "file", Kind::Path),
    ("coverage", "log_copy", Kind::Path),
    ("notify", "path", Kind::Path),
];
/// Keys of `[[notify]]` with a file that holds a secret.
const SECRETS: [&str; 2] = ["url_file", "routing_key_file"];
/// What `operate.emf` says when it names no file.
const STDOUT: &str = "stdout";

/// Makes every relative place of a text that is included absolute; what cannot be is told.
pub(super) fn settle(table: &mut Table, location: &Location, tell: &mut dyn FnMut(String)) {
    each(table, &mut |name, kind, text| {
        if kind == Kind::Text {
            match location.beside(text) {
                Ok(place) => *text = place.to_string(),
                Err(error) => tell(format!("{name}: {error}")),
            }
        } else if is_relative(text) {
            match location.folder().and_then(|folder| std::path::absolute(folder.join(&*text)).ok()) {
                Some(path) => *text = path.to_string_lossy().into_owned(),
                None => tell(relative(name, text, location)),
            }
        }
    });
}

/// Tells of every relative path of a configuration that does not lie in a folder.
pub(super) fn refuse_relative(table: &mut Table, location: &Location, faults: &mut Vec<String>) {
    each(table, &mut |name, kind, text| {
        if kind == Kind::Path && is_relative(text) {
            faults.push(relative(name, text, location));
        }
    });
}

fn relative(name: &str, text: &str, location: &Location) -> String {
    format!("{name}: '{text}' is relative, and {location} has no folder on this machine: write an absolute path")
}

fn is_relative(text: &str) -> bool {
    !text.contains("://") && Path::new(text).is_relative()
}

fn each(table: &mut Table, visit: &mut dyn FnMut(&str, Kind, &mut String)) {
    let secrets = SECRETS.map(|key| ("notify", key, Kind::Path));
    for (section, key, kind) in KEYS.into_iter().chain(secrets) {
        let name = format!("{section}.{key}");
        let mut one = |value: &mut Value| match value {
            Value::String(text) if name != "operate.emf" || text != STDOUT => visit(&name, kind, text),
            Value::Array(list) => {
                for text in list.iter_mut().filter_map(|value| if let Value::String(text) = value { Some(text) } else { None }) {
                    visit(&name, kind, text);
                }
            }
            _ => {}
        };
        match table.get_mut(section) {
            Some(Value::Table(section)) => section.get_mut(key).map(&mut one).unwrap_or_default(),
            Some(Value::Array(sections)) => {
                for section in sections {
                    section.get_mut(key).map(&mut one).unwrap_or_default();
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_without_a_folder_names_absolute_places() {
        let mut table = "[lake]\npath = 's3://b/p'\nstate = 'local.redb'\n[operate]\nemf = 'stdout'\n[files]\npaths = ['/a', 'b']\n\
             [[notify]]\npath = 'told'\n[[notify]]\nurl_file = '/run/url'\n[coverage]\nlog_copy = ['s3://x']\n[enrich]\nrules_file = 'r'\n"
            .parse()
            .unwrap();
        let mut faults = Vec::new();
        refuse_relative(&mut table, &"ssm:/sluice/config".parse().unwrap(), &mut faults);
        assert_eq!(faults.len(), 3, "{faults:#?}");
        assert!(faults[0].starts_with("lake.state: 'local.redb' is relative, and ssm:/sluice/config has no folder"), "{faults:?}");
        let mut told = Vec::new();
        settle(&mut table, &"ssm:/sluice/config".parse().unwrap(), &mut |fault| told.push(fault));
        assert_eq!(told.len(), 4, "{told:#?}");
    }
}
